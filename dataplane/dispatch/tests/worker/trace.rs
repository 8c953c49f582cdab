//! An event's place in a trace goes with every attempt, whatever becomes of the event and whoever makes the attempt.

use std::time::Duration;

use bytes::Bytes;
use evhub_event::{Header, Record, kafka};
use evhub_journal::Place;
use evhub_proto::dispatch::ack::Result as Word;
use evhub_routing::Protocol;

use crate::{
    peer::{Answer, Peer},
    target::{Attempt, Reply, Target},
    world::{EVENTS, INBOX, STATE, World, event, until, until_async},
};

const PLACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const STATED: &str = "congo=t61rcWkgMzE";

fn placed(id: &str, headers: &[(&str, &str)]) -> Record {
    let mut record = kafka::encode(&event(id, None));
    let header = |(name, value): &(&str, &str)| Header {
        name: (*name).to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    record.headers.extend(headers.iter().map(header));
    record
}

fn trace(attempt: &Attempt) -> (&str, &str) {
    let text = |name| attempt.headers.get(name).map_or("", String::as_str);
    (text("traceparent"), text("tracestate"))
}

#[tokio::test]
async fn every_attempt_carries_it_parked_taken_over_dead_or_redriven() {
    let target = Target::new(|_| Reply::Status(503)).await;
    let mut world = World::new(&target.url, 1).await;
    world.retry(2, Duration::from_millis(200));
    world
        .append(EVENTS, Place::Partition(0), placed("e", &[("traceparent", PLACE), ("tracestate", STATED)]))
        .await;
    let running = world.start();
    until_async("it is parked", async || !world.records(STATE, 0).await.is_empty()).await;
    running.kill().await;
    let running = world.start();
    until_async("it is dead", async || !world.letters().await.is_empty()).await;
    running.stop().await;
    let (_, letter) = world.letters().await.remove(0);

    // As a redrive has it.
    world.make(INBOX, 1).await;
    world.append(INBOX, Place::Partition(0), letter).await;
    let running = world.start();
    until_async("it is dead again", async || world.letters().await.len() == 2).await;
    running.stop().await;

    let attempts = target.attempts();
    assert!(attempts.len() >= 4, "{} attempts", attempts.len());
    assert!(attempts.iter().all(|attempt| trace(attempt) == (PLACE, STATED)), "{attempts:?}");
}

#[tokio::test]
async fn a_stream_carries_it_with_each_delivery() {
    let peer = Peer::delivering(|delivery| match delivery.attempt {
        1 => Answer::Ack(Word::Retry, None, ""),
        _ => Answer::Ack(Word::Delivered, None, ""),
    })
    .await;
    let mut world = World::new(&peer.url(), 1).await;
    world.processor.target.protocol = Protocol::Stream;
    world
        .append(EVENTS, Place::Partition(0), placed("e", &[("traceparent", PLACE), ("tracestate", STATED)]))
        .await;
    world.publish("without", None).await;
    let running = world.start();
    until("both are delivered", || running.delivered() == 2).await;
    running.stop().await;
    let deliveries = peer.seen.deliveries.lock().unwrap();
    assert_eq!(deliveries.len(), 4, "two attempts each");
    for delivery in deliveries.iter() {
        let placed = delivery.event.as_ref().is_some_and(|event| event.id == "e");
        let expected = if placed { (PLACE, STATED) } else { ("", "") };
        assert_eq!((delivery.traceparent.as_str(), delivery.tracestate.as_str()), expected);
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_not_passed_on() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let world = World::new(&target.url, 1).await;
    let mut own = event("own", None);
    own.extensions.push(("traceparent".to_owned(), PLACE.to_owned()));
    let cases = [
        (placed("none", &[]), ("", "")),
        (placed("malformed", &[("traceparent", "00-x"), ("tracestate", STATED)]), ("", "")),
        (placed("state", &[("traceparent", PLACE), ("tracestate", "=")]), (PLACE, "")),
        (kafka::encode(&own), (PLACE, "")),
    ];
    let running = world.start();
    for (record, _) in &cases {
        world.append(EVENTS, Place::Partition(0), record.clone()).await;
    }
    until("all are delivered", || running.delivered() == cases.len() as u64).await;
    running.stop().await;
    for (record, expected) in &cases {
        let id = kafka::decode(record).expect("an event").id;
        let attempts = target.attempts();
        let attempt = attempts.iter().find(|attempt| attempt.header("ce-id") == id).expect("an attempt");
        assert_eq!(trace(attempt), *expected, "{id}");
    }
}
