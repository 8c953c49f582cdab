//! Targets that speak gRPC: what they are sent, and what each of their answers does.

use std::time::{Duration, Instant};

use evhub_dispatch::{
    Discard, Progress,
    dead::{DeadLetter, Reason},
};
use evhub_event::{Controls, kafka};
use evhub_journal::Place;
use evhub_proto::{
    cloudevents::cloud_event::{Data, cloud_event_attribute_value::Attr},
    dispatch::ack::Result as Word,
    evhub_comm,
    evhub_processor::DispatchRsp,
};
use evhub_routing::{OnExhausted, Protocol};
use http::{HeaderName, HeaderValue};
use http_body_util::Full;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    peer::{Answer, Called, Peer, Scripts},
    target::Target,
    world::{EVENTS, Running, World, event, until, until_async},
};

async fn world(url: &str, protocol: Protocol) -> World {
    let mut world = World::new(url, 1).await;
    world.processor.target.protocol = protocol;
    world.retry(2, Duration::from_millis(10));
    world
}

#[expect(clippy::unnecessary_wraps, reason = "it is one of the answers")]
fn said(code: i32, msg: &str, pass_back: &'static [u8]) -> Called {
    let ret = Some(evhub_comm::Result { code, msg: msg.to_owned() });
    Ok(DispatchRsp { ret, pass_back: pass_back.into() })
}

