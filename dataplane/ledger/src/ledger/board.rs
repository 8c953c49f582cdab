//! What the leaders of this process note down for others: figures, and how many timers of each Producer are pending.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{leader::Leader, shard::Tally};

/// The figures of all shards that are led here; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    shards: BTreeMap<u32, Note>,
    /// Of those that are not led here any more.
    past: Tally,
    doubts: u64,
    passed: u64,
    takeovers: u64,
}

#[derive(Debug, Default)]
struct Note {
    leads: bool,
    waiting: usize,
    quarantined: usize,
    keys: usize,
    pending: HashMap<Arc<str>, u64>,
    timers: u64,
    halves: (usize, usize),
    tally: Tally,
}

/// The figures of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// How many shards are led here.
    pub led: u64,
    /// How many timers are pending in them.
    pub pending: u64,
    /// How many half messages are prepared.
    pub prepared: u64,
    /// How many of them nobody is asked about any more.
    pub held: u64,
    /// How many commands wait to be applied.
    pub waiting: u64,
    /// How many destinations are left in peace because they fail.
    pub quarantined: u64,
    /// How many keys of publishes are remembered.
    pub keys: u64,
    /// What happened to timers.
    pub tally: Tally,
    /// How often a transaction's ending was in doubt, or refused.
    pub doubts: u64,
    /// How many records could not be read.
    pub passed: u64,
    /// How often a shard was taken over.
    pub takeovers: u64,
}

impl Board {
    /// All of it.
    pub fn figures(&self) -> Figures {
        let inner = self.lock();
        let mut figures = Figures {
            tally: inner.past,
            doubts: inner.doubts,
            passed: inner.passed,
            takeovers: inner.takeovers,
            ..Figures::default()
        };
        for note in inner.shards.values() {
            figures.led += u64::from(note.leads);
            figures.pending += note.timers;
            figures.prepared += note.halves.0 as u64;
            figures.held += note.halves.1 as u64;
            figures.waiting += note.waiting as u64;
            figures.quarantined += note.quarantined as u64;
            figures.keys += note.keys as u64;
            figures.tally.add(note.tally);
        }
        figures
    }

    /// How many timers of a Producer are pending here.
    pub fn pending(&self, producer: &str) -> u64 {
        self.lock().shards.values().filter_map(|note| note.pending.get(producer)).sum()
    }

    /// How many the other shards have, of so many: those that are led elsewhere are taken to be as full as those here.
    pub(crate) fn others(&self, producer: &str, shard: u32, shards: u32) -> u64 {
        let inner = self.lock();
        let others = inner.shards.iter().filter(|(number, note)| **number != shard && note.leads);
        let (mut count, mut sum) = (0, 0);
        for (_, note) in others {
            count += 1;
            sum += note.pending.get(producer).copied().unwrap_or(0);
        }
        let here = inner.shards.get(&shard).and_then(|note| note.pending.get(producer)).copied().unwrap_or(0);
        let elsewhere = u64::from(shards.saturating_sub(1).saturating_sub(count));
        sum + (sum + here) * elsewhere / (u64::from(count) + 1)
    }

    pub(crate) fn note(&self, shard: u32, leader: &Leader) {
        let mut inner = self.lock();
        let note = inner.shards.entry(shard).or_default();
        note.leads = leader.leads();
        note.waiting = leader.waiting();
        note.quarantined = leader.quarantined();
        note.keys = leader.shard().keys();
        note.tally = leader.total();
        note.timers = leader.shard().pending() as u64;
        note.halves = leader.shard().prepared();
        for (producer, pending) in leader.shard().tallies() {
            match note.pending.get_mut(producer) {
                Some(known) => *known = pending,
                None => drop(note.pending.insert(Arc::clone(producer), pending)),
            }
        }
    }

    pub(crate) fn forget(&self, shard: u32) {
        let mut inner = self.lock();
        if let Some(note) = inner.shards.remove(&shard) {
            inner.past.add(note.tally);
        }
    }

    pub(crate) fn doubted(&self) {
        self.lock().doubts += 1;
    }

    pub(crate) fn passed(&self) {
        self.lock().passed += 1;
    }

    pub(crate) fn taken_over(&self) {
        self.lock().takeovers += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
