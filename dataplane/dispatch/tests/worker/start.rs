//! Where a Processor begins to read, and what it may come to read later.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use evhub_dispatch::{Discard, Progress};
use evhub_event::{Header, kafka, record::PROCESSOR_UID};
use evhub_journal::{Committed, Journal, Place, TopicPartition, TopicSettings};
use evhub_routing::Start;

use crate::{
    target::{Reply, Target},
    world::{EVENTS, INBOX, STATE, UID, World, event, now, until},
};

async fn ids_from(start: Start, created_ago: i64) -> Vec<String> {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    for n in 0..3 {
        world.publish(&format!("old{n}"), None).await;
    }
    (world.processor.start, world.processor.created) = (start, now() - created_ago);
    let running = world.start();
    running.until_listening().await;
    world.publish("new", None).await;
    world.until_committed(4).await;
    running.stop().await;
    target.story().into_iter().map(|(id, _)| id).collect()
}

#[tokio::test]
async fn earliest_is_everything() {
    assert_eq!(ids_from(Start::Earliest, 0).await, ["old0", "old1", "old2", "new"]);
}

#[tokio::test]
async fn latest_is_the_creation_less_what_clocks_may_differ() {
    // Created now: what the log took in the 5 s before counts as later.
    assert_eq!(ids_from(Start::Latest, 0).await, ["old0", "old1", "old2", "new"]);
    // Created in a minute, by this clock: nothing of now does.
    assert_eq!(ids_from(Start::Latest, -60_000).await, ["new"]);
}

#[tokio::test]
async fn committed_begins_as_latest_where_nothing_is_and_goes_on_where_something_is() {
    assert_eq!(ids_from(Start::Committed, 0).await, ["old0", "old1", "old2", "new"]);
    assert_eq!(ids_from(Start::Committed, -60_000).await, ["new"]);

    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    world.publish_many("old", 2, None, 0).await;
    (world.processor.start, world.processor.created) = (Start::Committed, now() + 60_000);
    let at = TopicPartition { topic: EVENTS.to_owned(), partition: 0 };
    let committed = Committed { partition: at, offset: 1, metadata: String::new() };
    world.commit(committed).await;
    let running = world.start();
    running.until_listening().await;
    world.until_committed(2).await;
    running.stop().await;
    assert_eq!(target.story(), [("old1".to_owned(), 1)]);
}

#[tokio::test]
async fn an_instant_is_kept_whether_it_has_passed_or_is_still_to_come() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    world.publish("before", None).await;
    let passed = now() + 1;
    until("the clock moves on", || now() > passed).await;
    world.publish("after", None).await;
    world.processor.start = Start::At(passed);
    let running = world.start();
    world.until_committed(2).await;
    running.stop().await;
    assert_eq!(target.story(), [("after".to_owned(), 1)]);

    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    let to_come = now() + 500;
    world.processor.start = Start::At(to_come);
    let running = world.start();
    running.until_listening().await;
    world.publish("early", None).await;
    assert!(now() < to_come, "this machine is too slow for this test");
    until("the instant has come", || now() > to_come).await;
    world.publish("late", None).await;
    world.until_committed(2).await;
    assert_eq!(running.progress.discarded(Discard::Early), 1);
    running.stop().await;
    assert_eq!(target.story(), [("late".to_owned(), 1)]);
}

#[tokio::test]
async fn where_it_began_is_committed_at_once() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    world.publish("old", None).await;
    (world.processor.start, world.processor.created) = (Start::Latest, now() + 60_000);
    let running = world.start();
    running.until_listening().await;
    running.stop().await;
    assert_eq!(world.committed(EVENTS, 0).await.map(|(at, _)| at), Some(1));
    world.publish("while nobody listened", None).await;
    let running = world.start();
    until("it is delivered", || running.delivered() == 1).await;
    running.stop().await;
}