/// What became of one event.
#[derive(Debug, PartialEq)]
enum End {
    Delivered,
    Cancelled,
    /// The reason, the attempts, and part of what the last cause says.
    Dead(Reason, u32, &'static str),
}

async fn check(world: &World, running: &Running, expected: &End, what: &str) {
    world.publish("e", None).await;
    // What is parked is committed as well.
    until_async(what, async || {
        running.delivered() + running.progress.discarded(Discard::Cancelled) > 0
            || !world.letters().await.is_empty()
    })
    .await;
    let letters = world.letters().await;
    match expected {
        End::Delivered => assert_eq!((running.delivered(), letters.len()), (1, 0), "{what}"),
        End::Cancelled => {
            assert_eq!((running.progress.discarded(Discard::Cancelled), letters.len()), (1, 0), "{what}");
        }
        End::Dead(reason, attempts, text) => {
            let (delivered, first) = (running.delivered(), letters.first());
            let (letter, _) =
                first.unwrap_or_else(|| panic!("{what}: no dead letter, {delivered} delivered"));
            let DeadLetter { reason: found, attempts: made, causes, .. } = letter;
            assert_eq!((found, made), (reason, attempts), "{what}");
            let said = &causes.last().unwrap().text;
            assert!(said.contains(text) && !said.contains(char::is_control), "{what}: {said:?}");
            assert!(said.len() < 1200, "{what}: {} bytes", said.len());
        }
    }
}

/// What one answer comes to, and that the next delivery goes well.
async fn comes_to(peer: &Peer, protocol: Protocol, expected: &End, what: &str) {
    let world = world(&peer.url(), protocol).await;
    let running = world.start();
    check(&world, &running, expected, what).await;
    let delivered = running.delivered();
    world.publish("good", None).await;
    until("the next one is delivered", || running.delivered() == delivered + 1).await;
    running.stop().await;
}

#[tokio::test]
async fn every_answer_to_a_dispatch() {
    let again = |text| End::Dead(Reason::MaxAttempts, 2, text);
    let never = |text| End::Dead(Reason::NotRetryable, 1, text);
    let status = |code, text: &str| Err(Status::new(code, text));
    let rows: Vec<(Called, End)> = vec![
        (Ok(DispatchRsp::default()), End::Delivered),
        (said(0, "fine", b"ignored"), End::Delivered),
        (said(7, "not yet", b""), again("answered with code 7: not yet")),
        (said(-1, "a\x1b[31m\r\nb", b""), again("answered with code -1: a [31m  b")),
        (said(30_000, "", b""), End::Cancelled),
        (status(Code::Unavailable, "later"), again("answered UNAVAILABLE: later")),
        (status(Code::ResourceExhausted, ""), again("answered RESOURCE_EXHAUSTED")),
        (status(Code::Aborted, "x"), again("answered ABORTED: x")),
        (status(Code::DeadlineExceeded, "x"), again("answered DEADLINE_EXCEEDED: x")),
        (status(Code::InvalidArgument, "no"), never("answered INVALID_ARGUMENT: no")),
        (status(Code::Internal, "Bearer s3cr3t password=hunter2"), never("Bearer … password=…")),
        (status(Code::Unimplemented, ""), never("answered UNIMPLEMENTED")),
        (status(Code::Unknown, ""), never("answered UNKNOWN")),
        (status(Code::Unavailable, &"x".repeat(4096)), again("xxx")),
        (status(Code::Unavailable, &"x".repeat(1 << 20)), again("")),
        (said(7, &"x".repeat(4096), b""), again("xxx")),
        (said(7, &"x".repeat(2 << 20), b""), again("length too large")),
    ];
    for (answer, expected) in rows {
        let what = format!("{expected:?}");
        let peer = Peer::dispatching(move |request| {
            Some(if request.event_id == "good" { said(0, "", b"") } else { answer.clone() })
        })
        .await;
        comes_to(&peer, Protocol::EvHubGrpc, &expected, &what).await;
    }
}

/// A message of gRPC, compressed or not.
fn framed(compressed: bool, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![u8::from(compressed)];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    frame
}

#[rustfmt::skip]
#[tokio::test]
async fn answers_that_no_grpc_server_gives() {
    let again = |text| End::Dead(Reason::MaxAttempts, 1, text);
    let never = |text| End::Dead(Reason::NotRetryable, 1, text);
    let (mebibyte, bomb) = ("A".repeat(1 << 20), framed(true, &[0x1f; 4096]));
    // A header and a body each, in a response without trailers.
    let rows = [
        ("a code of nobody", ("grpc-status", "17"), vec![], never("answered UNKNOWN")),
        ("a code that is no number", ("grpc-status", "NaN"), vec![], never("answered UNKNOWN")),
        ("a failure in the headers alone", ("grpc-status", "14"), vec![], again("answered UNAVAILABLE")),
        ("a success in the headers alone", ("grpc-status", "0"), vec![], again("")),
        ("no status", ("x-nothing", ""), vec![], again("")),
        ("details of a mebibyte", ("grpc-status-details-bin", &mebibyte), vec![], again("")),
        ("a bomb", ("grpc-encoding", "gzip"), bomb, again("gzip")),
        ("a message without an end", ("x-nothing", ""), vec![0, 0, 0, 1, 0, 7], again("")),
    ];
    for (what, (name, value), body, expected) in rows {
        let value = value.to_owned();
        let first = move || {
            let response = http::Response::builder().header("content-type", "application/grpc").header(name, &value);
            response.body(tonic::body::Body::new(Full::from(body.clone()))).unwrap()
        };
        let scripts = Scripts {
            dispatch: Some(Box::new(|_| Some(Ok(DispatchRsp::default())))),
            first: Some(Box::new(first)),
            ..Scripts::default()
        };
        let peer = Peer::new(scripts).await;
        let mut world = world(&peer.url(), Protocol::EvHubGrpc).await;
        world.retry(1, Duration::from_millis(10));
        let running = world.start();
        check(&world, &running, &expected, what).await;
        world.publish("good", None).await;
        until(what, || running.delivered() == 1).await;
        running.stop().await;
    }
}

#[tokio::test]
async fn a_dispatch_is_evhubs_and_gets_back_what_its_target_gave() {
    let peer = Peer::dispatching(|request| {
        Some(match request.retry_times {
            0 => said(7, "not yet", b"\0back"),
            1 => Err(Status::unavailable("")),
            _ => Ok(DispatchRsp::default()),
        })
    })
    .await;
    let mut world = world(&peer.url(), Protocol::EvHubGrpc).await;
    world.retry(5, Duration::from_millis(10));
    world.processor.target.headers =
        vec![(HeaderName::from_static("x-team"), HeaderValue::from_static("billing"))];
    let mut record = kafka::encode(&event("e", Some("k")));
    record.headers.extend(Controls { tags: vec!["vip".to_owned()], ..Controls::default() }.headers());
    world.append(EVENTS, Place::Partition(0), record).await;
    let running = world.start();
    until("it is delivered", || running.delivered() == 1).await;
    running.stop().await;
    let calls = peer.seen.calls.lock().unwrap().clone();
    let story: Vec<_> = calls.iter().map(|call| (call.retry_times, &call.pass_back[..])).collect();
    assert_eq!(story, [(0, &b""[..]), (1, b"\0back"), (2, b"\0back")]);
    let sent = calls[0].event.clone().unwrap();
    assert_eq!((calls[0].event_id.as_str(), &sent.data[..]), ("e", &b"data of e"[..]));
    assert_eq!((sent.app_id.as_str(), sent.topic_id.as_str()), ("shop-app", "orders-topic"));
    assert_eq!(sent.event_comm.unwrap().event_tag.unwrap().tag_list, ["vip"]);
    let (_, metadata) = peer.seen.requests.lock().unwrap()[0].clone();
    for (name, value) in [("evhub-processor", "shop/billing"), ("evhub-attempt", "1"), ("x-team", "billing")]
    {
        assert_eq!(metadata[name], value);
    }
    assert!(metadata.contains_key("grpc-timeout") && metadata.contains_key("evhub-delivery"));
}

#[tokio::test]
async fn a_throttled_call_uses_up_no_attempt() {
    let peer = Peer::dispatching(|request| {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(5)));
        Some(match request.retry_times {
            0..5 => Err(Status::with_error_details(Code::ResourceExhausted, "slower", details)),
            5 => Err(Status::unavailable("")),
            _ => Ok(DispatchRsp::default()),
        })
    })
    .await;
    let world = world(&peer.url(), Protocol::EvHubGrpc).await;
    let running = world.start();
    world.publish("e", None).await;
    until("it is delivered", || running.delivered() == 1).await;
    assert_eq!(Progress::get(&running.progress.throttled), 5);
    running.stop().await;
}

