//! One partition in the hands of its owner: from a received record to what may be committed. Pure.
//!
//! Every method takes what happened and adds to `effects` what must now be done. Ownership itself begins in
//! [`takeover`](super::takeover) and ends with the value: after a doubt that [`after`] answers with
//! anything but [`Next::Again`], nothing in memory counts any more.
//!
//! - `intake`: what is received
//! - `attempts`: what is attempted, and what comes of it
//! - `commits`: what is committed

mod attempts;
mod commits;
mod intake;

use self::commits::fits;
use super::{
    Behind, Claim, Kind, Metadata, Place, Planted, Tracker, lanes::Lanes, listing::Listing, load::StateKey,
    marks::Marks,
};

/// The bounds of one partition's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    /// At most so many records are received and unresolved.
    pub max_unresolved: usize,
    /// At most so many wait in one lane; later ones are parked.
    pub max_waiting: usize,
    /// At most so many of one lane are parked; later ones wait in their source, and hold it when it is full of them.
    pub max_parked_in_lane: usize,
    /// What becomes of the deliveries behind a failed one.
    pub behind: Behind,
    /// The planted mistake of a test.
    pub planted: Planted,
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Append a parked delivery to the `.state` topic; then [`Partition::parked`].
    Park {
        /// The delivery.
        place: Place,
        /// The record's key.
        key: StateKey,
        /// Why it is parked.
        kind: Kind,
        /// How many attempts were made.
        attempts: u32,
    },
    /// The delivery is parked and durable; at its instant [`Partition::due`].
    Rest(Place),
    /// Append a dead letter; then [`Partition::buried`].
    Bury(Place),
    /// Append a tombstone to the `.state` topic; then [`Partition::cleared`].
    Clear(u64, StateKey),
}

/// An attempt to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Start {
    /// The delivery.
    pub place: Place,
    /// Which attempt of it, from 1.
    pub attempt: u32,
    /// Where its parked record lies; without one, the event came from its source.
    pub state: Option<u64>,
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The event is delivered.
    Delivered,
    /// It will be attempted again.
    Retry,
    /// It will be as well, and there was none: the target was not asked.
    Hold,
    /// It will not, and becomes a dead letter.
    Dead,
    /// It will not, and nothing is left of it.
    Discarded,
}

/// Why something that was asked for did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doubt {
    /// An append or commit was refused and will never appear.
    Rejected,
    /// An append may have been written, or may yet be.
    UnknownAppend,
    /// A commit may have been written, or may yet be.
    UnknownCommit,
    /// The group has another generation.
    Stale,
}

/// How to go on after a [`Doubt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// Ask for the same again.
    Again,
    /// Forget everything; when the commit under way, if there is one, is answered, read what is durable and claim
    /// again. What is fetched before that answer may be overtaken by it.
    Reload,
    /// The same, but join the group anew first: no answer will come, and only a new generation refuses a commit that is
    /// still on its way.
    Rejoin,
}

/// How to go on after a doubt. Only what certainly did not happen may be repeated.
pub const fn after(doubt: Doubt) -> Next {
    match doubt {
        Doubt::Rejected => Next::Again,
        Doubt::UnknownAppend | Doubt::Stale => Next::Reload,
        Doubt::UnknownCommit => Next::Rejoin,
    }
}

/// What to commit: an offset and its metadata for each source, in order.
pub type Offsets = Vec<(u64, Metadata)>;

/// A partition in the hands of its owner. `L` names lanes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and all combinations occur")]
pub struct Partition<L> {
    rules: Rules,
    claim: Claim,
    seq: u64,
    sources: Vec<Tracker>,
    lanes: Lanes<L>,
    listing: Listing,
    /// The `.state` records that stand for deliveries.
    live: Marks,
    busy: usize,
    draining: bool,
    sparing: bool,
    dirty: bool,
    flying: bool,
}

impl<L: Copy + Ord> Partition<L> {
    pub(super) fn new(rules: Rules, claim: Claim, sources: Vec<Tracker>, listing: Listing) -> Self {
        Self {
            rules,
            claim,
            seq: 0,
            sources,
            lanes: Lanes::default(),
            listing,
            live: Marks::default(),
            busy: 0,
            draining: false,
            sparing: false,
            dirty: false,
            flying: false,
        }
    }

    /// The claim by which this partition is worked.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Whether the group's last commit shows that this owner, whose claim was acknowledged, still is the one.
    pub fn is_still_mine(&self, committed: &Claim) -> bool {
        (self.claim.epoch, self.claim.nonce) == (committed.epoch, committed.nonce)
    }

    /// How many deliveries are parked.
    pub fn parked_count(&self) -> usize {
        self.live.len()
    }

    /// Whether a delivery is unfinished here.
    pub fn holds(&self, place: Place) -> bool {
        self.lanes.get(place).is_some()
    }

    /// How many records are received and unresolved.
    pub fn unresolved(&self) -> usize {
        self.sources.iter().map(Tracker::unresolved).sum()
    }

    /// Whether another record may be received now.
    pub fn has_room(&self) -> bool {
        !self.draining && self.unresolved() < self.rules.max_unresolved
    }

    /// Whether so much is unresolved that the rest of the room is for lanes of which nothing waits.
    pub(super) fn is_crowded(&self) -> bool {
        self.unresolved() >= self.rules.max_unresolved / 4 * 3
    }

    /// Whether a parked delivery waits for replay to pass its place.
    pub fn is_replaying(&self) -> bool {
        self.lanes.has_unpassed()
    }

    /// Where to read a source from.
    pub fn resume(&self, source: u16) -> u64 {
        self.sources.get(usize::from(source)).map_or(0, Tracker::base)
    }

    // === how it begins and ends ===

    #[cfg(test)]
    pub(super) fn planted(&self) -> Planted {
        self.rules.planted
    }

    /// Takes the dead entries that the next commit has no room for off the list.
    pub(super) fn overflow(&mut self) -> Vec<(u64, StateKey)> {
        let (claim, bare) = (self.claim.clone(), self.bare());
        self.listing.overflow(|dead| fits(&claim, dead, &bare))
    }

    /// Makes the next commit one that is wanted, though nothing has changed.
    pub fn touch(&mut self) {
        self.dirty = true;
    }

    /// Another number of one lane may be parked. What is parked already stays.
    pub fn bound_lane(&mut self, most: usize) {
        self.rules.max_parked_in_lane = most;
    }

    /// While sparing, nothing is parked behind others for as long as half of the room is free: what waits stays in its
    /// source. Afterwards what waits behind parked heads is parked, as it would have been when it came.
    pub fn spare(&mut self, sparing: bool, effects: &mut Vec<Effect>) {
        let was = std::mem::replace(&mut self.sparing, sparing);
        if was && !sparing {
            for lane in self.lanes.held() {
                self.park_followers(Some(lane), effects);
            }
        }
    }

    /// Starts no more attempts and takes no more records.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether nothing is under way, so that after one last commit another may own the partition.
    pub fn is_quiet(&self) -> bool {
        self.busy == 0 && !self.flying && !(self.dirty && self.waits_for_tombstones())
    }
}
