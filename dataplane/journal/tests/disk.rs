//! A disk that fills up, on a small file system of its own: refusals are honest, what was acknowledged stays, and all
//! is well again when space returns, without a restart. Needs to be root, for mounting.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bytes::Bytes;
use evhub_event::Record;
use evhub_journal::{
    Committed, Embedded, Journal, Place, Polled, Position, Refusal, Tail, TopicPartition, TopicSettings,
    WriteError, embedded::Options,
};

const MIB: usize = 1 << 20;

/// A small tmpfs, unmounted when dropped.
struct Disk(PathBuf, #[expect(dead_code, reason = "keeps the mount point")] tempfile::TempDir);

impl Disk {
    fn new(megabytes: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "evhub-test"]).arg(dir.path()).status();
        assert!(mounted.unwrap().success(), "mounting a tmpfs needs root: run the tests as root");
        Self(dir.path().to_owned(), dir)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn settings(reserved: bool) -> TopicSettings {
    TopicSettings { partitions: 1, max_record_bytes: MIB, reserved, ..TopicSettings::default() }
}

fn at(topic: &str) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition: 0 }
}

fn record(i: usize) -> Record {
    let body: Vec<u8> = (0..(32 << 10)).map(|at| (at * 7 + i) as u8).collect();
    Record { key: Some(Bytes::from(i.to_string())), value: Some(body.into()), headers: vec![] }
}

async fn append(log: &Embedded, topic: &str, i: usize) -> Result<Position, WriteError> {
    log.append(topic, Place::Partition(0), record(i)).await
}

/// Appends until refused; gives back what was accepted, and the refusal.
async fn fill(log: &Embedded, topic: &str) -> (Vec<(usize, u64)>, WriteError) {
    let mut accepted = Vec::new();
    for i in 0..10_000 {
        match append(log, topic, i).await {
            Ok(position) => accepted.push((i, position.offset)),
            Err(error) => return (accepted, error),
        }
    }
    panic!("the disk never filled up");
}

async fn check(log: &Embedded, topic: &str, accepted: &[(usize, u64)]) {
    for (i, offset) in accepted {
        let slice = log.read(&at(topic), *offset, 1, MIB).await.unwrap();
        assert_eq!((slice.records[0].offset, &slice.records[0].record), (*offset, &record(*i)));
    }
}

/// Tries again until the log takes writes.
async fn healed(log: &Embedded, topic: &str, i: usize) -> Position {
    let again = async {
        loop {
            match append(log, topic, i).await {
                Ok(position) => return position,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), again).await.expect("it never takes writes again")
}

fn ballast(disk: &Path, bytes: usize) -> PathBuf {
    let path = disk.join("ballast");
    fs::write(&path, vec![0; bytes]).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_events_but_lets_the_hub_finish() {
    let disk = Disk::new(48);
    let ballast = ballast(&disk.0, 16 * MIB);
    let options = Options { reserve_bytes: 8 << 20, ..Options::new(disk.0.join("data")) };
    let log = Embedded::open(options.clone()).unwrap();
    log.ensure("events", settings(false)).await.unwrap();
    log.ensure("dead", settings(true)).await.unwrap();
    let mut tail = log.join("g", &["events".into()]).await.unwrap();

    assert!(matches!(tail.poll().await.unwrap(), Polled::Assigned { .. }));

    let (accepted, error) = fill(&log, "events").await;
    assert!(matches!(error, WriteError::Rejected(Refusal::Full(_))), "{error:?}");
    assert!(accepted.len() > 20, "{}", accepted.len());
    assert!(matches!(append(&log, "events", 1).await, Err(WriteError::Rejected(Refusal::Full(_)))));

    // What lets the hub finish events it has still goes on, until half of the reserve is used.
    let committed = Committed { partition: at("events"), offset: 7, metadata: "m".into() };
    tail.commit(vec![committed.clone()]).await.unwrap();
    let (dead, error) = fill(&log, "dead").await;
    assert!(matches!(error, WriteError::Rejected(Refusal::Full(_))), "{error:?}");
    assert!(dead.len() > 20, "{}", dead.len());

    check(&log, "events", &accepted).await;
    check(&log, "dead", &dead).await;
    assert_eq!(log.end(&at("events")).await.unwrap(), accepted.len() as u64, "what was refused is not there");

    fs::remove_file(ballast).unwrap();
    let position = healed(&log, "events", 77_777).await;
    assert_eq!(position.offset, accepted.len() as u64);
    drop((log, tail));
    let log = Embedded::open(options).unwrap();
    check(&log, "events", &accepted).await;
    check(&log, "dead", &dead).await;
    check(&log, "events", &[(77_777, position.offset)]).await;
    assert_eq!(log.committed("g", &[at("events")]).await.unwrap(), [committed]);
}

/// Nothing is kept in reserve, so writes fail in the middle, as when somebody else fills the disk between the look at its
/// free space and the write.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_is_honest_and_the_log_comes_back() {
    let disk = Disk::new(32);
    let ballast = ballast(&disk.0, 16 * MIB);
    let options = Options { reserve_bytes: 0, ..Options::new(disk.0.join("data")) };

    let log = Embedded::open(options.clone()).unwrap();
    log.ensure("events", settings(false)).await.unwrap();
    let mut tail = log.join("g", &["events".into()]).await.unwrap();
    assert!(matches!(tail.poll().await.unwrap(), Polled::Assigned { .. }));
    let (mut accepted, mut unknown, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..1_500 {
        match append(&log, "events", i).await {
            Ok(position) => accepted.push((i, position.offset)),
            Err(WriteError::Unknown(_)) => unknown.push(i),
            Err(WriteError::Rejected(Refusal::Unavailable(_))) => refused.push(i),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(!unknown.is_empty() || !refused.is_empty(), "the disk never filled up");
    println!("{} accepted, {} unknown, {} refused", accepted.len(), unknown.len(), refused.len());

    fs::remove_file(ballast).unwrap();
    let position = healed(&log, "events", 77_777).await;
    accepted.push((77_777, position.offset));
    check(&log, "events", &accepted).await;
    let slice = log.read(&at("events"), 0, usize::MAX, usize::MAX).await.unwrap();
    for stored in &slice.records {
        let key = stored.record.key.clone().unwrap();
        let i: usize = std::str::from_utf8(&key).unwrap().parse().unwrap();
        assert_eq!(stored.record, record(i), "nothing half-written");
        assert!(!refused.contains(&i), "{i} was refused and is there");
        assert!(accepted.contains(&(i, stored.offset)) || unknown.contains(&i) || i == 77_777);
    }
    // A member that was there before goes on as if nothing had been.
    tail.seek(&at("events"), position.offset);
    let polled = tail.poll().await.unwrap();
    assert!(
        matches!(&polled, Polled::Records(_, records) if records[0].record == record(77_777)),
        "{polled:?}"
    );
    tail.commit(vec![]).await.unwrap();
    drop((log, tail));
    check(&Embedded::open(options).unwrap(), "events", &accepted).await;
}