/// Retention overtakes a Processor that was not running: it goes on with what is left, and is not stuck.
#[tokio::test]
async fn what_retention_took_is_passed_over() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    world.publish("seen", None).await;
    world.processor.start = Start::Earliest;
    let running = world.start();
    world.until_committed(1).await;
    running.stop().await;
    world.publish("lost", None).await;
    let log = &world.log.log;
    let at = TopicPartition { topic: EVENTS.to_owned(), partition: 0 };
    let kept = TopicSettings { partitions: 1, max_record_bytes: 2 << 20, ..TopicSettings::default() };
    let short = TopicSettings { retention: Some(Duration::from_millis(1)), ..kept };
    log.ensure(EVENTS, short).await.expect("a topic");
    while log.start(&at).await.expect("a start") < 2 {
        log.clean().await.expect("it is cleaned");
    }
    log.ensure(EVENTS, kept).await.expect("a topic");
    world.publish("left", None).await;
    let running = world.start();
    world.until_committed(3).await;
    running.stop().await;
    let ids: Vec<_> = target.story().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["seen", "left"]);
}

/// A topic that was deleted and made again, or a log that has lost its end, holds other records where the Processor has been.
#[tokio::test]
async fn a_commit_behind_the_end_of_its_log_begins_anew_and_passes_nothing_over() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.start = Start::Earliest;
    world.publish("first", None).await;
    let at = TopicPartition { topic: EVENTS.to_owned(), partition: 0 };
    world.commit(Committed { partition: at, offset: 3, metadata: String::new() }).await;
    let running = world.start();
    running.until_listening().await;
    world.publish_many("more", 3, None, 0).await;
    until("all are delivered", || running.delivered() == 4).await;
    running.stop().await;
    assert_eq!(world.committed(EVENTS, 0).await.map(|(at, _)| at), Some(4));
    assert_eq!(target.story()[0], ("first".to_owned(), 1));
}

/// Another topic of the same name has other records at the places of those that are parked.
#[tokio::test]
async fn what_is_parked_of_a_topic_that_was_made_anew_hides_nothing_of_the_new_one() {
    let well = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&well);
    let target = Target::new(move |_| Reply::Status(if answers.load(Relaxed) { 200 } else { 503 })).await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.start = Start::Earliest;
    world.retry(5, Duration::from_secs(2));
    world.log.is_remade(1);
    world.publish_many("e", 3, None, 0).await;
    let running = world.start();
    world.until_committed(3).await;
    running.kill().await;
    well.store(true, Relaxed);
    // Nothing more is parked, so that this is told by the topics alone.
    world.log.is_remade(2);
    let running = world.start();
    until("both are delivered", || running.delivered() == 6).await;
    world.until_committed(3).await;
    running.stop().await;
    let mut story = target.story();
    story.sort();
    let each = |n: u32| [1, 1, 2].map(|attempt| (format!("e{n}"), attempt));
    assert_eq!(story, (0..3).flat_map(each).collect::<Vec<_>>());

    let running = world.start();
    running.until_listening().await;
    running.stop().await;
    assert_eq!(target.count(), 9, "and what is known of the new one stands");
}

/// What is committed twice within one look is what a broker did not know yet that has just become the leader.
#[tokio::test]
async fn a_commit_that_is_behind_the_end_for_a_moment_only_stands() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let world = World::new(&target.url, 1).await;
    let at = TopicPartition { topic: EVENTS.to_owned(), partition: 0 };
    world.commit(Committed { partition: at, offset: 1, metadata: String::new() }).await;
    let running = world.start();
    world.publish("seen", None).await;
    running.until_listening().await;
    world.publish("new", None).await;
    world.until_committed(2).await;
    running.stop().await;
    assert_eq!(target.story(), [("new".to_owned(), 1)]);
}

#[tokio::test]
async fn a_partition_that_nobody_leads_waits_and_holds_up_no_other() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let world = World::new(&target.url, 2).await;
    world.log.nobody_leads([1]);
    let running = world.start();
    until("why is known", || running.progress.trouble().is_some_and(|why| why.contains("nobody leads")))
        .await;
    for n in 0..20 {
        world.publish_at(&format!("e{n}"), None, 0).await;
    }
    until("the other is worked", || running.delivered() == 20).await;
    assert_eq!(Progress::get(&running.progress.claims), 1, "and nobody joined anew for it");
    assert!(!running.progress.listening.load(Relaxed));
    world.log.nobody_leads([]);
    world.publish_at("late", None, 1).await;
    running.until_listening().await;
    until("it is worked as well", || running.delivered() == 21).await;
    assert_eq!((Progress::get(&running.progress.claims), running.progress.trouble()), (2, None));
    running.stop().await;
    assert!(target.attempts().iter().all(|attempt| attempt.epoch() == 1));
}

