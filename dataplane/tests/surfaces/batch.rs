//! Batches: receipts, what becomes of each event, and controls; and the rate of a Producer.

use std::sync::Arc;

use evhub_event::{Controls, kafka};
use evhub_proto::ingest::{PublishRequest, ingest_client::IngestClient};
use evhub_routing::{Name, Producer, Snapshot};
use serde_json::{Value, json};

use super::{
    h2,
    rig::{BATCH_EVENTS, Rig, SINK, TIGHT, TOPIC},
    wire::{Wire, request},
};

const BATCH: [(&str, &str); 1] = [("content-type", "application/cloudevents-batch+json")];

fn event(id: impl std::fmt::Display, more: Value) -> Value {
    let mut event = json!({"specversion": "1.0", "id": format!("{id}"), "source": "/s", "type": "t"});
    let Value::Object(more) = more else { panic!("members") };
    event.as_object_mut().unwrap().extend(more);
    event
}

fn batch(path: &str, events: &[Value]) -> Vec<u8> {
    request("POST", path, &BATCH, json!(events).to_string())
}

#[tokio::test]
async fn receipts_come_in_the_order_of_the_events() {
    let rig = Rig::start().await;
    let key = |n: usize| ["a", "b", "c"][n % 3];
    let events: Vec<Value> =
        (0..BATCH_EVENTS).map(|n| event(n, json!({"partitionkey": key(n), "data": n}))).collect();
    let answer = rig.ask(rig.http, batch(&format!("{SINK}/events"), &events)).await;
    assert_eq!(answer.status, 202);
    let receipts = answer.json();
    let receipts = receipts.as_array().unwrap();
    assert_eq!(receipts.len(), BATCH_EVENTS);
    let records = rig.records(TOPIC).await;
    for (n, receipt) in receipts.iter().enumerate() {
        assert_eq!((&receipt["id"], &receipt["producer"]), (&json!(n.to_string()), &json!("shop/orders")));
        let at = |(partition, stored): &&(u32, evhub_journal::Stored)| {
            (json!(partition), json!(stored.offset))
                == (receipt["partition"].clone(), receipt["offset"].clone())
        };
        let (_, stored) = records.iter().find(at).expect("it lies where the receipt says");
        assert_eq!(kafka::decode(&stored.record).unwrap().id, n.to_string());
    }
    for start in 0..3 {
        let offsets =
            receipts.iter().skip(start).step_by(3).map(|receipt| receipt["offset"].as_u64().unwrap());
        assert!(offsets.is_sorted_by(|a, b| a < b), "events of one key keep their order");
    }
}

#[tokio::test]
async fn a_sink_says_nothing_of_a_batch_but_that_it_is_taken() {
    let rig = Rig::start().await;
    let answer = rig.ask(rig.http, batch(SINK, &[event(1, json!({})), event(1, json!({}))])).await;
    assert_eq!((answer.status, answer.body.len()), (202, 0));
    assert!(answer.headers.keys().all(|name| !name.starts_with("evhub-")), "{:?}", answer.headers);
    assert_eq!(rig.events().await.len(), 2, "equal ids are no concern of a plain publish");
}

#[tokio::test]
async fn a_batch_that_the_log_takes_in_part_tells_of_each_event() {
    let rig = Rig::start().await;
    let events =
        [event("a", json!({})), event("b", json!({"data": "x".repeat(2000)})), event("c", json!({}))];
    for path in ["/namespaces/tight/producers/orders", "/namespaces/tight/producers/orders/events"] {
        let answer = rig.ask(rig.http, batch(path, &events)).await;
        assert_eq!(answer.problem(), (503, "BATCH_MIXED".to_owned(), "unknown".to_owned(), None));
        assert!(answer.headers.contains_key("retry-after"));
        let problem = answer.json();
        let [a, b, c] = &problem["outcomes"].as_array().unwrap()[..] else { panic!("three outcomes") };
        assert_eq!(*b, json!({"index": 1, "outcome": "rejected", "id": "b", "reason": "EVENT_TOO_LARGE"}));
        for (index, id, found) in [(0, "a", a), (2, "c", c)] {
            assert_eq!((&found["index"], &found["id"]), (&json!(index), &json!(id)));
            assert_eq!(found["outcome"], "accepted");
            assert!(found["partition"].is_u64() && found["offset"].is_u64());
        }
    }
    let ids: Vec<String> =
        rig.records(TIGHT).await.iter().map(|(_, at)| kafka::decode(&at.record).unwrap().id).collect();
    assert_eq!(ids.len(), 4);
    assert!(!ids.contains(&"b".to_owned()), "what was rejected is not there");
}

