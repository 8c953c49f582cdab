//! What the publisher of a half message is asked, and what it answers. Pure.

use std::time::Duration;

use bytes::Bytes;
use evhub_dispatch::sender::{check::callback_json, evhub};
use evhub_event::{
    Controls, Event,
    controls::{When, delay, instant},
};
use evhub_ledger::half::{Callback, Commit, Decide};
use evhub_proto::{
    evhub_comm::{Tx, TxStatus},
    evhub_transaction::{CallbackReq, CallbackRsp},
};
use evhub_routing::{CheckBack, CheckProtocol, EvhubName, Protocol, Target};
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use prost::Message as _;
use serde::Deserialize;

use crate::evhub::transaction::{answer as read_json, commit};

const TRANSACTION: HeaderName = HeaderName::from_static("evhub-transaction");
const CHECK: HeaderName = HeaderName::from_static("evhub-check");
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How the ledger keeps how a publisher is asked.
const WAYS: [CheckProtocol; 4] = [
    CheckProtocol::CloudEvents,
    CheckProtocol::EvHubHttp,
    CheckProtocol::EvHubHttpProtobuf,
    CheckProtocol::EvHubGrpc,
];

/// How long an answer of a half message's own publisher is waited for at the most, whatever it says: whoever publishes names the
/// address, and nothing learns that it is down.
const OWN: Duration = Duration::from_secs(30);

/// A question about one half message.
#[derive(Clone, Debug)]
pub(crate) struct Question<'a> {
    /// Which half message it is about.
    pub(crate) id: String,
    /// How often its publisher was asked before.
    pub(crate) checks: u32,
    /// The event.
    pub(crate) event: &'a Event,
    /// What it was published with.
    pub(crate) controls: &'a Controls,
    /// The Producer as EvHub's clients know it.
    pub(crate) producer: &'a EvhubName,
}

/// A native answer.
#[derive(Deserialize)]
struct Answer {
    state: String,
    due: Option<String>,
    delay: Option<String>,
}

/// The number of a way to ask.
pub(crate) fn way(protocol: CheckProtocol) -> u32 {
    WAYS.iter().position(|known| *known == protocol).map_or(0, |way| way as u32)
}

/// Where a half message's own publisher is asked, and how; `None` if this version does not know how.
pub(crate) fn own(callback: &Callback) -> Option<(CheckProtocol, Target)> {
    let protocol = *WAYS.get(callback.way as usize)?;
    let url = callback.url.parse().ok()?;
    Some((protocol, target(url, None, protocol, callback.timeout.min(OWN))))
}

/// Where a Producer's publishers are asked.
pub(crate) fn of(check_back: &CheckBack) -> (CheckProtocol, Target) {
    let CheckBack { url, service, protocol, timeout, .. } = check_back;
    (*protocol, target(url.clone(), service.clone(), *protocol, *timeout))
}

fn target(
    url: http::Uri,
    service: Option<evhub_routing::Name>,
    protocol: CheckProtocol,
    timeout: Duration,
) -> Target {
    let protocol = match protocol {
        CheckProtocol::CloudEvents => Protocol::CloudEvents,
        CheckProtocol::EvHubHttp | CheckProtocol::EvHubHttpProtobuf => Protocol::EvHubHttp,
        CheckProtocol::EvHubGrpc => Protocol::EvHubGrpc,
    };
    Target { url, service, protocol, timeout, headers: Vec::new(), secret: false, tls: None }
}

