//! What targets of each protocol are sent, and what their answers mean.

use bytes::Bytes;
use evhub_event::Event;
use evhub_routing::{EvhubName, Protocol};
use http::header::CONTENT_TYPE;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    Delivery, Identity,
    evhub::{PASS_BACK, understand},
    http::content,
};
use crate::outcome::Answer;

fn event() -> Event {
    Event {
        id: "e-1".into(),
        source: "/evhub/shop/orders".into(),
        kind: "shop.paid".into(),
        subject: None,
        time: Some("2026-01-02T03:04:05.5Z".into()),
        datacontenttype: Some("application/json".into()),
        dataschema: None,
        extensions: vec![("evhubqua".into(), "app-7".into())],
        data: Some(Bytes::from_static(b"{\"n\":1}")),
    }
}

fn sent(
    protocol: Protocol,
    event: &Event,
    attempt: u32,
    pass_back: Option<&Bytes>,
) -> (Option<String>, Bytes) {
    let identity =
        Identity { delivery: "d".into(), attempt, epoch: 1, processor: "shop/billing", generation: 1 };
    let tags = ["paid".to_owned(), "vip".to_owned()];
    let producer = EvhubName { app_id: "shop".into(), topic_id: "orders".into() };
    let (trace, due, occurrence) = (None, None, None);
    let delivery =
        Delivery { event, tags: &tags, producer: &producer, pass_back, identity, trace, due, occurrence };
    let (headers, body) = content(protocol, &delivery);
    (headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned()), body)
}

#[test]
fn evhub_gets_its_dispatch_request() {
    let (content_type, body) = sent(Protocol::EvHubHttp, &event(), 1, None);
    assert_eq!(content_type.as_deref(), Some("application/json"));
    let expected = r#"{"event_id":"e-1","event":{"app_id":"shop","topic_id":"orders","event_comm":{"event_source":{"qua":"app-7","create_time":{"nanos":500000000,"seconds":1767323045}},"event_tag":{"tag_list":["paid","vip"]}},"data":"eyJuIjoxfQ=="}}"#;
    let value = |text: &[u8]| serde_json::from_slice::<Value>(text).unwrap();
    assert_eq!(value(&body), value(expected.as_bytes()));
    assert!(include_str!("../../../../docs/targets.md").contains(expected), "the page shows what is sent");

    let given = Bytes::from_static(b"\x00back");
    let address = Event { source: "evhub:10.0.0.1:8080".into(), ..event() };
    let body: Value = serde_json::from_slice(&sent(Protocol::EvHubHttp, &address, 1, None).1).unwrap();
    let source = &body["event"]["event_comm"]["event_source"]["source"];
    assert_eq!(source, "10.0.0.1:8080", "what EvHub's publisher wrote");
    let strange = Event { source: "/elsewhere".into(), time: None, data: None, ..event() };
    let (_, body) = sent(Protocol::EvHubHttp, &strange, 3, Some(&given));
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&body["retry_times"], &body["pass_back"]), (&json!(2), &json!("AGJhY2s=")));
    assert_eq!(body["event"]["event_comm"]["event_source"], json!({"source": "/elsewhere", "qua": "app-7"}));
    assert_eq!(body["event"].get("data"), None);
}

#[test]
fn structured_and_raw_targets_get_what_they_ask_for() {
    let (content_type, body) = sent(Protocol::CloudEventsStructured, &event(), 1, None);
    assert_eq!(content_type.as_deref(), Some("application/cloudevents+json; charset=utf-8"));
    assert_eq!(evhub_event::json::decode(&body).unwrap(), event());

    let (content_type, body) = sent(Protocol::Raw, &event(), 1, None);
    assert_eq!((content_type.as_deref(), &body[..]), (Some("application/json"), &b"{\"n\":1}"[..]));
    let bare = Event { datacontenttype: None, data: None, ..event() };
    assert_eq!(sent(Protocol::Raw, &bare, 1, None), (None, Bytes::new()));
}

#[track_caller]
fn answers(status: u16, body: &str, expected: &Answer, pass_back: Option<&[u8]>) {
    let reply = understand(status, None, body.as_bytes());
    assert_eq!((&reply.answer, reply.pass_back.as_deref()), (expected, pass_back), "{status} {body}");
}

#[test]
fn evhub_answers_by_its_code_and_then_by_its_status() {
    let ok = |status| Answer::Status { status, text: String::new(), retry_after: None };
    let refused = |code, text: &str| Answer::Refused { code, text: text.into() };
    answers(200, "", &ok(200), None);
    answers(204, "", &ok(204), None);
    answers(200, "{}", &ok(200), None);
    answers(200, "not json", &ok(200), None);
    answers(200, r#"{"ret":null}"#, &ok(200), None);
    answers(200, r#"{"ret":{"code":0,"msg":"fine"}}"#, &ok(200), Some(b""));
    answers(200, r#"{"ret":{"code":17,"msg":"no\u001b[31m"}}"#, &refused(17, "no [31m"), Some(b""));
    answers(200, r#"{"Ret":{"Code":"17"}}"#, &refused(17, ""), Some(b""));
    answers(200, r#"{"ret":{"code":7.0}}"#, &refused(7, ""), Some(b""));
    answers(200, r#"{"ret":{"code":-0.0}}"#, &ok(200), Some(b""));
    let unclear = Answer::Failed("the target's answer has a code that is no whole number".into());
    for ret in
        [r#"{"code":"E7"}"#, r#"{"code":true}"#, r#"{"code":7.5}"#, r#"{"code":{}}"#, "7", r#""no""#, "[]"]
    {
        answers(200, &format!(r#"{{"ret":{ret}}}"#), &unclear, Some(b""));
    }
    answers(200, r#"{"ret":{"code":1},"pass_back":"AGI="}"#, &refused(1, ""), Some(b"\0b"));
    answers(200, r#"{"ret":{"code":1},"passBack":"AGI="}"#, &refused(1, ""), Some(b"\0b"));
    answers(200, r#"{"ret":{"code":1},"pass_back":"*"}"#, &refused(1, ""), Some(b""));
    answers(200, r#"{"ret":{"code":30000}}"#, &Answer::Cancelled, Some(b""));
    answers(500, r#"{"ret":{"code":30000}}"#, &Answer::Cancelled, Some(b""));
    let down = |text: &str| Answer::Status { status: 503, text: text.into(), retry_after: None };
    answers(503, "down", &down("down"), None);
    answers(503, r#"{"ret":{"code":5,"msg":"later"},"pass_back":"AGI="}"#, &down("later"), Some(b"\0b"));
}

#[test]
fn what_is_given_back_has_a_bound() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let given = STANDARD.encode(vec![7; 2 * PASS_BACK]);
    let body = format!(r#"{{"ret":{{"code":1}},"pass_back":"{given}"}}"#);
    assert_eq!(understand(200, None, body.as_bytes()).pass_back.unwrap().len(), PASS_BACK);
}

proptest! {
    #[test]
    fn never_a_panic(status in 100u16..600, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = understand(status, None, &body);
    }
}
