//! What is refused, how, and that it leaves no trace: not in the log, and not on the connection.

use evhub_dataplane::{ingest::Door, server::Limits};

use super::{
    rig::{BATCH_BYTES, BATCH_EVENTS, EVENT_BYTES, Rig, SINK},
    wire::{Wire, get, request},
};

const ELSEWHERE: &str = "/namespaces/other/producers/orders";
const CE: [(&str, &str); 4] =
    [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];

/// A request and the refusal it gets.
struct Case {
    request: Vec<u8>,
    status: u16,
    reason: &'static str,
    field: Option<&'static str>,
    /// Whether the connection ends with it.
    ends: bool,
}

impl Case {
    fn at(self, field: &'static str) -> Self {
        Self { field: Some(field), ..self }
    }

    fn ending(self) -> Self {
        Self { ends: true, ..self }
    }
}

fn case(request: impl Into<Vec<u8>>, status: u16, reason: &'static str) -> Case {
    Case { request: request.into(), status, reason, field: None, ends: false }
}

fn post(path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    request("POST", path, headers, body)
}

/// A binary event with one attribute changed, or left out.
fn binary(name: &str, value: Option<&str>) -> Vec<u8> {
    let others = CE.into_iter().filter(|(other, _)| *other != name);
    let headers: Vec<_> = others.chain(value.map(|value| (name, value))).collect();
    post(SINK, &headers, "x")
}

