//! A Processor that is edited while its worker works: what follows at once, and what is neither dropped nor repeated.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use evhub_dispatch::Progress;
use evhub_journal::{Journal, TopicPartition};
use evhub_routing::{Filter, OnExhausted, Order, RateLimit};
use tokio::sync::watch;

use crate::{
    target::{Reply, Target},
    world::{DEAD, Running, STATE, World, until, until_async},
};

fn generation(running: &Running) -> i64 {
    running.progress.generation.load(Relaxed)
}

fn claims(running: &Running) -> u64 {
    Progress::get(&running.progress.claims)
}

#[tokio::test]
async fn an_edit_waits_for_no_attempt_and_repeats_none() {
    let (open, gate) = watch::channel(false);
    let before = Target::new(move |_| Reply::Gated(200, gate.clone())).await;
    let after = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&before.url, 2).await;
    let running = world.start();
    running.until_listening().await;
    world.publish_at("slow", Some("k"), 0).await;
    until("an attempt hangs", || before.count() == 1).await;
    let claims_before = claims(&running);

    let edited = Instant::now();
    world.edit(&running, |processor| processor.target.url = after.url.parse().unwrap());
    world.publish_at("quick", Some("l"), 0).await;
    until("the edit is obeyed", || after.count() == 1).await;
    assert!(edited.elapsed() < Duration::from_secs(1), "{:?}", edited.elapsed());
    assert_eq!(after.attempts()[0].header("evhub-generation"), "8");
    assert_eq!(generation(&running), 8);

    open.send_replace(true);
    until("both are delivered", || running.delivered() == 2).await;
    assert_eq!((before.story(), claims(&running)), (vec![("slow".to_owned(), 1)], claims_before));
    assert_eq!(before.attempts()[0].header("evhub-generation"), "7", "each attempt is of one generation");
    running.stop().await;
    assert_eq!((before.count(), after.count()), (1, 1));
}

#[tokio::test]
async fn limits_and_filters_and_suspension_follow_an_edit() {
    let (open, gate) = watch::channel(false);
    let target = Target::new(move |_| Reply::Gated(200, gate.clone())).await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.policy.max_in_flight = 1;
    let running = world.start();
    world.publish_many("e", 10, None, 0).await;
    until("one is under way", || target.count() == 1).await;
    world.edit(&running, |processor| processor.policy.max_in_flight = 4);
    until("four are under way", || target.count() == 4).await;

    world.edit(&running, |processor| processor.suspend = true);
    until("the edit is known", || generation(&running) == 9).await;
    open.send_replace(true);
    until("those under way have ended", || running.delivered() == 4).await;
    world.publish("unwanted", None).await;
    world.edit(&running, |processor| {
        processor.filter = Some(Filter {
            tags: Vec::new(),
            types: Vec::new(),
            cel: Some("event.id != 'unwanted'".parse().unwrap()),
        });
    });
    until("the edit is known", || generation(&running) == 10).await;
    assert_eq!(target.count(), 4, "nothing begins while it is suspended");
    world.edit(&running, |processor| processor.suspend = false);
    world.until_committed(11).await;
    assert_eq!(running.delivered(), 10);
    running.stop().await;
}

#[tokio::test]
async fn a_rate_follows_an_edit() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    let slow = RateLimit { events: 1, per: Duration::from_hours(1), burst: 1 };
    world.processor.policy.rate_limit = Some(slow);
    let running = world.start();
    world.publish_many("e", 20, None, 0).await;
    running.until_listening().await;
    world.edit(&running, |processor| processor.policy.rate_limit = None);
    until("all are delivered", || running.delivered() == 20).await;
    running.stop().await;
}

#[tokio::test]
async fn what_happens_to_exhausted_events_follows_an_edit() {
    let target = Target::new(|attempt| Reply::Status(if attempt.id() == "bad" { 400 } else { 200 })).await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.policy.on_exhausted = OnExhausted::Suspend;
    world.publish("bad", None).await;
    let running = world.start();
    until("it is suspended", || running.progress.suspended.load(Relaxed)).await;
    world.publish_many("e", 5, None, 0).await;
    world.edit(&running, |processor| processor.policy.on_exhausted = OnExhausted::DeadLetter);
    until_async("it is a dead letter", async || world.letters().await.len() == 1).await;
    until("the others are delivered", || running.delivered() == 5).await;
    let (letter, _) = world.letters().await.remove(0);
    assert_eq!(letter.generation, 8);
    running.stop().await;
}

/// Letters that were written before are kept as the edit says, not only those that follow.
#[tokio::test]
async fn how_long_letters_are_kept_follows_an_edit() {
    let target = Target::new(|_| Reply::Status(400)).await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.policy.dead_letter_retention = Duration::from_millis(1);
    world.publish("bad", None).await;
    let running = world.start();
    until_async("there is a letter", async || !world.letters().await.is_empty()).await;
    world.edit(&running, |processor| processor.policy.dead_letter_retention = Duration::from_hours(1));
    until("the edit is obeyed", || claims(&running) == 2).await;
    let letters = TopicPartition { topic: DEAD.to_owned(), partition: 0 };
    let log = world.log.log.clone();
    let clean_up = async || {
        log.clean().await.unwrap();
        log.start(&letters).await.unwrap()
    };
    assert_eq!(clean_up().await, 0);
    world.edit(&running, |processor| processor.policy.dead_letter_retention = Duration::from_millis(1));
    until_async("it goes", async || clean_up().await == 1).await;
    running.stop().await;
}

#[tokio::test]
async fn a_larger_event_has_the_group_joined_anew() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    let running = world.start();
    running.until_listening().await;
    world.edit(&running, |processor| processor.event_bytes *= 2);
    until("it joined anew", || claims(&running) == 2).await;
    running.stop().await;
}

#[tokio::test]
async fn another_order_begins_when_what_was_under_way_has_ended_and_repeats_nothing() {
    let target = Target::new(|attempt| Reply::Status(if attempt.number() < 3 { 408 } else { 200 })).await;
    let mut world = World::new(&target.url, 1).await;
    world.retry(5, Duration::from_millis(50));
    let running = world.start();
    world.publish_many("k", 20, Some("k"), 0).await;
    until("some failed", || target.count() > 2).await;
    world.edit(&running, |processor| processor.policy.order = Order::Partition);
    world.publish_many("u", 5, None, 0).await;
    world.until_committed(25).await;
    until("all are delivered", || running.delivered() == 25).await;
    assert_eq!((claims(&running), generation(&running)), (2, 8));
    running.stop().await;
    let mut story = target.story();
    assert_eq!(story.len(), 75, "three attempts each: none is dropped, none repeated");
    story.retain(|(id, attempt)| id.starts_with('u') && *attempt == 1);
    assert_eq!(story.len(), 5);
    assert!(!world.records(STATE, 0).await.is_empty());
}
