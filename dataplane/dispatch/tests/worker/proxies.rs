//! What stands between the hub and a target answers in its stead, and what is in a hurry gives up: none of that is the target's
//! last word.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use evhub_dispatch::dead::Reason;
use evhub_event::{Controls, kafka};
use evhub_journal::Place;
use evhub_proto::dispatch::ack::Result as Word;
use evhub_routing::Protocol;
use futures_util::stream::iter;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::StreamBody;
use hyper::{body::Frame, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    peer::{Answer, Peer},
    target::{Reply, Target},
    world::{EVENTS, World, event, until, until_async},
};

/// An answer over HTTP/2 as it is on the wire.
#[derive(Clone, Default)]
struct Wire {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    trailers: Vec<(&'static str, &'static str)>,
}

/// Answers every request alike. Returns its URL.
async fn answering(wire: Wire) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let wire = wire.clone();
            let service = service_fn(move |_: http::Request<Incoming>| {
                let answer = wire.answer();
                async move { Ok::<_, Infallible>(answer) }
            });
            tokio::spawn(
                http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (url, accepting)
}

impl Wire {
    fn answer(
        &self,
    ) -> Response<StreamBody<impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + use<>>>
    {
        let map = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
                .collect()
        };
        let body = (!self.body.is_empty()).then(|| Frame::data(Bytes::from(self.body.clone())));
        let trailers = (!self.trailers.is_empty()).then(|| Frame::trailers(map(&self.trailers)));
        let frames: Vec<_> = body.into_iter().chain(trailers).map(Ok).collect();
        let mut response = Response::new(StreamBody::new(iter(frames)));
        *response.status_mut() = self.status.try_into().unwrap();
        *response.headers_mut() = map(&self.headers);
        response
    }
}

/// A message of gRPC.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u32).to_be_bytes();
    [&[0], &length[..], message].concat()
}

