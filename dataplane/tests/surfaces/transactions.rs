//! Half messages: prepared on every surface, published once when they are committed and never otherwise, and asked about in
//! every protocol when their publishers do not come back.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use evhub_dataplane::{egress::Egress, server::Limits};
use evhub_event::{Event, kafka};
use evhub_proto::{
    cloudevents::CloudEvent,
    evhub_comm::{self, Endpoint, EventDelayTrigger, EventTrigger, Tx, TxCallback},
    evhub_producer::{CommitReq, PrepareReq, RollbackReq, evhub_producer_client::EvhubProducerClient},
    evhub_transaction::{
        CallbackReq, CallbackRsp,
        evhub_transaction_server::{EvhubTransaction, EvhubTransactionServer},
    },
    ledger::{
        CommitTransactionRequest, GetTransactionRequest, ListTransactionsRequest, PrepareTransactionRequest,
        RollbackTransactionRequest, TransactionState, commit_transaction_request::When,
        ledger_client::LedgerClient,
    },
};
use evhub_routing::{CheckBack, CheckProtocol, Generation, Name, Snapshot, Undecided};
use prost::Message as _;
use serde_json::{Value, json};
use tonic::{Code, service::Routes};

use super::{
    h2::{channel, event},
    rig::{Rig, SINK, serve},
    wire::{Answer, PATIENCE, get, request},
};

pub(super) const DUE: &str = "evhub.shop.orders.due";
const ALL: &str = "/namespaces/shop/producers/orders/transactions";

/// Lets the Producer `orders` ask its publishers here.
pub(super) fn asks(rig: &Rig, url: &str, protocol: CheckProtocol, max_checks: u32, on_exhausted: Undecided) {
    let check_back = CheckBack {
        url: url.parse().unwrap(),
        service: None,
        protocol,
        timeout: Duration::from_secs(5),
        interval: Duration::from_millis(20),
        max_checks,
        on_exhausted,
    };
    rig.snapshots.send_modify(|snapshot| {
        let mut next = Snapshot::clone(snapshot);
        next.generation = Generation { revision: next.generation.revision + 1, ..next.generation };
        let orders = next.producers.get_mut(&Name::new("shop", "orders")).unwrap();
        Arc::make_mut(orders).ledger.check_back = Some(check_back);
        *snapshot = Arc::new(next);
    });
}

/// A rig whose Producer has nobody asked for a long time.
pub(super) async fn quiet() -> Rig {
    let rig = Rig::start().await;
    asks(&rig, "http://127.0.0.1:1/", CheckProtocol::CloudEvents, 1000, Undecided::Hold);
    rig.snapshots.send_modify(|snapshot| {
        let mut next = Snapshot::clone(snapshot);
        let orders = next.producers.get_mut(&Name::new("shop", "orders")).unwrap();
        Arc::make_mut(orders).ledger.check_back.as_mut().unwrap().interval = Duration::from_hours(1);
        *snapshot = Arc::new(next);
    });
    rig
}

