//! EvHub's half messages: its calls, its codes, and what it says of a transaction. Asks the ledger.

use std::time::Duration;

use evhub_event::Event;
use evhub_journal::Journal;
use evhub_ledger::{
    Answer, Command,
    command::Verb,
    half::{Callback, Commit, Decide, Decision, Standing, State},
};
use evhub_proto::{
    evhub_comm::{Endpoint, EventTrigger, ProtocolType, Tx, TxCallback, TxStatus},
    evhub_producer::{CommitReq, CommitRsp, PrepareReq, PrepareRsp, RollbackReq, RollbackRsp},
    evhub_transaction::CallbackRsp,
};
use evhub_routing::{CheckProtocol, Target};
use http::Uri;

use super::{Code, Fault, event, json};
use crate::{
    Hub,
    ingest::{self, Charge, take, trace::Asked},
    timers::ask::in_time,
    transactions::{ask, callback},
};

/// What EvHub has where nothing is said: how long is waited before the first question, and how long for its answer.
const DEFAULTS: (Duration, Duration) = (Duration::from_mins(2), Duration::from_secs(5));
/// The shortest and the longest of each.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24));
const TIMEOUT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_mins(10));
/// The longest address.
const ADDRESS: usize = 2048;

/// Prepares a half message.
pub(super) async fn prepare<J: Journal>(
    hub: &Hub<J>,
    request: PrepareReq,
    charge: Charge,
    asked: &Asked,
) -> PrepareRsp {
    let id = Event::new_id();
    match prepared(hub, request, &id, charge, asked).await {
        Ok(()) => PrepareRsp { ret: None, tx: Some(tx(&id, TxStatus::Prepare)) },
        Err(fault) => unprepared(fault),
    }
}

/// What is said of one that was not prepared.
pub(super) fn unprepared(fault: Fault) -> PrepareRsp {
    PrepareRsp { ret: Some(fault.prepared().into()), tx: None }
}

async fn prepared<J: Journal>(
    hub: &Hub<J>,
    PrepareReq { event, tx_callback }: PrepareReq,
    id: &str,
    charge: Charge,
    asked: &Asked,
) -> Result<(), Fault> {
    let event = event.ok_or_else(|| Fault::parameter("event is missing"))?;
    let producer = event::producer(&hub.running(), &event)?;
    let read = event::read(id, event, None, None).and_then(|event| {
        let own = tx_callback.map(|asked| own_callback(hub, asked)).transpose()?;
        if own.is_none() && producer.ledger.check_back.is_none() {
            let message =
                "conf not found: tx_callback is missing, and the Producer has no transaction.checkBack";
            return Err(Fault::parameter(message));
        }
        take::fits(&producer, &event)?;
        take::admit(hub, &producer, 1)?;
        Ok((event, own))
    });
    let (event, own) = read.map_err(Fault::prepared).inspect_err(|Fault { code, message }| {
        ingest::refused(hub, &producer.name, asked, || ((*code as i32).to_string(), message.clone()));
    })?;
    let half = hub.ledger.half_alone(id);
    let asked = ask::prepare(hub, &producer, half, event, own, (charge, asked)).await;
    asked.map(|_| ()).map_err(Fault::from)
}

/// Commits a half message.
pub(super) async fn commit_half<J: Journal>(hub: &Hub<J>, request: CommitReq) -> CommitRsp {
    let CommitReq { event_id, trigger } = request;
    let commit = if event_id.is_empty() {
        Err(Fault::parameter("event_id is missing"))
    } else {
        let trigger = trigger.ok_or_else(|| Fault::parameter("trigger is missing"));
        trigger.and_then(|trigger| triggered(Some(trigger)))
    };
    let decided = match commit {
        Ok(commit) => decide(hub, &event_id, Decide::Commit(commit)).await,
        Err(fault) => Err(fault),
    };
    let (ret, status) = match decided {
        Ok(Standing { state: State::Committed, first: true, .. }) => (None, Some(TxStatus::Commit)),
        Ok(standing) => (Some(finished(Code::Committed, "commit", standing)), Some(status(standing))),
        Err(fault) => (Some(fault), None),
    };
    CommitRsp { ret: ret.map(Into::into), tx: status.map(|status| tx(&event_id, status)) }
}

/// Rolls a half message back.
pub(super) async fn roll_back<J: Journal>(hub: &Hub<J>, request: RollbackReq) -> RollbackRsp {
    let event_id = request.event_id;
    let decided = if event_id.is_empty() {
        Err(Fault::parameter("event_id is missing"))
    } else {
        decide(hub, &event_id, Decide::Rollback).await
    };
    let (ret, status) = match decided {
        Ok(Standing { state: State::RolledBack, first: true, .. }) => (None, Some(TxStatus::Rollback)),
        Ok(standing) => (Some(finished(Code::RolledBack, "rollback", standing)), Some(status(standing))),
        Err(fault) => (Some(fault), None),
    };
    RollbackRsp { ret: ret.map(Into::into), tx: status.map(|status| tx(&event_id, status)) }
}

