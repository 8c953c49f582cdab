//! What a Processor's author can say beside its target: filters, delays, orders, limits, and what exhausted events do.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use evhub_dispatch::{Discard, Progress, dead::Reason, parked::resumed};
use evhub_event::{Controls, kafka};
use evhub_journal::Place;
use evhub_routing::{Filter, OnExhausted, Order, RateLimit};
use tokio::sync::watch;

use crate::{
    target::{Reply, Target},
    world::{EVENTS, Running, STATE, UID, World, event, now, until, until_async},
};

async fn publish(world: &World, id: &str, key: Option<&str>, controls: &Controls) {
    let mut record = kafka::encode(&event(id, key));
    record.headers.extend(controls.headers());
    world.append(EVENTS, Place::Partition(0), record).await;
}

fn tags(tags: &[&str]) -> Controls {
    Controls { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..Controls::default() }
}

fn delays(key: &str, delay: Duration) -> Controls {
    Controls { delay_keys: vec![(key.to_owned(), delay)], ..Controls::default() }
}

fn ids(target: &Target) -> Vec<String> {
    target.story().into_iter().map(|(id, _)| id).collect()
}

fn is_suspended(running: &Running) -> bool {
    running.progress.suspended.load(Relaxed)
}

#[tokio::test]
async fn what_the_filter_refuses_is_resolved_at_once_and_counted() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.filter = Some(Filter {
        tags: vec!["paid".to_owned()],
        types: vec!["shop.*".parse().unwrap()],
        cel: Some("event.id != 'e3'".parse().unwrap()),
    });
    publish(&world, "e0", None, &tags(&["paid"])).await;
    publish(&world, "e1", None, &tags(&["other"])).await;
    publish(&world, "e2", None, &Controls::default()).await;
    publish(&world, "e3", None, &tags(&["paid"])).await;
    publish(&world, "e4", None, &tags(&["vip", "paid"])).await;
    let running = world.start();
    world.until_committed(5).await;
    assert_eq!(running.progress.discarded(Discard::Tags), 2);
    assert_eq!(running.progress.discarded(Discard::Expression), 1);
    running.stop().await;
    assert_eq!(ids(&target), ["e0", "e4"]);
}

#[tokio::test]
async fn a_delay_holds_its_event_and_nobody_else_and_survives() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.delay_key = Some("reminder".to_owned());
    let delay = Duration::from_millis(1500);
    let began = Instant::now();
    publish(&world, "late", Some("k"), &delays("reminder", delay)).await;
    publish(&world, "other", Some("k"), &delays("escalate", delay)).await;
    publish(&world, "plain", Some("k"), &Controls::default()).await;
    let running = world.start();
    until("those that do not wait are delivered", || running.delivered() == 2).await;
    world.until_committed(3).await;
    assert_eq!(Progress::get(&running.progress.undelayed), 2);
    assert_eq!(Progress::get(&running.progress.delayed), 1);
    running.kill().await;
    assert_eq!(ids(&target), ["other", "plain"]);
    let running = world.start();
    until("the delayed one is delivered", || running.delivered() == 1).await;
    assert!(began.elapsed() >= delay, "after {:?}", began.elapsed());
    assert!(began.elapsed() < delay + Duration::from_secs(5), "after {:?}", began.elapsed());
    running.stop().await;
    assert_eq!(target.story().last(), Some(&("late".to_owned(), 1)));
}

#[tokio::test]
async fn a_partition_in_order_parks_nothing_behind_and_keeps_everything_in_order() {
    let target = Target::new(|attempt| Reply::Status(if attempt.number() < 3 { 408 } else { 200 })).await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.policy.order = Order::Partition;
    for n in 0..6 {
        world.publish_at(&format!("e{n}"), (n % 2 == 0).then_some("k"), 0).await;
    }
    let running = world.start();
    until("all are delivered", || running.delivered() == 6).await;
    world.until_committed(6).await;
    running.stop().await;
    let expected: Vec<_> = (0..6).flat_map(|n| (1..=3).map(move |a| (format!("e{n}"), a))).collect();
    assert_eq!(target.story(), expected);
    assert_eq!(target.most_at_once(), 1);
    let parked = world.records(STATE, 0).await.into_iter().filter(|stored| stored.record.value.is_some());
    assert_eq!(parked.count(), 12, "each failure, and nothing behind it");
}