impl Question<'_> {
    /// As EvHub's callback.
    pub(crate) fn callback(&self) -> CallbackReq {
        CallbackReq {
            event: Some(evhub::message(self.event, &self.controls.tags, self.producer)),
            tx: Some(Tx { event_id: self.event.id.clone(), status: TxStatus::Prepare.into() }),
        }
    }

    /// As an HTTP request.
    pub(crate) fn request(&self, protocol: CheckProtocol) -> (HeaderMap, Bytes) {
        let (mut headers, body) = match protocol {
            CheckProtocol::CloudEvents | CheckProtocol::EvHubGrpc => evhub_event::http::encode(self.event),
            CheckProtocol::EvHubHttpProtobuf => {
                (HeaderMap::from_iter([(CONTENT_TYPE, PROTOBUF)]), self.callback().encode_to_vec().into())
            }
            CheckProtocol::EvHubHttp => {
                let CallbackReq { event, tx } = self.callback();
                let body = callback_json(&event.unwrap_or_default(), &tx.unwrap_or_default());
                (HeaderMap::from_iter([(CONTENT_TYPE, JSON)]), body)
            }
        };
        headers.extend(HeaderValue::from_str(&self.id).ok().map(|id| (TRANSACTION, id)));
        headers.insert(CHECK, self.checks.saturating_add(1).into());
        (headers, body)
    }
}

/// What an answer over HTTP says: a decision, or none. EvHub does not look at the status, and a body that decides is one.
pub(crate) fn understand(
    protocol: CheckProtocol,
    status: u16,
    body: &Bytes,
) -> Result<Option<Decide>, String> {
    match protocol {
        CheckProtocol::CloudEvents | CheckProtocol::EvHubGrpc if !(200..300).contains(&status) => {
            Err(format!("it answered with {status}"))
        }
        CheckProtocol::CloudEvents | CheckProtocol::EvHubGrpc => native(body),
        CheckProtocol::EvHubHttp => {
            let answer = read_json(body).map_err(|why| format!("it answered with {status}, and {why}"))?;
            understand_message(answer)
        }
        CheckProtocol::EvHubHttpProtobuf => {
            let answer = CallbackRsp::decode(body.clone());
            let answer = answer.map_err(|error| format!("it answered with {status}, and {error}"))?;
            understand_message(answer)
        }
    }
}

/// What a message of EvHub's says.
pub(crate) fn understand_message(answer: CallbackRsp) -> Result<Option<Decide>, String> {
    let CallbackRsp { ret, tx_status, trigger } = answer;
    if let Some(ret) = ret.filter(|ret| ret.code != 0) {
        return Err(format!("it answered with code {}", ret.code));
    }
    match TxStatus::try_from(tx_status) {
        Ok(TxStatus::Commit) => commit(trigger).map(|commit| Some(Decide::Commit(commit))),
        Ok(TxStatus::Rollback) => Ok(Some(Decide::Rollback)),
        Ok(TxStatus::Prepare) => Ok(None),
        Ok(TxStatus::Invalid | TxStatus::Success) | Err(_) => {
            Err(format!("it answered with tx_status {tx_status}, which decides nothing"))
        }
    }
}

fn native(body: &[u8]) -> Result<Option<Decide>, String> {
    let form = || r#"it did not answer with {"state":"Committed"}, RolledBack or Unknown"#.to_owned();
    let Answer { state, due, delay: span } = serde_json::from_slice(body).map_err(|_| form())?;
    let when = match (due, span) {
        (None, None) => None,
        (Some(due), None) => Some(When::At(instant(&due).map_err(|error| error.to_string())?)),
        (None, Some(span)) => Some(When::After(delay(&span).map_err(|error| error.to_string())?)),
        (Some(_), Some(_)) => return Err("it answered with due and delay: one will do".to_owned()),
    };
    match state.as_str() {
        "Committed" => Ok(Some(Decide::Commit(Commit { when, ..Commit::default() }))),
        "RolledBack" => Ok(Some(Decide::Rollback)),
        "Unknown" => Ok(None),
        _ => Err(form()),
    }
}

#[cfg(test)]
mod tests {
    use evhub_proto::evhub_comm::{EventDelayProcessTrigger, EventTrigger, EventTriggerType, Result as Ret};

    use super::*;

