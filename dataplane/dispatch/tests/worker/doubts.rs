//! A log that refuses, does not answer, or has another owner by now.

use std::time::Duration;

use evhub_dispatch::Progress;

use crate::{
    faults::{Fault, once},
    target::{Attempt, Reply, Target},
    world::{DEAD, EVENTS, STATE, World, until},
};

/// A target that fails every first attempt.
async fn flaky() -> Target {
    Target::new(|attempt| Reply::Status(if attempt.number() == 1 { 503 } else { 200 })).await
}

async fn publish_ten(world: &World) {
    for n in 0..10 {
        world.publish(&format!("e{n}"), Some(&format!("k{}", n % 3))).await;
    }
}

/// Every event was delivered, in the order of its key, and no attempt that ended durably was repeated.
async fn check_ten(world: &World, target: &Target) {
    until("each is attempted twice", || {
        let story = target.story();
        (0..10).all(|n| story.contains(&(format!("e{n}"), 2)))
    })
    .await;
    world.until_committed(10).await;
    for n in 0..10 {
        let numbers: Vec<u32> =
            target.attempts().iter().filter(|a| a.id() == format!("e{n}")).map(Attempt::number).collect();
        assert!(numbers.is_sorted(), "e{n}: {numbers:?}");
        assert_eq!(numbers.last(), Some(&2), "e{n}: {numbers:?}");
    }
    let epochs: Vec<u64> = target.attempts().iter().map(Attempt::epoch).collect();
    assert!(epochs.is_sorted(), "{epochs:?}");
    assert!(world.letters().await.is_empty());
}

/// Of the attempts that were repeated, the repeats have a higher epoch.
fn repeats(target: &Target) -> usize {
    let attempts = target.attempts();
    let mut repeats = 0;
    for (position, attempt) in attempts.iter().enumerate() {
        let same = |other: &&Attempt| (other.id(), other.number()) == (attempt.id(), attempt.number());
        if let Some(earlier) = attempts[..position].iter().rfind(same) {
            assert!(earlier.epoch() < attempt.epoch(), "{} {}", attempt.id(), attempt.number());
            repeats += 1;
        }
    }
    repeats
}

#[tokio::test]
async fn a_refused_park_is_repeated() {
    let target = flaky().await;
    let world = World::new(&target.url, 1).await;
    let mut refusals = 5;
    world.log.on_append(move |topic, _| {
        let refuses = topic == STATE && refusals > 0;
        refusals -= i32::from(refuses);
        refuses.then_some(Fault::Rejected)
    });
    publish_ten(&world).await;
    let running = world.start();
    check_ten(&world, &target).await;
    assert_eq!(Progress::get(&running.progress.append_waits), 5);
    assert_eq!((Progress::get(&running.progress.claims), repeats(&target)), (1, 0));
    running.stop().await;
}

/// A broker that hung while another one came to lead tells for a moment of a log that ends early. What was parked is not gone for that.
#[tokio::test]
async fn a_parked_delivery_that_a_broker_does_not_know_of_yet_is_asked_for_again() {
    let target = flaky().await;
    let world = World::new(&target.url, 1).await;
    world.log.is_behind(3);
    publish_ten(&world).await;
    let running = world.start();
    check_ten(&world, &target).await;
    assert_eq!(Progress::get(&running.progress.poisoned), 0);
    running.stop().await;
}

/// Such a broker is asked by who takes over, too: what it does not know to be parked is not an old owner's.
#[tokio::test]
async fn what_is_parked_behind_an_end_that_a_broker_tells_too_early_is_delivered() {
    let target = flaky().await;
    let mut world = World::new(&target.url, 1).await;
    world.retry(3, Duration::from_secs(3));
    for n in 0..10 {
        world.publish(&format!("e{n}"), None).await;
    }
    let running = world.start();
    world.until_committed(10).await;
    running.kill().await;
    assert_eq!(target.count(), 10, "each is parked and none was attempted again");

    // Both ends that a take-over asks for, before anything is parked; and then just before the last one is.
    let end = world.records(STATE, 0).await.last().expect("it is parked").offset;
    for early in [0, end] {
        world.log.ends_early(2, early);
        let running = world.start();
        let told = || running.progress.trouble().is_some_and(|why| why.contains(&format!("ends at {early}")));
        until("it is told why the partition is not taken over", told).await;
        if early == 0 {
            running.kill().await;
        } else {
            check_ten(&world, &target).await;
            running.stop().await;
        }
    }
    assert_eq!(target.count(), 20, "nothing was begun anew");
}

#[tokio::test]
async fn a_dead_letter_that_cannot_be_written_waits() {
    let target = Target::new(|_| Reply::Status(400)).await;
    let world = World::new(&target.url, 1).await;
    let mut faults = [Some(Fault::Rejected), Some(Fault::UnknownLost), None].into_iter();
    world.log.on_append(move |topic, _| if topic == DEAD { faults.next().flatten() } else { None });
    world.publish("e", None).await;
    let running = world.start();
    world.until_committed(1).await;
    assert_eq!((world.letters().await.len(), target.count()), (1, 1));
    running.stop().await;
}

