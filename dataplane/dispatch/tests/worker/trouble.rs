//! What some events and targets do to others: a breaker that closes again, turns that are taken, ages, sizes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use evhub_dispatch::dead::Reason;
use evhub_event::{Controls, Header, kafka, record::ORIGIN};
use evhub_journal::{Journal, Place, TopicPartition};
use evhub_routing::{EvhubName, Protocol, RateLimit, Start};
use serde_json::Value;

use crate::{
    target::{Reply, Target},
    world::{DEAD, EVENTS, INBOX, Running, World, event, now, until, until_async},
};

/// Answers 503 while it is down, with a wish of an hour.
fn down() -> Reply {
    Reply::Raw(b"HTTP/1.1 503 x\r\nretry-after: 3600\r\ncontent-length: 0\r\n\r\n".to_vec())
}

async fn until_open(running: &Running) {
    until("the breaker opens", || running.progress.breaker_open.load(Relaxed)).await;
}

/// Events that always fail come due again and again; they must not be all that a recovered target is tried with.
#[tokio::test]
async fn events_that_always_fail_do_not_keep_the_breaker_open() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let target = Target::new(move |attempt| {
        Reply::Status(if attempt.id().starts_with("ok") && is_up.load(Relaxed) { 200 } else { 500 })
    })
    .await;
    let mut world = World::new(&target.url, 1).await;
    world.retry(1_000_000, Duration::from_millis(20));
    world.publish_many("bad", 60, None, 0).await;
    let running = world.start();
    until_open(&running).await;
    up.store(true, Relaxed);
    world.publish_many("ok", 40, None, 0).await;
    until("the others are delivered", || running.delivered() == 40).await;
    running.stop().await;
}

/// What waits behind one that rests is not all that there is to try a target with.
#[tokio::test]
async fn a_target_is_tried_again_though_everything_at_hand_rests() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let target = Target::new(move |_| if is_up.load(Relaxed) { Reply::Status(200) } else { down() }).await;
    let world = World::new(&target.url, 1).await;
    for n in 0..25 {
        world.publish_at(&format!("head{n}"), Some(&format!("k{n}")), 0).await;
    }
    let running = world.start();
    until_open(&running).await;
    for n in 0..25 {
        world.publish_at(&format!("behind{n}"), Some(&format!("k{n}")), 0).await;
    }
    world.publish_many("other", 20, None, 0).await;
    until("all heads rest", || target.story().iter().filter(|(id, _)| id.starts_with("head")).count() >= 25)
        .await;
    up.store(true, Relaxed);
    until("the others are delivered", || running.delivered() >= 20).await;
    running.stop().await;
}

/// What an event's publisher gives too little time for says nothing of the target.
#[tokio::test]
async fn a_publishers_short_timeout_opens_no_breaker() {
    let target =
        Target::new(|attempt| if attempt.id() == "ok" { Reply::Status(200) } else { Reply::Hang }).await;
    let world = World::new(&target.url, 1).await;
    let hurried =
        Controls { timeout: Some(Duration::from_millis(1)), max_attempts: Some(1), ..Controls::default() };
    for n in 0..40 {
        let mut record = kafka::encode(&event(&format!("hurried{n}"), None));
        record.headers.extend(hurried.headers());
        world.append(EVENTS, Place::Partition(0), record).await;
    }
    let running = world.start();
    world.until_committed(40).await;
    assert!(!running.progress.breaker_open.load(Relaxed));
    world.publish("ok", None).await;
    until("the next is delivered", || running.delivered() == 1).await;
    running.stop().await;
}

#[tokio::test]
async fn partitions_share_a_rate() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 3).await;
    world.processor.policy.rate_limit = Some(RateLimit { events: 30, per: Duration::from_secs(1), burst: 1 });
    for (kind, partition) in [("a", 0), ("b", 1), ("c", 2)] {
        world.publish_many(kind, 60, None, partition).await;
    }
    let running = world.start();
    until("some are delivered", || running.delivered() >= 45).await;
    running.stop().await;
    for kind in ["a", "b", "c"] {
        let count = target.story().iter().filter(|(id, _)| id.starts_with(kind)).count();
        assert!(count >= 10, "{kind} had {count} turns of 45");
    }
}

