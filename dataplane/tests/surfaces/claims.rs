//! Publishes that are safe to repeat: on every surface the same again is published once and told the same, and other content
//! under the same key is refused.

use std::{sync::Arc, time::Duration};

use evhub_event::kafka;
use evhub_proto::{
    cloudevents::cloud_event::{CloudEventAttributeValue, cloud_event_attribute_value::Attr},
    evhub_comm::{self, EventDelayTrigger, EventIdempotent, EventOption, EventTrigger},
    evhub_producer::{ReportReq, evhub_producer_client::EvhubProducerClient},
    ingest::{ingest_client::IngestClient, outcome::Kind},
};
use evhub_routing::{Deduplication, DeduplicationKey, Name, Producer, Snapshot};
use serde_json::{Value, json};

use super::{
    h2::{channel, event, request as published},
    rig::{Rig, SINK},
    wire::{Answer, request},
};

const DUE: &str = "evhub.shop.orders.due";
const EVENTS: &str = "/namespaces/shop/producers/orders/events";
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json");

/// The ids of what is published, in the order of each partition.
async fn ids(rig: &Rig) -> Vec<String> {
    let records = rig.records(DUE).await;
    records.iter().map(|(_, stored)| kafka::decode(&stored.record).unwrap().id).collect()
}

async fn publish(rig: &Rig, id: &str, more: &[(&str, &str)], body: &str) -> Answer {
    let named = [("ce-specversion", "1.0"), ("ce-id", id), ("ce-source", "/s"), ("ce-type", "t")];
    rig.ask(rig.http, request("POST", EVENTS, &[&named, more].concat(), body)).await
}

/// Has the Producer compare by this, for so long.
fn deduplicate(rig: &Rig, by: DeduplicationKey, window: Duration) {
    rig.snapshots.send_modify(|snapshot| {
        let mut changed = Snapshot::clone(snapshot);
        let producer = changed.producers.get_mut(&Name::new("shop", "orders")).unwrap();
        let mut ledger = producer.ledger.clone();
        ledger.deduplication = Deduplication { by, window };
        *producer = Arc::new(Producer { ledger, ..Producer::clone(producer) });
        changed.generation.revision += 1;
        *snapshot = Arc::new(changed);
    });
}

#[tokio::test]
async fn the_same_key_is_published_once_and_gets_the_first_receipt() {
    let rig = Rig::start().await;
    let key = [("idempotency-key", "order-1")];
    let first = publish(&rig, "a", &key, "x").await;
    assert_eq!((first.status, first.json()), (202, json!({"id": "a", "producer": "shop/orders"})));
    assert_eq!(ids(&rig).await, ["a"], "what is accepted is published");
    for (id, headers) in [
        ("a", key),
        ("b", key),
        ("c", [("idempotency-key", "\"order-1\"")]),
        ("d", [("ce-evhubidempotencykey", "order-1")]),
    ] {
        let again = publish(&rig, id, &headers, "x").await;
        assert_eq!((again.status, again.json()), (202, first.json()), "{headers:?}");
    }
    for (headers, body) in [(&key[..], "y"), (&[key[0], ("ce-partitionkey", "k")], "x")] {
        let other = publish(&rig, "a", headers, body).await;
        assert_eq!((other.status, other.problem().1.as_str()), (409, "IDEMPOTENCY_CONFLICT"), "{headers:?}");
    }
    let other = publish(&rig, "b", &[("idempotency-key", "order-2")], "y").await;
    assert_eq!(other.json()["id"], "b");
    assert_eq!(
        publish(&rig, "a", &[], "x").await.json()["offset"].as_u64(),
        Some(0),
        "without a key nothing is compared"
    );
    let mut published = ids(&rig).await;
    published.sort();
    assert_eq!((published, rig.events().await.len()), (vec!["a".to_owned(), "b".to_owned()], 1));
    for (_, stored) in rig.records(DUE).await {
        assert!(
            stored.record.headers.iter().all(|it| !it.name.starts_with("evhub-")),
            "{:?}",
            stored.record.headers
        );
    }
    let figures = rig.hub.ledger.board().figures();
    assert_eq!(
        (figures.keys, figures.tally.claimed, figures.tally.repeats, figures.tally.conflicts),
        (2, 2, 4, 2)
    );
}

#[tokio::test]
async fn the_sink_tells_the_first_id_and_no_place() {
    let rig = Rig::start().await;
    let key = [("idempotency-key", "k")];
    let first = rig.ask(rig.http, request("POST", SINK, &key, "x")).await;
    let again = rig.ask(rig.http, request("POST", SINK, &key, "x")).await;
    assert_eq!((first.status, first.body.len(), again.status), (202, 0, 202));
    assert_eq!(first.headers["evhub-id"], again.headers["evhub-id"]);
    assert!(!again.headers.contains_key("evhub-offset") && !again.headers.contains_key("evhub-partition"));
    assert_eq!(ids(&rig).await, [first.headers["evhub-id"].clone()]);
}

