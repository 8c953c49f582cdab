//! Which dead letters there are, repeats collapsed. Reads the log.
//!
//! A delivery that was given up twice, because its owner died in between, lies in the topic twice and is one dead letter:
//! the first. Telling so needs all that came before, so a small index of a dead topic is kept and brought up to date with
//! each request. It is a cache: the topic has everything.
//!
//! A request reads only so much on the way; then it answers with what is known by then, and the next one goes on from there.
//! What all indices hold is bounded too: the one that was asked for longest ago is forgotten first.
//!
//! A Processor that is deleted and made again is another one, and has the same dead topic. What its predecessor gave up is
//! neither listed nor redriven: an index knows one uid, and the letters of another do not count.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use evhub_dispatch::dead::DeadLetter;
use evhub_event::Record;
use evhub_journal::{Error, Journal, TopicPartition};
use evhub_routing::Processor;
use tokio::sync::OwnedMutexGuard;

use super::PAGE_BYTES;
use crate::Hub;

/// How many dead letters are told apart from repeats, those of all Processors together; beyond, a repeat of one Processor's
/// is listed and counted again. About 20 MB.
const REMEMBERED: usize = 200_000;
/// How many records, and about how many bytes of them, an index is brought up to date by at once.
const BATCH: (usize, usize) = (512, 1 << 20);
/// About how many bytes one request reads to bring indices up to date: a good deal less than a second's work.
const LOOK: usize = 64 << 20;

/// The indices of all dead topics that were asked for; cheap to clone.
#[derive(Clone)]
pub(super) struct Letters {
    shelves: Arc<Mutex<Shelves>>,
    remembered: usize,
}

#[derive(Default)]
struct Shelves {
    all: HashMap<String, Shelf>,
    /// Counts how often any was asked for.
    asked: u64,
}

#[derive(Clone, Default)]
struct Shelf {
    index: Arc<tokio::sync::Mutex<Index>>,
    replaying: Arc<tokio::sync::Mutex<()>>,
    /// How many dead letters the index remembers.
    holds: Arc<AtomicUsize>,
    /// When it was asked for, as counted.
    asked: u64,
}

/// How much of dead topics a request may still read to bring indices up to date.
#[derive(Debug)]
pub(super) struct Look(usize);

/// What is known of one dead topic.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The Processor whose letters these are.
    uid: String,
    /// Where the topic began, as of the last look.
    start: u64,
    /// Where reading goes on: the end of what is known.
    end: u64,
    /// The topic's end, as of the last look.
    topic_end: u64,
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

// === impl Look ===

impl Default for Look {
    fn default() -> Self {
        Self(LOOK)
    }
}

// === impl Letters ===

impl Default for Letters {
    fn default() -> Self {
        Self { shelves: Arc::default(), remembered: REMEMBERED }
    }
}

impl Letters {
    /// The index of a dead topic, as far up to date as the look allows. Held by one request at a time.
    pub(super) async fn of<J: Journal>(
        &self,
        hub: &Hub<J>,
        processor: &Processor,
        look: &mut Look,
    ) -> Result<OwnedMutexGuard<Index>, Error> {
        let topic = &processor.dead_topic;
        let shelf = self.shelf(hub, topic);
        let mut index = shelf.index.lock_owned().await;
        if index.uid != processor.uid {
            *index = Index::new(&processor.uid);
        }
        let caught_up = index.catch_up(&hub.journal, topic, look, self.remembered).await;
        shelf.holds.store(index.first.len(), Relaxed);
        self.forget_beyond(topic);
        caught_up.map(|()| index)
    }

    /// Forgets the indices that were asked for longest ago, until all of them hold no more than they may.
    fn forget_beyond(&self, asked: &str) {
        let shelves = self.lock();
        let mut others: Vec<&Shelf> =
            shelves.all.iter().filter(|(topic, _)| *topic != asked).map(|(_, shelf)| shelf).collect();
        others.sort_by_key(|shelf| shelf.asked);
        let mut held: usize = shelves.all.values().map(|shelf| shelf.holds.load(Relaxed)).sum();
        for shelf in others {
            if held <= self.remembered {
                break;
            }
            // One that is in use is needed.
            if let Ok(mut index) = shelf.index.try_lock() {
                *index = Index::default();
                held -= shelf.holds.swap(0, Relaxed);
            }
        }
    }

