//! What is left after a clean stop, many records, a second process, or any sequence of calls.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::{collections::BTreeMap, path::Path, process::Command, time::Instant};

use bytes::Bytes;
use evhub_event::Record;
use evhub_journal::{
    Committed, Embedded, Journal, Place, Polled, Stored, Tail, TopicPartition, TopicSettings,
    embedded::{EmbeddedTail, OpenError, Options},
    murmur2,
};
use proptest::{option, prelude::*};

const PARTITIONS: u32 = 3;
const OTHER: &str = "EVHUB_TEST_OTHER_OPENER";

fn settings() -> TopicSettings {
    TopicSettings { partitions: PARTITIONS, max_record_bytes: 1 << 20, ..TopicSettings::default() }
}

fn at(partition: u32) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_records_are_recovered() {
    let dir = tempfile::tempdir().unwrap();
    let record = |i: u32| Record {
        key: Some(Bytes::from(i.to_string())),
        value: Some(Bytes::from(format!("{i:>400}"))),
        headers: vec![],
    };
    let mut places = Vec::new();
    {
        let log = Embedded::open(Options::new(dir.path())).unwrap();
        log.ensure("t", settings()).await.unwrap();
        for chunk in 0..100 {
            let waiting: Vec<_> =
                (0..1_000).map(|i| log.append("t", Place::ByKey, record(chunk * 1_000 + i))).collect();
            for append in waiting {
                places.push(append.await.unwrap());
            }
        }
    }
    let start = Instant::now();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    println!("opened 100 000 records in {:?}", start.elapsed());
    let mut seen = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let mut next = 0;
        while next < log.end(&at(partition)).await.unwrap() {
            let slice = log.read(&at(partition), next, 5_000, 8 << 20).await.unwrap();
            next = slice.next;
            seen.extend(slice.records.into_iter().map(|stored| ((partition, stored.offset), stored.record)));
        }
    }
    assert_eq!(seen.len(), 100_000);
    for (i, place) in (0_u32..).zip(&places) {
        assert_eq!(seen.get(&(place.partition, place.offset)), Some(&record(i)));
    }
    // Those flushed to files are found by time as well as those in memory.
    let middle = log.read(&at(1), 15_000, 1, 1).await.unwrap().records.remove(0);
    let found = log.offset_at(&at(1), middle.timestamp).await.unwrap();
    assert!(found <= 15_000);
    let found = log.read(&at(1), found, 1, 1).await.unwrap().records.remove(0);
    assert_eq!(found.timestamp, middle.timestamp);
}

/// The second process: the test that asks for it, run by itself.
fn other_opener(dir: &str) {
    match Embedded::open(Options::new(dir)) {
        Ok(_) => println!("\nopened"),
        Err(error) => println!("\n{error}"),
    }
}

fn open_elsewhere(dir: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["a_second_opener_is_told_who_has_it_and_what_to_do", "--exact", "--nocapture"])
        .env(OTHER, dir)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_second_opener_is_told_who_has_it_and_what_to_do() {
    if let Ok(dir) = std::env::var(OTHER) {
        return other_opener(&dir);
    }
    let dir = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(dir.path())).unwrap();
    let mine = std::process::id();
    let said = open_elsewhere(dir.path());
    let expected = format!(
        "{} is in use by process {mine}: stop that one, or choose another folder with --data",
        dir.path().display()
    );
    assert!(said.contains(&expected), "{said}");
    let here = Embedded::open(Options::new(dir.path())).unwrap_err();
    assert!(matches!(here, OpenError::InUse { holder, .. } if holder == Some(mine)));
    drop(log);
    assert!(open_elsewhere(dir.path()).contains("\nopened"));
}

// === any sequence of calls ===

#[derive(Clone, Debug)]
enum Step {
    Append {
        partition: u32,
        key: Option<u8>,
        value: Option<Vec<u8>>,
    },
    AppendByKey {
        key: u8,
    },
    Commit {
        member: prop::sample::Index,
        offsets: [Option<u64>; PARTITIONS as usize],
        metadata: String,
    },
    Join,
    Read {
        partition: u32,
        from: u64,
        max: usize,
    },
    Follow {
        partition: u32,
        from: u64,
    },
    /// Cleans, which changes nothing here, or seals what was written.
    Clean,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let partition = 0..PARTITIONS;
    let offset = 0_u64..20;
    let value = option::weighted(0.8, prop::collection::vec(any::<u8>(), 0..2_000));
    prop_oneof![
        6 => (partition.clone(), any::<Option<u8>>(), value)
            .prop_map(|(partition, key, value)| Step::Append { partition, key, value }),
        2 => any::<u8>().prop_map(|key| Step::AppendByKey { key }),
        3 => (any::<prop::sample::Index>(), prop::array::uniform3(option::of(offset.clone())), ".{0,9}")
            .prop_map(|(member, offsets, metadata)| Step::Commit { member, offsets, metadata }),
        2 => Just(Step::Join),
        3 => (partition.clone(), offset.clone(), 0_usize..9)
            .prop_map(|(partition, from, max)| Step::Read { partition, from, max }),
        2 => (partition, offset).prop_map(|(partition, from)| Step::Follow { partition, from }),
        1 => Just(Step::Clean),
        1 => Just(Step::Reopen),
    ]
}

