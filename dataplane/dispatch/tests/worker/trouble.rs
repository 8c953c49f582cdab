//! What some events and targets do to others: a breaker that closes again, turns that are taken, ages, sizes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use evhub_dispatch::{Progress, dead::Reason};
use evhub_event::{Controls, Header, kafka, record::ORIGIN};
use evhub_journal::{Committed, Journal, Place, TopicPartition};
use evhub_routing::{EvhubName, OnExhausted, Protocol, RateLimit, Start};
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    target::{Attempt, Reply, Target},
    world::{DEAD, EVENTS, INBOX, Running, World, event, now, until, until_async},
};

/// Answers 503 while it is down, with a wish of an hour.
fn down() -> Reply {
    Reply::Raw(b"HTTP/1.1 503 x\r\nretry-after: 3600\r\ncontent-length: 0\r\n\r\n".to_vec())
}

/// A worker whose target is down, with a breaker that 25 events of as many keys have opened. They rest for an hour.
async fn with_resting_heads() -> (Arc<AtomicBool>, Target, World, Running) {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let target = Target::new(move |_| if is_up.load(Relaxed) { Reply::Status(200) } else { down() }).await;
    let world = World::new(&target.url, 1).await;
    for n in 0..25 {
        world.publish_at(&format!("head{n}"), Some(&format!("k{n}")), 0).await;
    }
    let running = world.start();
    until_open(&running).await;
    (up, target, world, running)
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
    let (up, target, world, running) = with_resting_heads().await;
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

/// The same where what rests fills all the room that its partition has.
#[tokio::test]
async fn a_target_is_tried_again_though_what_rests_fills_its_partition() {
    let (up, _target, world, running) = with_resting_heads().await;
    for n in 0..25 {
        world.publish_many(&format!("behind{n}-"), 24, Some(&format!("k{n}")), 0).await;
    }
    world.publish_many("other", 20, None, 0).await;
    up.store(true, Relaxed);
    until("the others are delivered", || running.delivered() >= 20).await;
    world.until_committed(25 + 600 + 20).await;
    running.stop().await;
}

/// Nor does it take the end of an attempt that has nothing to do with it.
#[tokio::test]
async fn a_target_is_tried_again_while_one_attempt_hangs() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let target = Target::new(move |attempt| match attempt.id() {
        "hangs" => Reply::Hang,
        _ => Reply::Status(if is_up.load(Relaxed) { 200 } else { 500 }),
    })
    .await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.target.timeout = Duration::from_mins(5);
    world.retry(1_000_000, Duration::from_millis(20));
    let running = world.start();
    world.publish("hangs", None).await;
    until("it hangs", || target.count() == 1).await;
    world.publish_many("e", 25, None, 0).await;
    until_open(&running).await;
    let opened = target.count();
    until("the first probe failed", || target.count() > opened).await;
    up.store(true, Relaxed);
    until("the others are delivered", || running.delivered() == 25).await;
    running.kill().await;
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
    let (attempts, killed) = (target.count(), now());
    until("its time is over", || began.elapsed() > Duration::from_millis(1200)).await;
    let running = world.start();
    until_async("it is dead", async || !world.letters().await.is_empty()).await;
    running.stop().await;
    let (letter, _) = world.letters().await.remove(0);
    assert_eq!((letter.reason, letter.attempts as usize), (Reason::MaxAge, attempts));
    assert!(
        letter.last_attempt.is_some_and(|last| last <= killed),
        "{letter:?}: nothing was tried after {killed}"
    );
    assert_eq!(target.count(), attempts, "it was not tried again");
}

/// What is not sent to the target is no attempt: neither its number nor the rate is used up by it.
#[tokio::test]
async fn what_is_too_old_for_its_turn_uses_up_no_attempt() {
    let target = Target::new(|attempt| Reply::Status(if attempt.id() == "old" { 503 } else { 200 })).await;
    let mut world = World::new(&target.url, 1).await;
    world.retry(10, Duration::from_millis(400));
    let policy = &mut world.processor.policy;
    (policy.on_exhausted, policy.retry.max_age) = (OnExhausted::Suspend, Duration::from_millis(800));
    let began = Instant::now();
    world.publish("old", None).await;
    let running = world.start();
    world.until_committed(1).await;
    running.kill().await;
    let attempts = target.count();
    until("its time is over", || began.elapsed() > Duration::from_millis(1200)).await;
    let running = world.start();
    until("it is suspended", || running.progress.suspended.load(Relaxed)).await;
    world.resume.send_modify(|times| *times += 1);
    until("it is tried once more", || target.count() > attempts).await;
    running.stop().await;
    let numbers: Vec<u32> = target.story().into_iter().map(|(_, number)| number).collect();
    assert_eq!(numbers, (1..=attempts as u32 + 1).collect::<Vec<_>>(), "none is left out");
}

