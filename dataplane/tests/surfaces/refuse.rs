//! What is refused, how, and that it leaves no trace: not in the log, and not on the connection.

use evhub_dataplane::{ingest::Door, server::Limits};

use super::{
    rig::{EVENT_BYTES, Rig, SINK},
    wire::{Wire, get, request},
};

/// A request, and the refusal it gets: status, reason, field, and whether the connection ends with it.
struct Case(Vec<u8>, u16, &'static str, Option<&'static str>, bool);

fn cases() -> Vec<Case> {
    let post = |path: &str, headers: &[(&str, &str)], body: &str| request("POST", path, headers, body);
    let ce = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
    let with = |name: &'static str, value: &'static str| {
        ce.iter().copied().filter(|(n, _)| *n != name).chain([(name, value)]).collect::<Vec<_>>()
    };
    let without = |name: &str| ce.iter().copied().filter(|(n, _)| *n != name).collect::<Vec<_>>();
    let json = [("content-type", "application/cloudevents+json")];
    let many: Vec<(String, String)> = (0..101).map(|n| (format!("x-{n}"), "1".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let over = "x".repeat(EVENT_BYTES + 1);
    let long = "x".repeat(70 << 10);
    let elsewhere = "/namespaces/other/producers/orders";
    let events = "/namespaces/shop/producers/orders/events";
    let chunked = |body: &str| {
        let head = format!("POST {SINK} HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n");
        format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes()
    };
    vec![
        Case(get(SINK), 405, "METHOD_NOT_ALLOWED", None, false),
        Case(request("PUT", SINK, &[], ""), 405, "METHOD_NOT_ALLOWED", None, false),
        Case(request("TRACE", SINK, &[], ""), 405, "METHOD_NOT_ALLOWED", None, false),
        Case(post("/", &[], ""), 404, "NOT_FOUND", None, false),
        Case(post("/namespaces/shop/producers/%ff", &[], ""), 404, "NOT_FOUND", None, false),
        Case(post("/namespaces/shop/producers/orders/", &[], ""), 404, "NOT_FOUND", None, false),
        Case(post("/namespaces/shop/producers/nobody", &[], "x"), 404, "UNKNOWN_PRODUCER", None, false),
        Case(post(elsewhere, &[], "x"), 404, "UNKNOWN_PRODUCER", None, false),
        Case(post(elsewhere, &[("expect", "100-continue")], "x"), 404, "UNKNOWN_PRODUCER", None, true),
        Case(post("/namespaces/shop/producers/late", &[], "x"), 503, "NOT_READY", None, false),
        Case(post(&format!("{SINK}?kind=a"), &[], "x"), 400, "INVALID_QUERY", None, false),
        Case(post(&format!("{SINK}?key=a&key=b"), &[], "x"), 400, "INVALID_QUERY", Some("key"), false),
        Case(post(&format!("{SINK}?type=a"), &ce, "x"), 400, "INVALID_QUERY", None, false),
        Case(post(&format!("{SINK}?type="), &[], "x"), 400, "MISSING_ATTRIBUTE", Some("type"), false),
        Case(post(SINK, &without("ce-id"), "x"), 400, "MISSING_ATTRIBUTE", Some("id"), false),
        Case(
            post(events, &with("ce-specversion", "0.3"), "x"),
            400,
            "UNSUPPORTED_SPECVERSION",
            Some("specversion"),
            false,
        ),
        Case(post(SINK, &with("ce-time", "now"), "x"), 400, "INVALID_TIME", Some("time"), false),
        Case(
            post(SINK, &with("ce-evhubdelay", "1h"), "x"),
            400,
            "RESERVED_ATTRIBUTE",
            Some("evhubdelay"),
            false,
        ),
        Case(post(SINK, &json, ""), 400, "EMPTY_BODY", None, false),
        Case(post(SINK, &json, "{"), 400, "INVALID_JSON", None, false),
        Case(
            post(SINK, &[("content-encoding", "gzip")], "x"),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            Some("content-encoding"),
            false,
        ),
        Case(
            post(SINK, &[("content-type", "application/cloudevents+avro")], "x"),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            Some("content-type"),
            false,
        ),
        Case(post(SINK, &[], &over), 413, "EVENT_TOO_LARGE", None, true),
        Case(chunked(&over), 413, "EVENT_TOO_LARGE", None, true),
        Case(post(SINK, &ce, &over[..EVENT_BYTES]), 413, "EVENT_TOO_LARGE", None, false),
        Case(post(elsewhere, &[], &long), 404, "UNKNOWN_PRODUCER", None, true),
        Case(post(SINK, &[("x", &long)], "x"), 431, "HEADERS_TOO_LARGE", None, false),
        Case(post(SINK, &many, "x"), 431, "HEADERS_TOO_LARGE", None, false),
        Case(b"POST / HTTP/1.1\r\n\r\n".to_vec(), 400, "INVALID_HEADER", Some("host"), false),
        Case(
            b"POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(),
            400,
            "INVALID_HEADER",
            Some("host"),
            false,
        ),
    ]
}

#[tokio::test]
async fn each_bad_request_is_refused_and_the_next_good_one_taken() {
    let rig = Rig::start().await;
    let good = || request("POST", SINK, &[], "good");
    let mut published = 0;
    for Case(bad, status, reason, field, ends) in cases() {
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
    let flood: String = (0..2000).map(|n| format!("x-{n}: 1\r\n")).collect();
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
        assert_eq!(answer.status, status, "{:.60}", bad);
        assert!(wire.ends().await, "{:.60}", bad);
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