#[tokio::test]
async fn first_attempts_in_order_and_retries_in_none() {
    let (open, gate) = watch::channel(false);
    let target = Target::new(move |attempt| {
        Reply::Status(if attempt.id() == "e0" && !*gate.borrow() { 408 } else { 200 })
    })
    .await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.policy.order = Order::KeyFirstAttempt;
    world.retry(10_000, Duration::from_millis(30));
    for n in 0..20 {
        world.publish(&format!("e{n}"), Some("k")).await;
    }
    let running = world.start();
    until("those behind the failing one are delivered", || running.delivered() == 19).await;
    open.send_replace(true);
    until("it is delivered as well", || running.delivered() == 20).await;
    running.stop().await;
    let firsts = target.story().into_iter().filter(|(_, attempt)| *attempt == 1).map(|(id, _)| id);
    assert!(firsts.eq((0..20).map(|n| format!("e{n}"))));
    assert_eq!(target.overlaps(), 0);
}

#[tokio::test]
async fn dropped_events_are_counted_and_leave_nothing() {
    let target = Target::new(|_| Reply::Status(400)).await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.policy.on_exhausted = OnExhausted::Drop;
    for n in 0..5 {
        world.publish(&format!("e{n}"), None).await;
    }
    let running = world.start();
    world.until_committed(5).await;
    assert_eq!(running.progress.discarded(Discard::Exhausted), 5);
    running.stop().await;
    assert!(world.letters().await.is_empty());
}

#[tokio::test]
async fn an_exhausted_event_suspends_its_processor_until_it_is_resumed_restarts_included() {
    let (open, gate) = watch::channel(false);
    let target = Target::new(move |attempt| {
        Reply::Status(if attempt.id() == "bad" && !*gate.borrow() { 400 } else { 200 })
    })
    .await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.policy.on_exhausted = OnExhausted::Suspend;
    world.publish("bad", None).await;
    let running = world.start();
    until("it is suspended", || is_suspended(&running)).await;
    world.publish_many("e", 5, None, 0).await;
    until("what is parked is known", || Progress::get(&running.progress.parked) == 1).await;
    running.stop().await;
    assert_eq!(ids(&target), ["bad"], "nothing more is delivered");

    let running = world.start();
    until("it is suspended from the beginning", || is_suspended(&running)).await;
    world.resume.send_modify(|times| *times += 1);
    until("it tried again, in vain", || target.count() > 1 && is_suspended(&running)).await;
    open.send_replace(true);
    world.resume.send_modify(|times| *times += 1);
    until("all are delivered", || running.delivered() >= 6).await;
    assert!(!is_suspended(&running));
    world.until_committed(6).await;
    running.stop().await;
    let bad: Vec<u32> = target.story().into_iter().filter(|(id, _)| id == "bad").map(|(_, n)| n).collect();
    assert_eq!(bad, [1, 2, 3], "one attempt each time that it is resumed");
    assert!(world.letters().await.is_empty());
}

/// The process dies between the wish and the attempt that is wished for: it is remembered, for what was held then.
#[tokio::test]
async fn a_resume_is_remembered_by_whoever_comes_next() {
    let asked = AtomicUsize::new(0);
    let target = Target::new(move |_| match asked.fetch_add(1, Relaxed) {
        0 | 2 => Reply::Status(400),
        1 => Reply::Hang,
        _ => Reply::Status(200),
    })
    .await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.policy.on_exhausted = OnExhausted::Suspend;
    world.publish("bad", None).await;
    let wish = async |uid| world.append(STATE, Place::Partition(0), resumed(uid)).await;

    let running = world.start();
    until("it is suspended", || is_suspended(&running)).await;
    until_async("what is held is in the log", async || world.records(STATE, 0).await.len() == 1).await;
    wish("another-uid").await;
    running.kill().await;

    let running = world.start();
    until("another's wish is none of ours", || is_suspended(&running)).await;
    wish(UID).await;
    running.kill().await;

    let running = world.start();
    until("it is attempted", || target.count() == 2).await;
    assert!(!is_suspended(&running));
    running.kill().await;

    let running = world.start();
    until("the next attempts it, and is suspended by that alone", || is_suspended(&running)).await;
    assert_eq!(target.count(), 3);
    running.stop().await;

    let running = world.start();
    until("it is held anew, above the wish", || is_suspended(&running)).await;
    wish(UID).await;
    world.resume.send_modify(|times| *times += 1);
    until("it is delivered", || running.delivered() == 1).await;
    running.stop().await;
    let attempts: Vec<u32> = target.story().into_iter().map(|(_, number)| number).collect();
    assert_eq!(attempts, [1, 2, 2, 3]);
}