/// An answer of gRPC's from its head to its trailers.
fn whole(message: &[u8]) -> Wire {
    let trailers = vec![("grpc-status", "0")];
    Wire { status: 200, headers: vec![GRPC], body: framed(message), trailers }
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");

/// Sends one event; returns why it is dead, after how many attempts, and its last cause's status and text.
async fn dead_letter_of(wire: Wire) -> (Reason, u32, Option<u16>, String) {
    let (url, accepting) = answering(wire).await;
    let mut world = World::new(&url, 1).await;
    world.processor.target.protocol = Protocol::EvHubGrpc;
    world.retry(2, Duration::from_millis(10));
    let running = world.start();
    world.publish("e", None).await;
    until_async("there is a dead letter", async || !world.letters().await.is_empty()).await;
    running.stop().await;
    accepting.abort();
    let (letter, _) = world.letters().await.remove(0);
    let cause = letter.causes.last().expect("a cause").clone();
    (letter.reason, letter.attempts, cause.status, cause.text)
}

/// What is no answer of the target's, and what is to be known of it.
fn no_answers() -> Vec<(&'static str, Wire, Option<u16>, &'static str)> {
    let html = || b"<html>it is not here</html>".to_vec();
    let torn = || framed(b"\x0a\x02\x08\x07")[..7].to_vec();
    vec![
        (
            "a proxy's 502",
            Wire { status: 502, body: html(), ..Wire::default() },
            Some(502),
            "answered 502: <html>it",
        ),
        ("a proxy's 404", Wire { status: 404, ..Wire::default() }, Some(404), "answered 404"),
        (
            "another's 200",
            Wire {
                status: 200,
                headers: vec![("content-type", "text/html")],
                body: html(),
                ..Wire::default()
            },
            None,
            "",
        ),
        ("an empty 204", Wire { status: 204, ..Wire::default() }, None, ""),
        (
            "no trailers",
            Wire { status: 200, headers: vec![GRPC], body: framed(b""), ..Wire::default() },
            None,
            "",
        ),
        (
            "half a message",
            Wire { status: 200, headers: vec![GRPC], body: torn(), ..Wire::default() },
            None,
            "",
        ),
        ("nonsense in a message", whole(b"\xff\xff\xff"), None, ""),
        (
            "a status that is fine, and no message",
            Wire { status: 200, headers: vec![GRPC, ("grpc-status", "0")], ..Wire::default() },
            None,
            "",
        ),
        ("more than is read", whole(&vec![0; 2 << 20]), None, ""),
    ]
}

#[tokio::test]
async fn what_the_target_did_not_say_is_tried_again() {
    for (what, wire, status, text) in no_answers() {
        let (reason, attempts, found, said) = dead_letter_of(wire).await;
        assert_eq!((reason, attempts), (Reason::MaxAttempts, 2), "{what}: {said}");
        assert_eq!(found, status, "{what}: {said}");
        assert!(said.contains(text) && !said.is_empty(), "{what}: {said}");
    }
}

#[tokio::test]
async fn what_the_target_said_is_its_last_word() {
    let rows = [
        Wire { status: 200, headers: vec![GRPC, ("grpc-status", "3")], ..Wire::default() },
        Wire { status: 200, headers: vec![GRPC], trailers: vec![("grpc-status", "3")], ..Wire::default() },
        // Which status its server gives an answer is its own affair.
        Wire { status: 400, headers: vec![GRPC, ("grpc-status", "3")], ..Wire::default() },
    ];
    for wire in rows {
        let (reason, attempts, _, said) = dead_letter_of(wire).await;
        assert_eq!((reason, attempts), (Reason::NotRetryable, 1), "{said}");
        assert!(said.contains("INVALID_ARGUMENT"), "{said}");
    }
}

/// Over HTTP too a proxy may answer for a target that is away for a moment, and knows nothing of what was given back.
#[tokio::test]
async fn a_proxy_takes_nothing_from_what_a_target_gave_to_get_back() {
    let target = Target::new(|attempt| match attempt.number() {
        1 => Reply::Text(200, br#"{"ret": {"code": 7}, "pass_back": "AGJhY2s="}"#.to_vec()),
        2 => Reply::Text(503, b"no upstream".to_vec()),
        3 => Reply::Text(502, br#"{"error": {"code": 502}}"#.to_vec()),
        4 => Reply::Text(503, br#"{"ret": {"code": 7}}"#.to_vec()),
        _ => Reply::Status(200),
    })
    .await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.target.protocol = Protocol::EvHubHttp;
    world.retry(9, Duration::from_millis(10));
    world.publish("e", None).await;
    let running = world.start();
    until("it is delivered", || running.delivered() == 1).await;
    running.stop().await;
    let passed: Vec<Option<String>> = target
        .attempts()
        .iter()
        .map(|attempt| {
            let request: Value = serde_json::from_slice(&attempt.body).unwrap();
            request.get("pass_back").and_then(|text| text.as_str()).map(str::to_owned)
        })
        .collect();
    let given = Some("AGJhY2s=".to_owned());
    assert_eq!(
        passed,
        [None, given.clone(), given.clone(), given, None],
        "until it gives something else, or nothing"
    );
}

/// What a publisher gives one event too little time for is no reason to give a stream up.
#[tokio::test]
async fn a_publishers_short_timeout_ends_no_stream() {
    let peer = Peer::delivering(|delivery| match delivery.event.as_ref().unwrap().id.as_str() {
        "ok" => Answer::Ack(Word::Delivered, None, ""),
        _ => Answer::Silence,
    })
    .await;
    let mut world = World::new(&peer.url(), 1).await;
    world.processor.target.protocol = Protocol::Stream;
    let hurried =
        Controls { timeout: Some(Duration::from_millis(1)), max_attempts: Some(1), ..Controls::default() };
    let running = world.start();
    for n in 0..5 {
        let mut record = kafka::encode(&event(&format!("hurried{n}"), None));
        record.headers.extend(hurried.headers());
        world.append(EVENTS, Place::Partition(0), record).await;
        world.until_committed(n + 1).await;
    }
    world.publish("ok", None).await;
    until("the next is delivered", || running.delivered() == 1).await;
    running.stop().await;
    assert_eq!(peer.streams(), 1);
}
