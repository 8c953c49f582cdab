//! The log of a process that is killed at any instant: whatever was acknowledged is there, byte for byte, and nothing
//! half-written is visible.
//!
//! The child is this very binary, run again for one test; it appends and commits as fast as it can and says on its
//! standard output what was acknowledged. The parent kills it at a random instant, over and over, on the same folder.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use bytes::Bytes;
use evhub_event::{Header, Record};
use evhub_journal::{
    Committed, Embedded, Journal, Place, Polled, Tail, TopicPartition, TopicSettings, embedded::Options,
};

const DIR: &str = "EVHUB_TEST_CRASH_DIR";
const ROUND: &str = "EVHUB_TEST_CRASH_ROUND";
const ROUNDS: u64 = 40;
const PARTITIONS: u32 = 3;
const PUBLISHERS: u64 = 16;

/// Small, so that segments are begun and put together many times while the child lives.
fn options(dir: &Path) -> Options {
    Options { segment_bytes: 1 << 20, clean_every: Duration::from_millis(20), ..Options::new(dir) }
}

fn settings() -> TopicSettings {
    TopicSettings { partitions: PARTITIONS, max_record_bytes: 1 << 20, ..TopicSettings::default() }
}

fn at(partition: u32) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition }
}

/// A record that follows from its name, so that every byte can be checked.
fn record(name: &str) -> Record {
    let seed = name.bytes().fold(17_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let body: Vec<u8> = (0..seed % 9_000).map(|i| (i.wrapping_mul(seed) >> 7) as u8).collect();
    let headers = vec![Header { name: "name".into(), value: Bytes::copy_from_slice(name.as_bytes()) }];
    Record { key: Some(Bytes::copy_from_slice(name.as_bytes())), value: Some(body.into()), headers }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// The process that is killed: this test, run by itself.
fn child(dir: &str, round: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let log = Embedded::open(options(Path::new(dir))).unwrap();
        log.ensure("t", settings()).await.unwrap();
        for publisher in 0..PUBLISHERS {
            tokio::spawn(publish(log.clone(), format!("{round}-{publisher}")));
        }
        commit(log, round).await;
    });
}

async fn publish(log: Embedded, who: String) {
    for i in 0.. {
        let name = format!("{who}-{i}");
        let position = log.append("t", Place::ByKey, record(&name)).await.unwrap();
        say(&format!("ack {} {} {name}", position.partition, position.offset));
    }
}

async fn commit(log: Embedded, round: &str) {
    let mut tail = log.join("g", &["t".into()]).await.unwrap();
    let Polled::Assigned { generation, .. } = tail.poll().await.unwrap() else { panic!("not assigned") };
    say(&format!("generation {generation}"));
    for i in 1.. {
        let one = |partition| Committed {
            partition: at(partition),
            offset: i,
            metadata: format!("{round}/{i}").repeat(20),
        };
        tail.commit((0..PARTITIONS).map(one).collect()).await.unwrap();
        say(&format!("committed {i}"));
    }
}

/// What the child said before it was killed.
#[derive(Debug, Default)]
struct Said {
    acknowledged: Vec<(u32, u64, String)>,
    generation: Option<u64>,
    committed: u64,
}

fn run_and_kill(dir: &Path, round: u64, after: Duration) -> Said {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "whatever_was_acknowledged_survives_a_kill_at_any_instant",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let reader = thread::spawn(move || {
        let mut said = Said::default();
        for line in out.lines().map_while(Result::ok) {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["ack", partition, offset, name] => said.acknowledged.push((
                    partition.parse().unwrap(),
                    offset.parse().unwrap(),
                    name.to_owned(),
                )),
                ["generation", generation] => said.generation = generation.parse().ok(),
                ["committed", offset] => said.committed = offset.parse().unwrap(),
                _ => {}
            }
        }
        said
    });
    // The one wait that is meant: it picks the instant of the kill.
    thread::sleep(after);
    let ended = child.try_wait().unwrap();
    assert!(ended.is_none(), "the child ended by itself: {ended:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

/// Reads the whole log, checking every record against its name.
async fn contents(log: &Embedded) -> BTreeMap<(u32, u64), String> {
    let mut all = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let mut next = 0;
        loop {
            let slice = log.read(&at(partition), next, 1_000, 4 << 20).await.unwrap();
            for stored in slice.records {
                let name = String::from_utf8(stored.record.header("name").unwrap().to_vec()).unwrap();
                assert_eq!(stored.record, record(&name), "{name} is whole");
                assert_eq!(stored.offset, next, "no offset is skipped");
                next += 1;
                all.insert((partition, stored.offset), name);
            }
            if next == slice.end {
                break;
            }
        }
    }
    all
}

async fn check(
    dir: &Path,
    round: u64,
    said: &Said,
    before: &BTreeMap<(u32, u64), String>,
) -> BTreeMap<(u32, u64), String> {
    let log = Embedded::open(options(dir)).unwrap();
    if log.partitions("t").is_none() {
        assert!(said.acknowledged.is_empty() && before.is_empty());
        return BTreeMap::new();
    }
    let now = contents(&log).await;
    for (place, name) in before {
        assert_eq!(now.get(place), Some(name), "what was there stays");
    }
    for (partition, offset, name) in &said.acknowledged {
        assert_eq!(now.get(&(*partition, *offset)), Some(name), "acknowledged, so it is there");
    }
    let mut names: Vec<&String> = now.values().collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "nothing is there twice");
    let parts: Vec<_> = (0..PARTITIONS).map(at).collect();
    let committed = log.committed("g", &parts).await.unwrap();
    if said.committed > 0 {
        let offsets: Vec<u64> = committed.iter().map(|committed| committed.offset).collect();
        assert!(offsets.len() == 3 && offsets.iter().all(|offset| *offset == offsets[0]), "{offsets:?}");
        assert!(offsets[0] >= said.committed, "{offsets:?} after {} was acknowledged", said.committed);
        assert!(committed.iter().all(|c| c.metadata == format!("{round}/{}", c.offset).repeat(20)));
    }
    now
}

#[test]
fn whatever_was_acknowledged_survives_a_kill_at_any_instant() {
    if let (Ok(dir), Ok(round)) = (std::env::var(DIR), std::env::var(ROUND)) {
        return child(&dir, &round);
    }
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut all = BTreeMap::new();
    let (mut generation, mut acknowledged) = (0, 0);
    // Differs from run to run; the instant of a kill cannot be replayed anyway.
    let mut dice = u64::from(std::process::id());
    for round in 0..ROUNDS {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The first rounds strike while the folder is being made, the later ones anywhere.
        let after = Duration::from_micros((dice >> 33) % if round < 10 { 30_000 } else { 250_000 });
        let said = run_and_kill(dir.path(), round, after);
        acknowledged += said.acknowledged.len();
        if let Some(newer) = said.generation {
            assert!(newer > generation, "generation {newer} after {generation}");
            generation = newer;
        }
        all = runtime.block_on(check(dir.path(), round, &said, &all));
    }
    println!("{ROUNDS} kills, {acknowledged} records acknowledged, {} in the log", all.len());
    assert!(acknowledged > 100, "the kills struck before anything happened: {acknowledged}");
    assert!(all.len() >= acknowledged);
}
