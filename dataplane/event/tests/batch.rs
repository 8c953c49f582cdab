//! Batches, good and bad, and controls as records keep them.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test is no library, and may fail")]

use std::time::Duration;

use bytes::Bytes;
use evhub_event::{
    Controls, Event, Header, Record,
    controls::When,
    http::{decode_batch, is_batch},
    json, kafka,
};

use ::http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

const MOST: usize = 3;

fn event(id: &str, more: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t"{more}}}"#)
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = [&[("content-type", "application/cloudevents-batch+json")], pairs].concat();
    let pair = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    pairs.into_iter().map(pair).collect()
}

/// The status, reason and field of a refusal.
type Refusal = (u16, &'static str, Option<String>);

fn decode(body: impl Into<String>) -> Result<Vec<(Event, Controls)>, Refusal> {
    let body = Bytes::from(body.into());
    decode_batch(&headers(&[]), &body, MOST)
        .map_err(|invalid| (invalid.reason.status(), invalid.reason.word(), invalid.field))
}

#[test]
fn a_batch_is_its_events_in_order_each_with_its_controls() {
    let body = format!(
        " [ {} ,\n{},{}]",
        event("a", ""),
        event("b", r#","evhubtags":"x","data":{"n": 1}"#),
        event("a", r#","data":"]""#)
    );
    let batch = decode(body).unwrap();
    let ids: Vec<&str> = batch.iter().map(|(event, _)| event.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "a"]);
    assert_eq!(batch[1].0.data.as_deref(), Some(&b"{\"n\": 1}"[..]));
    assert_eq!(batch[1].1.tags, ["x"]);
    assert_eq!(batch[1].0.extensions, []);
    assert_eq!(batch[2].1, Controls::default());
}

#[test]
fn the_first_bad_event_is_named_by_its_index() {
    let good = event("a", "");
    let deep = format!("{}1{}", "[".repeat(63), "]".repeat(63));
    for (second, status, reason, field) in [
        ("{}".to_owned(), 400, "MISSING_ATTRIBUTE", "[1].specversion"),
        ("1".to_owned(), 400, "INVALID_JSON", "[1]"),
        ("null".to_owned(), 400, "INVALID_JSON", "[1]"),
        ("[]".to_owned(), 400, "INVALID_JSON", "[1]"),
        (event("", ""), 400, "MISSING_ATTRIBUTE", "[1].id"),
        (event("a", r#","time":"now""#), 400, "INVALID_TIME", "[1].time"),
        (event("a", r#","evhubcron":"1h""#), 400, "RESERVED_ATTRIBUTE", "[1].evhubcron"),
        (event("a", r#","evhubdelay":"soon""#), 400, "INVALID_CONTROL", "[1].evhubdelay"),
        (event("a", r#","evhubdelay":"87601h""#), 400, "DELAY_TOO_LONG", "[1].evhubdelay"),
        (event("a", r#","evhubdeliverat":"tomorrow""#), 400, "INVALID_TIME", "[1].evhubdeliverat"),
        (
            event("a", r#","evhubdelay":"1s","evhubdeliverat":"2030-01-01T00:00:00Z""#),
            400,
            "INVALID_CONTROL",
            "[1].evhubdeliverat",
        ),
        (event("a", r#","evhubdelaykeys":"a=1s,a=2s""#), 400, "DUPLICATE_KEY", "[1].evhubdelaykeys"),
        (event("a", &format!(",\"data\":[{deep}]")), 400, "TOO_DEEP", "[1]"),
        (event(&"x".repeat(4097), ""), 413, "ATTRIBUTE_TOO_LONG", "[1].id"),
    ] {
        let found = decode(format!("[{good},{second},{{}}]"));
        assert_eq!(found.unwrap_err(), (status, reason, Some(field.to_owned())), "{second:.80}");
    }
}

#[test]
fn when_an_event_is_to_be_published() {
    for (more, when) in [
        ("", None),
        (r#","evhubdelay":"0s""#, None),
        (r#","evhubdelay":"1ms""#, Some(When::After(Duration::from_millis(1)))),
        (r#","evhubdelay":"9600h""#, Some(When::After(Duration::from_hours(9600)))),
        (r#","evhubdeliverat":"1970-01-01T01:00:01+01:00""#, Some(When::At(1000))),
        // Never early.
        (r#","evhubdeliverat":"1970-01-01T00:00:00.0000001Z""#, Some(When::At(1))),
        (r#","evhubdeliverat":"1969-12-31T23:59:59.9999Z""#, Some(When::At(0))),
    ] {
        let batch = decode(format!("[{}]", event("a", more))).unwrap();
        assert_eq!(batch[0].1.when, when, "{more}");
        assert_eq!(batch[0].1.headers().count(), 0, "no record has it");
    }
}

#[test]
fn what_is_no_batch_is_refused_whole() {
    let many = |n: usize| format!("[{}]", vec![event("a", ""); n].join(","));
    assert_eq!(decode(many(MOST)).unwrap().len(), MOST);
    for (body, status, reason) in [
        (String::new(), 400, "EMPTY_BODY"),
        ("[]".to_owned(), 400, "EMPTY_BATCH"),
        (event("a", ""), 400, "INVALID_JSON"),
        ("[1,]".to_owned(), 400, "INVALID_JSON"),
        (format!("[{}] []", event("a", "")), 400, "INVALID_JSON"),
        (format!("[{}", event("a", "")), 400, "INVALID_JSON"),
        ("[".repeat(100_000), 400, "INVALID_JSON"),
        (many(MOST + 1), 413, "BATCH_TOO_LARGE"),
        (many(10_001), 413, "BATCH_TOO_LARGE"),
    ] {
        assert_eq!(decode(body.as_str()).unwrap_err(), (status, reason, None), "{body:.80}");
    }
}

#[test]
fn headers_of_single_events_are_refused() {
    let body = Bytes::from(format!("[{}]", event("a", "")));
    for (name, reason) in [
        ("ce-id", "AMBIGUOUS_MODE"),
        ("evhub-delay", "INVALID_HEADER"),
        ("evhub-deliver-at", "INVALID_HEADER"),
        ("evhub-tags", "INVALID_HEADER"),
        ("evhub-delay-keys", "INVALID_HEADER"),
        ("idempotency-key", "INVALID_HEADER"),
    ] {
        let invalid = decode_batch(&headers(&[(name, "1")]), &body, MOST).unwrap_err();
        assert_eq!((invalid.reason.word(), invalid.field.as_deref()), (reason, Some(name)));
    }
}

#[test]
fn only_the_batch_format_is_a_batch() {
    assert!(is_batch(&headers(&[])));
    for content_type in [
        "application/cloudevents+json",
        "application/cloudevents-batch+avro",
        "application/cloudevents-batch+json; charset=utf-16",
        "application/json",
    ] {
        let one =
            HeaderMap::from_iter([(::http::header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        assert!(!is_batch(&one), "{content_type}");
    }
}

#[test]
fn what_strangers_wrote_controls_nothing() {
    let pairs: [(&str, &[u8]); 4] = [
        ("evhub-tags", b"\xff"),
        ("evhub-delay-keys", b"a=1s,a=2s"),
        ("evhub-max-attempts", b"0"),
        ("evhub-timeout", b"soon"),
    ];
    let header = |(name, value): (&str, &'static [u8])| Header {
        name: name.to_owned(),
        value: Bytes::from_static(value),
    };
    let record = Record { headers: pairs.map(header).to_vec(), ..Record::default() };
    assert_eq!(Controls::of(&record), Controls::default());
}

proptest! {
    #[test]
    fn records_keep_controls_and_events_do_not(
        tags in prop::collection::vec("[a-zé:]{1,9}", 0..5),
        keys in prop::collection::btree_map("[a-z.]{1,9}", 0..1_000_000_u64, 0..5),
        max_attempts in prop::option::of(1..=1000_u32),
        timeout in prop::option::of(1..=600_000_u64),
    ) {
        let mut unique: Vec<String> = Vec::new();
        for tag in tags {
            if !unique.contains(&tag) {
                unique.push(tag);
            }
        }
        let controls = Controls {
            tags: unique,
            delay_keys: keys.into_iter().map(|(key, millis)| (key, Duration::from_millis(millis))).collect(),
            max_attempts,
            timeout: timeout.map(Duration::from_millis),
            when: None,
            idempotency: None,
            repeat: None,
        };
        let event = json::decode(&Bytes::from(event("a", ""))).unwrap();
        let mut record = kafka::encode(&event);
        record.headers.extend(controls.headers());
        prop_assert_eq!(Controls::of(&record), controls);
        prop_assert_eq!(kafka::decode(&record).unwrap(), event);
    }
}
