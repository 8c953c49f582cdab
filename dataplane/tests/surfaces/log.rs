//! Status and the log, as tools read them.

use std::sync::{Arc, atomic::Ordering};

use evhub_dataplane::{Unserved, api, hub::Of, server::Limits};
use evhub_dispatch::parked;
use evhub_event::{Header, Record};
use evhub_journal::{Committed, Journal, Place, Polled, Tail, TopicPartition, TopicSettings};
use evhub_routing::Name;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    rig::{BILLING, GENERATION, PARTITIONS, Rig, SINK, STATE, TOPIC, billing, serve},
    wire::{Wire, get, request},
};

#[tokio::test]
async fn producers_are_listed_by_namespace_and_page() {
    let rig = Rig::start().await;
    let status = |name: &str, topic: &str, ready: bool| {
        let condition = |r#type: &str, holds: bool, reason: &str| json!({"type": r#type, "status": if holds { "True" } else { "False" }, "reason": reason});
        let conditions = json!([
            condition("Ready", ready, if ready { "Ready" } else { "Pending" }),
            condition("Accepted", true, "Accepted"),
            condition("ResolvedRefs", true, "ResolvedRefs"),
        ]);
        json!({"namespace": "shop", "name": name, "ready": ready, "topic": topic, "partitions": 4, "conditions": conditions})
    };
    let (late, orders) = (status("late", "evhub.shop.late", false), status("orders", TOPIC, true));
    let all = rig.ask(rig.api, get("/namespaces/shop/producers")).await;
    assert_eq!(all.json(), json!({"items": [late, orders]}));
    let first = rig.ask(rig.api, get("/namespaces/shop/producers?limit=1")).await;
    assert_eq!(first.json(), json!({"items": [late], "next": "late"}));
    let rest = rig.ask(rig.api, get("/namespaces/shop/producers?limit=1&after=late")).await;
    assert_eq!(rest.json(), json!({"items": [orders]}));
    assert_eq!(rig.ask(rig.api, get("/namespaces/other/producers")).await.json(), json!({"items": []}));
    assert_eq!(rig.ask(rig.api, get(SINK)).await.json(), orders);
    let missing = rig.ask(rig.api, get("/namespaces/shop/producers/x")).await;
    assert_eq!(missing.problem().1, "UNKNOWN_PRODUCER");
}

#[tokio::test]
async fn a_suspended_processor_says_so_and_is_told_to_go_on() {
    let rig = Rig::start().await;
    let path = "/namespaces/shop/processors/billing";
    let told = rig.hub.resumes.watch(&billing());
    rig.hub.board.of(BILLING).suspended.store(true, Ordering::Relaxed);
    let status = rig.ask(rig.api, get(path)).await.json();
    assert_eq!((&status["suspended"], &status["ready"]), (&json!(true), &json!(false)));
    let condition = json!({"type": "Suspended", "status": "True", "reason": "Exhausted"});
    assert!(status["conditions"].as_array().unwrap().contains(&condition), "{status}");
    let resume = |path: &str| request("POST", &format!("{path}/resume"), &[], "");
    let (partitions, max_record_bytes) = (PARTITIONS, 1 << 20);
    let settings =
        TopicSettings { partitions, max_record_bytes, compacted: true, ..TopicSettings::default() };
    rig.hub.journal.ensure(STATE, settings).await.unwrap();
    assert_eq!(rig.ask(rig.api, resume(path)).await.status, 204);
    for partition in 0..PARTITIONS {
        let at = TopicPartition { topic: STATE.to_owned(), partition };
        let written = rig.hub.journal.read(&at, 0, 9, 1 << 20).await.unwrap().records;
        let [wish] = written.as_slice() else { panic!("{partition}: {written:?}") };
        assert!(parked::is_resumed(BILLING, wish.record.key.as_deref().unwrap()), "whoever comes next knows");
    }
    assert!(told.has_changed().unwrap(), "its worker is told");
    let missing = rig.ask(rig.api, resume("/namespaces/shop/processors/x")).await;
    assert_eq!(missing.problem().1, "UNKNOWN_PROCESSOR");
}

