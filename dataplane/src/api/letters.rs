//! Which dead letters there are, repeats collapsed. Reads the log.
//!
//! A delivery that was given up twice, because its owner died in between, lies in the topic twice and is one dead letter:
//! the first. Telling so needs all that came before, so a small index of a dead topic is kept and brought up to date with
//! each request. It is a cache: the topic has everything.
//!
//! A Processor that is deleted and made again is another one, and has the same dead topic. What its predecessor gave up is
//! neither listed nor redriven: an index knows one uid, and the letters of another do not count.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use evhub_dispatch::dead::DeadLetter;
use evhub_event::Record;
use evhub_journal::{Error, Journal, TopicPartition};
use evhub_routing::Processor;
use tokio::sync::OwnedMutexGuard;

use super::PAGE_BYTES;
use crate::Hub;

/// How many dead letters of one Processor are told apart from repeats; beyond, a repeat is listed and counted again.
/// About 20 MB at the most.
const REMEMBERED: usize = 200_000;
/// How many records are read at once.
const BATCH: usize = 512;

/// The indices of all dead topics that were asked for; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Letters(Arc<Mutex<HashMap<String, Shelf>>>);

#[derive(Clone, Default)]
struct Shelf {
    index: Arc<tokio::sync::Mutex<Index>>,
    replaying: Arc<tokio::sync::Mutex<()>>,
}

/// What is known of one dead topic.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The Processor whose letters these are.
    uid: String,
    /// Where the topic began, as of the last look.
    start: u64,
    /// Where reading goes on: the end, as of the last look.
    end: u64,
    /// Each dead letter's first offset.
    first: HashMap<String, u64>,
    /// How many came that could not be remembered.
    beyond: u64,
}

/// A dead letter in its topic.
#[derive(Debug)]
pub(super) struct Letter {
    /// Its offset in the dead topic.
    pub(super) at: u64,
    /// What happened.
    pub(super) story: DeadLetter,
    /// The event's own record.
    pub(super) record: Record,
}

/// The only partition of a dead topic.
pub(super) fn partition(topic: &str) -> TopicPartition {
    TopicPartition { topic: topic.to_owned(), partition: 0 }
}

// === impl Letters ===

impl Letters {
    /// The index of a dead topic, up to date. Held by one request at a time.
    pub(super) async fn of<J: Journal>(
        &self,
        hub: &Hub<J>,
        processor: &Processor,
    ) -> Result<OwnedMutexGuard<Index>, Error> {
        let topic = &processor.dead_topic;
        let mut index = self.shelf(hub, topic).index.lock_owned().await;
        if index.uid != processor.uid {
            *index = Index::new(&processor.uid);
        }
        index.catch_up(&hub.journal, topic).await?;
        Ok(index)
    }

    /// The right to replay from a dead topic, unless somebody does.
    pub(super) fn replay<J: Journal>(&self, hub: &Hub<J>, topic: &str) -> Option<OwnedMutexGuard<()>> {
        self.shelf(hub, topic).replaying.try_lock_owned().ok()
    }

    fn shelf<J: Journal>(&self, hub: &Hub<J>, topic: &str) -> Shelf {
        let mut shelves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shelf) = shelves.get(topic) {
            return shelf.clone();
        }
        // A Processor that is gone takes its index along.
        let running = hub.running();
        shelves
            .retain(|topic, _| running.processors.values().any(|processor| processor.dead_topic == *topic));
        shelves.entry(topic.to_owned()).or_default().clone()
    }
}

// === impl Index ===

impl Index {
    fn new(uid: &str) -> Self {
        Self { uid: uid.to_owned(), ..Self::default() }
    }

    /// How many dead letters there are.
    pub(super) fn count(&self) -> u64 {
        self.first.len() as u64 + self.beyond
    }

    /// The end as of the last look.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Where a dead letter lies.
    pub(super) fn find(&self, id: &str) -> Option<u64> {
        self.first.get(id).copied()
    }

    /// The dead letters from an offset on, at most so many and only as far as the index reaches; and where to read on
    /// when there may be more.
    pub(super) async fn page<J: Journal>(
        &self,
        journal: &J,
        topic: &str,
        mut from: u64,
        limit: usize,
    ) -> Result<(Vec<Letter>, Option<u64>), Error> {
        let mut letters = Vec::new();
        let mut bytes = PAGE_BYTES;
        from = from.max(self.start);
        while from < self.end && letters.len() < limit && bytes > 0 {
            let slice =
                journal.read(&partition(topic), from, BATCH.min(limit - letters.len()), bytes).await?;
            bytes = bytes.saturating_sub(slice.records.iter().map(|stored| stored.record.size()).sum());
            letters.extend(slice.records.iter().filter_map(|stored| self.letter(stored)));
            if slice.next <= from {
                return Ok((letters, None));
            }
            from = slice.next;
        }
        Ok((letters, (from < self.end).then_some(from)))
    }

    fn letter(&self, stored: &evhub_journal::Stored) -> Option<Letter> {
        let (story, record) = DeadLetter::decode(&stored.record).ok()?;
        if story.processor_uid != self.uid {
            return None;
        }
        let first = self.find(&story.id()).is_none_or(|first| first == stored.offset);
        (first && stored.offset < self.end).then_some(Letter { at: stored.offset, story, record })
    }

    async fn catch_up<J: Journal>(&mut self, journal: &J, topic: &str) -> Result<(), Error> {
        // Made when first needed: without it there are none.
        let (start, end) = match journal.partitions(topic) {
            Some(_) => (journal.start(&partition(topic)).await?, journal.end(&partition(topic)).await?),
            None => (0, 0),
        };
        // Another log, or retention has taken some: what is left is counted anew.
        if end < self.end || start != self.start {
            *self = Self { start, end: start, ..Self::new(&self.uid) };
        }
        while self.end < end {
            let slice = journal.read(&partition(topic), self.end, BATCH, PAGE_BYTES).await?;
            for stored in &slice.records {
                // What strangers wrote there is no dead letter of ours.
                if let Ok((story, _)) = DeadLetter::decode(&stored.record)
                    && story.processor_uid == self.uid
                {
                    self.remember(story.id(), stored.offset);
                }
            }
            if slice.next <= self.end {
                break;
            }
            self.end = slice.next;
        }
        Ok(())
    }

    fn remember(&mut self, id: String, offset: u64) {
        if self.first.len() < REMEMBERED {
            self.first.entry(id).or_insert(offset);
        } else if !self.first.contains_key(&id) {
            self.beyond += 1;
        }
    }
}
