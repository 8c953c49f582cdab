//! What a new owner keeps of the `.state` topic. Pure.
//!
//! It reads from the claim's low mark to the end, as any reader of a compacted topic does: the newest value of a key
//! counts, and a tombstone removes it. Of what remains it drops the records on the dead list, those that a zombie
//! wrote behind the floor, and all but the newest of each event.

use std::collections::BTreeMap;

use super::{Claim, Deviation, Kind, Place, Planted};
use crate::shelf::Shelf;

/// The key of a `.state` record, less what is the same for all of a Processor's. Each is written once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateKey {
    /// The epoch of the claim under which it was written.
    pub epoch: u64,
    /// Its number among the records of that claim.
    pub seq: u64,
    /// The nonce of that claim.
    pub nonce: u64,
}

/// A parked delivery, as far as the protocol cares.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Loaded<L> {
    /// Where its record lies in the `.state` topic.
    pub at: u64,
    /// That record's key.
    pub key: StateKey,
    /// Where its event lies.
    pub place: Place,
    /// Its lane, if it has one.
    pub lane: Option<L>,
    /// Why it is parked.
    pub kind: Kind,
    /// How many attempts were made.
    pub attempts: u32,
}

/// What a new owner found.
pub(super) struct Found<L> {
    /// Deliveries that are still to be made.
    pub(super) kept: Shelf<Place, Loaded<L>>,
    /// Records that are not, by offset: each needs a tombstone.
    pub(super) dropped: Vec<(u64, StateKey)>,
}

/// Gathers `.state` records until the end is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Loader<L> {
    records: Shelf<StateKey, Loaded<L>>,
    unreadable: BTreeMap<StateKey, u64>,
    /// The highest epoch seen, of records that are gone, too.
    epoch: u64,
}

impl<L> Default for Loader<L> {
    fn default() -> Self {
        Self { records: Shelf::default(), unreadable: BTreeMap::new(), epoch: 0 }
    }
}

impl<L> Loader<L> {
    /// Takes a record.
    pub fn record(&mut self, record: Loaded<L>) {
        self.epoch = self.epoch.max(record.key.epoch);
        self.records.insert(record.key, record);
    }

    /// Takes a record that cannot be read, and that stands for nothing any more.
    pub fn unreadable(&mut self, at: u64, key: StateKey) {
        self.epoch = self.epoch.max(key.epoch);
        self.unreadable.insert(key, at);
    }

    /// Takes a tombstone; gives back where the record lies that it removes, if that was taken.
    pub fn tombstone(&mut self, key: StateKey) -> Option<u64> {
        self.epoch = self.epoch.max(key.epoch);
        let record = self.records.remove(key).map(|record| record.at);
        record.or(self.unreadable.remove(&key))
    }

    /// The highest epoch seen, be its record alive, removed or unreadable: whoever claims without metadata must be above
    /// all of them, or a target that refuses lower epochs refuses it, and a zombie's late record outranks it.
    pub const fn highest_epoch(&self) -> u64 {
        self.epoch
    }

    /// Decides, by the claim that was committed last. Without one every record is kept but those that a newer one of
    /// its event replaces.
    pub(super) fn finish(self, claim: Option<&Claim>, planted: Planted) -> Found<L> {
        let mut dropped: Vec<(u64, StateKey)> = self.unreadable.iter().map(|(key, at)| (*at, *key)).collect();
        let mut kept: Shelf<Place, Loaded<L>> = Shelf::default();
        // In order of (epoch, seq): a later record of an event replaces an earlier one.
        for (key, record) in self.records.into_iter() {
            if claim.is_some_and(|claim| is_void(claim, record.at, key, planted)) {
                dropped.push((record.at, key));
            } else if let Some(replaced) = kept.insert(record.place, record) {
                dropped.push((replaced.at, replaced.key));
            }
        }
        dropped.sort_unstable();
        Found { kept, dropped }
    }
}

/// Whether a record stands for nothing: it is on the dead list, or a zombie wrote it.
pub(super) fn is_void(claim: &Claim, at: u64, key: StateKey, planted: Planted) -> bool {
    let lower = key.epoch < claim.epoch || planted.is(Deviation::EpochIgnored);
    let behind = at >= claim.floor && !planted.is(Deviation::FloorIgnored);
    claim.dead.contains(&at) || (lower && behind)
}
