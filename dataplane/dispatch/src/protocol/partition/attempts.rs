//! What a partition's owner attempts, and what becomes of a delivery whose attempt ended. Pure.

use super::{
    super::{
        Behind, Deviation, Kind, Place,
        lanes::{Home, Item, Stage},
        listing::Listing,
    },
    Effect, Partition, Start, Verdict,
};

impl<L: Copy + Ord> Partition<L> {
    /// The next attempt to make, if there is one.
    pub fn start(&mut self) -> Option<Start> {
        if self.draining || self.listing.len() > Listing::MAX {
            return None;
        }
        let place = self.lanes.next_ready()?;
        self.start_at(place)
    }

    /// The next attempt to make of which little is expected: of a delivery that is parked already, if there is one, so that
    /// its failure parks nothing new.
    pub fn start_parked_first(&mut self) -> Option<Start> {
        self.lanes.prefer_parked();
        self.start()
    }

    /// The next attempt to make, a delivery's first if there is one.
    pub fn start_fresh_first(&mut self) -> Option<Start> {
        self.lanes.prefer_fresh();
        self.start()
    }

    /// Whether a delivery could be attempted now that never was.
    pub fn has_fresh(&self) -> bool {
        !self.draining && self.lanes.has_fresh()
    }

    fn start_at(&mut self, place: Place) -> Option<Start> {
        let item = self.lanes.get_mut(place).filter(|item| item.stage == Stage::Waiting)?;
        item.stage = Stage::InFlight;
        self.busy += 1;
        Some(Start { place, attempt: item.attempts + 1, state: item.parked_at() })
    }

    /// How many attempts could be started now.
    pub(crate) fn ready(&self) -> usize {
        if self.draining || self.listing.len() > Listing::MAX { 0 } else { self.lanes.ready() }
    }

    /// An attempt ended.
    pub fn ended(&mut self, place: Place, verdict: Verdict, effects: &mut Vec<Effect>) {
        self.busy -= 1;
        match verdict {
            Verdict::Delivered | Verdict::Discarded => self.finish(place, effects),
            Verdict::Retry | Verdict::Hold => {
                if let Some(item) = self.lanes.get_mut(place) {
                    item.attempts += u32::from(verdict == Verdict::Retry);
                }
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
        self.written(at);
        let Some((kind, lane, replaced)) = self.lanes.parked_at(place, at) else { return };
        self.busy -= 1;
        self.dirty = true;
        self.live.insert(at);
        self.leave(place, replaced, effects);
        match kind {
            Kind::Behind => self.lanes.wake(place),
            Kind::Delay => effects.push(Effect::Rest(place)),
            Kind::Retry => {
                effects.push(Effect::Rest(place));
                self.park_followers(lane, effects);
            }
        }
    }

    /// What waits behind a parked head is parked as well, so that the source can be resolved past it.
    pub(super) fn park_followers(&mut self, lane: Option<L>, effects: &mut Vec<Effect>) {
        let Some(lane) = lane else { return };
        let Some(look) = self.lanes.look(lane).filter(|look| look.logged > 0) else { return };
        let waiting = |item: &Item<L>| item.is_logged() && item.stage == Stage::Waiting;
        let followers = self.lanes.of(lane).filter(|(_, item)| waiting(item)).map(|(place, _)| place);
        let followers: Vec<Place> = followers.take(self.may_park(look.parked)).collect();
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
        if let Some(home) = self.lanes.remove(place) {
            self.leave(place, home, effects);
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
                self.live.remove(at);
                if self.listing.finish(at, key, self.rules.planted) {
                    effects.push(Effect::Clear(at, key));
                }
            }
        }
    }
}
