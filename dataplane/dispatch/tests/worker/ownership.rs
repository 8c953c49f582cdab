//! One owner after another: stopped, killed, revoked.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use evhub_dispatch::{
    Progress,
    parked::{Parked, encode_key},
    protocol::{Claim, Kind, Metadata, StateKey},
};
use evhub_event::kafka;
use evhub_journal::{Committed, Journal, Place, Polled, Tail, TopicPartition};
use tokio::sync::watch;

use crate::{
    target::{Reply, Target},
    world::{EVENTS, GROUP, STATE, UID, World, event, until, until_async},
};

#[tokio::test]
async fn a_clean_stop_finishes_and_commits_and_the_next_repeats_nothing() {
    let (open, gate) = watch::channel(false);
    let target = Target::new(move |attempt| match attempt.id() {
        "f" if attempt.number() == 1 => Reply::Status(503),
        "h" => Reply::Gated(200, gate.clone()),
        _ => Reply::Status(200),
    })
    .await;
    let mut world = World::new(&target.url, 1).await;
    world.retry(3, Duration::from_secs(2));
    for id in ["a", "f", "h", "b"] {
        world.publish(id, None).await;
    }
    let mut running = world.start();
    until("all are attempted", || target.count() == 4).await;
    running.tell_to_stop();
    open.send_replace(true);
    running.ended().await;
    assert_eq!(world.committed(EVENTS, 0).await.map(|(at, _)| at), Some(4));

    let running = world.start();
    until("the parked one is delivered", || running.delivered() == 1).await;
    running.stop().await;
    assert_eq!(target.story()[4..], [("f".to_owned(), 2)]);
    let attempts = target.attempts();
    assert!(attempts[4].epoch() > attempts[3].epoch());
}

/// A group may have more members than partitions. Who has none has nothing to wait for, and takes over when it gets one.
#[tokio::test]
async fn a_member_without_a_partition_listens_as_well() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let world = World::new(&target.url, 1).await;
    let (one, two) = (world.start(), world.start());
    let listen = || [&one, &two].iter().all(|running| running.progress.listening.load(Relaxed));
    until("both listen", listen).await;
    world.publish("a", None).await;
    until("it is delivered", || one.delivered() + two.delivered() == 1).await;
    let (with, without) = if one.delivered() == 1 { (one, two) } else { (two, one) };
    with.stop().await;
    world.publish("b", None).await;
    until("the other one delivers", || without.delivered() == 1).await;
    without.stop().await;
}

#[tokio::test]
async fn a_killed_worker_s_successor_goes_on_where_it_was() {
    let (open, gate) = watch::channel(false);
    let target = Target::new(move |attempt| match (attempt.id(), attempt.epoch()) {
        ("f", _) if attempt.number() < 3 => Reply::Status(503),
        ("h", 1) => Reply::Gated(200, gate.clone()),
        _ => Reply::Status(200),
    })
    .await;
    let mut world = World::new(&target.url, 1).await;
    world.retry(5, Duration::from_millis(300));
    for id in ["h", "f", "a", "b"] {
        world.publish(id, None).await;
    }
    let running = world.start();
    until_async("what ended is committed behind what hangs", async || {
        world.committed(EVENTS, 0).await.is_some_and(|(at, known)| at == 0 && known.completed == [(1, 4)])
    })
    .await;
    running.kill().await;
    open.send_replace(true);
    let first = target.count();

    let running = world.start();
    until("the rest is delivered", || running.delivered() == 2).await;
    running.stop().await;
    let attempts = target.attempts();
    let (before, after) = attempts.split_at(first);
    assert!(before.iter().all(|attempt| attempt.epoch() == 1));
    assert!(after.iter().all(|attempt| attempt.epoch() == 2));
    let mut numbers: Vec<(&str, u32)> = attempts.iter().map(|a| (a.id(), a.number())).collect();
    numbers.sort_unstable();
    // Only the one whose outcome was not durable is repeated, with its number.
    assert_eq!(numbers, [("a", 1), ("b", 1), ("f", 1), ("f", 2), ("f", 3), ("h", 1), ("h", 1)]);
}

#[tokio::test]
async fn many_owners_one_after_the_other_lose_and_double_nothing() {
    let target = Target::new(|attempt| Reply::Status(if attempt.number() < 3 { 408 } else { 200 })).await;
    let world = World::new(&target.url, 2).await;
    for n in 0..200 {
        world.publish(&format!("e{n}"), Some(&format!("k{}", n % 20))).await;
    }
    let mut delivered = 0;
    for round in 1..=8 {
        let running = world.start();
        let so_far = target.count();
        until("some are attempted", || {
            target.count() > so_far + 30 || running.delivered() + delivered >= 200
        })
        .await;
        delivered += {
            let progress = std::sync::Arc::clone(&running.progress);
            running.stop().await;
            Progress::get(&progress.delivered)
        };
        assert!(round < 8 || delivered <= 200);
    }
    let running = world.start();
    until("all are delivered", || running.delivered() + delivered == 200).await;
    running.stop().await;
    let mut story = target.story();
    story.sort();
    let all = story.len();
    story.dedup();
    assert_eq!((all, story.len()), (600, 600), "each event has its three attempts, once each");
    assert_eq!(target.overlaps(), 0);
    assert!(world.letters().await.is_empty());
}