/// What the log should hold.
#[derive(Default)]
struct Model {
    partitions: [Vec<Record>; PARTITIONS as usize],
    committed: BTreeMap<u32, (u64, String)>,
    generation: u64,
}

struct World<'a> {
    dir: &'a Path,
    log: Embedded,
    members: Vec<(EmbeddedTail, u64)>,
    model: Model,
}

impl World<'_> {
    async fn take(mut self, step: Step) -> Self {
        match step {
            Step::Append { partition, key, value } => {
                let key = key.map(|key| Bytes::from(vec![key]));
                let record = Record { key, value: value.map(Bytes::from), headers: vec![] };
                self.append(Place::Partition(partition), partition, record).await;
            }
            Step::AppendByKey { key } => {
                let key = vec![key];
                let partition = murmur2::partition(&key, PARTITIONS);
                let record = Record { key: Some(key.into()), value: Some("v".into()), headers: vec![] };
                self.append(Place::ByKey, partition, record).await;
            }
            Step::Commit { member, offsets, metadata } => self.commit(member, offsets, metadata).await,
            Step::Join => self.join().await,
            Step::Read { partition, from, max } => {
                let slice = self.log.read(&at(partition), from, max, usize::MAX).await.unwrap();
                let all = &self.model.partitions[partition as usize];
                let expected = all.iter().enumerate().skip(from as usize).take(max);
                same(&slice.records, expected);
                assert_eq!(slice.end, all.len() as u64);
            }
            Step::Follow { partition, from } => self.follow(partition, from).await,
            Step::Clean => self.log.clean().await.unwrap(),
            Step::Reopen => return self.reopen().await,
        }
        self
    }

    async fn append(&mut self, place: Place, partition: u32, record: Record) {
        let all = &mut self.model.partitions[partition as usize];
        let position = self.log.append("t", place, record.clone()).await.unwrap();
        assert_eq!((position.partition, position.offset), (partition, all.len() as u64));
        all.push(record);
    }

    async fn join(&mut self) {
        // The one before leaves, so that the new one owns everything.
        if let Some((tail, _)) = self.members.pop() {
            tail.leave().await;
        }
        let mut tail = self.log.join("g", &["t".into()]).await.unwrap();
        let Polled::Assigned { generation, partitions } = tail.poll().await.unwrap() else { panic!() };
        assert_eq!(partitions, [0, 1, 2]);
        assert!(generation > self.model.generation, "generations never repeat, restarts included");
        self.model.generation = generation;
        self.members.push((tail, generation));
    }

    async fn commit(
        &mut self,
        member: prop::sample::Index,
        offsets: [Option<u64>; PARTITIONS as usize],
        metadata: String,
    ) {
        if self.members.is_empty() {
            return;
        }
        let member = member.index(self.members.len());
        let (tail, mine) = &mut self.members[member];
        let named = (0..).zip(offsets).filter_map(|(partition, offset)| Some((partition, offset?)));
        let named: Vec<(u32, u64)> = named.collect();
        let commit = |(partition, offset): &(u32, u64)| Committed {
            partition: at(*partition),
            offset: *offset,
            metadata: metadata.clone(),
        };
        let result = tail.commit(named.iter().map(commit).collect()).await;
        assert_eq!(*mine, self.model.generation);
        result.unwrap();
        let kept = named.into_iter().map(|(partition, offset)| (partition, (offset, metadata.clone())));
        self.model.committed.extend(kept);
        self.check_commits().await;
    }

    async fn check_commits(&self) {
        let parts: Vec<_> = (0..PARTITIONS).map(at).collect();
        let found = self.log.committed("g", &parts).await.unwrap();
        let found: BTreeMap<_, _> =
            found.into_iter().map(|c| (c.partition.partition, (c.offset, c.metadata))).collect();
        assert_eq!(found, self.model.committed);
    }

    async fn follow(&mut self, partition: u32, from: u64) {
        let Some((tail, mine)) = self.members.last_mut() else { return };
        assert_eq!(*mine, self.model.generation, "the last to join is the newest");
        tail.seek(&at(partition), from);
        let mut seen = Vec::new();
        loop {
            match tail.poll().await.unwrap() {
                Polled::Records(from, records) if from.partition == partition => seen.extend(records),
                Polled::End(from, end) if from.partition == partition => {
                    assert_eq!(end, self.model.partitions[partition as usize].len() as u64);
                    break;
                }
                Polled::Records(..) | Polled::End(..) => {}
                other => panic!("{other:?}"),
            }
        }
        same(&seen, self.model.partitions[partition as usize].iter().enumerate().skip(from as usize));
    }

    async fn reopen(self) -> Self {
        let Self { dir, log, members, model } = self;
        drop((log, members));
        let world = Self { dir, log: Embedded::open(Options::new(dir)).unwrap(), members: vec![], model };
        world.check_commits().await;
        world
    }
}

#[track_caller]
fn same<'a>(stored: &[Stored], expected: impl Iterator<Item = (usize, &'a Record)>) {
    let stored: Vec<(usize, &Record)> = stored.iter().map(|s| (s.offset as usize, &s.record)).collect();
    assert_eq!(stored, expected.collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_calls_does_what_the_model_says(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let log = Embedded::open(Options::new(dir.path())).unwrap();
            log.ensure("t", settings()).await.unwrap();
            let mut world = World { dir: dir.path(), log, members: vec![], model: Model::default() };
            for step in steps {
                world = world.take(step).await;
            }
        });
    }
}