/// The hub was down for longer than the event may be tried.
#[tokio::test]
async fn no_attempt_begins_later_than_the_age_allows() {
    let target = Target::new(|_| Reply::Status(503)).await;
    let mut world = World::new(&target.url, 1).await;
    world.retry(10, Duration::from_millis(400));
    world.processor.policy.retry.max_age = Duration::from_millis(800);
    let began = Instant::now();
    world.publish("e", None).await;
    let running = world.start();
    world.until_committed(1).await;
    running.kill().await;
    let attempts = target.count();
    until("its time is over", || began.elapsed() > Duration::from_millis(1200)).await;
    let running = world.start();
    until_async("it is dead", async || !world.letters().await.is_empty()).await;
    running.stop().await;
    let (letter, _) = world.letters().await.remove(0);
    assert_eq!((letter.reason, letter.attempts as usize), (Reason::MaxAge, attempts));
    assert_eq!(target.count(), attempts, "it was not tried again");
}

/// A topic of ours that was made when events were smaller grows; what does not fit is not tried for ever. Dead letters are
/// kept no longer for that.
#[tokio::test]
async fn what_is_too_large_for_a_topic_of_before_is_parked_and_buried_all_the_same() {
    let target = Target::new(|attempt| Reply::Status(if attempt.number() == 1 { 503 } else { 400 })).await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.event_bytes = 1;
    world.processor.policy.dead_letter_retention = Duration::from_millis(1);
    let mut large = event("large", None);
    large.data = Some(vec![b'x'; 400_000].into());
    world.append(EVENTS, Place::Partition(0), kafka::encode(&large)).await;
    let running = world.start();
    until_async("it is dead", async || !world.letters().await.is_empty()).await;
    running.stop().await;
    let (letter, record) = world.letters().await.remove(0);
    assert_eq!((letter.reason, letter.attempts), (Reason::NotRetryable, 2));
    assert_eq!(record.value.map(|value| value.len()), Some(400_000));
    let (log, dead) = (&world.log.log, TopicPartition { topic: DEAD.to_owned(), partition: 0 });
    until_async("it is gone", async || {
        log.clean().await.expect("it is cleaned");
        log.start(&dead).await.expect("a start") == 1
    })
    .await;
}

/// A partition that was added holds nothing that was published before the Processor.
#[tokio::test]
async fn a_partition_that_is_added_is_read_from_its_beginning() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    (world.processor.start, world.processor.created) = (Start::Committed, now());
    let running = world.start();
    running.until_listening().await;
    running.stop().await;
    world.make(EVENTS, 2).await;
    world.processor.partitions = 2;
    world.publish_at("first", None, 1).await;
    let running = world.start();
    until("it is delivered", || running.delivered() == 1).await;
    running.stop().await;
}

/// An EvHub target is told of the Producer that took an event, however the event comes.
#[tokio::test]
async fn a_redriven_event_keeps_its_origin() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.target.protocol = Protocol::EvHubHttp;
    world.producers.insert(
        "evhub.shop.refunds".to_owned(),
        EvhubName { app_id: "shop-app".to_owned(), topic_id: "refunds-topic".to_owned() },
    );
    world.make(INBOX, 1).await;
    let mut record = kafka::encode(&event("refund", None));
    record.headers.push(Header { name: ORIGIN.to_owned(), value: "evhub.shop.refunds".into() });
    world.append(INBOX, Place::Partition(0), record).await;
    let running = world.start();
    until("it is delivered", || running.delivered() == 1).await;
    running.stop().await;
    let request: Value = serde_json::from_slice(&target.attempts()[0].body).unwrap();
    assert_eq!(request["event"]["topic_id"], "refunds-topic");
}
