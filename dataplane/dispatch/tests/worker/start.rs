//! Where a Processor begins to read, and what it may come to read later.

use evhub_event::{Header, kafka, record::PROCESSOR_UID};
use evhub_journal::{Journal, Place, TopicPartition, TopicSettings};
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
    let short = TopicSettings { retention: Some(std::time::Duration::from_millis(1)), ..kept };
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
