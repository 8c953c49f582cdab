//! Dead letters tell the whole story.

use std::time::Duration;

use bytes::Bytes;
use evhub_dispatch::dead::Reason;
use evhub_event::{Header, kafka};
use evhub_journal::Place;

use crate::{
    target::{Reply, Target},
    world::{EVENTS, UID, World, event, now, until_async},
};

#[tokio::test]
async fn a_dead_letter_is_complete() {
    let target =
        Target::new(|attempt| Reply::Text(500 + attempt.number() as u16, b"not today".to_vec())).await;
    let mut world = World::new(&target.url, 2).await;
    world.retry(12, Duration::from_millis(5));
    let mut record = kafka::encode(&event("e", Some("k")));
    record.headers.push(Header { name: "stranger".to_owned(), value: Bytes::from_static(b"\xff\x00") });
    world.publish_at("before", None, 1).await;
    let position = world.append(EVENTS, Place::Partition(1), record.clone()).await;
    let before = now();
    let running = world.start();
    until_async("there are two dead letters", async || world.letters().await.len() == 2).await;
    running.stop().await;

    let letters = world.letters().await;
    let (letter, original) = letters.iter().find(|(_, record)| record.key.is_some()).expect("ours");
    assert_eq!(*original, record, "key, bytes and headers are the event's own");
    assert_eq!((letter.topic.as_str(), letter.partition, letter.offset), (EVENTS, 1, position.offset));
    assert_eq!((letter.processor_uid.as_str(), letter.generation), (UID, 7));
    assert_eq!((letter.reason, letter.attempts), (Reason::MaxAttempts, 12));
    let (first, last) = (letter.first_attempt.expect("one"), letter.last_attempt.expect("one"));
    assert!(before <= first && first < last && last <= now(), "{first} to {last}");
    let numbers: Vec<u32> = letter.causes.iter().map(|cause| cause.attempt).collect();
    assert_eq!(numbers, (3..=12).collect::<Vec<_>>(), "the latest ten");
    assert!(letter.causes.iter().all(|cause| cause.text.contains("not today")));
    assert!(letter.causes.iter().all(|cause| cause.status == Some(500 + cause.attempt as u16)));
    assert_eq!(letter.causes.last().map(|cause| cause.time), Some(last));
}

#[tokio::test]
async fn first_attempt_survives_a_restart() {
    let target = Target::new(|_| Reply::Status(503)).await;
    let mut world = World::new(&target.url, 1).await;
    world.retry(3, Duration::from_millis(300));
    world.publish("e", None).await;
    let running = world.start();
    until_async("it is parked", async || !world.records(crate::world::STATE, 0).await.is_empty()).await;
    let parked_by = now();
    running.stop().await;
    let running = world.start();
    until_async("there is a dead letter", async || !world.letters().await.is_empty()).await;
    running.stop().await;
    let (letter, _) = world.letters().await.remove(0);
    assert!(letter.first_attempt.is_some_and(|first| first <= parked_by), "{letter:?}");
    assert_eq!(letter.causes.iter().map(|cause| cause.attempt).collect::<Vec<_>>(), [1, 2, 3]);
}