#[tokio::test]
async fn what_is_too_old_for_its_turn_uses_up_no_rate() {
    let target = Target::new(|attempt| Reply::Status(if attempt.id() == "new" { 200 } else { 408 })).await;
    let mut world = World::new(&target.url, 1).await;
    world.retry(10, Duration::from_millis(400));
    world.processor.policy.retry.max_age = Duration::from_millis(800);
    let began = Instant::now();
    world.publish_many("old", 30, None, 0).await;
    let running = world.start();
    world.until_committed(30).await;
    running.kill().await;
    until("their time is over", || began.elapsed() > Duration::from_millis(1200)).await;
    let (per, attempts) = (Duration::from_secs(1), target.count());
    world.processor.policy.rate_limit = Some(RateLimit { events: 1, per, burst: 1 });
    let began = Instant::now();
    let running = world.start();
    until_async("they are dead", async || world.letters().await.len() == 30).await;
    world.publish("new", None).await;
    until("the new one is delivered", || running.delivered() == 1).await;
    let took = began.elapsed();
    running.stop().await;
    assert_eq!(target.count(), attempts + 1);
    assert!(took < 10 * per, "{took:?} at one a second");
}

/// What is parked has an end by its bytes as well.
#[tokio::test]
async fn as_many_bytes_parked_as_may_be_stop_the_intake() {
    let (up, is_up) = watch::channel(false);
    let target = Target::new(move |_| Reply::Status(if *is_up.borrow() { 200 } else { 408 })).await;
    let mut world = World::new(&target.url, 1).await;
    world.retry(10_000, Duration::from_millis(50));
    let one = kafka::encode(&event("e00", None)).size() as u64;
    world.processor.policy.max_parked_bytes = 8 * one;
    world.publish_many("e", 20, None, 0).await;
    let running = world.start();
    // What was taken in before the room was full is parked as well.
    until("it is full", || running.progress.full.load(Relaxed)).await;
    let parked = || Progress::get(&running.progress.parked_bytes);
    until("there is as much as may be", || parked() >= 8 * one).await;
    world.publish("late", None).await;
    let before = target.count();
    until("others are tried again", || target.count() > before + 50).await;
    assert!(target.story().iter().all(|(id, _)| id != "late"), "it is not let in");
    up.send_replace(true);
    until("all are delivered", || running.delivered() == 21).await;
    assert!(!running.progress.full.load(Relaxed));
    running.stop().await;
}

/// Metadata that is gone or that nobody can read: everything parked is kept.
#[tokio::test]
async fn a_commit_without_a_claim_loses_nothing_that_is_parked() {
    for metadata in ["", "no claim", "AAAA"] {
        let (up, is_up) = watch::channel(false);
        let target = Target::new(move |_| Reply::Status(if *is_up.borrow() { 200 } else { 408 })).await;
        let mut world = World::new(&target.url, 1).await;
        world.retry(10, Duration::from_millis(100));
        world.publish_many("e", 5, Some("k"), 0).await;
        world.publish_many("u", 5, None, 0).await;
        let running = world.start();
        until("all are parked", || Progress::get(&running.progress.parked) == 10).await;
        world.until_committed(10).await;
        running.stop().await;
        let partition = TopicPartition { topic: EVENTS.to_owned(), partition: 0 };
        world.commit(Committed { partition, offset: 10, metadata: metadata.to_owned() }).await;
        up.send_replace(true);
        let running = world.start();
        until("all are delivered", || running.delivered() == 10).await;
        world.until_committed(10).await;
        until("nothing is parked", || Progress::get(&running.progress.parked) == 0).await;
        running.stop().await;
        let mut last = target.attempts();
        last.retain(|attempt| attempt.epoch() > 1);
        let keyed = last.iter().map(Attempt::id).filter(|id| id.starts_with('e'));
        assert_eq!(keyed.collect::<Vec<_>>(), ["e0", "e1", "e2", "e3", "e4"], "{metadata:?}");
    }
}

/// Delays are parked, and there is an end to what may be.
#[tokio::test]
async fn delays_that_fill_all_the_room_are_told_of() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.delay_key = Some("reminder".to_owned());
    world.processor.policy.max_parked = 8;
    let late = Controls {
        delay_keys: vec![("reminder".to_owned(), Duration::from_secs(3))],
        max_attempts: Some(1),
        ..Controls::default()
    };
    for n in 0..8 {
        let mut record = kafka::encode(&event(&format!("late{n}"), None));
        record.headers.extend(late.headers());
        world.append(EVENTS, Place::Partition(0), record).await;
    }
    let running = world.start();
    let is_full = || running.progress.full.load(Relaxed);
    until("it says that there is no room", is_full).await;
    world.publish("plain", None).await;
    until("all are delivered", || running.delivered() == 9).await;
    assert!(target.story()[0].0.starts_with("late"), "the one that does not wait is behind them");
    until("there is room again", || !is_full()).await;
    running.stop().await;
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