#[tokio::test]
async fn what_has_a_resource_is_a_namespace() {
    let rig = Rig::that(|hub| {
        let name = Name::new("audit", "lonely");
        let unserved = Unserved { of: Of::Processor, name, accepted: false, reason: "Invalid".to_owned() };
        hub.unserved = watch::channel(Arc::from([unserved])).1;
    })
    .await;
    let all = async |query: &str| rig.ask(rig.api, get(&format!("/namespaces{query}"))).await.json();
    assert_eq!(all("").await, json!({"items": ["audit", "shop", "tight"]}));
    assert_eq!(all("?limit=1").await, json!({"items": ["audit"], "next": "audit"}));
    assert_eq!(all("?limit=2&after=audit").await, json!({"items": ["shop", "tight"]}));
    assert_eq!(rig.ask(rig.api, get("/namespaces?x=1")).await.problem().1, "INVALID_QUERY");
}

#[tokio::test]
async fn a_web_page_may_not_ask() {
    let rig = Rig::start().await;
    let drain = evhub_lifecycle::channel();
    let router = api::local(api::router(rig.hub.clone()));
    let (api, _) = serve("local", router, Limits::default(), &rig.hub, &drain.1).await;
    let told = rig.hub.resumes.watch(&billing());
    let dead = "/namespaces/shop/processors/billing/dead";
    let resume = "/namespaces/shop/processors/billing/resume";
    let text = ("content-type", "text/plain");
    let mut wire = Wire::connect(api).await;
    for (asked, field) in [
        (format!("GET {dead} HTTP/1.1\r\nHost: evil.example\r\n\r\n").into(), "host"),
        (request("POST", resume, &[text, ("origin", "http://evil.example")], "x"), "origin"),
        (request("POST", SINK, &[text, ("origin", "https://evil.example:8083")], "x"), "origin"),
    ] {
        let refused = wire.exchange(asked).await;
        let told = (403, "NOT_LOCAL".to_owned(), "rejected".to_owned(), Some(field.to_owned()));
        assert_eq!(refused.problem(), told);
        assert_eq!(wire.exchange(get(dead)).await.status, 200, "the connection lives, and others may ask");
    }
    assert!(!told.has_changed().unwrap() && rig.events().await.is_empty(), "nothing came of it");
    assert_eq!(wire.exchange(request("POST", resume, &[], "")).await.status, 204);
}

#[tokio::test]
async fn a_processor_tells_what_is_known() {
    let rig = Rig::start().await;
    let path = "/namespaces/shop/processors/billing";
    let unknown = rig.ask(rig.api, get(path)).await.json();
    for field in ["lag", "oldestTime", "lastDelivery"] {
        assert_eq!(unknown.get(field), None, "{field} is not known yet");
    }
    for _ in 0..3 {
        rig.ask(rig.http, request("POST", &format!("{SINK}?key=k"), &[], "x")).await;
    }
    commit(&rig, 1).await;
    let progress = rig.hub.board.of(BILLING);
    rig.listen(GENERATION);
    progress.parked.store(5, Ordering::Relaxed);
    progress.last_delivery.store(1_700_000_000_120, Ordering::Relaxed);
    let mut known = rig.ask(rig.api, get(path)).await.json();
    let oldest = known.as_object_mut().unwrap().remove("oldestTime").unwrap();
    assert!(oldest.as_str().is_some_and(|time| time.ends_with('Z') && time.len() == 24), "{oldest}");
    let conditions = known.as_object_mut().unwrap().remove("conditions").unwrap();
    assert_eq!(conditions[0], json!({"type": "Ready", "status": "True", "reason": "Ready"}));
    let expected = json!({
        "namespace": "shop", "name": "billing", "ready": true, "generation": 7,
        "routes": [{"producer": "shop/orders", "topic": TOPIC}], "lag": 2, "parked": 5, "inFlight": 0,
        "deadLettered": 0, "suspended": false, "lastDelivery": "2023-11-14T22:13:20.120Z",
    });
    assert_eq!(known, expected);
    let list = rig.ask(rig.api, get("/namespaces/shop/processors")).await.json();
    assert_eq!(list["items"][0]["lag"], 2);
    let missing = rig.ask(rig.api, get("/namespaces/shop/processors/x")).await;
    assert_eq!(missing.problem().1, "UNKNOWN_PROCESSOR");
}