#[tokio::test]
async fn a_suspended_processor_keeps_its_place_and_delivers_nothing() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.suspend = true;
    world.publish_many("e", 10, None, 0).await;
    let running = world.start();
    running.until_listening().await;
    running.stop().await;
    assert_eq!(target.count(), 0);
    assert_eq!(world.committed(EVENTS, 0).await.map(|(offset, _)| offset), Some(0));
    world.processor.suspend = false;
    let running = world.start();
    until("all are delivered", || running.delivered() == 10).await;
    running.stop().await;
}

#[tokio::test]
async fn the_rate_is_kept_and_used() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    let limit = RateLimit { events: 100, per: Duration::from_secs(1), burst: 10 };
    world.processor.policy.rate_limit = Some(limit);
    world.publish_many("e", 150, None, 0).await;
    let began = Instant::now();
    let running = world.start();
    until("all are delivered", || running.delivered() == 150).await;
    let took = began.elapsed();
    running.stop().await;
    assert!(took >= Duration::from_millis(1_400), "the bucket is empty at first: {took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[tokio::test]
async fn restarts_add_nothing_to_the_rate() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    let (a_second, burst) = (100, 100);
    world.processor.policy.rate_limit =
        Some(RateLimit { events: a_second, per: Duration::from_secs(1), burst });
    world.publish_many("e", 2_000, None, 0).await;
    let began = Instant::now();
    for restarts in 1..=8 {
        let running = world.start();
        until("some are delivered", || running.delivered() >= 10).await;
        running.kill().await;
        let most = (began.elapsed().as_secs_f64() * f64::from(a_second)).ceil() as usize + restarts;
        assert!(target.count() <= most, "{} attempts, at most {most} are allowed", target.count());
    }
}

#[tokio::test]
async fn a_target_that_has_too_much_to_do_gets_fewer_at_once_and_then_more_again() {
    let (busy, is_busy) = watch::channel(false);
    let target = Target::new(move |_| {
        Reply::After(Duration::from_millis(5), if *is_busy.borrow() { 429 } else { 200 })
    })
    .await;
    let mut world = World::new(&target.url, 1).await;
    world.retry(10_000, Duration::from_millis(20));
    world.processor.policy.max_in_flight = 32;
    world.publish_many("e", 20_000, None, 0).await;
    let running = world.start();
    let allowed = || Progress::get(&running.progress.concurrency);
    until("as many as may be are under way", || allowed() == 32 && target.most_at_once() == 32).await;
    busy.send_replace(true);
    until("fewer are", || allowed() <= 8).await;
    busy.send_replace(false);
    until("more are again", || allowed() >= 16).await;
    assert!(!running.progress.breaker_open.load(Relaxed), "too much is no trouble");
    running.kill().await;
}

#[tokio::test]
async fn what_has_expired_is_attempted_no_more_and_counted() {
    let target =
        Target::new(|attempt| Reply::Status(if attempt.id() == "failing" { 408 } else { 200 })).await;
    let mut world = World::new(&target.url, 1).await;
    world.retry(10_000, Duration::from_millis(20));
    let instant = |millis: i64| jiff::Timestamp::from_millisecond(millis).unwrap().to_string();
    for (id, expiry) in [
        ("expired", instant(now() - 1)),
        ("failing", instant(now() + 700)),
        ("fresh", instant(now() + 60_000)),
        ("unclear", "tomorrow".to_owned()),
    ] {
        let mut event = event(id, Some(id));
        event.extensions.push(("expirytime".to_owned(), expiry));
        world.append(EVENTS, Place::Partition(0), kafka::encode(&event)).await;
    }
    let running = world.start();
    until("two are discarded", || running.progress.discarded(Discard::Expired) == 2).await;
    until("one is delivered", || running.delivered() == 1).await;
    world.until_committed(4).await;
    running.stop().await;
    let ids = ids(&target);
    assert!(!ids.contains(&"expired".to_owned()) && ids.contains(&"failing".to_owned()), "{ids:?}");
    let letters = world.letters().await;
    let reasons: Vec<_> = letters.iter().map(|(letter, _)| letter.reason).collect();
    assert_eq!(reasons, [Reason::PoisonDecode], "what no publisher can have said is no event");
}

