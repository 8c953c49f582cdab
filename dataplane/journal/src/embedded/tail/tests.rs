//! The instant between looking and waiting, which no test from outside can hit reliably.

use bytes::Bytes;
use evhub_event::Record;

use super::*;
use crate::{Journal, Place, TopicSettings, embedded::Options};

#[tokio::test]
async fn an_append_between_looking_and_waiting_is_not_missed() {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    let settings = TopicSettings { partitions: 1, max_record_bytes: 1024, ..TopicSettings::default() };
    log.ensure("t", settings).await.unwrap();
    let mut tail = log.join("g", &["t".into()]).await.unwrap();
    tail.seek(&TopicPartition { topic: "t".into(), partition: 0 }, 0);
    while tail.look().unwrap().is_some() {}
    // Wake-ups from before are used up, so that only the append's can be there.
    while tokio::time::timeout(std::time::Duration::ZERO, tail.wake().notified()).await.is_ok() {}
    assert!(tail.look().unwrap().is_none());
    let record = Record { value: Some(Bytes::from("x")), ..Record::default() };
    log.append("t", Place::ByKey, record).await.unwrap();
    let woken = tokio::time::timeout(std::time::Duration::from_secs(5), tail.wake().notified()).await;
    assert!(woken.is_ok(), "the wake-up was lost");
    assert!(matches!(tail.look().unwrap(), Some(Polled::Records(..))));
}
