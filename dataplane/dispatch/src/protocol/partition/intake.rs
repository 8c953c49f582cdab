//! What a partition's owner received: what is new, what is known, and what must be parked at once. Pure.

use super::{
    super::{
        Behind, Deviation, Kind, Place,
        lanes::{Look, Stage},
        load::StateKey,
    },
    Effect, Partition,
};

impl<L: Copy + Ord> Partition<L> {
    pub(in crate::protocol) fn load(
        &mut self,
        place: Place,
        lane: Option<L>,
        kind: Kind,
        attempts: u32,
        home: (u64, StateKey),
    ) {
        self.live.insert(home.0);
        let lane = lane.filter(|_| kind != Kind::Retry || self.rules.behind != Behind::Pass);
        self.lanes.hold(place, lane, kind, attempts, home);
    }

    pub(in crate::protocol) fn loaded(&self) -> impl Iterator<Item = (Place, u64)> {
        self.lanes.parked_places()
    }

    /// Lets loaded deliveries go whose place is already behind the reading position.
    pub(in crate::protocol) fn begin(&mut self, effects: &mut Vec<Effect>) {
        for source in self.lanes.sources() {
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
        let crowded = self.is_crowded();
        if !self.admit(place, effects) {
            return false;
        }
        let look = lane.and_then(|lane| self.lanes.look(lane));
        let park = look.is_some_and(|look| {
            self.may_park(look.parked) > 0 && (look.is_held() || self.is_full(&look, crowded))
        });
        self.lanes.add(place, lane);
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
        self.lanes.keep(place, lane);
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

    /// The head of a lane behind which one more of it would now be parked for want of room alone: when that has ended there
    /// may be room. What is parked behind a parked head is none of these; that is its only way to be resolved.
    pub fn head_of_full(&self, lane: L) -> Option<Place> {
        let look = self.lanes.look(lane)?;
        let full =
            self.is_full(&look, self.is_crowded()) && !look.is_held() && self.may_park(look.parked) > 0;
        full.then_some(look.head)
    }

    /// Whether enough of a lane are waiting, or any in a crowded partition: one key must not take the room of all.
    fn is_full(&self, lane: &Look<'_, L>, crowded: bool) -> bool {
        lane.logged > self.rules.max_waiting || (lane.logged > 0 && crowded)
    }

    /// How many more may be parked behind others of a lane of which so many are. Where there is little room that is more
    /// important than to spare the log: a partition full of what rests would have nothing to try its target with.
    pub(super) fn may_park(&self, parked: usize) -> usize {
        let spared = self.sparing && self.unresolved() <= self.rules.max_unresolved / 2;
        if spared || self.rules.behind == Behind::Wait {
            return 0;
        }
        self.rules.max_parked_in_lane.saturating_sub(parked)
    }

    pub(super) fn park(&mut self, place: Place, kind: Kind, effects: &mut Vec<Effect>) {
        let key = self.next_key(place);
        let Some(item) = self.lanes.park(place, kind, key) else { return };
        let attempts = item.attempts;
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
}
