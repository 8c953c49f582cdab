//! Records that no event can be read from, and parked deliveries that cannot be read: written by strangers.

use std::time::Duration;

use bytes::Bytes;
use evhub_dispatch::{
    Progress,
    dead::Reason,
    parked::{Parked, encode_key},
    protocol::{Kind, StateKey},
};
use evhub_event::{Header, Record, kafka};
use evhub_journal::Place;

use crate::{
    target::{Reply, Target},
    world::{EVENTS, STATE, UID, World, event, until, until_async},
};

fn header(name: &str, value: &'static [u8]) -> Header {
    Header { name: name.to_owned(), value: Bytes::from_static(value) }
}

#[tokio::test]
async fn strangers_records_become_dead_letters_and_the_partition_goes_on() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let world = World::new(&target.url, 1).await;
    let undecodable = Record {
        key: Some(Bytes::from_static(b"k")),
        value: Some(Bytes::from_static(b"body")),
        headers: vec![header("ce_specversion", b"1.0"), header("ce_id", b"\xff")],
    };
    let empty = Record { key: None, value: Some(Bytes::new()), headers: vec![header("other", b"x")] };
    let tombstone = Record { key: Some(Bytes::from_static(b"k")), value: None, headers: vec![] };
    let foreign = Record { key: None, value: Some(Bytes::from_static(b"{}")), headers: vec![] };
    world.publish("before", Some("k")).await;
    for record in [&undecodable, &empty, &tombstone, &foreign] {
        world.append(EVENTS, Place::Partition(0), record.clone()).await;
    }
    world.publish("after", Some("k")).await;
    let running = world.start();
    world.until_committed(6).await;
    assert_eq!(running.delivered(), 2);
    assert_eq!(Progress::get(&running.progress.poisoned), 4);
    running.stop().await;

    let mut letters = world.letters().await;
    letters.sort_by_key(|(letter, _)| letter.offset);
    let told: Vec<_> =
        letters.iter().map(|(letter, record)| (letter.offset, letter.reason, record)).collect();
    let expected = [
        (1, Reason::PoisonDecode, &undecodable),
        (2, Reason::PoisonEmpty, &empty),
        (4, Reason::PoisonDecode, &foreign),
    ];
    assert_eq!(told, expected);
    for (letter, _) in &letters {
        assert_eq!((letter.attempts, letter.first_attempt, letter.last_attempt), (0, None, None));
        assert_eq!(letter.causes.len(), 1, "it says what is wrong");
    }
    assert_eq!(target.story(), [("before".to_owned(), 1), ("after".to_owned(), 1)]);
}

/// A parked delivery as a worker of another time would have left it.
fn parked(uid: &str, id: &str, seq: u64, offset: u64) -> Record {
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
        event: kafka::encode(&event(id, None)),
    };
    parked.encode(encode_key(uid, StateKey { epoch: 1, seq, nonce: 9 }))
}

fn unreadable(seq: u64) -> Record {
    Record {
        key: Some(encode_key(UID, StateKey { epoch: 1, seq, nonce: 9 })),
        value: Some(Bytes::from_static(b"data")),
        headers: vec![header("evhub-parked", b"{\"version\":99}")],
    }
}

#[tokio::test]
async fn parked_state_that_cannot_be_read_becomes_a_dead_letter_once() {
    let target = Target::new(|_| Reply::Status(503)).await;
    let mut world = World::new(&target.url, 1).await;
    world.retry(100, Duration::from_mins(1));
    world.make(STATE, 1).await;
    // The readable one stays parked, so that every owner reads from here on.
    world.append(STATE, Place::Partition(0), parked(UID, "e", 1, 0)).await;
    world.append(STATE, Place::Partition(0), unreadable(2)).await;
    world.publish("e", None).await;
    let running = world.start();
    until_async("there is a dead letter", async || !world.letters().await.is_empty()).await;
    until_async("it has its tombstone", async || {
        world.records(STATE, 0).await.iter().any(|stored| stored.record.value.is_none())
    })
    .await;
    until("the other one is attempted", || target.count() == 1).await;
    assert_eq!(Progress::get(&running.progress.poisoned), 1);
    running.stop().await;
    let (letter, record) = world.letters().await.remove(0);
    assert_eq!((letter.topic.as_str(), letter.offset, letter.reason), (STATE, 1, Reason::PoisonState));
    assert_eq!(record, unreadable(2));

    let running = world.start();
    running.until_listening().await;
    running.stop().await;
    assert_eq!(world.letters().await.len(), 1, "the next owner does not bury it again");
}

#[tokio::test]
async fn parked_deliveries_of_a_predecessor_of_the_same_name_are_left_alone() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let world = World::new(&target.url, 1).await;
    world.make(STATE, 1).await;
    world.append(STATE, Place::Partition(0), parked("another-uid", "theirs", 1, 0)).await;
    world.append(STATE, Place::Partition(0), parked(UID, "ours", 2, 0)).await;
    let running = world.start();
    // Replay passes the place of the parked delivery, so that it may go.
    world.publish("ours", None).await;
    until("ours is delivered", || running.delivered() == 1).await;
    world.until_committed(1).await;
    running.stop().await;
    assert_eq!(target.story(), [("ours".to_owned(), 2)]);
    assert!(world.letters().await.is_empty());
}