#[tokio::test]
async fn being_throttled_uses_up_no_attempt() {
    let throttled = b"HTTP/1.1 429 x\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n";
    let target = Target::new(|attempt| match attempt.number() {
        1..=6 => Reply::Raw(throttled.to_vec()),
        7 | 8 => Reply::Status(408),
        _ => Reply::Status(200),
    })
    .await;
    let world = World::new(&target.url, 1).await;
    world.publish("e", None).await;
    let running = world.start();
    until("it is delivered", || running.delivered() == 1).await;
    assert_eq!(Progress::get(&running.progress.throttled), 6);
    running.stop().await;
}

#[tokio::test]
async fn a_publisher_may_ask_for_fewer_attempts_and_less_time() {
    let target =
        Target::new(|attempt| if attempt.id() == "slow" { Reply::Hang } else { Reply::Status(408) }).await;
    let world = World::new(&target.url, 1).await;
    let once = Controls { max_attempts: Some(1), ..Controls::default() };
    publish(&world, "once", None, &once).await;
    let quick = Controls { timeout: Some(Duration::from_millis(50)), ..once };
    publish(&world, "slow", None, &quick).await;
    let running = world.start();
    until_async("both are dead letters", async || world.letters().await.len() == 2).await;
    running.stop().await;
    for (letter, _) in world.letters().await {
        assert_eq!((letter.reason, letter.attempts), (Reason::MaxAttempts, 1));
    }
}

#[tokio::test]
async fn an_old_event_is_tried_no_more() {
    let target = Target::new(|_| Reply::Status(408)).await;
    let mut world = World::new(&target.url, 1).await;
    world.retry(1000, Duration::from_millis(100));
    world.processor.policy.retry.max_age = Duration::from_millis(450);
    world.publish("e", None).await;
    let running = world.start();
    until_async("it is a dead letter", async || !world.letters().await.is_empty()).await;
    running.stop().await;
    let (letter, _) = world.letters().await.remove(0);
    assert_eq!(letter.reason, Reason::MaxAge);
    assert!((2..=5).contains(&letter.attempts), "{}", letter.attempts);
}

#[tokio::test]
async fn while_a_target_is_down_nothing_more_is_parked_and_then_it_all_goes_on() {
    let (open, gate) = watch::channel(false);
    let target = Target::new(move |_| Reply::Status(if *gate.borrow() { 200 } else { 503 })).await;
    let mut world = World::new(&target.url, 1).await;
    world.retry(1000, Duration::from_millis(20));
    world.processor.policy.max_in_flight = 32;
    world.publish_many("e", 1000, None, 0).await;
    let running = world.start();
    until("the breaker opens", || running.progress.breaker_open.load(Relaxed)).await;
    let calls = target.count();
    until("it is probed", || target.count() >= calls + 5).await;
    let parked = Progress::get(&running.progress.parked);
    assert!(parked <= 64, "{parked} are parked: no more than were under way");
    open.send_replace(true);
    until("all are delivered", || running.delivered() == 1000).await;
    assert!(!running.progress.breaker_open.load(Relaxed));
    world.until_committed(1000).await;
    running.stop().await;
}

#[tokio::test]
async fn a_key_with_its_fill_of_parked_ones_holds_its_partition_and_goes_on() {
    let (open, gate) = watch::channel(false);
    let target = Target::new(move |attempt| {
        Reply::Status(if attempt.id() == "k0" && !*gate.borrow() { 408 } else { 200 })
    })
    .await;
    let mut world = World::new(&target.url, 1).await;
    world.retry(10_000, Duration::from_millis(20));
    world.processor.policy.max_parked_per_key = 3;
    world.publish_many("k", 100, Some("k"), 0).await;
    world.publish_many("u", 100, None, 0).await;
    let running = world.start();
    until("the others are delivered", || running.delivered() == 100).await;
    let parked = Progress::get(&running.progress.parked);
    // The failing one itself is parked whatever the bound: its attempts must not be forgotten.
    assert!(parked <= 4, "{parked} are parked");
    open.send_replace(true);
    until("all are delivered", || running.delivered() == 200).await;
    world.until_committed(200).await;
    running.stop().await;
    let mut keyed: Vec<String> = ids(&target).into_iter().filter(|id| id.starts_with('k')).collect();
    keyed.dedup();
    assert_eq!(keyed, (0..100).map(|n| format!("k{n}")).collect::<Vec<_>>());
}