#[tokio::test]
async fn which_codes_are_tried_again_is_the_processors_to_say() {
    let peer = Peer::dispatching(|_| Some(Err(Status::internal("x")))).await;
    let mut world = world(&peer.url(), Protocol::EvHubGrpc).await;
    world.processor.policy.retry.retry_on.grpc = vec!["INTERNAL".parse().unwrap()];
    let running = world.start();
    check(&world, &running, &End::Dead(Reason::MaxAttempts, 2, "INTERNAL"), "").await;
    running.stop().await;
}

#[tokio::test]
async fn every_ack_of_a_stream() {
    let again = |text| End::Dead(Reason::MaxAttempts, 2, text);
    let soon = Some(Duration::from_millis(20));
    let rows = [
        (Answer::Ack(Word::Delivered, None, "thanks"), End::Delivered),
        (Answer::Ack(Word::Retry, None, "busy"), again("wants the event again: busy")),
        (Answer::Ack(Word::Retry, soon, "a\x1b\nb"), again("wants the event again: a  b")),
        (
            Answer::Ack(Word::Rejected, None, "no"),
            End::Dead(Reason::NotRetryable, 1, "rejected the event: no"),
        ),
        (Answer::Ack(Word::Cancel, None, ""), End::Cancelled),
        (Answer::Ack(Word::Unspecified, None, ""), again("unknown result, 0")),
        (Answer::End, again("the target ended the stream")),
        (
            Answer::Break(Status::unavailable("bye")),
            again("the stream broke: the target answered UNAVAILABLE: bye"),
        ),
        (
            Answer::Break(Status::unimplemented("")),
            again("the stream broke: the target answered UNIMPLEMENTED"),
        ),
    ];
    for (answer, expected) in rows {
        let what = format!("{answer:?}");
        let peer = Peer::delivering(move |delivery| match delivery.event.as_ref().unwrap().id.as_str() {
            "good" => Answer::Ack(Word::Delivered, None, ""),
            _ => answer.clone(),
        })
        .await;
        comes_to(&peer, Protocol::Stream, &expected, &what).await;
    }
}