/// Brokers forget what a group in which nobody is has committed after a while, which counts from the last commit.
#[tokio::test]
async fn what_has_not_changed_is_committed_again_every_six_hours() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.suspend = true;
    world.publish("kept", None).await;
    let running = world.start();
    running.until_listening().await;
    let commits = world.log.commits().len();
    let pass = async |hours: u64| {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(hours * 3600 + 1)).await;
        tokio::time::resume();
    };
    pass(5).await;
    pass(1).await;
    until("it is committed again", || world.log.commits().len() > commits).await;
    let all = world.log.commits();
    let (before, again) = (&all[commits - 1], &all[commits]);
    assert_eq!(again, before, "as it was");
    pass(6).await;
    until("and again", || world.log.commits().len() > commits + 1).await;
    running.stop().await;
    assert_eq!(target.count(), 0);
}

#[tokio::test]
async fn an_inbox_is_read_from_its_beginning_and_noticed_while_running() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 1).await;
    (world.processor.start, world.processor.created) = (Start::Latest, now() + 60_000);
    let running = world.start();
    running.until_listening().await;
    world.make(INBOX, 1).await;
    world.append(INBOX, Place::Partition(0), kafka::encode(&event("redriven", Some("k")))).await;
    world.inbox.send_replace(true);
    until("it is delivered", || running.delivered() == 1).await;
    world.publish("live", None).await;
    until("the events go on", || running.delivered() == 2).await;
    running.stop().await;
    assert_eq!(world.committed(INBOX, 0).await.map(|(at, _)| at), Some(1));
    assert_eq!(target.attempts()[0].epoch(), 2, "the group was joined anew");
}

#[tokio::test]
async fn what_was_redriven_for_a_predecessor_of_the_same_name_is_left_alone() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let world = World::new(&target.url, 1).await;
    world.make(INBOX, 1).await;
    for (id, uid) in [("theirs", "another-uid"), ("ours", UID)] {
        let mut record = kafka::encode(&event(id, None));
        record.headers.push(Header { name: PROCESSOR_UID.to_owned(), value: uid.into() });
        world.append(INBOX, Place::Partition(0), record).await;
    }
    let running = world.start();
    until("ours is delivered", || running.delivered() == 1).await;
    running.stop().await;
    assert_eq!(target.story(), [("ours".to_owned(), 1)]);
    assert_eq!(world.committed(INBOX, 0).await.map(|(at, _)| at), Some(2));
}

/// Whoever writes to a Producer's topic may write what he likes into its headers.
#[tokio::test]
async fn a_published_event_is_delivered_whatever_uid_it_names() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let world = World::new(&target.url, 1).await;
    let mut record = kafka::encode(&event("e", None));
    record.headers.push(Header { name: PROCESSOR_UID.to_owned(), value: "another-uid".into() });
    world.append(EVENTS, Place::Partition(0), record).await;
    let running = world.start();
    world.until_committed(1).await;
    running.stop().await;
    assert_eq!(target.story(), [("e".to_owned(), 1)]);
}

#[tokio::test]
async fn partitions_grow_and_what_was_made_for_fewer_grows_with_them() {
    let target = Target::new(|attempt| Reply::Status(if attempt.number() < 2 { 503 } else { 200 })).await;
    let mut world = World::new(&target.url, 1).await;
    world.make(INBOX, 1).await;
    let running = world.start();
    world.publish("before", None).await;
    until("it was parked and delivered", || running.delivered() == 1).await;
    running.stop().await;
    assert!(!world.records(STATE, 0).await.is_empty());

    world.make(EVENTS, 3).await;
    world.processor.partitions = 3;
    let running = world.start();
    running.until_listening().await;
    world.publish_at("after", None, 2).await;
    until("what came to a new partition was parked and delivered", || running.delivered() == 1).await;
    running.stop().await;
    assert!(!world.records(STATE, 2).await.is_empty());
}