#[tokio::test]
async fn a_revoked_partition_is_drained_committed_and_released() {
    let (open, gate) = watch::channel(false);
    let target = Target::new(move |_| Reply::Gated(200, gate.clone())).await;
    let world = World::new(&target.url, 1).await;
    world.publish("a", None).await;
    let running = world.start();
    until("it is attempted", || target.count() == 1).await;
    world.log.poll_next(Polled::Revoked(vec![0]));
    world.publish("b", None).await;
    assert!(world.log.released().is_empty(), "not while something is under way");
    open.send_replace(true);
    until("it is released", || world.log.released() == [0]).await;
    assert_eq!(world.committed(EVENTS, 0).await.map(|(at, _)| at), Some(1));
    assert_eq!(target.count(), 1, "nothing new was started");

    world.log.poll_next(Polled::Assigned { generation: 1, partitions: vec![0] });
    until("the rest is delivered", || running.delivered() == 2).await;
    running.stop().await;
    assert_eq!(target.story(), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
}

#[tokio::test]
async fn an_idle_partition_is_released_at_once() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let world = World::new(&target.url, 2).await;
    let running = world.start();
    running.until_listening().await;
    for partition in [0, 1] {
        world.publish_at("a", None, partition).await;
        until_async("it is committed", async || {
            world.committed(EVENTS, partition).await.is_some_and(|(at, _)| at == 1)
        })
        .await;
    }
    until("nothing is under way", || {
        let answered = Progress::get(&running.progress.commits) + Progress::get(&running.progress.claims);
        answered == world.log.commits().len() as u64
    })
    .await;
    world.log.poll_next(Polled::Revoked(vec![0, 1]));
    until("both are released", || world.log.released() == [0, 1]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_take_over_is_cut_short_when_its_partition_is_asked_back() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let world = World::new(&target.url, 1).await;
    world.make(STATE, 1).await;
    world.publish("a", None).await;
    let (open, gate) = watch::channel(false);
    world.log.hold_ends(gate);
    let running = world.start();
    until("it is being taken over", || world.log.holds() == 1).await;
    world.log.poll_next(Polled::Revoked(vec![0]));
    until("it is released, whoever leads its state", || world.log.released() == [0]).await;
    assert_eq!(Progress::get(&running.progress.claims), 0);

    world.log.poll_next(Polled::Assigned { generation: 1, partitions: vec![0] });
    until("it is being taken over again", || world.log.holds() == 2).await;
    assert_eq!(Progress::get(&running.progress.claims), 0, "no answer came that belongs to no owner");
    open.send_replace(true);
    until("it is delivered", || running.delivered() == 1).await;
    running.stop().await;
    assert_eq!(target.story(), [("a".to_owned(), 1)]);
}

#[tokio::test]
async fn as_much_parked_as_may_be_does_not_keep_replay_from_passing() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.policy.max_parked = 5;
    world.make(STATE, 1).await;
    world.publish_many("e", 10, None, 0).await;
    // An owner left the first event unresolved, and the nine others parked.
    for offset in 1..10 {
        let parked = Parked {
            log: 0,
            kind: Kind::Retry,
            topic: EVENTS.to_owned(),
            offset,
            attempts: 1,
            first_attempt: Some(1),
            not_before: 0,
            throttled: 0,
            pass_back: None,
            causes: vec![],
            event: kafka::encode(&event(&format!("e{offset}"), None)),
        };
        let key = encode_key(UID, StateKey { epoch: 1, seq: offset, nonce: 1 });
        world.append(STATE, Place::Partition(0), parked.encode(key)).await;
    }
    let claim = Claim { epoch: 1, nonce: 1, floor: 0, low: 0, high: 9, dead: vec![] };
    let metadata = Metadata { claim, completed: vec![(1, 10)] }.encode(0);
    let partition = TopicPartition { topic: EVENTS.to_owned(), partition: 0 };
    let mut tail = world.log.log.join(GROUP, &[EVENTS.to_owned()]).await.expect("a member");
    tail.poll().await.expect("it is assigned");
    tail.commit(vec![Committed { partition, offset: 0, metadata }]).await.expect("it is committed");
    tail.leave().await;

    let running = world.start();
    until("all are delivered", || running.delivered() == 10).await;
    world.until_committed(10).await;
    running.stop().await;
    let mut story = target.story();
    story.sort();
    let expected = (0..10).map(|n| (format!("e{n}"), if n == 0 { 1 } else { 2 })).collect::<Vec<_>>();
    assert_eq!(story, expected);
}