#[tokio::test]
async fn a_delivery_of_a_stream_is_the_whole_event() {
    let peer = Peer::delivering(|delivery| match delivery.attempt {
        1 => Answer::Ack(Word::Retry, Some(Duration::from_millis(400)), ""),
        _ => Answer::Ack(Word::Delivered, None, ""),
    })
    .await;
    let world = world(&peer.url(), Protocol::Stream).await;
    let mut sent = event("e", Some("k"));
    sent.time = Some("2026-01-02T03:04:05.5Z".to_owned());
    let began = Instant::now();
    world.append(EVENTS, Place::Partition(0), kafka::encode(&sent)).await;
    let running = world.start();
    until("it is delivered", || running.delivered() == 1).await;
    assert!(began.elapsed() >= Duration::from_millis(400), "it asked to be left alone");
    running.stop().await;
    let deliveries = peer.seen.deliveries.lock().unwrap();
    let numbers: Vec<_> = deliveries.iter().map(|d| (d.sequence, d.attempt)).collect();
    assert_eq!(numbers, [(1, 1), (2, 2)]);
    let first = &deliveries[0];
    assert_eq!((first.processor.as_str(), first.epoch, first.generation.as_str()), ("shop/billing", 1, "7"));
    assert_eq!(first.delivery, deliveries[1].delivery, "the stable key");
    let event = first.event.as_ref().unwrap();
    let known =
        (event.id.as_str(), event.source.as_str(), event.r#type.as_str(), event.spec_version.as_str());
    assert_eq!(known, ("e", "/tests", "shop.order", "1.0"));
    assert_eq!(event.data, Some(Data::BinaryData("data of e".into())));
    let attribute = |name: &str| event.attributes[name].attr.clone().unwrap();
    assert_eq!(attribute("partitionkey"), Attr::CeString("k".to_owned()));
    assert_eq!(attribute("datacontenttype"), Attr::CeString("text/plain".to_owned()));
    let time = prost_types::Timestamp { seconds: 1_767_323_045, nanos: 500_000_000 };
    assert_eq!(attribute("time"), Attr::CeTimestamp(time));
}

#[tokio::test]
async fn a_stream_that_breaks_fails_what_was_in_flight_and_nothing_else() {
    let peer = Peer::delivering(|delivery| match delivery.event.as_ref().unwrap().id.as_str() {
        "breaker" if delivery.attempt == 1 => Answer::Break(Status::internal("boom")),
        _ if delivery.attempt == 1 => Answer::Silence,
        _ => Answer::Ack(Word::Delivered, None, ""),
    })
    .await;
    let world = world(&peer.url(), Protocol::Stream).await;
    world.publish_many("e", 5, None, 0).await;
    let running = world.start();
    until("five are in flight", || peer.seen.deliveries.lock().unwrap().len() == 5).await;
    world.publish("breaker", None).await;
    until("all are delivered", || running.delivered() == 6).await;
    running.stop().await;
    assert_eq!(peer.streams(), 2, "those that failed share the next one");
    assert_eq!(peer.seen.deliveries.lock().unwrap().len(), 12, "each once more, and no time-out was needed");
}

#[tokio::test]
async fn a_target_that_never_acknowledges_runs_into_the_time_out_and_gets_a_new_stream() {
    let peer = Peer::delivering(|delivery| match delivery.attempt {
        1 => Answer::Silence,
        _ => Answer::Ack(Word::Delivered, None, ""),
    })
    .await;
    let mut world = world(&peer.url(), Protocol::Stream).await;
    world.processor.target.timeout = Duration::from_millis(150);
    world.processor.policy.on_exhausted = OnExhausted::DeadLetter;
    world.publish("e", None).await;
    let running = world.start();
    until("it is delivered", || running.delivered() == 1).await;
    running.stop().await;
    assert_eq!(peer.streams(), 2);
}

#[tokio::test]
async fn one_silence_among_many_acks_costs_the_others_nothing() {
    let peer = Peer::delivering(|delivery| match delivery.event.as_ref().unwrap().id.as_str() {
        "silent" => Answer::Silence,
        _ => Answer::Ack(Word::Delivered, None, ""),
    })
    .await;
    let mut world = world(&peer.url(), Protocol::Stream).await;
    world.retry(1, Duration::from_millis(10));
    world.processor.target.timeout = Duration::from_millis(300);
    world.publish("silent", None).await;
    let running = world.start();
    until("it is in flight", || !peer.seen.deliveries.lock().unwrap().is_empty()).await;
    world.publish_many("e", 50, None, 0).await;
    until_async("it is given up", async || !world.letters().await.is_empty()).await;
    until("the others are delivered", || running.delivered() == 50).await;
    running.stop().await;
    assert_eq!(peer.streams(), 1, "a stream that works is kept");
    let (letter, _) = world.letters().await.remove(0);
    assert_eq!(letter.causes[0].text, "no answer within 300ms");
}

#[tokio::test]
async fn nobody_listens_and_nobody_speaks_grpc() {
    let plain = Target::new(|_| crate::target::Reply::Status(200)).await;
    for protocol in [Protocol::EvHubGrpc, Protocol::Stream] {
        for (url, text) in [(Target::nowhere().await, "refused"), (plain.url.clone(), "")] {
            let mut world = world(&url, protocol).await;
            world.processor.target.timeout = Duration::from_millis(500);
            let running = world.start();
            check(&world, &running, &End::Dead(Reason::MaxAttempts, 2, text), text).await;
            running.stop().await;
        }
    }
}
