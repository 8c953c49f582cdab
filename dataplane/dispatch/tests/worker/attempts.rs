//! What an attempt says of itself, and when the next one comes.

use std::time::Duration;

use evhub_journal::Place;
use evhub_routing::{Backoff, Growth};

use crate::{
    target::{Reply, Target},
    world::{DEAD, EVENTS, STATE, World, event, until},
};

#[tokio::test]
async fn delivered_once_and_committed() {
    let target = Target::new(|_| Reply::Status(204)).await;
    let world = World::new(&target.url, 1).await;
    for n in 0..100 {
        world.publish(&format!("e{n}"), Some(&format!("k{}", n % 7))).await;
    }
    let running = world.start();
    world.until_committed(100).await;
    running.stop().await;
    let mut ids: Vec<String> = target.story().into_iter().map(|(id, _)| id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), target.count()), (100, 100));
    assert!(world.records(STATE, 0).await.is_empty() && world.records(DEAD, 0).await.is_empty());
}

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn each_attempt_carries_the_event_and_its_identity() {
    let target = Target::new(|attempt| Reply::Status(if attempt.number() < 3 { 503 } else { 200 })).await;
    let world = World::new(&target.url, 1).await;
    let running = world.start();
    world.publish("e1", Some("k")).await;
    let mut other = event("e1", Some("k"));
    other.source = "/elsewhere".to_owned();
    other.extensions.push(("traceparent".to_owned(), TRACE.to_owned()));
    world.append(EVENTS, Place::Partition(0), evhub_event::kafka::encode(&other)).await;
    until("both are delivered", || running.delivered() == 2).await;
    running.stop().await;

    let attempts = target.attempts();
    let (ours, theirs): (Vec<_>, Vec<_>) = attempts.iter().partition(|a| a.header("ce-source") == "/tests");
    assert_eq!(ours.iter().map(|a| a.number()).collect::<Vec<_>>(), [1, 2, 3]);
    for attempt in &ours {
        let expected = [
            ("ce-specversion", "1.0"),
            ("ce-id", "e1"),
            ("ce-type", "shop.order"),
            ("ce-partitionkey", "k"),
            ("content-type", "text/plain"),
            ("evhub-processor", "shop/billing"),
            ("evhub-generation", "7"),
            ("evhub-epoch", "1"),
        ];
        for (name, value) in expected {
            assert_eq!(attempt.header(name), value, "{name}");
        }
        assert_eq!(attempt.body, b"data of e1");
        assert_eq!(attempt.header("evhub-delivery"), ours[0].header("evhub-delivery"));
    }
    assert!(!ours[0].header("evhub-delivery").is_empty());
    assert_eq!(theirs[0].header("traceparent"), TRACE, "for targets that know no CloudEvents");
    assert_eq!(theirs[0].header("ce-traceparent"), TRACE);
    assert_ne!(ours[0].header("evhub-delivery"), theirs[0].header("evhub-delivery"));
}

/// Waits between the attempts of one event, in milliseconds, with this back-off.
async fn waits(growth: Growth, jitter_percent: u8) -> Vec<u128> {
    let target = Target::new(|attempt| Reply::Status(if attempt.number() < 5 { 500 } else { 200 })).await;
    let mut world = World::new(&target.url, 1).await;
    let (initial, max) = (Duration::from_millis(100), Duration::from_millis(250));
    let retry = &mut world.processor.policy.retry;
    (retry.max_attempts, retry.backoff) = (5, Backoff { growth, initial, max, jitter_percent });
    let running = world.start();
    world.publish("e", None).await;
    until("it is delivered", || running.delivered() == 1).await;
    running.stop().await;
    let began: Vec<_> = target.attempts().iter().map(|attempt| attempt.began).collect();
    began.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_millis()).collect()
}

/// The band of each wait: instants are kept in whole milliseconds, and a busy machine may be late by a second.
#[track_caller]
fn check_band(waits: &[u128], expected: [u128; 4], jitter_percent: u128) {
    for (wait, base) in waits.iter().zip(expected) {
        let (least, most) = (base * (100 - jitter_percent) / 100, base * (100 + jitter_percent) / 100);
        assert!(*wait + 2 >= least && *wait <= most + 1_000, "{waits:?} against {expected:?}");
    }
    assert_eq!(waits.len(), expected.len());
}

#[tokio::test]
async fn fixed_waits_lie_in_their_band() {
    check_band(&waits(Growth::Fixed, 20).await, [100; 4], 20);
}

#[tokio::test]
async fn exponential_waits_grow_to_the_cap() {
    let waits = waits(Growth::Exponential { multiplier: 2 }, 10).await;
    check_band(&waits, [100, 200, 250, 250], 10);
}

#[tokio::test]
async fn never_more_at_once_than_allowed() {
    let (open, gate) = tokio::sync::watch::channel(false);
    let target = Target::new(move |_| Reply::Gated(200, gate.clone())).await;
    let mut world = World::new(&target.url, 3).await;
    world.processor.policy.max_in_flight = 5;
    for n in 0..60 {
        world.publish_at(&format!("e{n}"), None, n % 3).await;
    }
    let running = world.start();
    until("five are under way", || target.count() == 5).await;
    open.send_replace(true);
    until("all are delivered", || running.delivered() == 60).await;
    running.stop().await;
    assert_eq!(target.most_at_once(), 5);
}
