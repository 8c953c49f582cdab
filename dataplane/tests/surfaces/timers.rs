//! Events that are to come later: taken on every surface, looked at, moved and cancelled, and never early.

use std::{sync::Arc, time::Duration};

use evhub_event::kafka;
use evhub_journal::Stored;
use evhub_proto::{
    cloudevents::cloud_event::{CloudEventAttributeValue, cloud_event_attribute_value::Attr},
    evhub_comm::{self, EventDelayTrigger, EventTrigger},
    evhub_producer::{ReportReq, evhub_producer_client::EvhubProducerClient},
    ingest::{ingest_client::IngestClient, outcome::Kind},
    ledger::{
        CancelTimerRequest, GetTimerRequest, ListTimersRequest, RescheduleTimerRequest,
        ledger_client::LedgerClient, reschedule_timer_request::When,
    },
};
use evhub_routing::{Generation, Name, Snapshot};
use serde_json::{Value, json};
use tonic::Code;

use super::{
    h2::{channel, event, request as published},
    rig::{Rig, SINK},
    wire::{Answer, PATIENCE, get, request},
};

const DUE: &str = "evhub.shop.orders.due";
const EVENTS: &str = "/namespaces/shop/producers/orders/events";

/// What has come due, when there are so many.
async fn due(rig: &Rig, count: usize) -> Vec<Stored> {
    let enough = async {
        loop {
            let records = rig.records(DUE).await;
            if records.len() >= count {
                return records.into_iter().map(|(_, stored)| stored).collect();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, enough).await.expect("they come due")
}

fn header(stored: &Stored, name: &str) -> String {
    String::from_utf8(stored.record.header(name).unwrap().to_vec()).unwrap()
}

async fn publish(rig: &Rig, id: &str, more: &[(&str, &str)]) -> Answer {
    let named = [("ce-specversion", "1.0"), ("ce-id", id), ("ce-source", "/s"), ("ce-type", "t")];
    rig.ask(rig.http, request("POST", EVENTS, &[&named, more].concat(), "x")).await
}

async fn scheduled(rig: &Rig, id: &str, more: &[(&str, &str)]) -> Value {
    let answer = publish(rig, id, more).await;
    assert_eq!(answer.status, 202, "{}", answer.json());
    answer.json()
}

fn timer(receipt: &Value) -> String {
    format!("{SINK}/timers/{}", receipt["timer"].as_str().unwrap())
}

/// Asks both listeners that know of timers the same, and hears the same.
async fn both(rig: &Rig, bytes: Vec<u8>) -> Answer {
    let (http, api) = (rig.ask(rig.http, &bytes).await, rig.ask(rig.api, &bytes).await);
    assert_eq!(http.status, api.status);
    http
}

#[tokio::test]
async fn a_delayed_event_is_taken_and_comes_when_it_is_due_and_not_before() {
    let rig = Rig::start().await;
    let began = jiff::Timestamp::now().as_millisecond();
    let answer = publish(&rig, "a", &[("ce-evhubdelay", "120ms"), ("ce-partitionkey", "k")]).await;
    let receipt = answer.json();
    assert_eq!((answer.status, receipt["id"].as_str()), (202, Some("a")), "{receipt}");
    assert_eq!(answer.headers["location"], timer(&receipt));
    assert!(receipt.get("offset").is_none() && receipt["producer"] == "shop/orders", "{receipt}");
    assert!(rig.events().await.is_empty(), "it is not published yet");
    let [fired] = &due(&rig, 1).await[..] else { panic!("one comes due") };
    let told: jiff::Timestamp = receipt["due"].as_str().unwrap().parse().unwrap();
    assert!(told.as_millisecond() >= began + 120, "{receipt}");
    assert_eq!(header(fired, "evhub-due"), told.as_millisecond().to_string());
    assert!(fired.timestamp >= told.as_millisecond(), "{} {told}", fired.timestamp);
    assert_eq!(header(fired, "evhub-timer"), receipt["timer"].as_str().unwrap());
    let event = kafka::decode(&fired.record).unwrap();
    assert_eq!((event.id.as_str(), event.partition_key()), ("a", Some("k")));
}

#[tokio::test]
async fn the_sink_tells_of_a_timer_in_headers_and_an_instant_that_has_passed_is_now() {
    let rig = Rig::start().await;
    let headers = [("evhub-deliver-at", "2020-01-01T00:00:00Z")];
    let answer = rig.ask(rig.http, request("POST", SINK, &headers, "x")).await;
    assert_eq!((answer.status, answer.body.len()), (202, 0));
    assert!(answer.headers.contains_key("evhub-timer") && answer.headers.contains_key("evhub-due"));
    assert!(!answer.headers.contains_key("evhub-offset"));
    assert_eq!(due(&rig, 1).await.len(), 1);
}

#[tokio::test]
async fn the_same_event_again_is_the_same_timer_and_fires_once() {
    let rig = Rig::start().await;
    let first = scheduled(&rig, "a", &[("evhub-delay", "100ms")]).await;
    let again = scheduled(&rig, "a", &[("evhub-delay", "100ms")]).await;
    assert_eq!(first, again);
    let other = publish(&rig, "a", &[("evhub-delay", "101ms")]).await;
    assert_eq!((other.status, other.problem().1.as_str()), (409, "TIMER_CONFLICT"));
    due(&rig, 1).await;
    assert_eq!(scheduled(&rig, "a", &[("evhub-delay", "100ms")]).await, first, "and when it has fired");
    // Behind this one there is nothing that was to come before.
    scheduled(&rig, "b", &[("evhub-delay", "1ms")]).await;
    assert_eq!(due(&rig, 2).await.len(), 2);
}

#[tokio::test]
async fn timers_are_listed_soonest_first_page_by_page_and_looked_up() {
    let rig = Rig::start().await;
    assert_eq!(both(&rig, get(&format!("{SINK}/timers"))).await.json(), json!({"items": []}));
    let mut receipts = Vec::new();
    for (id, delay) in [("c", "3h"), ("a", "1h"), ("d", "4h"), ("b", "2h"), ("e", "5h")] {
        receipts.push(scheduled(&rig, id, &[("evhub-delay", delay), ("ce-partitionkey", "k")]).await);
    }
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let page = both(&rig, get(&format!("{SINK}/timers?limit=2{after}"))).await.json();
        ids.extend(
            page["items"].as_array().unwrap().iter().map(|one| one["eventId"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(ids, ["a", "b", "c", "d", "e"]);
    let one = both(&rig, get(&timer(&receipts[0]))).await.json();
    let expected =
        json!({"timer": receipts[0]["timer"], "eventId": "c", "due": receipts[0]["due"], "key": "k"});
    assert_eq!(one, expected);
}

#[tokio::test]
async fn a_timer_is_cancelled_for_good() {
    let rig = Rig::start().await;
    let receipt = scheduled(&rig, "a", &[("evhub-delay", "1h")]).await;
    for _ in 0..2 {
        let answer = rig.ask(rig.http, request("DELETE", &timer(&receipt), &[], "")).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0));
    }
    let gone = both(&rig, get(&timer(&receipt))).await;
    assert_eq!((gone.status, gone.problem().1.as_str()), (409, "ALREADY_CANCELLED"));
    let again = publish(&rig, "a", &[("evhub-delay", "1h")]).await;
    assert_eq!((again.status, again.problem().1.as_str()), (409, "ALREADY_CANCELLED"));
    assert_eq!(both(&rig, get(&format!("{SINK}/timers"))).await.json(), json!({"items": []}));
}

#[tokio::test]
async fn a_timer_is_moved_and_what_has_fired_is_not() {
    let rig = Rig::start().await;
    let receipt = scheduled(&rig, "a", &[("evhub-delay", "1h")]).await;
    let json = [("content-type", "application/json")];
    let move_to = |body: &'static str| request("PATCH", &timer(&receipt), &json, body);
    let moved = rig.ask(rig.http, move_to(r#"{"delay":"2h"}"#)).await.json();
    assert!(moved["due"].as_str() > receipt["due"].as_str(), "{moved}");
    for (body, status, reason) in [
        (r#"{"delay":"3601h"}"#, 400, "DELAY_TOO_LONG"),
        (r#"{"delay":"soon"}"#, 400, "INVALID_CONTROL"),
        (r#"{"due":"soon"}"#, 400, "INVALID_TIME"),
        (r#"{"due":"2030-01-01T00:00:00Z","delay":"1h"}"#, 400, "INVALID_JSON"),
        ("{}", 400, "INVALID_JSON"),
        ("x", 400, "INVALID_JSON"),
    ] {
        let refused = rig.ask(rig.http, move_to(body)).await;
        assert_eq!((refused.status, refused.problem().1.as_str()), (status, reason), "{body}");
    }
    assert_eq!(rig.ask(rig.http, move_to(r#"{"due":"2020-01-01T00:00:00Z"}"#)).await.status, 200);
    due(&rig, 1).await;
    for bytes in [move_to(r#"{"delay":"1h"}"#), request("DELETE", &timer(&receipt), &[], "")] {
        let late = rig.ask(rig.http, bytes).await;
        assert_eq!((late.status, late.problem().1.as_str()), (409, "ALREADY_FIRED"));
    }
    assert_eq!(rig.records(DUE).await.len(), 1);
}

#[tokio::test]
async fn what_is_no_timer_of_this_producer_is_unknown() {
    let rig = Rig::start().await;
    let receipt = scheduled(&rig, "a", &[("evhub-delay", "1h")]).await;
    let theirs = timer(&receipt).replace("/orders/", "/late/");
    for path in
        [theirs, format!("{SINK}/timers/x"), format!("{SINK}/timers/ff63f03a-aac0-57f8-bdfa-aaf2fedb0e52")]
    {
        for bytes in [get(&path), request("DELETE", &path, &[], "")] {
            let answer = rig.ask(rig.http, bytes).await;
            assert_eq!((answer.status, answer.problem().1.as_str()), (404, "UNKNOWN_TIMER"), "{path}");
        }
    }
    assert_eq!(both(&rig, get(&timer(&receipt))).await.status, 200, "it is still there");
}

#[tokio::test]
async fn a_producer_has_as_many_pending_timers_as_it_may() {
    let rig = Rig::start().await;
    rig.snapshots.send_modify(|snapshot| {
        let mut next = Snapshot::clone(snapshot);
        next.generation = Generation { revision: 2, ..next.generation };
        let orders = next.producers.get_mut(&Name::new("shop", "orders")).unwrap();
        Arc::make_mut(orders).pending_timers = 2;
        *snapshot = Arc::new(next);
    });
    // Of one key they lie in one shard, which counts exactly.
    let wait = [("evhub-delay", "1h"), ("ce-partitionkey", "k")];
    let first = scheduled(&rig, "a", &wait).await;
    scheduled(&rig, "b", &wait).await;
    let over = publish(&rig, "c", &wait).await;
    assert_eq!((over.status, over.problem().1.as_str()), (429, "TOO_MANY_TIMERS"));
    assert_eq!(scheduled(&rig, "a", &wait).await, first, "what is there is there");
    rig.ask(rig.http, request("DELETE", &timer(&first), &[], "")).await;
    scheduled(&rig, "c", &wait).await;
}

#[tokio::test]
async fn a_batch_may_hold_events_of_now_and_of_later() {
    let rig = Rig::start().await;
    let batch = r#"[{"specversion":"1.0","id":"now","source":"/s","type":"t"},
        {"specversion":"1.0","id":"later","source":"/s","type":"t","evhubdelay":"10ms"}]"#;
    let headers = [("content-type", "application/cloudevents-batch+json")];
    let answer = rig.ask(rig.http, request("POST", EVENTS, &headers, batch)).await.json();
    assert!(answer[0]["offset"].is_u64() && answer[1]["timer"].is_string(), "{answer}");
    assert_eq!(rig.events().await.len(), 1);
    assert_eq!(kafka::decode(&due(&rig, 1).await[0].record).unwrap().id, "later");
}

#[tokio::test]
async fn evhubs_delay_is_one() {
    let rig = Rig::start().await;
    let mut client = EvhubProducerClient::new(channel(rig.grpc).await);
    let delay_time = Some(prost_types::Duration { seconds: 0, nanos: 30_000_001 });
    let trigger = EventTrigger {
        trigger_type: 2,
        delay_trigger: Some(EventDelayTrigger { delay_time }),
        ..EventTrigger::default()
    };
    let (app_id, topic_id) = ("shop".to_owned(), "orders".to_owned());
    let event = evhub_comm::Event { app_id, topic_id, event_comm: None, data: "x".into() };
    let began = jiff::Timestamp::now().as_millisecond();
    let report = ReportReq { event: Some(event), trigger: Some(trigger), option: None };
    let answer = client.report(report).await.unwrap().into_inner();
    assert_eq!(answer.ret, None);
    let [fired] = &due(&rig, 1).await[..] else { panic!("one comes due") };
    assert_eq!(kafka::decode(&fired.record).unwrap().id, answer.event_id);
    assert!(fired.timestamp >= began + 31, "whole milliseconds, and never early");
    assert!(rig.events().await.is_empty());
}

#[tokio::test]
async fn the_same_over_grpc() {
    let rig = Rig::start().await;
    let mut ingest = IngestClient::new(channel(rig.grpc).await);
    let mut delayed = event("a", Some("k"), "x");
    let delay = CloudEventAttributeValue { attr: Some(Attr::CeString("1h".to_owned())) };
    delayed.attributes.insert("evhubdelay".to_owned(), delay);
    let outcomes = ingest.publish(published(vec![delayed])).await.unwrap().into_inner().outcomes;
    assert_eq!((outcomes[0].kind(), outcomes[0].id.as_str()), (Kind::Accepted, "a"));
    let mut ledger = LedgerClient::new(channel(rig.grpc).await);
    let (namespace, producer) = ("shop".to_owned(), "orders".to_owned());
    let list = ListTimersRequest {
        namespace: namespace.clone(),
        producer: producer.clone(),
        ..ListTimersRequest::default()
    };
    let listed = ledger.list_timers(list.clone()).await.unwrap().into_inner();
    let [one] = &listed.timers[..] else { panic!("one is pending") };
    assert_eq!((&one.timer, one.due, one.key.as_str()), (&outcomes[0].timer, outcomes[0].due, "k"));
    let timer = one.timer.clone();
    let get =
        GetTimerRequest { namespace: namespace.clone(), producer: producer.clone(), timer: timer.clone() };
    assert_eq!(ledger.get_timer(get.clone()).await.unwrap().into_inner(), *one);
    let when = Some(When::Delay(prost_types::Duration { seconds: 7200, nanos: 0 }));
    let order = RescheduleTimerRequest {
        namespace: namespace.clone(),
        producer: producer.clone(),
        timer: timer.clone(),
        when,
    };
    let moved = ledger.reschedule_timer(order.clone()).await.unwrap().into_inner();
    assert!(moved.due.unwrap().seconds > one.due.unwrap().seconds);
    let cancel = CancelTimerRequest { namespace, producer, timer };
    ledger.cancel_timer(cancel.clone()).await.unwrap();
    ledger.cancel_timer(cancel).await.unwrap();
    assert_eq!(ledger.get_timer(get).await.unwrap_err().code(), Code::Aborted);
    assert_eq!(ledger.reschedule_timer(order).await.unwrap_err().code(), Code::Aborted);
    assert!(ledger.list_timers(list).await.unwrap().into_inner().timers.is_empty());
}