fn of_paths() -> Vec<Case> {
    let sink = |query: &str, headers: &[(&str, &str)]| post(&format!("{SINK}?{query}"), headers, "x");
    vec![
        case(get(SINK), 405, "METHOD_NOT_ALLOWED"),
        case(request("PUT", SINK, &[], ""), 405, "METHOD_NOT_ALLOWED"),
        case(request("TRACE", SINK, &[], ""), 405, "METHOD_NOT_ALLOWED"),
        case(post("/", &[], ""), 404, "NOT_FOUND"),
        case(post("/namespaces/shop/producers/%ff", &[], ""), 404, "NOT_FOUND"),
        case(post("/namespaces/shop/producers/orders/", &[], ""), 404, "NOT_FOUND"),
        case(post("/namespaces/shop/producers/nobody", &[], "x"), 404, "UNKNOWN_PRODUCER"),
        case(post(ELSEWHERE, &[], "x"), 404, "UNKNOWN_PRODUCER"),
        case(post(ELSEWHERE, &[("expect", "100-continue")], "x"), 404, "UNKNOWN_PRODUCER").ending(),
        case(post("/namespaces/shop/producers/late", &[], "x"), 503, "NOT_READY"),
        case(sink("kind=a", &[]), 400, "INVALID_QUERY"),
        case(sink("key=a&key=b", &[]), 400, "INVALID_QUERY").at("key"),
        case(sink("type=a", &CE), 400, "INVALID_QUERY"),
        case(sink("type=", &[]), 400, "MISSING_ATTRIBUTE").at("type"),
        case("POST / HTTP/1.1\r\n\r\n", 400, "INVALID_HEADER").at("host"),
        case("POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "INVALID_HEADER").at("host"),
    ]
}

fn of_events() -> Vec<Case> {
    let json = |body| post(SINK, &[("content-type", "application/cloudevents+json")], body);
    let avro = post(SINK, &[("content-type", "application/cloudevents+avro")], "x");
    let gzip = post(SINK, &[("content-encoding", "gzip")], "x");
    vec![
        case(binary("ce-id", None), 400, "MISSING_ATTRIBUTE").at("id"),
        case(binary("ce-specversion", Some("0.3")), 400, "UNSUPPORTED_SPECVERSION").at("specversion"),
        case(binary("ce-time", Some("now")), 400, "INVALID_TIME").at("time"),
        case(binary("ce-evhubcron", Some("1h")), 400, "RESERVED_ATTRIBUTE").at("evhubcron"),
        case(binary("ce-evhubdelay", Some("3601h")), 400, "DELAY_TOO_LONG").at("evhubdelay"),
        case(binary("ce-evhubdeliverat", Some("9999-01-01T00:00:00Z")), 400, "DELAY_TOO_LONG")
            .at("evhubdeliverat"),
        case(json(""), 400, "EMPTY_BODY"),
        case(json("{"), 400, "INVALID_JSON"),
        case(avro, 415, "UNSUPPORTED_MEDIA_TYPE").at("content-type"),
        case(gzip, 415, "UNSUPPORTED_MEDIA_TYPE").at("content-encoding"),
    ]
}

fn of_batches() -> Vec<Case> {
    let batch = |headers: &[(&str, &str)], body: &str| {
        post(SINK, &[&[("content-type", "application/cloudevents-batch+json")], headers].concat(), body)
    };
    let event = |more: &str| format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{more}}}"#);
    let many = |count: usize| format!("[{}]", vec![event(""); count].join(","));
    let two = |second: &str| format!("[{},{second}]", event(""));
    let large = event(&format!(r#","data":"{}""#, "x".repeat(EVENT_BYTES)));
    let over = " ".repeat(BATCH_BYTES + 1);
    vec![
        case(batch(&[], ""), 400, "EMPTY_BODY"),
        case(batch(&[], "[]"), 400, "EMPTY_BATCH"),
        case(batch(&[], "{}"), 400, "INVALID_JSON"),
        case(batch(&[], &two("{}")), 400, "MISSING_ATTRIBUTE").at("[1].specversion"),
        case(batch(&[], &two(&event(r#","evhubcron":"1h""#))), 400, "RESERVED_ATTRIBUTE").at("[1].evhubcron"),
        case(batch(&[], &two(&event(r#","evhubtimeout":"1""#))), 400, "INVALID_CONTROL")
            .at("[1].evhubtimeout"),
        case(batch(&[], &two(&large)), 413, "EVENT_TOO_LARGE").at("[1]"),
        case(batch(&[], &many(BATCH_EVENTS + 1)), 413, "BATCH_TOO_LARGE"),
        case(batch(&[], &over), 413, "BATCH_TOO_LARGE").ending(),
        case(batch(&[("evhub-tags", "a")], &many(1)), 400, "INVALID_HEADER").at("evhub-tags"),
        case(batch(&[("idempotency-key", "a")], &many(1)), 400, "INVALID_HEADER").at("idempotency-key"),
        case(batch(&[("ce-id", "a")], &many(1)), 400, "AMBIGUOUS_MODE").at("ce-id"),
        case(post(SINK, &[("evhub-delay-keys", "a=1s,a=2s")], "x"), 400, "DUPLICATE_KEY")
            .at("evhubdelaykeys"),
        case(post(SINK, &[("evhub-delay", "1")], "x"), 400, "INVALID_CONTROL").at("evhubdelay"),
        case(post(SINK, &[("idempotency-key", "")], "x"), 400, "INVALID_CONTROL").at("evhubidempotencykey"),
    ]
}

fn of_sizes() -> Vec<Case> {
    let many: Vec<(String, String)> = (0..101).map(|n| (format!("x-{n}"), "1".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let over = "x".repeat(EVENT_BYTES + 1);
    let long = "x".repeat(70 << 10);
    let head = format!("POST {SINK} HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunked = format!("{head}{:x}\r\n{over}\r\n0\r\n\r\n", over.len());
    vec![
        case(post(SINK, &[], &over), 413, "EVENT_TOO_LARGE").ending(),
        case(chunked, 413, "EVENT_TOO_LARGE").ending(),
        case(post(SINK, &CE, &over[..EVENT_BYTES]), 413, "EVENT_TOO_LARGE"),
        case(post(ELSEWHERE, &[], &long), 404, "UNKNOWN_PRODUCER").ending(),
        case(post(SINK, &[("x", &long)], "x"), 431, "HEADERS_TOO_LARGE"),
        case(post(SINK, &many, "x"), 431, "HEADERS_TOO_LARGE"),
    ]
}

#[tokio::test]
async fn each_bad_request_is_refused_and_the_next_good_one_taken() {
    let rig = Rig::start().await;
    let good = || request("POST", SINK, &[], "good");
    let mut published = 0;
    let cases = of_paths().into_iter().chain(of_events()).chain(of_batches()).chain(of_sizes());
    for Case { request: bad, status, reason, field, ends } in cases {
        let shown = String::from_utf8_lossy(&bad[..bad.len().min(160)]).into_owned();
        let mut wire = Wire::connect(rig.http).await;
        let answer = wire.exchange(&bad).await;
        let expected = (status, reason.to_owned(), "rejected".to_owned(), field.map(ToOwned::to_owned));
        assert_eq!(answer.problem(), expected, "{shown}");
        assert_eq!(answer.closes(), ends, "{shown}");
        if ends {
            assert!(wire.ends().await, "{shown}");
        } else {
            assert_eq!(wire.exchange(good()).await.status, 202, "after {shown}");
            published += 1;
        }
        assert_eq!(rig.ask(rig.http, good()).await.status, 202, "beside {shown}");
        published += 1;
    }
    let events = rig.events().await;
    assert_eq!(events.len(), published);
    assert!(
        events.iter().all(|event| event.data.as_deref() == Some(b"good")),
        "a refused event left no trace"
    );
}

#[tokio::test]
async fn a_405_says_what_is_allowed() {
    let rig = Rig::start().await;
    let allow = async |address, path: &str| {
        rig.ask(address, request("DELETE", path, &[], "")).await.headers["allow"].clone()
    };
    assert_eq!(allow(rig.http, SINK).await, "POST,OPTIONS");
    assert_eq!(allow(rig.api, "/namespaces/shop/processors").await, "GET,HEAD");
    let mut both: Vec<_> =
        allow(rig.api, &format!("{SINK}/events")).await.split(',').map(ToOwned::to_owned).collect();
    both.sort();
    assert_eq!(both, ["GET", "HEAD", "OPTIONS", "POST"]);
}

#[tokio::test]
async fn what_does_not_parse_gets_a_status_and_the_connection_ends() {
    let rig = Rig::start().await;
    let flood = "x: 1\r\n".repeat(2000);
    let flood = format!("POST {SINK} HTTP/1.1\r\nHost: hub\r\n{flood}\r\n");
    let huge = format!("POST {SINK} HTTP/1.1\r\nHost: hub\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    let cases = [
        ("\0\0\0\0\r\n\r\n".to_owned(), 400),
        (format!("POST {SINK} HTTP/1.1\r\nHost: hub\r\nx y: 1\r\n\r\n"), 400),
        (
            format!("POST {SINK} HTTP/1.1\r\nHost: hub\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            400,
        ),
        (flood, 431),
        (huge, 431),
    ];
    for (bad, status) in cases {
        let mut wire = Wire::connect(rig.http).await;
        wire.try_send(&bad).await;
        let answer = wire.answer().await.expect("a status");
        assert_eq!(answer.status, status, "{bad:.60}");
        assert!(wire.ends().await, "{bad:.60}");
    }
    assert!(rig.events().await.is_empty());
}

#[tokio::test]
async fn details_do_not_repeat_the_input_at_length() {
    let rig = Rig::start().await;
    let path = format!("{SINK}?{}=1", "a".repeat(5000));
    let answer = rig.ask(rig.http, request("POST", &path, &[], "")).await;
    assert!(answer.json()["detail"].as_str().unwrap().len() < 200);
}

#[tokio::test]
async fn a_full_door_turns_events_away_and_opens_again() {
    let rig = Rig::with(Limits::default(), Door::new(1000)).await;
    let mut slow = Wire::connect(rig.http).await;
    let held = request("POST", SINK, &[], "x".repeat(900));
    slow.send(&held[..held.len() - 1]).await;
    let filled = async {
        while rig.hub.door.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(super::wire::PATIENCE, filled).await.unwrap();
    let answer = rig.ask(rig.http, request("POST", SINK, &[], "x".repeat(200))).await;
    assert_eq!(answer.problem(), (429, "BUSY".to_owned(), "rejected".to_owned(), None));
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(rig.ask(rig.http, request("POST", SINK, &[], "small")).await.status, 202);
    slow.send("x").await;
    assert_eq!(slow.answer().await.unwrap().status, 202);
    assert_eq!(rig.ask(rig.http, request("POST", SINK, &[], "x".repeat(200))).await.status, 202);
    assert_eq!(rig.hub.door.in_flight(), 0);
}

#[tokio::test]
async fn a_closed_log_is_told_truthfully() {
    let rig = Rig::start().await;
    assert_eq!(rig.ask(rig.http, request("POST", SINK, &[], "before")).await.status, 202);
    rig.hub.journal.close();
    let answer = rig.ask(rig.http, request("POST", SINK, &[], "after")).await;
    assert_eq!(answer.problem(), (503, "LOG_UNAVAILABLE".to_owned(), "rejected".to_owned(), None));
    assert!(answer.headers.contains_key("retry-after"));
    assert!(!answer.closes(), "the connection has done nothing wrong");
}