#[tokio::test]
async fn no_event_of_a_batch_passes_an_earlier_one_of_its_key() {
    let rig = Rig::start().await;
    let of = |key: &str, data: usize| json!({"partitionkey": key, "data": "x".repeat(data)});
    let events = [
        event("a1", of("a", 1)),
        event("a2", of("a", 2000)),
        event("b1", of("b", 1)),
        event("a3", of("a", 1)),
        event("none", json!({})),
    ];
    let answer = rig.ask(rig.http, batch("/namespaces/tight/producers/orders/events", &events)).await;
    assert_eq!(answer.problem(), (503, "BATCH_MIXED".to_owned(), "unknown".to_owned(), None));
    let outcomes = answer.json()["outcomes"].clone();
    let told: Vec<_> =
        (0..5).map(|n| (outcomes[n]["outcome"].as_str().unwrap(), &outcomes[n]["reason"])).collect();
    let (large, behind) = (json!("EVENT_TOO_LARGE"), json!("EARLIER_NOT_ACCEPTED"));
    let accepted = ("accepted", &Value::Null);
    assert_eq!(told, [accepted, ("rejected", &large), accepted, ("rejected", &behind), accepted]);

    let keyed = |id, data: usize| h2::event(id, Some("a"), &"x".repeat(data));
    let events = vec![keyed("a4", 1), keyed("a5", 2000), keyed("a6", 1)];
    let request = PublishRequest { namespace: "tight".to_owned(), ..h2::request(events) };
    let response =
        IngestClient::new(h2::channel(rig.grpc).await).publish(request).await.unwrap().into_inner();
    let told: Vec<_> = response.outcomes.iter().map(|outcome| outcome.reason.as_str()).collect();
    assert_eq!(told, ["", "EVENT_TOO_LARGE", "EARLIER_NOT_ACCEPTED"]);

    let mut ids: Vec<String> =
        rig.records(TIGHT).await.iter().map(|(_, at)| kafka::decode(&at.record).unwrap().id).collect();
    ids.sort();
    assert_eq!(ids, ["a1", "a4", "b1", "none"]);
}

#[tokio::test]
async fn a_batch_that_the_log_refuses_whole_is_rejected() {
    let rig = Rig::start().await;
    rig.hub.journal.close();
    let answer = rig.ask(rig.http, batch(SINK, &[event("a", json!({})), event("b", json!({}))])).await;
    assert_eq!(answer.problem(), (503, "LOG_UNAVAILABLE".to_owned(), "rejected".to_owned(), None));
    let expected =
        |index, id| json!({"index": index, "outcome": "rejected", "id": id, "reason": "LOG_UNAVAILABLE"});
    assert_eq!(answer.json()["outcomes"], json!([expected(0, "a"), expected(1, "b")]));
}

#[tokio::test]
async fn controls_lie_beside_the_event_and_not_in_it() {
    let rig = Rig::start().await;
    let controls = json!({
        "evhubtags": "a,b", "evhubdelaykeys": "reminder=10m", "evhubmaxattempts": 2, "evhubtimeout": "3s", "mine": "x",
    });
    let alias = [("evhub-tags", "a,b"), ("evhub-delay-keys", "reminder=10m")];
    assert_eq!(rig.ask(rig.http, batch(SINK, &[event(1, controls)])).await.status, 202);
    assert_eq!(rig.ask(rig.http, request("POST", SINK, &alias, "x")).await.status, 202);
    let records = rig.records(TOPIC).await;
    assert_eq!(records.len(), 2);
    for (_, stored) in records {
        let event = kafka::decode(&stored.record).unwrap();
        let names: Vec<&str> = event.extensions.iter().map(|(name, _)| name.as_str()).collect();
        let single = event.kind == "evhub.event";
        assert_eq!(names, if single { vec![] } else { vec!["mine"] });
        let found = Controls::of(&stored.record);
        assert_eq!(found.tags, ["a", "b"]);
        assert_eq!(found.delay_keys[0].0, "reminder");
        assert_eq!(found.max_attempts, if single { None } else { Some(2) });
        assert_eq!(found.timeout.map(|timeout| timeout.as_secs()), if single { None } else { Some(3) });
    }
}

#[tokio::test]
async fn what_comes_faster_than_the_rate_is_turned_away() {
    let rig = Rig::start().await;
    let name = Name::new("shop", "orders");
    rig.snapshots.send_modify(|snapshot| {
        let mut producers = snapshot.producers.clone();
        // So slow that nothing flows back while this test runs.
        let slow = Producer { events_per_second: Some(2), ..Producer::clone(&producers[&name]) };
        producers.insert(name.clone(), Arc::new(slow));
        *snapshot = Arc::new(Snapshot { producers, ..Snapshot::clone(snapshot) });
    });
    let mut wire = Wire::connect(rig.http).await;
    let ten: Vec<Value> = (0..10).map(|n| event(n, json!({}))).collect();
    assert_eq!(wire.exchange(batch(SINK, &ten)).await.status, 202, "a batch is let in whole");
    for bad in [batch(SINK, &ten), request("POST", SINK, &[], "x")] {
        let answer = wire.exchange(bad).await;
        assert_eq!(answer.problem(), (429, "QUOTA".to_owned(), "rejected".to_owned(), None));
        let seconds: u32 = answer.headers["retry-after"].parse().unwrap();
        assert!((4..=5).contains(&seconds), "the eight too many are paid off first: {seconds}");
    }
    let tight = batch("/namespaces/tight/producers/orders", &ten);
    assert_eq!(wire.exchange(tight).await.status, 202, "another Producer is not concerned");
    assert_eq!(rig.events().await.len(), 10);
}