async fn decide<J: Journal>(hub: &Hub<J>, event_id: &str, decide: Decide) -> Result<Standing, Fault> {
    let id = hub.ledger.half_alone(event_id);
    // Whoever knows an id of ours was given it.
    let decision = Decision { producer: String::new(), decide };
    let command = Command { id, verb: Verb::Decide(Box::new(decision)) };
    let system = |message: String| Fault { code: Code::System, message };
    match in_time(hub.ledger.decide(command)).await {
        Ok(Answer::Half(standing)) => Ok(standing),
        Ok(Answer::Unknown) => {
            Err(system("there is no half message of this id, or its decision is forgotten by now".to_owned()))
        }
        Ok(answer) => Err(ask::refused(&answer).into()),
        Err(problem) => Err(system(problem.detail)),
    }
}

fn tx(event_id: &str, status: TxStatus) -> Tx {
    Tx { event_id: event_id.to_owned(), status: status.into() }
}

/// How a half message is that was decided on before. What is committed is published with it.
fn status(standing: Standing) -> TxStatus {
    match standing.state {
        State::Prepared => TxStatus::Prepare,
        State::Committed => TxStatus::Success,
        State::RolledBack => TxStatus::Rollback,
    }
}

fn finished(code: Code, what: &str, standing: Standing) -> Fault {
    let how = match standing.state {
        State::Prepared => "prepared",
        State::Committed => "committed",
        State::RolledBack => "rolled back",
    };
    Fault { code, message: format!("cannot {what}: the half message was {how} before") }
}

// === triggers and callbacks ===

/// What a trigger makes of a commit. One that is missing says nothing, which is at once.
fn triggered(trigger: Option<EventTrigger>) -> Result<Commit, Fault> {
    let event::Times { delay_keys, when, repeat } = event::times(trigger)?;
    // By the rules of any event: what a log's record cannot hold, or nobody reads back, would be found out only after the commit.
    event::controls(&[], &delay_keys)?;
    let at_once = evhub_ledger::When::After(Duration::ZERO);
    Ok(Commit { when: Some(when.unwrap_or(at_once)), delay_keys, repeat })
}

/// The same of a publisher's answer.
pub(crate) fn commit(trigger: Option<EventTrigger>) -> Result<Commit, String> {
    triggered(trigger).map_err(|fault| fault.message)
}

/// A publisher's answer in EvHub's JSON.
pub(crate) fn answer(body: &[u8]) -> Result<CallbackRsp, String> {
    json::callback(body).map_err(|fault| fault.message)
}

/// Who is asked about one half message alone.
fn own_callback<J: Journal>(hub: &Hub<J>, asked: TxCallback) -> Result<Callback, Fault> {
    let TxCallback { endpoint, callback_interval } = asked;
    let Endpoint { protocol_type, address, timeout } =
        endpoint.ok_or_else(|| Fault::parameter("tx_callback.Endpoint is missing"))?;
    let protocol = match ProtocolType::try_from(protocol_type) {
        Ok(ProtocolType::Invalid | ProtocolType::Grpc) => CheckProtocol::EvHubGrpc,
        Ok(ProtocolType::HttpPb) => CheckProtocol::EvHubHttpProtobuf,
        Ok(ProtocolType::HttpJson) => CheckProtocol::EvHubHttp,
        Err(_) => return Err(Fault::parameter(format!("there is no protocol_type {protocol_type}"))),
    };
    let url = address_of(protocol, &address)?;
    let callback = Callback {
        way: callback::way(protocol),
        url: url.to_string(),
        timeout: span("timeout", timeout, DEFAULTS.1, TIMEOUT)?,
        interval: span("callback_interval", callback_interval, DEFAULTS.0, INTERVAL)?,
    };
    let may = |target: &Target| hub.egress.allows(target) && !hub.tools.are_at(&target.url);
    let allowed = callback::own(&callback).is_some_and(|(_, target)| may(&target));
    if !allowed {
        let message = format!(
            "nobody may be asked at {url}: whoever runs the hub says where questions may go, as with --egress-allow"
        );
        return Err(Fault::parameter(message));
    }
    Ok(callback)
}

