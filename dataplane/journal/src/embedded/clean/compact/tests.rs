//! What is superfluous, against a model that remembers everything.

use std::{collections::BTreeSet, sync::Arc};

use evhub_event::Record;

use super::{
    super::super::{
        Embedded,
        open::Options,
        request::{Request, Tidy},
    },
    *,
};
use crate::{Journal, Place as To, TopicSettings};

const PART: Part = Part { topic: 1, partition: 0 };
static GOES_ON: AtomicBool = AtomicBool::new(false);

/// A key, and whether the record is more than a tombstone.
type Kept = (u32, bool);

/// A log of these records, in three segments and the one that is written.
async fn log(records: &[Kept]) -> (Arc<Log>, Embedded, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    let settings =
        TopicSettings { partitions: 1, max_record_bytes: 1 << 20, compacted: true, ..Default::default() };
    log.ensure("t", settings).await.unwrap();
    for records in records.chunks(records.len().div_ceil(4)) {
        let all: Vec<_> =
            records.iter().map(|record| log.append("t", To::Partition(0), made(*record))).collect();
        for append in all {
            append.await.unwrap();
        }
        if log.core().log().unwrap().sealed.len() < 3 {
            let rolled = log.core().ask(|reply| Request::Tidy { tidy: Tidy::Roll, reply });
            rolled.await.unwrap().unwrap();
        }
    }
    (log.core().log().unwrap(), log, dir)
}

fn made((key, kept): Kept) -> Record {
    let value = kept.then(|| vec![b'v'; key as usize % 7].into());
    Record { key: Some(key.to_string().into()), value, ..Record::default() }
}

fn rule(now: i64) -> Rule<'static> {
    Rule { now, tombstones: Duration::from_secs(1), thorough: true, stop: &GOES_ON }
}

/// The offsets that are marked, and whether the bytes that are counted are theirs.
fn marked(log: &Log, dead: &Dead) -> BTreeSet<u64> {
    let mut marked = BTreeSet::new();
    for segment in log.sealed.iter().chain([&log.active]) {
        let (mut number, mut bytes) = (0, 0);
        for entry in segment.entries(PART, |_| false, usize::MAX).unwrap() {
            for raw in codec::records(entry.base, &segment.body(PART, &entry).unwrap()).map(Result::unwrap) {
                if dead.contains(segment.name.id, number) {
                    marked.insert(raw.offset);
                    bytes += raw.len() as u64;
                }
                number += 1;
            }
        }
        assert_eq!(dead.bytes(segment.name.id), bytes);
    }
    marked
}

/// Far more keys than are compared at once, so that the partition is read again and again.
#[tokio::test]
async fn all_but_the_newest_of_each_key_is_superfluous_however_many_keys() {
    let records: Vec<Kept> = (0..700).map(|i: u32| (i.wrapping_mul(2_654_435_761) % 300, true)).collect();
    let (log, ..) = log(&records).await;
    let dead = Compaction::default().look(&log, PART, rule(0)).unwrap().unwrap();
    let newest: BTreeMap<u32, u64> = (0..).zip(&records).map(|(at, (key, _))| (*key, at)).collect();
    let newest: BTreeSet<u64> = newest.into_values().collect();
    assert_eq!(marked(&log, &dead), (0..700).filter(|at| !newest.contains(at)).collect());
}

/// Those that have waited are not forgotten for others: with more of them than are waited for at once, none would ever go.
#[tokio::test]
async fn tombstones_that_have_waited_keep_their_turn() {
    let (log, ..) = log(&(0..50).map(|key| (key, false)).collect::<Vec<_>>()).await;
    let mut compaction = Compaction::default();
    let mut gone = BTreeSet::new();
    for turn in 0..5 {
        let since: Vec<_> = compaction.alone.keys().copied().collect();
        for now in [0, 500, 999] {
            let dead = compaction.look(&log, PART, rule(turn * 1_000 + now)).unwrap().unwrap();
            gone.extend(marked(&log, &dead));
        }
        assert!(since.iter().all(|offset| gone.contains(offset)), "turn {turn}");
        assert!(compaction.alone.len() <= WAITING);
    }
    assert!(gone.len() >= WAITING, "{}", gone.len());
}

/// A tombstone stays while something older of its key is there, and for a while after.
#[tokio::test]
async fn a_tombstone_goes_when_it_has_been_alone_for_long_enough() {
    let (log, ..) = log(&[(1, true), (2, false), (1, false), (3, true)]).await;
    let mut compaction = Compaction::default();
    let mut look = |now| marked(&log, &compaction.look(&log, PART, rule(now)).unwrap().unwrap());
    assert_eq!(look(5), BTreeSet::from([0]));
    assert_eq!(look(1_004), BTreeSet::from([0]));
    assert_eq!(look(1_005), BTreeSet::from([0, 1]));
}

#[tokio::test]
async fn who_is_told_to_stop_finds_nothing() {
    let (log, ..) = log(&[(1, true), (1, true)]).await;
    let stop = AtomicBool::new(true);
    let found = Compaction::default().look(&log, PART, Rule { stop: &stop, ..rule(0) }).unwrap();
    assert_eq!(found, None);
}