#[tokio::test]
async fn a_delayed_one_has_one_timer() {
    let rig = Rig::start().await;
    let headers = [("idempotency-key", "k"), ("evhub-delay", "1h")];
    let first = publish(&rig, "a", &headers, "x").await;
    let receipt = first.json();
    assert_eq!((first.status, receipt["id"].as_str()), (202, Some("a")));
    assert_eq!(publish(&rig, "b", &headers, "x").await.json(), receipt);
    assert_eq!(publish(&rig, "a", &[headers[0]], "x").await.status, 409, "at once is something else");
    let timer = format!("{SINK}/timers/{}", receipt["timer"].as_str().unwrap());
    assert_eq!(first.headers["location"], timer);
    let listed = rig.ask(rig.http, request("GET", &format!("{SINK}/timers"), &[], "")).await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(rig.ask(rig.http, request("DELETE", &timer, &[], "")).await.status, 204);
}

#[tokio::test]
async fn a_producer_may_compare_every_event_by_its_source_and_id() {
    let rig = Rig::start().await;
    deduplicate(&rig, DeduplicationKey::SourceAndId, Duration::from_mins(10));
    for _ in 0..3 {
        assert_eq!(publish(&rig, "a", &[], "x").await.json(), json!({"id": "a", "producer": "shop/orders"}));
    }
    assert_eq!(publish(&rig, "a", &[], "y").await.problem().1, "IDEMPOTENCY_CONFLICT");
    assert_eq!(publish(&rig, "b", &[], "y").await.status, 202);
    let mut published = ids(&rig).await;
    published.sort();
    assert_eq!((published, rig.events().await.len()), (vec!["a".to_owned(), "b".to_owned()], 0));
}