#[tokio::test]
async fn a_park_of_unknown_outcome_ends_the_ownership() {
    for fault in [Fault::UnknownApplied, Fault::UnknownLost] {
        let target = flaky().await;
        let world = World::new(&target.url, 1).await;
        let mut unknown = once(2, fault);
        world.log.on_append(move |topic, _| if topic == STATE { unknown() } else { None });
        publish_ten(&world).await;
        let running = world.start();
        check_ten(&world, &target).await;
        assert_eq!(Progress::get(&running.progress.claims), 2);
        repeats(&target);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_tombstone_of_unknown_outcome_ends_the_ownership() {
    for fault in [Fault::UnknownApplied, Fault::UnknownLost] {
        let target = flaky().await;
        let world = World::new(&target.url, 1).await;
        let mut unknown = once(1, fault);
        world.log.on_append(
            move |topic, record| {
                if topic == STATE && record.value.is_none() { unknown() } else { None }
            },
        );
        publish_ten(&world).await;
        let running = world.start();
        until("the partition is claimed anew", || Progress::get(&running.progress.claims) == 2).await;
        check_ten(&world, &target).await;
        repeats(&target);
        running.stop().await;
    }
}

#[tokio::test]
async fn an_unclear_or_stale_commit_has_the_group_joined_anew() {
    for fault in [Fault::UnknownApplied, Fault::UnknownLost, Fault::Stale] {
        let target = flaky().await;
        let world = World::new(&target.url, 1).await;
        // The first is the claim.
        let mut doubtful = once(2, fault);
        world.log.on_commit(move |_| doubtful());
        publish_ten(&world).await;
        let running = world.start();
        until("the partition is claimed anew", || Progress::get(&running.progress.claims) == 2).await;
        check_ten(&world, &target).await;
        repeats(&target);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_claim_counts_only_when_it_is_acknowledged() {
    for fault in [Fault::UnknownApplied, Fault::UnknownLost, Fault::Stale, Fault::Rejected] {
        let target = flaky().await;
        let world = World::new(&target.url, 1).await;
        let mut doubtful = once(1, fault);
        world.log.on_commit(move |_| doubtful());
        publish_ten(&world).await;
        let running = world.start();
        check_ten(&world, &target).await;
        assert_eq!((Progress::get(&running.progress.claims), repeats(&target)), (1, 0), "{fault:?}");
        let epoch = target.attempts()[0].epoch();
        assert_eq!(epoch, if fault == Fault::UnknownApplied { 2 } else { 1 }, "{fault:?}");
        running.stop().await;
    }
}

#[tokio::test]
async fn a_refused_commit_is_repeated_by_the_same_owner() {
    let target = flaky().await;
    let world = World::new(&target.url, 1).await;
    let mut refused = once(2, Fault::Rejected);
    world.log.on_commit(move |_| refused());
    publish_ten(&world).await;
    let running = world.start();
    check_ten(&world, &target).await;
    assert_eq!((Progress::get(&running.progress.claims), repeats(&target)), (1, 0));
    running.stop().await;
}

/// How many commits are tried within half a second of a log that refuses all of them.
async fn commits_in_vain(world: &World) -> usize {
    let before = world.log.commits().len();
    // This is the interval that is measured, and no synchronisation.
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.log.commits().len() - before
}

#[tokio::test]
async fn what_a_crash_may_repeat_is_bounded_however_long_commits_are_refused() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let world = World::new(&target.url, 1).await;
    let (refuse, refusing) = tokio::sync::watch::channel(false);
    world.log.on_commit(move |_| refusing.borrow().then_some(Fault::Rejected));
    let running = world.start();
    running.until_listening().await;
    refuse.send_replace(true);
    world.publish_many("e", 3000, None, 0).await;
    let most = 1024 + u64::from(world.processor.policy.max_in_flight);
    until("as much is delivered as may be", || running.delivered() >= 1024).await;
    let before = world.log.commits().len();
    until("commits were refused meanwhile", || world.log.commits().len() > before + 2).await;
    assert!(running.delivered() <= most, "{} delivered and not committed", running.delivered());
    refuse.send_replace(false);
    world.until_committed(3000).await;
    running.stop().await;
    assert_eq!(target.count(), 3000);
}

#[tokio::test]
async fn a_log_that_refuses_commits_is_not_stormed() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let world = World::new(&target.url, 1).await;
    let (refuse, refusing) = tokio::sync::watch::channel(true);
    world.log.on_commit(move |_| refusing.borrow().then_some(Fault::Rejected));
    let mut running = world.start();
    until("a claim was refused", || !world.log.commits().is_empty()).await;
    let claims = commits_in_vain(&world).await;
    assert!(claims <= 20, "{claims} claims in half a second");
    refuse.send_replace(false);
    running.until_listening().await;

    refuse.send_replace(true);
    world.publish("e", None).await;
    until("it is delivered", || running.delivered() == 1).await;
    running.tell_to_stop();
    let before = world.log.commits().len();
    until("a commit was refused", || world.log.commits().len() > before).await;
    let commits = commits_in_vain(&world).await;
    assert!(commits <= 20, "{commits} commits in half a second");
    refuse.send_replace(false);
    running.ended().await;
    assert_eq!(world.committed(EVENTS, 0).await.map(|(at, _)| at), Some(1));
}

#[tokio::test]
async fn a_worker_that_loses_its_group_while_it_stops_just_ends() {
    let (open, gate) = tokio::sync::watch::channel(false);
    let target = Target::new(move |_| Reply::Gated(200, gate.clone())).await;
    let world = World::new(&target.url, 1).await;
    world.publish("e", None).await;
    let mut running = world.start();
    until("it is attempted", || target.count() == 1).await;
    world.log.on_commit(|_| Some(Fault::Stale));
    running.tell_to_stop();
    open.send_replace(true);
    running.ended().await;
    assert_eq!(target.count(), 1);
}
