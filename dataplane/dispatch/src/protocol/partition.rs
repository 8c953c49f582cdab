//! One partition in the hands of its owner: from a received record to what may be committed. Pure.
//!
//! Every method takes what happened and adds to `effects` what must now be done. Ownership itself begins in
//! [`takeover`](super::takeover) and ends with the value: after a doubt that [`after`] answers with
//! anything but [`Next::Again`], nothing in memory counts any more.

use std::collections::BTreeSet;

use super::{
    Behind, Claim, Deviation, Kind, Metadata, Place, Planted, Tracker,
    lanes::{Home, Item, Lanes, Stage},
    listing::Listing,
    load::StateKey,
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
    live: BTreeSet<u64>,
    busy: usize,
    draining: bool,
    sparing: bool,
    dirty: bool,
    flying: bool,
}

impl<L: Clone + Ord> Partition<L> {
    pub(super) fn new(rules: Rules, claim: Claim, sources: Vec<Tracker>, listing: Listing) -> Self {
        Self {
            rules,
            claim,
            seq: 0,
            sources,
            lanes: Lanes::default(),
            listing,
            live: BTreeSet::new(),
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

    /// Whether a parked delivery waits for replay to pass its place.
    pub fn is_replaying(&self) -> bool {
        self.lanes.has_unpassed()
    }

    /// Where to read a source from.
    pub fn resume(&self, source: u16) -> u64 {
        self.sources.get(usize::from(source)).map_or(0, Tracker::base)
    }

    // === what is received ===

    pub(super) fn load(
        &mut self,
        place: Place,
        lane: Option<L>,
        kind: Kind,
        attempts: u32,
        home: (u64, StateKey),
    ) {
        self.live.insert(home.0);
        let lane = lane.filter(|_| kind != Kind::Retry || self.rules.behind != Behind::Pass);
        let item = Item { lane, attempts, home: Home::State(home.0, home.1), stage: Stage::Unpassed(kind) };
        self.lanes.hold(place, item);
    }

    pub(super) fn loaded(&self) -> impl Iterator<Item = (Place, u64)> {
        self.lanes.iter().filter_map(|(place, item)| match item.home {
            Home::State(at, _) => Some((place, at)),
            Home::Log => None,
        })
    }

    /// Lets loaded deliveries go whose place is already behind the reading position.
    pub(super) fn begin(&mut self, effects: &mut Vec<Effect>) {
        let held: BTreeSet<u16> = self.lanes.iter().map(|(place, _)| place.source).collect();
        for source in held {
            let all = self.rules.planted.is(Deviation::AttemptBeforeReplay);
            match self.sources.get(usize::from(source)) {
                Some(tracker) if !all => {
                    if let Some(last) = tracker.next().checked_sub(1) {
                        self.pass(source, last, effects);
                    }
                }
                _ => self.pass(source, u64::MAX, effects),
            }
        }
    }

    /// A record was read. Returns whether its payload is needed from now on; a record that is resolved, parked or
    /// received already needs nothing.
    pub fn received(&mut self, place: Place, lane: Option<L>, effects: &mut Vec<Effect>) -> bool {
        if !self.admit(place, effects) {
            return false;
        }
        let park = lane.as_ref().is_some_and(|lane| self.must_park(lane));
        self.lanes.add(place, Item { lane, attempts: 0, home: Home::Log, stage: Stage::Waiting });
        if park {
            self.park(place, Kind::Behind, effects);
        }
        true
    }

    /// A record was read whose delivery begins at a later instant. Returns what [`received`](Self::received) does.
    pub fn delayed(&mut self, place: Place, lane: Option<L>, effects: &mut Vec<Effect>) -> bool {
        if !self.admit(place, effects) {
            return false;
        }
        let item = Item { lane, attempts: 0, home: Home::Log, stage: Stage::Delayed };
        self.lanes.keep(place, item);
        self.park(place, Kind::Delay, effects);
        true
    }

    /// Whether a record that was read is still to be worked.
    fn admit(&mut self, place: Place, effects: &mut Vec<Effect>) -> bool {
        self.pass(place.source, place.offset, effects);
        let Some(tracker) = self.sources.get_mut(usize::from(place.source)) else { return false };
        if !tracker.received(place.offset) {
            self.dirty = true;
            return false;
        }
        if self.lanes.get(place).is_some() {
            tracker.resolve(place.offset);
            self.dirty = true;
            return false;
        }
        true
    }

    /// A record was read that needs nothing: it is no event, or none for this Processor.
    /// Returns whether it had not been read before.
    pub fn skipped(&mut self, place: Place, effects: &mut Vec<Effect>) -> bool {
        self.pass(place.source, place.offset, effects);
        let Some(tracker) = self.sources.get_mut(usize::from(place.source)) else { return false };
        let new = !tracker.has_passed(place.offset);
        tracker.pass(place.offset + 1);
        self.dirty = true;
        new
    }

    /// Everything of a source below this offset was read.
    pub fn reached(&mut self, source: u16, end: u64, effects: &mut Vec<Effect>) {
        if let Some(last) = end.checked_sub(1) {
            self.pass(source, last, effects);
        }
        if let Some(tracker) = self.sources.get_mut(usize::from(source)) {
            self.dirty |= !tracker.has_passed(end.saturating_sub(1));
            tracker.pass(end);
        }
    }

    /// Replay has come to this offset: loaded deliveries up to it take their places in their lanes.
    fn pass(&mut self, source: u16, offset: u64, effects: &mut Vec<Effect>) {
        for place in self.lanes.passed(source, offset) {
            let Some(item) = self.lanes.get_mut(place) else { continue };
            item.stage = match item.stage {
                Stage::Unpassed(Kind::Retry) => Stage::Resting,
                Stage::Unpassed(Kind::Delay) => Stage::Delayed,
                _ => Stage::Waiting,
            };
            let stage = item.stage;
            if stage != Stage::Waiting {
                effects.push(Effect::Rest(place));
            }
            if stage != Stage::Delayed {
                self.lanes.enter(place);
            }
        }
    }

    /// A later record of a lane is parked when its head is parked, when enough are waiting, or when the partition is
    /// half full: one key must not take the room of all.
    fn must_park(&self, lane: &L) -> bool {
        if self.parkable(lane) == 0 {
            return false;
        }
        let head = self.lanes.of(lane).next();
        let held = |(_, item): (Place, &Item<L>)| {
            matches!(item.stage, Stage::Resting | Stage::Parking(Kind::Retry, _))
        };
        let waiting = self.lanes.logged(lane);
        head.is_some_and(held)
            || waiting > self.rules.max_waiting
            || (waiting > 0 && self.unresolved() > self.rules.max_unresolved / 2)
    }

    /// How many more of a lane may be parked behind others.
    fn parkable(&self, lane: &L) -> usize {
        if self.sparing || self.rules.behind == Behind::Wait {
            return 0;
        }
        self.rules.max_parked_in_lane.saturating_sub(self.lanes.parked(lane))
    }

    fn park(&mut self, place: Place, kind: Kind, effects: &mut Vec<Effect>) {
        let key = self.next_key(place);
        let Some(item) = self.lanes.get_mut(place) else { return };
        item.stage = Stage::Parking(kind, key);
        let attempts = item.attempts + u32::from(kind == Kind::Retry);
        if kind != Kind::Delay && item.home == Home::Log {
            let lane = item.lane.clone();
            self.lanes.moving(lane.as_ref());
        }
        self.busy += 1;
        effects.push(Effect::Park { place, key, kind, attempts });
    }

    fn next_key(&mut self, place: Place) -> StateKey {
        if self.rules.planted.is(Deviation::KeyIsPlace) {
            return StateKey { epoch: 0, seq: place.offset, nonce: 0 };
        }
        self.seq += 1;
        StateKey { epoch: self.claim.epoch, seq: self.seq, nonce: self.claim.nonce }
    }

    // === what is attempted ===

    /// The next attempt to make, if there is one.
    pub fn start(&mut self) -> Option<Start> {
        if self.draining || self.listing.len() > Listing::MAX {
            return None;
        }
        let place = self.lanes.next_ready()?;
        self.start_at(place)
    }

    /// The next attempt to make of which little is expected: one that is parked already, if there is one, so that its
    /// failure parks nothing new.
    pub fn start_probe(&mut self) -> Option<Start> {
        self.lanes.prefer_parked();
        self.start()
    }

    fn start_at(&mut self, place: Place) -> Option<Start> {
        let item = self.lanes.get_mut(place).filter(|item| item.stage == Stage::Waiting)?;
        item.stage = Stage::InFlight;
        self.busy += 1;
        let state = match item.home {
            Home::Log => None,
            Home::State(at, _) => Some(at),
        };
        Some(Start { place, attempt: item.attempts + 1, state })
    }

    /// How many attempts could be started now.
    pub(crate) fn ready(&self) -> usize {
        if self.draining { 0 } else { self.lanes.ready() }
    }

    /// An attempt ended.
    pub fn ended(&mut self, place: Place, verdict: Verdict, effects: &mut Vec<Effect>) {
        self.busy -= 1;
        match verdict {
            Verdict::Delivered | Verdict::Discarded => self.finish(place, effects),
            Verdict::Retry => {
                if self.rules.behind == Behind::Pass {
                    self.lanes.detach(place);
                }
                self.park(place, Kind::Retry, effects);
            }
            Verdict::Dead => {
                let Some(item) = self.lanes.get_mut(place) else { return };
                item.stage = Stage::Burying;
                self.busy += 1;
                effects.push(Effect::Bury(place));
            }
        }
    }

    /// The dead letter is durable.
    pub fn buried(&mut self, place: Place, effects: &mut Vec<Effect>) {
        self.busy -= 1;
        self.finish(place, effects);
    }

    /// The parked record is durable at this offset.
    pub fn parked(&mut self, place: Place, at: u64, effects: &mut Vec<Effect>) {
        let Some(item) = self.lanes.get_mut(place) else { return };
        let Stage::Parking(kind, key) = item.stage else { return };
        self.busy -= 1;
        self.dirty = true;
        let replaced = std::mem::replace(&mut item.home, Home::State(at, key));
        let lane = item.lane.clone();
        item.stage = match kind {
            Kind::Retry => Stage::Resting,
            Kind::Behind => Stage::Waiting,
            Kind::Delay => Stage::Delayed,
        };
        item.attempts += u32::from(kind == Kind::Retry);
        self.live.insert(at);
        self.leave(place, replaced, effects);
        match kind {
            Kind::Behind => self.lanes.wake(place),
            Kind::Delay => effects.push(Effect::Rest(place)),
            Kind::Retry => {
                effects.push(Effect::Rest(place));
                self.park_followers(lane.as_ref(), effects);
            }
        }
    }

    /// What waits behind a parked head is parked as well, so that the source can be resolved past it.
    fn park_followers(&mut self, lane: Option<&L>, effects: &mut Vec<Effect>) {
        let Some(lane) = lane.filter(|lane| self.lanes.logged(lane) > 0) else { return };
        let waiting = |item: &Item<L>| item.home == Home::Log && item.stage == Stage::Waiting;
        let followers = self.lanes.of(lane).filter(|(_, item)| waiting(item)).map(|(place, _)| place);
        let followers: Vec<Place> = followers.take(self.parkable(lane)).collect();
        for place in followers {
            self.park(place, Kind::Behind, effects);
        }
    }

    /// The instant of a parked delivery has come.
    pub fn due(&mut self, place: Place) {
        let Some(item) = self.lanes.get_mut(place) else { return };
        match std::mem::replace(&mut item.stage, Stage::Waiting) {
            Stage::Resting => self.lanes.wake(place),
            Stage::Delayed => {
                if self.rules.planted.is(Deviation::DelayBesideLane) {
                    item.lane = None;
                }
                self.lanes.enter(place);
            }
            other => item.stage = other,
        }
    }

    fn finish(&mut self, place: Place, effects: &mut Vec<Effect>) {
        self.dirty = true;
        if let Some(item) = self.lanes.remove(place) {
            self.leave(place, item.home, effects);
        }
    }

    /// A durable record no longer stands for its delivery.
    fn leave(&mut self, place: Place, home: Home, effects: &mut Vec<Effect>) {
        match home {
            Home::Log => {
                if let Some(tracker) = self.sources.get_mut(usize::from(place.source)) {
                    tracker.resolve(place.offset);
                }
            }
            Home::State(at, key) => {
                self.live.remove(&at);
                if self.listing.finish(at, key, self.rules.planted) {
                    effects.push(Effect::Clear(at, key));
                }
            }
        }
    }

    // === what is committed ===

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
    fn waits_for_tombstones(&self) -> bool {
        let held = self.listing.held();
        !held.is_empty() && !fits(&self.claim, &held, &self.bare())
    }

    /// What would be committed, less the claim.
    fn bare(&self) -> Vec<(u64, Vec<(u64, u64)>)> {
        self.sources.iter().map(|tracker| (tracker.base(), tracker.completed())).collect()
    }

    fn low(&self) -> u64 {
        let live = self.live.first().copied();
        [live, self.listing.lowest()].into_iter().flatten().fold(self.claim.floor, u64::min)
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

    /// A tombstone is durable.
    pub fn cleared(&mut self, at: u64) {
        self.listing.cleared(at);
        self.dirty = true;
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

    /// Makes the next commit one that is wanted.
    pub(super) fn touch(&mut self) {
        self.dirty = true;
    }

    /// While sparing, nothing is parked behind others: what waits stays in its source.
    pub fn spare(&mut self, sparing: bool) {
        self.sparing = sparing;
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

fn fits(claim: &Claim, dead: &[u64], sources: &[(u64, Vec<(u64, u64)>)]) -> bool {
    let claim = Claim { dead: dead.to_vec(), ..claim.clone() };
    sources.iter().all(|(offset, completed)| {
        let metadata = Metadata { claim: claim.clone(), completed: completed.clone() };
        metadata.encode(*offset).len() <= Metadata::MAX
    })
}