    fn says(protocol: CheckProtocol, status: u16, body: &str) -> Result<Option<Decide>, String> {
        understand(protocol, status, &Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn a_publisher_of_its_own_is_waited_for_as_it_says_within_a_bound() {
        let callback = |way, seconds| Callback {
            way,
            url: "http://tx.shop/".to_owned(),
            timeout: Duration::from_secs(seconds),
            interval: Duration::from_secs(1),
        };
        for (seconds, waited) in [(1, 1), (30, 30), (600, 30)] {
            let timeout = own(&callback(1, seconds)).map(|(_, target)| target.timeout.as_secs());
            assert_eq!(timeout, Some(waited));
        }
        assert_eq!(own(&callback(4, 1)), None, "a later version's way");
    }

    #[test]
    fn what_native_publishers_answer() {
        let native = |status, body| says(CheckProtocol::CloudEvents, status, body);
        let commit = |when| Ok(Some(Decide::Commit(Commit { when, ..Commit::default() })));
        assert_eq!(native(200, r#"{"state":"Committed"}"#), commit(None));
        let later = commit(Some(When::After(Duration::from_mins(90))));
        assert_eq!(native(200, r#"{"state":"Committed","delay":"1h30m","more":1}"#), later);
        assert_eq!(native(202, r#"{"state":"RolledBack"}"#), Ok(Some(Decide::Rollback)));
        assert_eq!(native(200, r#"{"state":"Unknown"}"#), Ok(None));
        for (status, body) in [
            (500, r#"{"state":"Committed"}"#),
            (200, ""),
            (200, r#"{"state":"committed"}"#),
            (200, r#"{"state":"Committed","delay":"-1h"}"#),
            (200, r#"{"state":"Committed","delay":"1h","due":"2030-01-01T00:00:00Z"}"#),
        ] {
            assert!(native(status, body).is_err(), "{status} {body}");
        }
    }

    #[test]
    fn what_evhubs_publishers_answer() {
        let real_time =
            EventTrigger { trigger_type: EventTriggerType::RealTime.into(), ..Default::default() };
        let at_once = Commit { when: Some(When::After(Duration::ZERO)), ..Commit::default() };
        let commit = Ok(Some(Decide::Commit(at_once)));
        for (message, json, expected) in [
            (
                CallbackRsp { ret: None, tx_status: 2, trigger: Some(real_time.clone()) },
                r#"{"tx_status":2,"trigger":{"trigger_type":1}}"#,
                commit.clone(),
            ),
            (
                CallbackRsp { ret: Some(Ret::default()), tx_status: 2, trigger: None },
                r#"{"ret":{},"txStatus":"TX_STATUS_COMMIT"}"#,
                commit,
            ),
            (
                CallbackRsp { tx_status: 3, ..Default::default() },
                r#"{"tx_status":3}"#,
                Ok(Some(Decide::Rollback)),
            ),
            (CallbackRsp { tx_status: 1, ..Default::default() }, r#"{"tx_status":1}"#, Ok(None)),
        ] {
            assert_eq!(says(CheckProtocol::EvHubHttp, 200, json), expected, "{json}");
            let bytes = Bytes::from(message.encode_to_vec());
            assert_eq!(understand(CheckProtocol::EvHubHttpProtobuf, 500, &bytes), expected, "{json}");
            assert_eq!(understand_message(message), expected, "{json}");
        }
        let refused =
            CallbackRsp { ret: Some(Ret { code: 7, msg: "no".into() }), tx_status: 2, trigger: None };
        assert!(understand_message(refused).is_err());
        for json in
            ["", "{}", r#"{"tx_status":4}"#, r#"{"ret":{"code":7},"tx_status":2}"#, r#"{"tx_status":"x"}"#]
        {
            assert!(says(CheckProtocol::EvHubHttp, 200, json).is_err(), "{json}");
        }
        assert!(understand(CheckProtocol::EvHubHttpProtobuf, 200, &Bytes::from_static(b"<html>")).is_err());
        // What no record could hold decides nothing.
        let delay_time = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        let key = |n: u32| EventDelayProcessTrigger { key: format!("{n:0>1024}"), delay_time };
        let many = EventTrigger {
            trigger_type: EventTriggerType::DelayProcess.into(),
            delay_process_trigger_list: (0..1024).map(key).collect(),
            ..EventTrigger::default()
        };
        assert!(understand_message(CallbackRsp { ret: None, tx_status: 2, trigger: Some(many) }).is_err());
    }
}