pub(super) async fn published(rig: &Rig, count: usize) -> Vec<Event> {
    let enough = async {
        loop {
            let records = rig.records(DUE).await;
            if records.len() >= count {
                return records.iter().map(|(_, stored)| kafka::decode(&stored.record).unwrap()).collect();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, enough).await.expect("they are published")
}

async fn prepare(rig: &Rig, id: &str, body: &str) -> Answer {
    let named = [("ce-specversion", "1.0"), ("ce-id", id), ("ce-source", "/s"), ("ce-type", "t")];
    rig.ask(rig.http, request("POST", ALL, &named, body)).await
}

pub(super) async fn prepared(rig: &Rig, id: &str) -> String {
    let answer = prepare(rig, id, "x").await;
    assert_eq!(answer.status, 201, "{}", answer.json());
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn decide(rig: &Rig, id: &str, verb: &str) -> Answer {
    rig.ask(rig.http, request("POST", &format!("{ALL}/{id}/{verb}"), &[], "")).await
}

pub(super) async fn shown(rig: &Rig, id: &str) -> Value {
    let path = get(&format!("{ALL}/{id}"));
    let (http, api) = (rig.ask(rig.http, &path).await, rig.ask(rig.api, &path).await);
    assert_eq!(http.json(), api.json());
    http.json()
}

/// Waits until a half message is as is said.
async fn becomes(rig: &Rig, id: &str, state: &str) -> Value {
    let turned = async {
        loop {
            let found = rig.ask(rig.http, get(&format!("{ALL}/{id}"))).await.json();
            if found["state"] == state {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, turned).await.expect("it is decided on")
}

#[tokio::test]
async fn a_half_message_is_published_when_it_is_committed_and_once() {
    let rig = quiet().await;
    let answer = prepare(&rig, "a", "x").await;
    let receipt = answer.json();
    assert_eq!(
        (answer.status, &receipt["state"], &receipt["eventId"]),
        (201, &json!("Prepared"), &json!("a"))
    );
    let id = receipt["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.headers["location"], format!("{ALL}/{id}"));
    assert_eq!(prepare(&rig, "a", "x").await.json()["id"], id.as_str(), "the same again is the same");
    let found = shown(&rig, &id).await;
    assert_eq!(
        (&found["state"], &found["eventId"], &found["checks"]),
        (&json!("Prepared"), &json!("a"), &json!(0))
    );
    assert_eq!(rig.records(DUE).await.len(), 0, "nobody sees it yet");
    for _ in 0..2 {
        let committed = decide(&rig, &id, "commit").await;
        assert_eq!((committed.status, &committed.json()["state"]), (200, &json!("Committed")));
    }
    let late = decide(&rig, &id, "rollback").await;
    assert_eq!((late.status, late.problem().1.as_str()), (409, "ALREADY_COMMITTED"));
    assert_eq!(prepare(&rig, "a", "x").await.json()["state"], "Committed");
    let other = prepare(&rig, "a", "y").await;
    assert_eq!((other.status, other.problem().1.as_str()), (409, "TRANSACTION_CONFLICT"));
    let [event] = &published(&rig, 1).await[..] else { panic!("it is published once") };
    assert_eq!((event.id.as_str(), event.data.as_deref()), ("a", Some(&b"x"[..])));
    assert!(rig.events().await.is_empty(), "it lies beside what is published at once");
}

#[tokio::test]
async fn one_that_is_rolled_back_is_never_published() {
    let rig = quiet().await;
    let (id, other) = (prepared(&rig, "a").await, prepared(&rig, "b").await);
    for _ in 0..2 {
        let answer = decide(&rig, &id, "rollback").await;
        assert_eq!((answer.status, &answer.json()["state"]), (200, &json!("RolledBack")));
    }
    let late = decide(&rig, &id, "commit").await;
    assert_eq!((late.status, late.problem().1.as_str()), (409, "ALREADY_ROLLED_BACK"));
    assert_eq!(shown(&rig, &id).await["state"], "RolledBack");
    assert_eq!(decide(&rig, &other, "commit").await.status, 200);
    assert_eq!(published(&rig, 1).await[0].id, "b");
    assert_eq!(rig.records(DUE).await.len(), 1);
}

#[tokio::test]
async fn one_may_be_committed_for_later() {
    let rig = quiet().await;
    let id = prepared(&rig, "a").await;
    let json = [("content-type", "application/json")];
    let commit = |body: &'static str| request("POST", &format!("{ALL}/{id}/commit"), &json, body);
    for (body, status, reason) in [
        (r#"{"delay":"3601h"}"#, 400, "DELAY_TOO_LONG"),
        (r#"{"delay":"soon"}"#, 400, "INVALID_CONTROL"),
        (r#"{"due":"2030-01-01T00:00:00Z","delay":"1h"}"#, 400, "INVALID_JSON"),
        (r#"{"later":"1h"}"#, 400, "INVALID_JSON"),
        ("x", 400, "INVALID_JSON"),
    ] {
        let refused = rig.ask(rig.http, commit(body)).await;
        assert_eq!((refused.status, refused.problem().1.as_str()), (status, reason), "{body}");
    }
    assert_eq!(shown(&rig, &id).await["state"], "Prepared", "nothing is decided by what is refused");
    let committed = rig.ask(rig.http, commit(r#"{"delay":"2h"}"#)).await.json();
    assert_eq!(committed["state"], "Committed", "{committed}");
    let timers = rig.ask(rig.http, get(&format!("{SINK}/timers"))).await.json();
    assert_eq!(
        (&timers["items"][0]["eventId"], &timers["items"][0]["due"]),
        (&json!("a"), &committed["due"])
    );
    assert_eq!(rig.records(DUE).await.len(), 0);
}

#[tokio::test]
async fn what_cannot_be_prepared_or_decided_on_is_refused_with_a_reason() {
    let rig = quiet().await;
    let id = prepared(&rig, "a").await;
    let batch = [("content-type", "application/cloudevents-batch+json")];
    let late = "/namespaces/shop/producers/late/transactions";
    let named = [("ce-specversion", "1.0"), ("ce-id", "z"), ("ce-source", "/s"), ("ce-type", "t")];
    let nobody = format!("{ALL}/ff63f03a-aac0-57f8-bdfa-aaf2fedb0e52/commit");
    for (what, bytes, status, reason) in [
        ("nobody to ask", request("POST", late, &named, "x"), 409, "NO_CHECK_BACK"),
        ("a batch", request("POST", ALL, &batch, "[]"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("no event", request("POST", ALL, &[("ce-id", "1")], "x"), 400, "MISSING_ATTRIBUTE"),
        ("no Producer", request("POST", &late.replace("late", "gone"), &[], "x"), 404, "UNKNOWN_PRODUCER"),
        ("no half message", request("POST", &nobody, &[], ""), 404, "UNKNOWN_TRANSACTION"),
        ("no id", request("POST", &format!("{ALL}/x/rollback"), &[], ""), 404, "UNKNOWN_TRANSACTION"),
        ("another's", request("POST", &format!("{late}/{id}/rollback"), &[], ""), 404, "UNKNOWN_TRANSACTION"),
        ("another's state", get(&format!("{late}/{id}")), 404, "UNKNOWN_TRANSACTION"),
        ("a state", get(&format!("{ALL}?state=Sold")), 400, "INVALID_QUERY"),
    ] {
        let refused = rig.ask(rig.http, bytes).await;
        assert_eq!((refused.status, refused.problem().1.as_str()), (status, reason), "{what}");
    }
    assert_eq!(shown(&rig, &id).await["state"], "Prepared");
}

#[tokio::test]
async fn half_messages_are_as_many_as_pending_timers_may_be() {
    let rig = quiet().await;
    rig.snapshots.send_modify(|snapshot| {
        let mut next = Snapshot::clone(snapshot);
        let orders = next.producers.get_mut(&Name::new("shop", "orders")).unwrap();
        Arc::make_mut(orders).pending_timers = 1;
        *snapshot = Arc::new(next);
    });
    // Of one key they lie in one shard, which counts exactly.
    let one = |id: &'static str| {
        let named = [
            ("ce-specversion", "1.0"),
            ("ce-id", id),
            ("ce-source", "/s"),
            ("ce-type", "t"),
            ("ce-partitionkey", "k"),
        ];
        request("POST", ALL, &named, "x")
    };
    let first = rig.ask(rig.http, one("a")).await.json();
    let over = rig.ask(rig.http, one("b")).await;
    assert_eq!((over.status, over.problem().1.as_str()), (429, "TOO_MANY_TIMERS"));
    assert_eq!(decide(&rig, first["id"].as_str().unwrap(), "rollback").await.status, 200);
    assert_eq!(rig.ask(rig.http, one("b")).await.status, 201);
}

#[tokio::test]
async fn the_undecided_are_listed_the_oldest_first_page_by_page() {
    let rig = quiet().await;
    assert_eq!(rig.ask(rig.http, get(ALL)).await.json(), json!({"items": []}));
    let mut ids = Vec::new();
    for id in ["a", "b", "c", "d", "e"] {
        ids.push(prepared(&rig, id).await);
        // Of one millisecond none is the older one.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    decide(&rig, &ids[1], "commit").await;
    decide(&rig, &ids[3], "rollback").await;
    let (mut listed, mut after) = (Vec::new(), String::new());
    loop {
        let page = rig.ask(rig.api, get(&format!("{ALL}?limit=2{after}"))).await.json();
        listed.extend(
            page["items"].as_array().unwrap().iter().map(|one| one["eventId"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(listed, ["a", "c", "e"]);
    for state in ["InDoubt", "Held"] {
        assert_eq!(
            rig.ask(rig.http, get(&format!("{ALL}?state={state}"))).await.json(),
            json!({"items": []})
        );
    }
}

/// A publisher that answers as it is told, by the events' ids, and notes what it was asked.
#[derive(Clone, Default)]
pub(super) struct Publisher {
    pub(super) answers: Arc<Mutex<BTreeMap<String, Vec<Value>>>>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Publisher {
    fn answering(answers: &[(&str, Vec<Value>)]) -> Self {
        let answers = answers.iter().map(|(id, all)| ((*id).to_owned(), all.clone())).collect();
        Self { answers: Arc::new(Mutex::new(answers)), asked: Arc::default() }
    }

    /// The next answer; the last one again and again.
    fn next(&self, id: &str, asked: Value) -> Value {
        self.asked.lock().unwrap().push((id.to_owned(), asked));
        let mut answers = self.answers.lock().unwrap();
        let Some(left) = answers.get_mut(id) else { return Value::Null };
        if left.len() > 1 { left.remove(0) } else { left[0].clone() }
    }

    fn asked(&self, id: &str) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(one, _)| one == id).map(|(_, asked)| asked.clone()).collect()
    }

    /// Serves native questions at `/native`, EvHub's at `/json` and `/protobuf`, and its calls.
    pub(super) async fn serve(&self, rig: &Rig) -> SocketAddr {
        let (native, json, protobuf) = (self.clone(), self.clone(), self.clone());
        let answer_native = move |headers: HeaderMap, body: Bytes| {
            let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            let id = header("ce-id").unwrap_or_default();
            let asked = json!({
                "check": header("evhub-check"),
                "half": header("evhub-transaction"),
                "data": String::from_utf8_lossy(&body),
            });
            let answer = native.next(&id, asked).to_string();
            async move { answer }
        };
        let answer_json = move |body: Bytes| {
            let asked: Value = serde_json::from_slice(&body).unwrap();
            let id = asked["tx"]["event_id"].as_str().unwrap().to_owned();
            let answer = json.next(&id, asked).to_string();
            async move { answer }
        };
        let answer_protobuf = move |body: Bytes| {
            let answer = protobuf.callback_of(&CallbackReq::decode(body).unwrap()).encode_to_vec();
            async move { answer }
        };
        let router = Routes::new(EvhubTransactionServer::new(self.clone())).prepare().into_axum_router();
        let router = router.merge(
            Router::new()
                .route("/native", post(answer_native))
                .route("/json", post(answer_json))
                .route("/protobuf", post(answer_protobuf)),
        );
        let (trigger, drain) = evhub_lifecycle::channel();
        // It serves as long as the test runs.
        std::mem::forget(trigger);
        serve("publisher", router, Limits::default(), &rig.hub, &drain).await.0
    }

    fn callback_of(&self, asked: &CallbackReq) -> CallbackRsp {
        let tx = asked.tx.clone().unwrap();
        let event = asked.event.clone().unwrap();
        let said = json!({"status": tx.status, "app": event.app_id, "data": STANDARD.encode(&event.data)});
        let answer = self.next(&tx.event_id, said);
        let trigger = EventTrigger { trigger_type: 1, ..EventTrigger::default() };
        CallbackRsp {
            ret: None,
            tx_status: i32::try_from(answer["tx_status"].as_i64().unwrap()).unwrap(),
            trigger: Some(trigger),
        }
    }
}

#[tonic::async_trait]
impl EvhubTransaction for Publisher {
    async fn callback(
        &self,
        request: tonic::Request<CallbackReq>,
    ) -> Result<tonic::Response<CallbackRsp>, tonic::Status> {
        Ok(tonic::Response::new(self.callback_of(request.get_ref())))
    }
}

#[tokio::test]
async fn a_publisher_that_does_not_come_back_is_asked_until_it_decides() {
    let rig = Rig::start().await;
    let unknown = || json!({"state": "Unknown"});
    let publisher = Publisher::answering(&[
        ("a", vec![unknown(), json!("nonsense"), json!({"state": "Committed"})]),
        ("b", vec![json!({"state": "RolledBack"})]),
        ("c", vec![unknown()]),
        ("d", vec![json!({"state": "Committed", "delay": "1h"})]),
    ]);
    let url = format!("http://{}/native", publisher.serve(&rig).await);
    asks(&rig, &url, CheckProtocol::CloudEvents, 4, Undecided::Hold);
    let mut ids = BTreeMap::new();
    for id in ["a", "b", "c", "d"] {
        ids.insert(id, prepared(&rig, id).await);
    }
    becomes(&rig, &ids["a"], "Committed").await;
    becomes(&rig, &ids["b"], "RolledBack").await;
    becomes(&rig, &ids["d"], "Committed").await;
    let held = async {
        loop {
            let held = rig.ask(rig.http, get(&format!("{ALL}?state=Held"))).await.json();
            if let Some(one) = held["items"].get(0) {
                return one.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let held = tokio::time::timeout(PATIENCE, held).await.expect("nobody decides on c");
    assert_eq!((&held["eventId"], &held["checks"], held.get("nextCheck")), (&json!("c"), &json!(4), None));
    assert_eq!(published(&rig, 1).await[0].id, "a");
    assert_eq!(rig.records(DUE).await.len(), 1);
    let asked = publisher.asked("a");
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[2], json!({"check": "3", "half": ids["a"], "data": "x"}));
    assert_eq!((publisher.asked("b").len(), publisher.asked("c").len()), (1, 4));
    // Whoever operates it decides in the end.
    assert_eq!(decide(&rig, &ids["c"], "commit").await.status, 200);
    assert_eq!(published(&rig, 2).await.len(), 2);
}

#[tokio::test]
async fn what_nobody_decides_on_becomes_what_its_producer_says() {
    for (policy, state) in [(Undecided::Rollback, "RolledBack"), (Undecided::Commit, "Committed")] {
        let rig = Rig::start().await;
        // Nobody listens there.
        asks(&rig, "http://127.0.0.1:1/", CheckProtocol::CloudEvents, 2, policy);
        let id = prepared(&rig, "a").await;
        becomes(&rig, &id, state).await;
        // What is committed later, in the same shard and behind it, shows that nothing else is to come.
        asks(&rig, "http://127.0.0.1:1/", CheckProtocol::CloudEvents, 1000, Undecided::Hold);
        let last = prepared(&rig, "b").await;
        assert_eq!(decide(&rig, &last, "commit").await.status, 200);
        let expected = if policy == Undecided::Commit { &["a", "b"][..] } else { &["b"] };
        let mut ids: Vec<_> =
            published(&rig, expected.len()).await.into_iter().map(|event| event.id).collect();
        ids.sort();
        assert_eq!(ids, expected, "{policy:?}");
    }
}

pub(super) fn evhub(data: &'static [u8], tx_callback: Option<TxCallback>) -> PrepareReq {
    let (app_id, topic_id) = ("shop".to_owned(), "orders".to_owned());
    let event = evhub_comm::Event { app_id, topic_id, event_comm: None, data: Bytes::from_static(data) };
    PrepareReq { event: Some(event), tx_callback }
}

fn trigger(seconds: i64) -> EventTrigger {
    let delay_time = Some(prost_types::Duration { seconds, nanos: 0 });
    let delay_trigger = Some(EventDelayTrigger { delay_time });
    let trigger_type = if seconds > 0 { 2 } else { 1 };
    EventTrigger { trigger_type, delay_trigger, ..EventTrigger::default() }
}

#[tokio::test]
async fn evhubs_codes_and_states() {
    let rig = quiet().await;
    let mut client = EvhubProducerClient::new(channel(rig.grpc).await);
    let mut ids = Vec::new();
    for data in [&b"a"[..], b"b", b"c"] {
        let answer = client.prepare(evhub(data, None)).await.unwrap().into_inner();
        assert_eq!(answer.ret, None);
        let Tx { event_id, status } = answer.tx.unwrap();
        assert_eq!(status, 1);
        ids.push(event_id);
    }
    let said = |ret: Option<evhub_comm::Result>, tx: Option<Tx>| {
        (ret.map_or(0, |ret| ret.code), tx.map_or(0, |tx| tx.status))
    };
    for (id, trigger, expected) in [
        (&ids[0], Some(trigger(0)), (0, 2)),
        (&ids[0], Some(trigger(0)), (21001, 4)),
        (&ids[1], Some(trigger(0)), (0, 2)),
        (&ids[2], None, (10000, 0)),
        (&ids[2], Some(trigger(3601 * 3600)), (10000, 0)),
        (&String::new(), Some(trigger(0)), (10000, 0)),
        (&"nobody".to_owned(), Some(trigger(0)), (20005, 0)),
    ] {
        let request = CommitReq { event_id: id.clone(), trigger };
        let answer = client.commit(request).await.unwrap().into_inner();
        assert_eq!(said(answer.ret, answer.tx), expected, "{id}");
    }
    for (id, expected) in [
        (&ids[0], (21002, 4)),
        (&ids[2], (0, 3)),
        (&ids[2], (21002, 3)),
        (&String::new(), (10000, 0)),
        (&"nobody".to_owned(), (20005, 0)),
    ] {
        let answer = client.rollback(RollbackReq { event_id: id.clone() }).await.unwrap().into_inner();
        assert_eq!(said(answer.ret, answer.tx), expected, "{id}");
    }
    let late = CommitReq { event_id: ids[2].clone(), trigger: Some(trigger(0)) };
    let late = client.commit(late).await.unwrap().into_inner();
    assert_eq!(said(late.ret, late.tx), (21001, 3));
    let mut came: Vec<String> = published(&rig, 2).await.into_iter().map(|event| event.id).collect();
    came.sort();
    let mut committed = ids[..2].to_vec();
    committed.sort();
    assert_eq!(came, committed, "each once, by the id that its publisher was told");
}

#[tokio::test]
async fn evhubs_json_says_the_same() {
    let rig = quiet().await;
    let ask = async |path: &str, body: Value| {
        rig.ask(rig.http, request("POST", path, &[], body.to_string())).await.json()
    };
    let event = json!({"app_id": "shop", "topic_id": "orders", "data": STANDARD.encode(b"x")});
    let prepared = ask("/v1/prepare", json!({"event": event})).await;
    let id = prepared["tx"]["event_id"].as_str().unwrap().to_owned();
    assert_eq!(prepared, json!({"tx": {"event_id": id, "status": 1}}));
    let delayed = json!({"eventID": id, "trigger": {"trigger_type": 2, "delay_trigger": {"delay_time": {"seconds": 3600}}}});
    let committed = ask("/v1/commit", delayed.clone()).await;
    assert_eq!(committed, json!({"tx": {"event_id": id, "status": 2}}));
    let again = ask("/v1/commit", delayed).await;
    assert_eq!((&again["ret"]["code"], &again["tx"]["status"]), (&json!(21001), &json!(4)));
    let late = ask("/v1/rollback", json!({"event_id": id})).await;
    assert_eq!((&late["ret"]["code"], &late["tx"]["status"]), (&json!(21002), &json!(4)));
    let timers = rig.ask(rig.http, get(&format!("{SINK}/timers"))).await.json();
    assert_eq!(timers["items"][0]["eventId"], id.as_str(), "a delayed commit is a timer");
}

#[tokio::test]
async fn evhubs_publishers_are_asked_in_each_of_its_protocols() {
    let rig = Rig::start().await;
    let publisher = Publisher::default();
    let at = publisher.serve(&rig).await;
    let mut client = EvhubProducerClient::new(channel(rig.grpc).await);
    for (protocol_type, address, data) in [
        (1, format!("ip://{at}"), &b"grpc"[..]),
        (3, format!("http://{at}/protobuf"), b"protobuf"),
        (5, format!("http://{at}/json"), b"json"),
    ] {
        let endpoint = Endpoint { protocol_type, address, timeout: None };
        let callback_interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        let callback = TxCallback { endpoint: Some(endpoint), callback_interval };
        let answer = client.prepare(evhub(data, Some(callback))).await.unwrap().into_inner();
        assert_eq!(answer.ret, None);
        let id = answer.tx.unwrap().event_id;
        let trigger = json!({"trigger_type": 1});
        let committed = json!({"tx_status": 2, "trigger": trigger});
        publisher.answers.lock().unwrap().insert(id.clone(), vec![committed]);
        let events =
            published(&rig, 1 + usize::from(protocol_type != 1) + usize::from(protocol_type == 5)).await;
        assert!(
            events.iter().any(|event| event.id == id && event.data.as_deref() == Some(data)),
            "{events:?}"
        );
        let asked = publisher.asked(&id);
        assert_eq!(asked.len(), 1, "{asked:?}");
        if protocol_type == 5 {
            let event = json!({"app_id": "shop", "topic_id": "orders", "data": STANDARD.encode(data)});
            assert_eq!(asked[0]["tx"], json!({"event_id": id, "status": 1}));
            for name in ["app_id", "topic_id", "data"] {
                assert_eq!(asked[0]["event"][name], event[name]);
            }
        } else {
            assert_eq!(asked[0], json!({"status": 1, "app": "shop", "data": STANDARD.encode(data)}));
        }
    }
}

#[tokio::test]
async fn a_publisher_is_asked_only_where_questions_may_go() {
    let rig = Rig::that(|hub| hub.egress = Egress::loopback()).await;
    let mut client = EvhubProducerClient::new(channel(rig.grpc).await);
    let missing = client.prepare(evhub(b"x", None)).await.unwrap().into_inner();
    assert_eq!(missing.ret.unwrap().code, 10000, "nobody could be asked");
    for (protocol_type, address) in [
        (1, "ip://169.254.169.254:80"),
        (5, "http://metadata/latest"),
        (5, "http://user:secret@127.0.0.1/"),
        (5, "127.0.0.1:80"),
        (5, ""),
        (9, "http://127.0.0.1/"),
    ] {
        let endpoint = Endpoint { protocol_type, address: address.to_owned(), timeout: None };
        let callback = TxCallback { endpoint: Some(endpoint), callback_interval: None };
        let answer = client.prepare(evhub(b"x", Some(callback))).await.unwrap().into_inner();
        assert_eq!((answer.ret.unwrap().code, answer.tx), (10000, None), "{address}");
    }
    let endpoint = Endpoint { protocol_type: 5, address: "http://127.0.0.1:1/".to_owned(), timeout: None };
    let callback = TxCallback { endpoint: Some(endpoint), callback_interval: None };
    let answer = client.prepare(evhub(b"x", Some(callback))).await.unwrap().into_inner();
    assert_eq!(answer.ret, None, "and there they may");
}

#[tokio::test]
async fn the_same_over_grpc() {
    let rig = quiet().await;
    let mut ledger = LedgerClient::new(channel(rig.grpc).await);
    let (namespace, producer) = (|| "shop".to_owned(), || "orders".to_owned());
    let prepare = |event: Option<CloudEvent>| PrepareTransactionRequest {
        namespace: namespace(),
        producer: producer(),
        event,
    };
    let first =
        ledger.prepare_transaction(prepare(Some(event("a", Some("k"), "x")))).await.unwrap().into_inner();
    assert_eq!((first.state(), first.event_id.as_str()), (TransactionState::Prepared, "a"));
    tokio::time::sleep(Duration::from_millis(2)).await;
    let second = ledger.prepare_transaction(prepare(Some(event("b", None, "x")))).await.unwrap().into_inner();
    let missing = ledger.prepare_transaction(prepare(None)).await.unwrap_err();
    assert_eq!(missing.code(), Code::InvalidArgument);
    let list = ListTransactionsRequest { namespace: namespace(), producer: producer(), ..Default::default() };
    let listed = ledger.list_transactions(list).await.unwrap().into_inner().transactions;
    assert_eq!(listed.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), [&first.id, &second.id]);
    assert_eq!((listed[0].key.as_str(), listed[0].checks), ("k", 0));
    assert!(listed[0].next_check.is_some() && listed[0].prepared == first.prepared);
    let when = Some(When::Delay(prost_types::Duration { seconds: 7200, nanos: 0 }));
    let commit =
        CommitTransactionRequest { namespace: namespace(), producer: producer(), id: first.id.clone(), when };
    let committed = ledger.commit_transaction(commit.clone()).await.unwrap().into_inner();
    assert_eq!(committed.state(), TransactionState::Committed);
    assert!(committed.due.unwrap().seconds >= committed.decided.unwrap().seconds + 7199);
    assert_eq!(ledger.commit_transaction(commit).await.unwrap().into_inner(), committed, "twice is once");
    let roll_back = |id: &str| RollbackTransactionRequest {
        namespace: namespace(),
        producer: producer(),
        id: id.to_owned(),
    };
    let late = ledger.rollback_transaction(roll_back(&first.id)).await.unwrap_err();
    assert_eq!((late.code(), late.message().contains("was committed")), (Code::Aborted, true));
    let rolled_back = ledger.rollback_transaction(roll_back(&second.id)).await.unwrap().into_inner();
    assert_eq!(rolled_back.state(), TransactionState::RolledBack);
    let get = GetTransactionRequest { namespace: namespace(), producer: producer(), id: second.id };
    assert_eq!(ledger.get_transaction(get).await.unwrap().into_inner().state(), TransactionState::RolledBack);
    let nobody = ledger.rollback_transaction(roll_back("x")).await.unwrap_err();
    assert_eq!(nobody.code(), Code::NotFound);
}

#[tokio::test]
async fn an_event_of_too_many_attributes_is_not_taken_apart() {
    let rig = quiet().await;
    let mut ledger = LedgerClient::new(channel(rig.grpc).await);
    let mut crowded = event("a", None, "x");
    let attribute = crowded.attributes.values().next().cloned().unwrap_or_default();
    crowded.attributes.extend((0..2_000).map(|n| (format!("a{n}"), attribute.clone())));
    let request = PrepareTransactionRequest {
        namespace: "shop".to_owned(),
        producer: "orders".to_owned(),
        event: Some(crowded),
    };
    let refused = ledger.prepare_transaction(request).await.unwrap_err();
    assert_eq!((refused.code(), refused.message().contains("attributes")), (Code::InvalidArgument, true));
}