    /// The right to replay from a dead topic, unless somebody does.
    pub(super) fn replay<J: Journal>(&self, hub: &Hub<J>, topic: &str) -> Option<OwnedMutexGuard<()>> {
        self.shelf(hub, topic).replaying.try_lock_owned().ok()
    }

    fn shelf<J: Journal>(&self, hub: &Hub<J>, topic: &str) -> Shelf {
        let mut shelves = self.lock();
        let Shelves { all, asked } = &mut *shelves;
        *asked += 1;
        if !all.contains_key(topic) {
            // A Processor that is gone takes its index along.
            let running = hub.running();
            all.retain(|topic, _| {
                running.processors.values().any(|processor| processor.dead_topic == *topic)
            });
        }
        let shelf = all.entry(topic.to_owned()).or_default();
        shelf.asked = *asked;
        shelf.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Index ===

impl Index {
    fn new(uid: &str) -> Self {
        Self { uid: uid.to_owned(), ..Self::default() }
    }

    /// How many dead letters there are; `None` while not all of the topic is known.
    pub(super) fn count(&self) -> Option<u64> {
        self.is_whole().then(|| self.first.len() as u64 + self.beyond)
    }

    /// Whether all of the topic is known, as of the last look.
    pub(super) fn is_whole(&self) -> bool {
        self.end >= self.topic_end
    }

    /// The topic's end, as of the last look.
    pub(super) fn topic_end(&self) -> u64 {
        self.topic_end
    }

    /// Where a dead letter lies.
    pub(super) fn find(&self, id: &str) -> Option<u64> {
        self.first.get(id).copied()
    }

    /// The dead letters from an offset on, at most so many and only as far as the index reaches; and where to read on
    /// when there may be more, which is where it began when nothing of that is known yet.
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
                journal.read(&partition(topic), from, BATCH.0.min(limit - letters.len()), bytes).await?;
            bytes = bytes.saturating_sub(slice.records.iter().map(|stored| stored.record.size()).sum());
            letters.extend(slice.records.iter().filter_map(|stored| self.letter(stored)));
            if slice.next <= from {
                return Ok((letters, None));
            }
            from = slice.next.min(self.end);
        }
        Ok((letters, (from < self.topic_end).then_some(from)))
    }

    fn letter(&self, stored: &evhub_journal::Stored) -> Option<Letter> {
        let (story, record) = DeadLetter::decode(&stored.record).ok()?;
        if story.processor_uid != self.uid {
            return None;
        }
        let first = self.find(&story.id()).is_none_or(|first| first == stored.offset);
        (first && stored.offset < self.end).then_some(Letter { at: stored.offset, story, record })
    }

    async fn catch_up<J: Journal>(
        &mut self,
        journal: &J,
        topic: &str,
        Look(look): &mut Look,
        most: usize,
    ) -> Result<(), Error> {
        // Made when first needed: without it there are none.
        let (start, end) = match journal.look_up(topic).await? {
            Some(_) => (journal.start(&partition(topic)).await?, journal.end(&partition(topic)).await?),
            None => (0, 0),
        };
        // Another log, or retention has taken some: what is left is counted anew.
        if end < self.end || start != self.start {
            *self = Self { start, end: start, ..Self::new(&self.uid) };
        }
        self.topic_end = end;
        while self.end < end && *look > 0 {
            let slice = journal.read(&partition(topic), self.end, BATCH.0, BATCH.1.min(*look)).await?;
            *look = look.saturating_sub(slice.records.iter().map(|stored| stored.record.size()).sum());
            for stored in &slice.records {
                // What strangers wrote there is no dead letter of ours.
                if let Ok((story, _)) = DeadLetter::decode(&stored.record)
                    && story.processor_uid == self.uid
                {
                    self.remember(story.id(), stored.offset, most);
                }
            }
            if slice.next <= self.end {
                self.topic_end = self.end;
                break;
            }
            self.end = slice.next;
        }
        Ok(())
    }

    fn remember(&mut self, id: String, offset: u64, most: usize) {
        if self.first.len() < most {
            self.first.entry(id).or_insert(offset);
        } else if !self.first.contains_key(&id) {
            self.beyond += 1;
        }
    }
}

#[cfg(test)]
mod tests;
