//! What a partition's owner commits, and when it may. Pure.

use super::{
    super::{Claim, Deviation, Metadata},
    Effect, Offsets, Partition,
};

impl<L: Copy + Ord> Partition<L> {
    /// What to commit now, if anything changed and no commit is under way.
    pub fn commit(&mut self) -> Option<Offsets> {
        if self.flying || !self.dirty || self.waits_for_tombstones() {
            return None;
        }
        self.dirty = false;
        self.flying = true;
        let bare = self.bare();
        let mut claim = self.claim.clone();
        claim.dead = self.listing.compose(|dead| fits(&claim, dead, &bare));
        claim.low = self.low();
        if self.rules.planted.is(Deviation::NoDeadList) {
            claim.dead.clear();
        }
        let with_claim = |(offset, completed)| (offset, Metadata { claim: claim.clone(), completed });
        Some(bare.into_iter().map(with_claim).collect())
    }

    /// Whether what must stay listed leaves no room for what is completed: then tombstones come first.
    pub(super) fn waits_for_tombstones(&self) -> bool {
        let held = self.listing.held();
        !held.is_empty() && !fits(&self.claim, &held, &self.bare())
    }

    /// What would be committed, less the claim.
    pub(super) fn bare(&self) -> Vec<(u64, Vec<(u64, u64)>)> {
        self.sources.iter().map(|tracker| (tracker.base(), tracker.completed())).collect()
    }

    fn low(&self) -> u64 {
        let live = self.live.first();
        [live, self.listing.lowest()].into_iter().flatten().fold(self.claim.floor, u64::min)
    }

    /// Something of ours is durable in the `.state` topic, at this offset.
    pub(in crate::protocol) fn written(&mut self, at: u64) {
        self.claim.high = self.claim.high.max(at + 1);
    }

    /// The commit under way succeeded.
    pub fn committed(&mut self, effects: &mut Vec<Effect>) {
        self.flying = false;
        for (at, key) in self.listing.committed() {
            effects.push(Effect::Clear(at, key));
        }
        self.dirty |= self.listing.has_more();
    }

    /// The commit under way was refused, and nothing was written.
    pub fn commit_rejected(&mut self) {
        self.flying = false;
        self.dirty = true;
        self.listing.refused();
    }

    /// The tombstone of this record is durable, at that offset.
    pub fn cleared(&mut self, at: u64, tombstone: u64) {
        self.written(tombstone);
        self.listing.cleared(at);
        self.dirty = true;
    }
}

pub(super) fn fits(claim: &Claim, dead: &[u64], sources: &[(u64, Vec<(u64, u64)>)]) -> bool {
    let claim = Claim { dead: dead.to_vec(), ..claim.clone() };
    sources.iter().all(|(offset, completed)| {
        let metadata = Metadata { claim: claim.clone(), completed: completed.clone() };
        metadata.encode(*offset).len() <= Metadata::MAX
    })
}
