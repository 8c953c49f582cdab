//! How a partition is taken over: read what is durable, then claim, then work. Pure.
//!
//! The order matters and cannot be shortened: the committed claim is fetched first, the `.state` topic's end taken
//! after it, everything up to that end read, then the tombstones up to the end as it is by then, and the new claim
//! committed with offsets unchanged. Only its acknowledgement makes an owner.
//!
//! The second stretch is for a tombstone that was written twice. Once the later one is there, compaction may remove
//! the earlier one from under the reader, who has already read the record that both of them remove; the later one lies
//! behind the first end, but always before the second.
//!
//! Whoever is asked for the end may have led the topic's partition until a moment ago and not know what was written since.
//! Therefore every commit says how far the topic had come for its owner: an end before that is none to claim by.

use super::{
    Claim, Deviation, Metadata, Place, Rules, Tracker,
    listing::Listing,
    load::{self, Loaded, Loader, StateKey},
    partition::{Effect, Offsets, Partition},
};

/// What a source's group has committed, or where it begins when nothing was.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Committed {
    /// The offset.
    pub offset: u64,
    /// The metadata, when there was some and it could be read.
    pub metadata: Option<Metadata>,
}

/// An end of the `.state` topic before what is known to have been written: to claim by it would be to drop the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "what is parked ends at {end} in its topic, and {high} was there before; if that topic was deleted on purpose, delete the \
     group's offsets as well"
)]
pub struct Short {
    end: u64,
    high: u64,
}

/// A partition whose `.state` topic is being read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Loading<L> {
    rules: Rules,
    nonce: u64,
    claim: Option<Claim>,
    sources: Vec<Tracker>,
    end: u64,
    loader: Loader<L>,
}

/// A partition whose claim is not acknowledged yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claiming<L> {
    partition: Partition<L>,
    sweep: Vec<(u64, StateKey)>,
}

impl<L: Copy + Ord> Loading<L> {
    /// Begins from what is committed for each source, in the order of their indexes, and the `.state` topic's end as
    /// taken afterwards.
    pub fn new(rules: Rules, nonce: u64, committed: &[Committed], end: u64) -> Result<Self, Short> {
        let claims = committed.iter().filter_map(|source| source.metadata.as_ref()).map(|m| &m.claim);
        let high = claims.clone().map(|claim| claim.high).max().unwrap_or(0);
        if end < high && !rules.planted.is(Deviation::HighIgnored) {
            return Err(Short { end, high });
        }
        let claim = claims.max_by_key(|claim| (claim.epoch, claim.nonce)).cloned();
        let completed =
            |source: &Committed| source.metadata.as_ref().map_or(Vec::new(), |m| m.completed.clone());
        let sources = committed.iter().map(|source| Tracker::new(source.offset, completed(source))).collect();
        Ok(Self { rules, nonce, claim, sources, end, loader: Loader::default() })
    }

    /// Which part of the `.state` topic to read first: from here, up to but not including there. When that is done,
    /// take the topic's end again and read on to it.
    pub fn range(&self) -> (u64, u64) {
        (self.claim.as_ref().map_or(0, |claim| claim.low).min(self.end), self.end)
    }

    /// Whether a claim was found. Without one every parked record is kept, which is worth a warning where there are
    /// any or where offsets were committed.
    pub fn has_claim(&self) -> bool {
        self.claim.is_some()
    }

    /// Takes a `.state` record, and says whether it did. One behind the first end was not there when this owner looked, and
    /// is a zombie's.
    pub fn record(&mut self, record: Loaded<L>) -> bool {
        let ours = record.at < self.end;
        if ours {
            self.loader.record(record);
        }
        ours
    }

    /// Takes a `.state` record that cannot be read: it is cleared away like a finished one.
    pub fn unreadable(&mut self, at: u64, key: StateKey) {
        if at < self.end {
            self.loader.unreadable(at, key);
        }
    }

    /// Whether a record was finished or discarded already, so that only its tombstone may be missing, or is a zombie's.
    pub fn is_void(&self, at: u64, key: StateKey) -> bool {
        self.claim.as_ref().is_some_and(|claim| load::is_void(claim, at, key, self.rules.planted))
    }

    /// Takes a tombstone of the `.state` topic; gives back where the record lies that it removes, if that was taken.
    pub fn tombstone(&mut self, key: StateKey) -> Option<u64> {
        self.loader.tombstone(key)
    }

    /// Everything was read: decides what to keep, and prepares the claim.
    pub fn finish(self) -> Claiming<L> {
        let highest = self.loader.highest_epoch().max(self.claim.as_ref().map_or(0, |claim| claim.epoch));
        let found = self.loader.finish(self.claim.as_ref(), self.rules.planted);
        let end = self.end;
        let claim =
            Claim { epoch: highest + 1, nonce: self.nonce, floor: end, low: end, high: end, dead: vec![] };
        let mut listing = Listing::default();
        for (at, key) in found.dropped {
            listing.finish(at, key, self.rules.planted);
        }
        let mut partition = Partition::new(self.rules, claim, self.sources, listing);
        for (_, Loaded { at, key, place, lane, kind, attempts }) in found.kept.into_iter() {
            partition.load(place, lane, kind, attempts, (at, key));
        }
        let sweep = partition.overflow();
        Claiming { partition, sweep }
    }
}

impl<L: Copy + Ord> Claiming<L> {
    /// The deliveries that were kept, and where each is parked.
    pub fn kept(&self) -> impl Iterator<Item = (Place, u64)> {
        self.partition.loaded()
    }

    /// Records that must have their tombstones acknowledged before the claim, because the list of them does not fit.
    pub fn sweep(&self) -> &[(u64, StateKey)] {
        &self.sweep
    }

    /// The tombstone of this record of the sweep is durable, at that offset.
    pub fn swept(&mut self, at: u64, tombstone: u64) {
        self.partition.written(tombstone);
        self.sweep.retain(|entry| entry.0 != at);
    }

    /// The commit that makes the claim; `None` while the sweep is unfinished.
    pub fn claim(&mut self) -> Option<Offsets> {
        if !self.sweep.is_empty() {
            return None;
        }
        self.partition.touch();
        self.partition.commit()
    }

    /// The claim was refused, and nothing was written.
    pub fn rejected(&mut self) {
        self.partition.commit_rejected();
    }

    /// The claim is acknowledged: the work may begin.
    pub fn acknowledged(mut self, effects: &mut Vec<Effect>) -> Partition<L> {
        self.partition.committed(effects);
        self.partition.begin(effects);
        self.partition
    }

    /// Work without an acknowledged claim, where that mistake is planted.
    #[cfg(test)]
    pub(super) fn presumed(mut self, effects: &mut Vec<Effect>) -> Option<Partition<L>> {
        let planted = self.partition.planted();
        if planted.is(Deviation::ClaimMerged) || planted.is(Deviation::UnansweredClaim) {
            self.partition.commit_rejected();
            self.partition.begin(effects);
            return Some(self.partition);
        }
        None
    }
}
