//! Order per key, and that nobody else waits.

use std::time::Duration;

use evhub_dispatch::Progress;
use evhub_routing::Order;
use tokio::sync::watch;

use crate::{
    target::{Reply, Target},
    world::{STATE, World, until, until_async},
};

#[tokio::test]
async fn a_failing_head_holds_its_key_and_nobody_else() {
    let (open, gate) = watch::channel(false);
    let target = Target::new(move |attempt| {
        let fails = attempt.id() == "a0" && !*gate.borrow();
        Reply::Status(if fails { 503 } else { 200 })
    })
    .await;
    let mut world = World::new(&target.url, 1).await;
    world.retry(10_000, Duration::from_millis(30));
    for n in 0..20 {
        world.publish(&format!("a{n}"), Some("a")).await;
        world.publish(&format!("b{n}"), Some("b")).await;
        world.publish(&format!("u{n}"), None).await;
    }
    let running = world.start();
    until("all but those of the failing key are delivered", || running.delivered() == 40).await;
    // The failing key holds no offset either: everything of it is parked.
    world.until_committed(60).await;
    assert!(target.attempts().iter().all(|attempt| attempt.id() == "a0" || !attempt.id().starts_with('a')));
    for n in 20..40 {
        world.publish(&format!("a{n}"), Some("a")).await;
    }
    world.until_committed(80).await;
    open.send_replace(true);
    until("all are delivered", || running.delivered() == 80).await;
    running.stop().await;
    for key in ["a", "b"] {
        let mut ids: Vec<String> = target.story().into_iter().map(|(id, _)| id).collect();
        ids.retain(|id| id.starts_with(key));
        ids.dedup();
        let count = if key == "a" { 40 } else { 20 };
        assert_eq!(ids, (0..count).map(|n| format!("{key}{n}")).collect::<Vec<_>>());
    }
    assert_eq!(target.overlaps(), 0);
}

#[tokio::test]
async fn without_order_nothing_waits_for_anything() {
    let (open, gate) = watch::channel(false);
    let target = Target::new(move |attempt| match attempt.id() {
        "e0" => Reply::Gated(200, gate.clone()),
        _ => Reply::Status(200),
    })
    .await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.policy.order = Order::None;
    for n in 0..10 {
        world.publish(&format!("e{n}"), Some("one")).await;
    }
    let running = world.start();
    until("all others are delivered", || running.delivered() == 9).await;
    open.send_replace(true);
    world.until_committed(10).await;
    running.stop().await;
}

#[tokio::test]
async fn a_slow_key_keeps_64_waiting_and_parks_the_rest() {
    let (open, gate) = watch::channel(false);
    let target = Target::new(move |attempt| match attempt.header("ce-partitionkey") {
        "slow" => Reply::Gated(200, gate.clone()),
        _ => Reply::Status(200),
    })
    .await;
    let world = World::new(&target.url, 1).await;
    world.publish_many("s", 700, Some("slow"), 0).await;
    world.publish("q", Some("quick")).await;
    let running = world.start();
    until("another key gets through", || running.delivered() == 1).await;
    until_async("the rest is parked", async || world.records(STATE, 0).await.len() == 700 - 65).await;
    open.send_replace(true);
    until("all are delivered", || running.delivered() == 701).await;
    running.stop().await;
    let mut ids: Vec<String> = target.story().into_iter().map(|(id, _)| id).collect();
    ids.retain(|id| id.starts_with('s'));
    assert_eq!(ids, (0..700).map(|n| format!("s{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_backlog_that_moves_is_not_parked() {
    let target = Target::new(|_| Reply::After(Duration::from_millis(100), 200)).await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.policy.max_in_flight = 40;
    world.publish_keys(600, 40).await;
    let running = world.start();
    until("all are delivered", || running.delivered() == 600).await;
    running.stop().await;
    assert_eq!(target.overlaps(), 0);
    // None is, unless the machine stands still for longer than four attempts take.
    let parked = world.records(STATE, 0).await.len();
    assert!(parked < 60, "{parked} records of state for 600 events that waited for their turn alone");
}

#[tokio::test]
async fn a_partition_that_hangs_holds_no_other() {
    let (open, gate) = watch::channel(false);
    let target = Target::new(move |attempt| match attempt.id() {
        id if id.starts_with('h') => Reply::Gated(200, gate.clone()),
        _ => Reply::Status(200),
    })
    .await;
    let mut world = World::new(&target.url, 2).await;
    world.processor.policy.max_in_flight = 1_000;
    world.publish_many("h", 600, None, 0).await;
    let running = world.start();
    until("partition 0 is full", || target.count() == 512).await;
    world.publish_many("q", 1_000, None, 1).await;
    until("partition 1 flows", || running.delivered() == 1_000).await;
    assert_eq!(target.attempts().iter().filter(|attempt| attempt.id().starts_with('h')).count(), 512);
    open.send_replace(true);
    until("all are delivered", || running.delivered() == 1_600).await;
    running.stop().await;
}

#[tokio::test]
async fn intake_stops_at_the_most_that_may_be_parked_and_goes_on() {
    let (open, gate) = watch::channel(false);
    let fails = gate.clone();
    let target = Target::new(move |attempt| {
        // A failure of the event, not of the target: it must not open the breaker.
        Reply::Status(if attempt.id().starts_with('f') && !*fails.borrow() { 408 } else { 200 })
    })
    .await;
    let mut world = World::new(&target.url, 2).await;
    world.processor.policy.max_parked = 20;
    world.retry(10_000, Duration::from_millis(50));
    world.publish_many("f", 2_000, None, 0).await;
    let running = world.start();
    until("enough is parked", || Progress::get(&running.progress.parked) >= 20).await;
    // What was taken in before may still be parked: at most what one partition takes in.
    world.publish_many("q", 50, None, 1).await;
    until("further failures", || target.count() > 3_000).await;
    let parked = Progress::get(&running.progress.parked);
    assert!(parked <= 20 + 512, "{parked} are parked");
    open.send_replace(true);
    until("all are delivered, of either partition", || running.delivered() == 2_050).await;
    running.stop().await;
}
