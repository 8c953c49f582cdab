//! A model of Kafka, as far as transactions go: what is written is seen once its transaction is decided, and whoever becomes
//! the producer of a transactional id decides all that its predecessors left open. An order to end a transaction may come
//! late, and then ends whichever one its epoch has open: brokers know no better of this client's.

use std::collections::BTreeMap;

use evhub_event::Record;
use evhub_journal::{Position, Stored};

/// How a transaction ended, if it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Open,
    Committed,
    Aborted,
}

#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) record: Record,
    pub(super) epoch: u64,
    pub(super) transaction: usize,
    pub(super) at: i64,
}

/// Who may write under a transactional id, and what is open under it.
#[derive(Clone, Debug, Default)]
struct Coordinator {
    epoch: u64,
    open: Option<usize>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Kafka {
    pub(super) partitions: BTreeMap<(String, u32), Vec<Written>>,
    pub(super) fates: Vec<Fate>,
    coordinators: BTreeMap<u32, Coordinator>,
    /// Up to where each partition is compacted.
    clean: BTreeMap<(String, u32), usize>,
    /// From where on each partition is still there.
    starts: BTreeMap<(String, u32), u64>,
}

/// The epoch is not the current one.
#[derive(Debug)]
pub(super) struct Fenced;

impl Kafka {
    /// Appends outside of any transaction.
    pub(super) fn append(&mut self, topic: &str, partition: u32, record: Record, at: i64) -> u64 {
        self.fates.push(Fate::Committed);
        let transaction = self.fates.len() - 1;
        self.write(topic, partition, Written { record, epoch: 0, transaction, at })
    }

    /// Becomes the producer: what is open is decided, and the epoch is a new one.
    pub(super) fn init(&mut self, id: u32) -> u64 {
        self.abort(id);
        let coordinator = self.coordinators.entry(id).or_default();
        coordinator.epoch += 1;
        coordinator.epoch
    }

    /// Writes in the transaction of an epoch, which begins with its first record.
    pub(super) fn produce(
        &mut self,
        (id, epoch): (u32, u64),
        (topic, partition): (&str, u32),
        record: Record,
        at: i64,
    ) -> Result<Position, Fenced> {
        let coordinator = self.coordinators.entry(id).or_default();
        if coordinator.epoch != epoch {
            return Err(Fenced);
        }
        let transaction = *coordinator.open.get_or_insert_with(|| {
            self.fates.push(Fate::Open);
            self.fates.len() - 1
        });
        let offset = self.write(topic, partition, Written { record, epoch, transaction, at });
        Ok(Position { partition, offset })
    }

    /// Commits whatever is open under this epoch.
    pub(super) fn end(&mut self, id: u32, epoch: u64) -> Result<(), Fenced> {
        let coordinator = self.coordinators.entry(id).or_default();
        if coordinator.epoch != epoch {
            return Err(Fenced);
        }
        if let Some(open) = coordinator.open.take() {
            self.fates[open] = Fate::Committed;
        }
        Ok(())
    }

    /// Aborts whatever is open under this epoch.
    pub(super) fn give_up(&mut self, id: u32, epoch: u64) {
        if self.coordinators.entry(id).or_default().epoch == epoch {
            self.abort(id);
        }
    }

    /// Aborts whatever is open.
    fn abort(&mut self, id: u32) {
        if let Some(open) = self.coordinators.entry(id).or_default().open.take() {
            self.fates[open] = Fate::Aborted;
        }
    }

    /// The coordinator gives up on a transaction that is open for long, and on its producer.
    pub(super) fn time_out(&mut self, id: u32) {
        if self.coordinators.entry(id).or_default().open.is_some() {
            self.init(id);
        }
    }

    /// Up to where a reader of what is decided sees.
    pub(super) fn end_of(&self, topic: &str, partition: u32) -> u64 {
        let written = self.all(topic, partition);
        let open = written.iter().position(|written| self.fates[written.transaction] == Fate::Open);
        open.unwrap_or(written.len()) as u64
    }

    /// Compacts everything that is decided by now.
    pub(super) fn compact(&mut self, topic: &str, partition: u32) {
        let end = self.end_of(topic, partition) as usize;
        self.clean.insert((topic.to_owned(), partition), end);
    }

    /// Gives up what lies before an offset. Whoever judges still sees it.
    pub(super) fn trim(&mut self, topic: &str, partition: u32, before: u64) {
        let start = self.starts.entry((topic.to_owned(), partition)).or_default();
        *start = before.max(*start);
    }

    /// Where a partition begins.
    pub(super) fn start_of(&self, topic: &str, partition: u32) -> u64 {
        self.starts.get(&(topic.to_owned(), partition)).copied().unwrap_or(0)
    }

    /// Reads a few records that are decided and committed.
    pub(super) fn read(&self, topic: &str, partition: u32, from: u64, most: usize) -> (Vec<Stored>, u64) {
        let (written, end) = (self.all(topic, partition), self.end_of(topic, partition));
        let clean = self.clean.get(&(topic.to_owned(), partition)).copied().unwrap_or(0);
        let (mut found, mut next) = (Vec::new(), from.max(self.start_of(topic, partition)));
        while next < end && found.len() < most {
            let at = next as usize;
            next += 1;
            let superseded = |at: usize| {
                let key = &written[at].record.key;
                let newer = written.iter().enumerate().take(clean).skip(at + 1);
                newer
                    .filter(|(_, newer)| self.fates[newer.transaction] == Fate::Committed)
                    .any(|(_, newer)| newer.record.key == *key)
            };
            if self.fates[written[at].transaction] == Fate::Committed && !superseded(at) {
                let Written { record, at: timestamp, .. } = written[at].clone();
                found.push(Stored { offset: at as u64, timestamp, record });
            }
        }
        (found, next)
    }

    /// All that readers see, with offsets.
    pub(super) fn visible(&self, topic: &str, partition: u32) -> impl Iterator<Item = (u64, &Written)> {
        let seen = |(_, written): &(u64, &Written)| self.fates[written.transaction] == Fate::Committed;
        (0..).zip(self.all(topic, partition)).filter(seen)
    }

    fn all(&self, topic: &str, partition: u32) -> &[Written] {
        self.partitions.get(&(topic.to_owned(), partition)).map_or(&[], Vec::as_slice)
    }

    fn write(&mut self, topic: &str, partition: u32, written: Written) -> u64 {
        let all = self.partitions.entry((topic.to_owned(), partition)).or_default();
        all.push(written);
        all.len() as u64 - 1
    }
}
