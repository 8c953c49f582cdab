//! What is accepted, and where it then lies.

use evhub_journal::{Journal, TopicPartition};
use serde_json::json;

use super::{
    rig::{Rig, SINK, TOPIC},
    wire::{Wire, request},
};

#[tokio::test]
async fn every_mode_reaches_the_log_where_the_receipt_says() {
    let rig = Rig::start().await;
    let binary: &[(&str, &str)] = &[
        ("ce-specversion", "1.0"),
        ("ce-id", "b 1"),
        ("ce-source", "/till/3"),
        ("ce-type", "shop.paid"),
        ("ce-partitionkey", "customer-7"),
        ("content-type", "application/json"),
    ];
    let structured =
        json!({"specversion": "1.0", "id": "s1", "source": "/till", "type": "shop.paid", "data": {"a": 1}});
    let binary_id =
        binary.iter().map(|(n, v)| (*n, if *n == "ce-id" { "b%201" } else { *v })).collect::<Vec<_>>();
    let cases = [
        (SINK, binary_id, "{\"a\":1}".to_owned(), Some("b 1")),
        (SINK, vec![("content-type", "application/cloudevents+json")], structured.to_string(), Some("s1")),
        (
            "/namespaces/shop/producers/orders?type=t&subject=s&key=k",
            vec![("content-type", "text/plain")],
            "hi".to_owned(),
            None,
        ),
        (SINK, vec![], String::new(), None),
    ];
    let mut wire = Wire::connect(rig.http).await;
    for (path, headers, body, id) in cases {
        let answer = wire.exchange(request("POST", path, &headers, &body)).await;
        assert_eq!((answer.status, answer.body.len()), (202, 0), "{path} {headers:?}");
        let at = TopicPartition {
            topic: TOPIC.to_owned(),
            partition: answer.headers["evhub-partition"].parse().unwrap(),
        };
        let offset: u64 = answer.headers["evhub-offset"].parse().unwrap();
        let stored = rig.hub.journal.read(&at, offset, 1, 1 << 20).await.unwrap().records.remove(0);
        assert_eq!(stored.offset, offset);
        let event = evhub_event::kafka::decode(&stored.record).unwrap();
        assert_eq!(event.id.replace(' ', "%20"), answer.headers["evhub-id"]);
        assert_eq!(event.id, id.unwrap_or(&event.id));
        assert_eq!(
            event.data.unwrap_or_default(),
            if id == Some("s1") { "{\"a\":1}" } else { body.as_str() }
        );
    }
    assert_eq!(rig.events().await.len(), 4);
}

#[tokio::test]
async fn a_plain_event_is_what_its_query_says() {
    let rig = Rig::start().await;
    let path = format!("{SINK}/events?type=shop.said&subject=till%2F3&key=k");
    let answer = rig.ask(rig.http, request("POST", &path, &[("content-type", "text/plain")], "hi")).await;
    assert_eq!(answer.status, 202);
    let receipt = answer.json();
    let [event] = &rig.events().await[..] else { panic!("one event") };
    assert_eq!((event.kind.as_str(), event.subject.as_deref()), ("shop.said", Some("till/3")));
    assert_eq!((event.partition_key(), event.source.as_str()), (Some("k"), SINK));
    assert_eq!(receipt["id"], event.id);
    assert_eq!(receipt["producer"], "shop/orders");
    let [(partition, stored)] = &rig.records(TOPIC).await[..] else { panic!("one record") };
    assert_eq!((&receipt["partition"], &receipt["offset"]), (&json!(partition), &json!(stored.offset)));
    assert_eq!(receipt.as_object().unwrap().len(), 4);
}

#[tokio::test]
async fn the_api_listener_publishes_as_well() {
    let rig = Rig::start().await;
    assert_eq!(rig.ask(rig.api, request("POST", SINK, &[], "a")).await.status, 202);
    assert_eq!(rig.ask(rig.api, request("POST", &format!("{SINK}/events"), &[], "b")).await.status, 202);
    assert_eq!(rig.events().await.len(), 2);
}

#[tokio::test]
async fn the_web_hook_handshake_is_answered() {
    let rig = Rig::start().await;
    let answer = rig.ask(rig.http, request("OPTIONS", SINK, &[("WebHook-Request-Origin", "x")], "")).await;
    assert_eq!(answer.status, 200);
    for (name, value) in
        [("allow", "POST, OPTIONS"), ("webhook-allowed-origin", "*"), ("webhook-allowed-rate", "*")]
    {
        assert_eq!(answer.headers[name], value);
    }
}

#[tokio::test]
async fn chunks_make_one_event() {
    let rig = Rig::start().await;
    let head = format!("POST {SINK} HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut wire = Wire::connect(rig.http).await;
    for part in [head.as_str(), "2\r\nab\r\n", "3\r\ncde\r\n", "0\r\n\r\n"] {
        wire.send(part).await;
    }
    assert_eq!(wire.answer().await.unwrap().status, 202);
    assert_eq!(rig.events().await[0].data.as_deref(), Some(&b"abcde"[..]));
}

#[tokio::test]
async fn an_event_that_came_whole_is_published_though_its_publisher_left() {
    let rig = Rig::start().await;
    for _ in 0..20 {
        let mut wire = Wire::connect(rig.http).await;
        wire.send(request("POST", SINK, &[], "whole")).await;
        drop(wire);
    }
    rig.has_events(20).await;
}

#[tokio::test]
async fn an_event_that_came_in_part_is_not_published() {
    let rig = Rig::start().await;
    let whole = request("POST", SINK, &[], "only in part");
    let mut wire = Wire::connect(rig.http).await;
    wire.send(&whole[..whole.len() - 3]).await;
    wire.finish().await;
    let answer = wire.answer().await;
    assert!(answer.is_none_or(|answer| answer.status == 400), "no more than a refusal");
    // A later event of the same listener shows that the first one had every chance.
    assert_eq!(rig.ask(rig.http, request("POST", SINK, &[], "whole")).await.status, 202);
    assert_eq!(rig.events().await.len(), 1);
}

#[tokio::test]
async fn a_publisher_may_end_its_side_and_still_hear() {
    let rig = Rig::start().await;
    let mut wire = Wire::connect(rig.http).await;
    wire.send(request("POST", SINK, &[], "x")).await;
    wire.finish().await;
    assert_eq!(wire.answer().await.unwrap().status, 202);
}

#[tokio::test]
async fn who_asks_first_is_told_to_go_on() {
    let rig = Rig::start().await;
    let whole = request("POST", SINK, &[("expect", "100-continue")], "x");
    let mut wire = Wire::connect(rig.http).await;
    wire.send(&whole[..whole.len() - 1]).await;
    assert_eq!(wire.answer().await.unwrap().status, 100);
    wire.send("x").await;
    assert_eq!(wire.answer().await.unwrap().status, 202);
}