#[tokio::test]
async fn when_the_window_has_passed_a_key_is_as_good_as_new() {
    let rig = Rig::start().await;
    deduplicate(&rig, DeduplicationKey::IdempotencyKey, Duration::from_secs(1));
    let key = [("idempotency-key", "k")];
    assert_eq!(publish(&rig, "a", &key, "x").await.json()["id"], "a");
    let anew = async {
        loop {
            let answer = publish(&rig, "b", &key, "y").await;
            if answer.status == 202 {
                return answer.json();
            }
            assert_eq!(answer.status, 409);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let receipt = tokio::time::timeout(super::wire::PATIENCE, anew).await.expect("the window passes");
    assert_eq!(receipt["id"], "b");
    assert_eq!(ids(&rig).await.len(), 2);
}

#[tokio::test]
async fn of_a_batch_each_is_decided_and_those_of_a_key_keep_their_order() {
    let rig = Rig::start().await;
    let one = |n: usize, key: &str, data: &str| {
        json!({"specversion": "1.0", "id": n.to_string(), "source": "/s", "type": "t", "data": data,
               "partitionkey": "p", "evhubidempotencykey": key})
    };
    let keys: Vec<String> = (0..20).map(|n| format!("k{n}")).collect();
    let events: Vec<Value> = keys.iter().enumerate().map(|(n, key)| one(n, key, "x")).collect();
    let batch = |events: &[Value]| request("POST", EVENTS, &[BATCH], Value::from(events).to_string());
    let first = rig.ask(rig.http, batch(&events)).await;
    assert_eq!((first.status, first.json().as_array().unwrap().len()), (202, 20));
    let expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(ids(&rig).await, expected);
    assert_eq!(rig.ask(rig.http, batch(&events)).await.json(), first.json());
    // One is another's: those behind it are not published past it.
    let mixed = [one(20, "k20", "x"), one(21, "k3", "other"), one(22, "k22", "x")];
    let answer = rig.ask(rig.http, batch(&mixed)).await;
    assert_eq!((answer.status, answer.problem().1.as_str()), (503, "BATCH_MIXED"));
    let outcomes = answer.json()["outcomes"].clone();
    let reasons: Vec<&str> =
        outcomes.as_array().unwrap().iter().map(|it| it["reason"].as_str().unwrap_or("")).collect();
    assert_eq!(reasons, ["", "IDEMPOTENCY_CONFLICT", "EARLIER_NOT_ACCEPTED"]);
    assert_eq!(ids(&rig).await.len(), 21);
}

#[tokio::test]
async fn over_grpc_an_outcome_has_the_first_id_and_no_place() {
    let rig = Rig::start().await;
    let mut client = IngestClient::new(channel(rig.grpc).await);
    let once = |id: &str, key: &str, more: &[(&str, &str)]| {
        let mut once = event(id, None, "x");
        for (name, value) in [&[("evhubidempotencykey", key)], more].concat() {
            let value = CloudEventAttributeValue { attr: Some(Attr::CeString(value.to_owned())) };
            once.attributes.insert(name.to_owned(), value);
        }
        once
    };
    let events = vec![once("a", "k", &[]), once("b", "k", &[]), once("c", "l", &[("evhubdelay", "1h")])];
    let answer = client.publish(published(events)).await.unwrap().into_inner();
    let told = |n: usize| {
        let it = &answer.outcomes[n];
        (it.kind(), it.id.as_str(), it.partition, it.offset, it.timer.is_empty())
    };
    assert_eq!(
        (told(0), told(1)),
        ((Kind::Accepted, "a", -1, -1, true), (Kind::Accepted, "a", -1, -1, true))
    );
    assert_eq!(told(2), (Kind::Accepted, "c", -1, -1, false));
    let conflict = client.publish(published(vec![once("d", "k", &[("subject", "other")])])).await;
    let conflict = conflict.unwrap_err();
    assert_eq!(conflict.code(), tonic::Code::Aborted, "{conflict}");
    assert_eq!(ids(&rig).await, ["a"]);
}

fn report(data: &'static [u8], key: &str, seconds: Option<i64>) -> ReportReq {
    let (app_id, topic_id) = ("shop".to_owned(), "orders".to_owned());
    let data = bytes::Bytes::from_static(data);
    let idempotent_time = seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
    let idempotent = Some(EventIdempotent { key: key.to_owned(), idempotent_time });
    ReportReq {
        event: Some(evhub_comm::Event { app_id, topic_id, event_comm: None, data }),
        trigger: None,
        option: Some(EventOption { idempotent, ordering_key: String::new() }),
    }
}

#[tokio::test]
async fn evhub_answers_10001_and_the_original_id_in_both_forms() {
    let rig = Rig::start().await;
    let mut client = EvhubProducerClient::new(channel(rig.grpc).await);
    let first = client.report(report(b"x", "k", None)).await.unwrap().into_inner();
    assert_eq!(first.ret, None);
    let again = client.report(report(b"x", "k", Some(3600))).await.unwrap().into_inner();
    assert_eq!((again.ret.unwrap().code, &again.event_id), (10001, &first.event_id));
    let other = client.report(report(b"y", "k", None)).await.unwrap().into_inner();
    assert_eq!(other.ret.unwrap().code, 10000);
    assert_ne!(other.event_id, first.event_id);
    let body = json!({"event": {"app_id": "shop", "topic_id": "orders", "data": "eA=="},
                      "option": {"idempotent": {"key": "k", "idempotent_time": {"seconds": 60}}}});
    let answer = rig.ask(rig.http, request("POST", "/v1/report", &[], body.to_string())).await.json();
    assert_eq!(
        (&answer["ret"]["code"], answer["event_id"].as_str()),
        (&json!(10001), Some(&*first.event_id))
    );
    assert_eq!(ids(&rig).await, [first.event_id]);
    // A delayed one is once as well.
    let delay_time = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
    let trigger = EventTrigger {
        trigger_type: 2,
        delay_trigger: Some(EventDelayTrigger { delay_time }),
        ..EventTrigger::default()
    };
    let delayed = || ReportReq { trigger: Some(trigger.clone()), ..report(b"x", "late", None) };
    let first = client.report(delayed()).await.unwrap().into_inner();
    let again = client.report(delayed()).await.unwrap().into_inner();
    assert_eq!(
        (first.ret, again.ret.map(|ret| ret.code), again.event_id),
        (None, Some(10001), first.event_id)
    );
    assert_eq!(rig.hub.ledger.board().figures().pending, 1);
}

#[tokio::test]
async fn evhubs_window_is_shorter_than_the_producers_where_it_says_so_and_never_longer() {
    let rig = Rig::start().await;
    let mut client = EvhubProducerClient::new(channel(rig.grpc).await);
    let mut until_free = async |request: ReportReq| {
        let first = client.report(request.clone()).await.unwrap().into_inner();
        assert_eq!(first.ret, None);
        let free = async {
            while client.report(request.clone()).await.unwrap().into_inner().ret.is_some() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(super::wire::PATIENCE, free).await.expect("the window passes");
    };
    until_free(report(b"x", "short", Some(1))).await;
    deduplicate(&rig, DeduplicationKey::IdempotencyKey, Duration::from_secs(1));
    until_free(report(b"x", "long", Some(3600))).await;
}

#[tokio::test]
async fn keys_that_are_none_are_refused() {
    let rig = Rig::start().await;
    let long = "k".repeat(257);
    for key in ["", "\"\"", long.as_str()] {
        let answer = publish(&rig, "a", &[("idempotency-key", key)], "x").await.problem();
        assert_eq!(
            (answer.0, answer.1.as_str(), answer.3.as_deref()),
            (400, "INVALID_CONTROL", Some("evhubidempotencykey")),
            "{key:?}"
        );
    }
    let twice = [("idempotency-key", "a"), ("ce-evhubidempotencykey", "a")];
    assert_eq!(publish(&rig, "a", &twice, "x").await.problem().1, "DUPLICATE_ATTRIBUTE");
    assert!(ids(&rig).await.is_empty() && rig.events().await.is_empty());
}
