//! What targets of each protocol are sent, and what their answers do.

use std::time::Duration;

use evhub_dispatch::Discard;
use evhub_event::{Controls, kafka};
use evhub_journal::Place;
use evhub_routing::Protocol;
use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::{
    target::{Reply, Target},
    world::{EVENTS, World, event, until, until_async},
};

fn said(body: &Value) -> Reply {
    Reply::Text(200, body.to_string().into_bytes())
}

#[tokio::test]
async fn structured_and_raw_targets() {
    for (protocol, content_type) in [
        (Protocol::CloudEventsStructured, "application/cloudevents+json; charset=utf-8"),
        (Protocol::Raw, "text/plain"),
    ] {
        let target = Target::new(|_| Reply::Status(204)).await;
        let mut world = World::new(&target.url, 1).await;
        world.processor.target.protocol = protocol;
        let header = (HeaderName::from_static("x-team"), HeaderValue::from_static("billing"));
        world.processor.target.headers = vec![header];
        world.publish("e", None).await;
        let running = world.start();
        until("it is delivered", || running.delivered() == 1).await;
        running.stop().await;
        let attempt = target.attempts().remove(0);
        assert_eq!(attempt.header("content-type"), content_type);
        assert_eq!(attempt.header("x-team"), "billing");
        assert_eq!(attempt.header("evhub-processor"), "shop/billing");
        if protocol == Protocol::Raw {
            assert_eq!(attempt.body, b"data of e");
        } else {
            assert_eq!(evhub_event::json::decode(&attempt.body.into()).unwrap(), event("e", None));
        }
    }
}

/// The code that says no may be in what did not come.
#[tokio::test]
async fn half_an_evhub_answer_is_no_success() {
    let torn = b"HTTP/1.1 200 x\r\ncontent-length: 60\r\n\r\n{\"ret\":{\"code\":5,\"ms".to_vec();
    let target = Target::new(move |attempt| {
        let request: Value = serde_json::from_slice(&attempt.body).unwrap();
        if request["retry_times"].is_null() { Reply::Raw(torn.clone()) } else { said(&json!({})) }
    })
    .await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.target.protocol = Protocol::EvHubHttp;
    world.publish("e", None).await;
    let running = world.start();
    until("it is delivered", || running.delivered() == 1).await;
    running.stop().await;
    assert_eq!(target.count(), 2, "it was tried again");
}

#[tokio::test]
async fn evhub_gets_back_what_it_gave_even_from_a_later_owner() {
    let target = Target::new(|attempt| {
        let request: Value = serde_json::from_slice(&attempt.body).unwrap();
        match request["retry_times"].as_u64() {
            None => said(&json!({"ret": {"code": 7, "msg": "not yet"}, "pass_back": "AGJhY2s="})),
            Some(1) => Reply::Reset,
            Some(_) => said(&json!({})),
        }
    })
    .await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.target.protocol = Protocol::EvHubHttp;
    world.retry(5, Duration::from_millis(300));
    let mut record = kafka::encode(&event("e", Some("k")));
    record.headers.extend(Controls { tags: vec!["vip".to_owned()], ..Controls::default() }.headers());
    world.append(EVENTS, Place::Partition(0), record).await;
    let running = world.start();
    until("it failed once", || target.count() == 1).await;
    world.until_committed(1).await;
    running.stop().await;
    let running = world.start();
    until("it is delivered", || running.delivered() == 1).await;
    running.stop().await;
    let requests: Vec<Value> =
        target.attempts().iter().map(|attempt| serde_json::from_slice(&attempt.body).unwrap()).collect();
    let passed: Vec<_> = requests.iter().map(|request| request.get("pass_back")).collect();
    assert_eq!(passed, [None, Some(&json!("AGJhY2s=")), Some(&json!("AGJhY2s="))]);
    let sent = &requests[0];
    assert_eq!(
        (&sent["event_id"], &sent["event"]["app_id"], &sent["event"]["topic_id"]),
        (&json!("e"), &json!("shop-app"), &json!("orders-topic"))
    );
    assert_eq!(sent["event"]["event_comm"]["event_tag"], json!({"tag_list": ["vip"]}));
    assert_eq!(sent["event"]["data"], json!("ZGF0YSBvZiBl"));
}

#[tokio::test]
async fn evhub_may_cancel_an_event() {
    let target = Target::new(|attempt| {
        let request: Value = serde_json::from_slice(&attempt.body).unwrap();
        let code = if request["event_id"] == "cancelled" { 30_000 } else { 7 };
        said(&json!({"ret": {"code": code, "msg": "no"}}))
    })
    .await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.target.protocol = Protocol::EvHubHttp;
    world.publish("cancelled", None).await;
    world.publish("failing", None).await;
    let running = world.start();
    until_async("the failing one is a dead letter", async || world.letters().await.len() == 1).await;
    world.until_committed(2).await;
    assert_eq!(running.progress.discarded(Discard::Cancelled), 1);
    running.stop().await;
    assert_eq!(target.count(), 4);
    let (letter, _) = world.letters().await.remove(0);
    assert_eq!(letter.causes.last().unwrap().text, "the target answered with code 7: no");
}
