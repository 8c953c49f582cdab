//! On a bad day: whatever fails, comes late or is taken away, nothing that was acknowledged is lost, nothing that was
//! refused appears, and each key's records are first seen in their order.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use evhub_event::Record;
use evhub_journal::{
    Chain, CommitError, Committed, Embedded, Error, Journal, Place, Polled, Refusal, Tail, TopicPartition,
    TopicSettings, WriteError,
    embedded::Options,
    unpleasant::{Faults, Unpleasant},
};
use tokio::sync::Notify;

const KEYS: u64 = 8;
const EACH: u64 = 60;
const MEMBERS: usize = 2;
const PARTITIONS: u32 = 3;

type Log = Unpleasant<Embedded>;

fn at(partition: u32) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition }
}

/// Publishes one key's numbers in order, each until it is acknowledged; gives back what was refused.
async fn publish(log: Log, key: u64) -> BTreeSet<(u64, u64, u32)> {
    let mut refused = BTreeSet::new();
    for number in 0..EACH {
        for attempt in 0.. {
            let value = Some(Bytes::from(format!("{key} {number} {attempt}")));
            let record = Record { key: Some(Bytes::from(key.to_string())), value, headers: vec![] };
            match log.append("t", Place::ByKey, record).await {
                Ok(_) => break,
                Err(WriteError::Unknown(_)) => {}
                Err(WriteError::Rejected(_)) => drop(refused.insert((key, number, attempt))),
            }
        }
    }
    refused
}

/// What members have seen, first in order.
#[derive(Default)]
struct Seen {
    all: BTreeSet<(u64, u64, u32)>,
    next: BTreeMap<u64, u64>,
}

impl Seen {
    fn see(&mut self, value: &[u8]) {
        let numbers: Vec<u64> =
            std::str::from_utf8(value).unwrap().split(' ').map(|number| number.parse().unwrap()).collect();
        let (key, number) = (numbers[0], numbers[1]);
        self.all.insert((key, number, numbers[2] as u32));
        let next = self.next.entry(key).or_default();
        assert!(number <= *next, "{key}: {number} is seen before {next}");
        *next = (*next).max(number + 1);
    }

    fn is_complete(&self) -> bool {
        self.next.len() as u64 == KEYS && self.next.values().all(|next| *next == EACH)
    }
}

/// A member's life, over and over: what it reads it commits, and whatever is unclear has it join anew.
async fn follow(log: Log, seen: Arc<std::sync::Mutex<Seen>>, done: Arc<Notify>) {
    loop {
        let mut tail = log.join("g", &["t".into()]).await.unwrap();
        loop {
            match tail.poll().await {
                Ok(Polled::Assigned { partitions, .. }) => {
                    for partition in partitions {
                        let committed = log.committed("g", &[at(partition)]).await.unwrap();
                        let from = match committed.first() {
                            Some(committed) => committed.offset,
                            None => log.start(&at(partition)).await.unwrap(),
                        };
                        tail.seek(&at(partition), from);
                    }
                }
                Ok(Polled::Revoked(partitions)) => tail.release(&partitions),
                Ok(Polled::Lost(_)) => break,
                Ok(Polled::End(..)) => {}
                Ok(Polled::Records(partition, records)) => {
                    let complete = {
                        let mut seen = seen.lock().unwrap();
                        for stored in &records {
                            seen.see(stored.record.value.as_ref().unwrap());
                        }
                        seen.is_complete()
                    };
                    if complete {
                        done.notify_one();
                    }
                    let offset = records.last().unwrap().offset + 1;
                    let commit = vec![Committed { partition, offset, metadata: String::new() }];
                    match tail.commit(commit).await {
                        Ok(()) | Err(CommitError::Rejected(_)) => {}
                        Err(CommitError::Unknown(_) | CommitError::Stale { .. }) => break,
                    }
                }
                Err(Error::OutOfRange { .. }) => panic!("nothing goes away here"),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_on_a_bad_day() {
    let seed = Log::seed();
    println!("seed {seed}");
    let dir = tempfile::tempdir().unwrap();
    let embedded =
        Embedded::open(Options { rebalance: Duration::from_secs(5), ..Options::new(dir.path()) }).unwrap();
    let log = Unpleasant::new(embedded, seed, Faults::harsh());
    let settings =
        TopicSettings { partitions: PARTITIONS, max_record_bytes: 1 << 20, ..TopicSettings::default() };
    log.ensure("t", settings).await.unwrap();
    let (seen, done) = (Arc::new(std::sync::Mutex::new(Seen::default())), Arc::new(Notify::new()));
    let mut members = tokio::task::JoinSet::new();
    for _ in 0..MEMBERS {
        members.spawn(follow(log.clone(), Arc::clone(&seen), Arc::clone(&done)));
    }
    let mut publishers = tokio::task::JoinSet::new();
    (0..KEYS).for_each(|key| drop(publishers.spawn(publish(log.clone(), key))));
    let refused: BTreeSet<_> = publishers.join_all().await.into_iter().flatten().collect();
    assert!(!refused.is_empty(), "the day was not bad");
    tokio::select! {
        () = done.notified() => {}
        ended = members.join_next() => panic!("a member ended: {ended:?}"),
        () = tokio::time::sleep(Duration::from_secs(50)) => panic!("not all was seen: {:?}", seen.lock().unwrap().next),
    }
    let seen = seen.lock().unwrap();
    assert!(seen.all.is_disjoint(&refused), "what was refused never appears");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_passes_what_was_not_taken_of_its_chain_on_a_bad_day() {
    const LINKS: usize = 12;
    let seed = Log::seed();
    println!("seed {seed}");
    let dir = tempfile::tempdir().unwrap();
    let log = Unpleasant::new(Embedded::open(Options::new(dir.path())).unwrap(), seed, Faults::harsh());
    log.ensure("t", TopicSettings { partitions: 1, max_record_bytes: 1 << 20, ..Default::default() })
        .await
        .unwrap();
    let mut torn = 0;
    for _ in 0..200 {
        let mut chain = Chain::default();
        let sent: Vec<_> =
            (0..LINKS).map(|_| log.append("t", Place::Behind(chain.link()), Record::default())).collect();
        let mut ends = Vec::new();
        for sent in sent {
            ends.push(sent.await);
        }
        let taken = ends.iter().take_while(|end| end.is_ok()).count();
        let mut rest = ends[taken..].iter();
        assert!(!matches!(rest.next(), Some(Err(WriteError::Rejected(Refusal::Behind)))), "{ends:?}");
        assert!(rest.all(|end| matches!(end, Err(WriteError::Rejected(Refusal::Behind)))), "{ends:?}");
        torn += usize::from(taken + 1 < LINKS);
    }
    assert!(torn > 0, "the day was not bad");
}