/// An address as EvHub's clients write it: `ip://HOST:PORT`, `dns://HOST:PORT`, `HOST:PORT` for gRPC, or a URL.
fn address_of(protocol: CheckProtocol, address: &str) -> Result<Uri, Fault> {
    let wrong = || {
        let shown = evhub_event::invalid::quote(address);
        Fault::parameter(format!(
            "tx_callback.Endpoint.address must be such as http://10.0.0.1:8080/callback, not {shown}"
        ))
    };
    let bare = address.strip_prefix("ip://").or_else(|| address.strip_prefix("dns://"));
    let is_url = address.starts_with("http://") || address.starts_with("https://");
    let text = match (bare, is_url) {
        (Some(bare), _) => format!("http://{bare}"),
        (None, true) => address.to_owned(),
        // Another scheme would be read as a host.
        (None, false) if protocol == CheckProtocol::EvHubGrpc && !address.contains("://") => {
            format!("http://{address}")
        }
        (None, false) => return Err(wrong()),
    };
    let url: Uri = text.parse().ok().filter(|_| address.len() <= ADDRESS).ok_or_else(wrong)?;
    let plain = url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    if url.host().is_some_and(|host| !host.is_empty()) && plain { Ok(url) } else { Err(wrong()) }
}

/// A span, or what holds where none is given.
fn span(
    name: &str,
    given: Option<prost_types::Duration>,
    default: Duration,
    (shortest, longest): (Duration, Duration),
) -> Result<Duration, Fault> {
    let Some(given) = given else { return Ok(default) };
    let span = Duration::try_from(given).ok().filter(|span| (shortest..=longest).contains(span));
    let wrong = || Fault::parameter(format!("{name} must be between {shortest:?} and {longest:?}"));
    // EvHub takes nothing for its default.
    if given == prost_types::Duration::default() { Ok(default) } else { span.ok_or_else(wrong) }
}

#[cfg(test)]
mod tests {
    use evhub_proto::evhub_comm::{EventDelayProcessTrigger, EventTriggerType};

    use super::*;

    #[test]
    fn addresses_are_read_as_evhub_writes_them() {
        use CheckProtocol::{EvHubGrpc, EvHubHttp, EvHubHttpProtobuf};
        for (protocol, address, url) in [
            (EvHubGrpc, "ip://10.0.0.1:8000", Some("http://10.0.0.1:8000/")),
            (EvHubGrpc, "dns://tx.shop:8000", Some("http://tx.shop:8000/")),
            (EvHubGrpc, "tx.shop:8000", Some("http://tx.shop:8000/")),
            (EvHubHttp, "http://tx.shop/callback?a=b", Some("http://tx.shop/callback?a=b")),
            (EvHubHttp, "ip://10.0.0.1:8000/callback", Some("http://10.0.0.1:8000/callback")),
            (EvHubHttpProtobuf, "https://tx.shop/callback", Some("https://tx.shop/callback")),
            (EvHubHttp, "tx.shop/callback", None),
            (EvHubHttp, "", None),
            (EvHubGrpc, "", None),
            (EvHubGrpc, "file:///etc/passwd", None),
            (EvHubHttp, "http://user:secret@tx.shop/", None),
            (EvHubHttp, "http:///callback", None),
        ] {
            let read = address_of(protocol, address).ok().map(|url| url.to_string());
            assert_eq!(read.as_deref(), url, "{address}");
        }
    }

    #[test]
    fn keys_that_no_event_may_have_are_refused_before_anything_is_committed() {
        let trigger = |keys: Vec<String>| {
            let one = |key| EventDelayProcessTrigger {
                key,
                delay_time: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            };
            let list = keys.into_iter().map(one).collect();
            let kind = i32::from(EventTriggerType::DelayProcess);
            triggered(Some(EventTrigger {
                trigger_type: kind,
                delay_process_trigger_list: list,
                ..EventTrigger::default()
            }))
        };
        let numbered = |count: u32| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(trigger(numbered(32)).map(|commit| commit.delay_keys.len()).ok(), Some(32));
        for keys in
            [numbered(33), vec!["k".repeat(129)], vec![String::new()], vec!["a".to_owned(), "a".to_owned()]]
        {
            assert!(trigger(keys.clone()).is_err(), "{keys:?}");
        }
    }

    #[test]
    fn spans_are_within_their_bounds() {
        let read = |seconds, nanos| {
            span("timeout", Some(prost_types::Duration { seconds, nanos }), DEFAULTS.1, TIMEOUT).ok()
        };
        assert_eq!(read(0, 0), Some(Duration::from_secs(5)));
        assert_eq!(read(0, 250_000_000), Some(Duration::from_millis(250)));
        assert_eq!((read(601, 0), read(-1, 0), read(0, 1)), (None, None, None));
        assert_eq!(span("timeout", None, DEFAULTS.1, TIMEOUT).ok(), Some(Duration::from_secs(5)));
    }
}