/// Commits so many records of the partition that holds any, and the beginning of the others.
async fn commit(rig: &Rig, offset: u64) {
    let holder = rig.records(TOPIC).await[0].0;
    let topics = [TOPIC.to_owned()];
    let mut tail = rig.hub.journal.join("evhub.shop.billing.12345678", &topics).await.unwrap();
    while !matches!(tail.poll().await.unwrap(), Polled::Assigned { .. }) {}
    let commit = |partition| Committed {
        partition: TopicPartition { topic: TOPIC.to_owned(), partition },
        offset: if partition == holder { offset } else { 0 },
        metadata: String::new(),
    };
    tail.commit((0..PARTITIONS).map(commit).collect()).await.unwrap();
    tail.leave().await;
}

#[tokio::test]
async fn the_log_is_read_page_by_page_to_its_end() {
    let rig = Rig::start().await;
    for n in 0..25 {
        let path = format!("{SINK}?key=k{}", n % 7);
        rig.ask(rig.http, request("POST", &path, &[("content-type", "text/plain")], n.to_string())).await;
    }
    let mut found: Vec<(u64, u64)> = Vec::new();
    let mut from = String::new();
    loop {
        let page = rig.ask(rig.api, get(&format!("{SINK}/events?limit=4{from}"))).await.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 4);
        for item in items {
            assert_eq!(item["key"], item["event"]["partitionkey"]);
            assert_eq!(item["event"]["source"], SINK);
            found.push((item["partition"].as_u64().unwrap(), item["offset"].as_u64().unwrap()));
        }
        match page["next"].as_str() {
            Some(next) => from = format!("&from={next}"),
            None => break,
        }
    }
    let records = rig.records(TOPIC).await;
    let stored: Vec<_> =
        records.iter().map(|(partition, stored)| (u64::from(*partition), stored.offset)).collect();
    assert_eq!(found, stored, "every record once, in order");
    let busiest = stored.iter().map(|(partition, _)| *partition).next().unwrap();
    let one = rig.ask(rig.api, get(&format!("{SINK}/events?partition={busiest}&from=1"))).await.json();
    let of_one: Vec<_> =
        stored.iter().filter(|(p, o)| *p == busiest && *o >= 1).map(|(_, o)| json!(o)).collect();
    let offsets: Vec<Value> =
        one["items"].as_array().unwrap().iter().map(|item| item["offset"].clone()).collect();
    assert_eq!(offsets, of_one);
    assert_eq!(
        rig.ask(rig.api, get("/namespaces/shop/producers/late/events")).await.problem().1,
        "NOT_READY"
    );
}

#[tokio::test]
async fn what_strangers_wrote_is_shown_for_what_it_is() {
    let rig = Rig::start().await;
    let header = Header { name: "x".to_owned(), value: "y".into() };
    let record = Record { key: Some(vec![0xff].into()), value: None, headers: vec![header] };
    rig.hub.journal.append(TOPIC, Place::Partition(2), record).await.unwrap();
    let mut page = rig.ask(rig.api, get(&format!("{SINK}/events"))).await.json();
    assert!(page["items"][0].as_object_mut().unwrap().remove("time").is_some());
    let item = json!({"partition": 2, "offset": 0, "keyBase64": "/w==", "poison": "POISON_EMPTY"});
    assert_eq!(page, json!({"items": [item]}));
}
