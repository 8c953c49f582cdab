//! Which delivery waits for which: one lane per key, one delivery of a lane under way. Pure.
//!
//! There may be a million deliveries here, nearly all of them parked, so each is kept as small as it can be: an [`Item`] of
//! 32 bytes beside its place.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{Hash, Hasher},
};

use super::{
    Kind, Place,
    homes::{Homes, Spot},
    line::Line,
    load::StateKey,
};
use crate::shelf::Shelf;

/// Which durable record stands for a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Home {
    /// The event's own record: its source is not resolved past it.
    Log,
    /// A `.state` record.
    State(u64, StateKey),
}

/// What a delivery is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// Loaded, and replay has not passed its place: an earlier one of its lane may still come.
    Unpassed(Kind),
    /// Waiting for its turn.
    Waiting,
    /// Being attempted.
    InFlight,
    /// Being written to the `.state` topic.
    Parking(Kind),
    /// Parked until an instant, in its lane.
    Resting,
    /// Parked until an instant, outside of its lane.
    Delayed,
    /// Being written to the `.dead` topic.
    Burying,
}

/// One delivery that is not finished.
#[derive(Clone, Debug)]
pub(super) struct Item<L> {
    pub(super) lane: Option<L>,
    pub(super) attempts: u32,
    pub(super) stage: Stage,
    spot: Spot,
}

/// How a lane is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a, L> {
    /// The first of it.
    pub(super) head: Place,
    pub(super) item: &'a Item<L>,
    /// How many of it have no other home than the log, and are not on their way to one.
    pub(super) logged: usize,
    /// How many have another, or are on their way to one.
    pub(super) parked: usize,
}

/// All deliveries of a partition that are not finished, and their order.
#[derive(Clone, Debug)]
pub(super) struct Lanes<L> {
    items: Shelf<Place, Item<L>>,
    homes: Homes,
    /// The records to be of those that are being written.
    parking: BTreeMap<Place, StateKey>,
    lines: Shelf<L, Line>,
    /// Those that wait for nothing but a free slot, each with whether it was never attempted, and how many of them were not:
    /// of a hundred thousand that rested none may have been, and that is asked again and again.
    ready: VecDeque<(Place, bool)>,
    fresh: usize,
    unpassed: Shelf<Place, ()>,
}

impl<L> Look<'_, L> {
    /// Whether the head is parked, and all that comes later with it.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.item.stage, Stage::Resting | Stage::Parking(Kind::Retry))
    }
}

impl<L> Item<L> {
    /// Whether it has no other home than the log.
    pub(super) fn is_logged(&self) -> bool {
        self.spot == Spot::LOG
    }

    /// Where it is parked, if it is.
    pub(super) fn parked_at(&self) -> Option<u64> {
        self.spot.at()
    }
}

impl<L: Copy + Ord> Lanes<L> {
    pub(super) fn get(&self, place: Place) -> Option<&Item<L>> {
        self.items.get(place)
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Item<L>> {
        self.items.get_mut(place)
    }

    /// Those of sources that have any.
    pub(super) fn sources(&self) -> Vec<u16> {
        let mut sources: Vec<u16> = self.items.keys().map(|place| place.source).collect();
        sources.dedup();
        sources
    }

    /// All that are parked, and where.
    pub(super) fn parked_places(&self) -> impl Iterator<Item = (Place, u64)> {
        self.items.iter().filter_map(|(place, item)| Some((place, item.spot.at()?)))
    }

    /// Keeps a loaded delivery out of its lane until replay has passed its place.
    pub(super) fn hold(
        &mut self,
        place: Place,
        lane: Option<L>,
        kind: Kind,
        attempts: u32,
        home: (u64, StateKey),
    ) {
        let spot = self.homes.spot(home.0, home.1);
        self.unpassed.insert(place, ());
        self.items.insert(place, Item { lane, attempts, stage: Stage::Unpassed(kind), spot });
    }

    /// The held deliveries of one source up to and including an offset, in order; they are held no longer.
    pub(super) fn passed(&mut self, source: u16, offset: u64) -> Vec<Place> {
        self.unpassed.drain_keys(Place { source, offset: 0 }..=Place { source, offset })
    }

    /// Whether a delivery waits for replay to pass its place.
    pub(super) fn has_unpassed(&self) -> bool {
        !self.unpassed.is_empty()
    }

    /// Adds a delivery that is not known yet.
    pub(super) fn add(&mut self, place: Place, lane: Option<L>) {
        self.items.insert(place, Item { lane, attempts: 0, stage: Stage::Waiting, spot: Spot::LOG });
        self.enter(place);
    }

    /// Adds a delivery that is not known yet, outside of its lane.
    pub(super) fn keep(&mut self, place: Place, lane: Option<L>) {
        self.items.insert(place, Item { lane, attempts: 0, stage: Stage::Delayed, spot: Spot::LOG });
    }

    /// Puts a known delivery at the end of its lane.
    pub(super) fn enter(&mut self, place: Place) {
        let Some(item) = self.items.get(place) else { return };
        if let Some(lane) = item.lane {
            let logged = item.is_logged();
            match self.lines.get_mut(lane) {
                Some(line) => line.push(place, logged),
                None => drop(self.lines.insert(lane, Line::of(place, logged))),
            }
        }
        self.wake(place);
    }

    /// Makes a delivery ready if it waits for nothing but a free slot.
    pub(super) fn wake(&mut self, place: Place) {
        let Some(item) = self.items.get(place) else { return };
        if item.stage == Stage::Waiting && self.is_head(place, item) {
            let fresh = item.attempts == 0;
            self.ready.push_back((place, fresh));
            self.fresh += usize::from(fresh);
        }
    }

    fn is_head(&self, place: Place, item: &Item<L>) -> bool {
        let line = item.lane.and_then(|lane| self.lines.get(lane));
        line.is_none_or(|line| line.front() == place)
    }

    // === what is attempted next ===

    /// The next delivery to attempt.
    pub(super) fn next_ready(&mut self) -> Option<Place> {
        let (place, fresh) = self.ready.pop_front()?;
        self.fresh -= usize::from(fresh);
        Some(place)
    }

    /// Brings the first ready delivery that is parked already, if there is one, to the front.
    pub(super) fn prefer_parked(&mut self) {
        let parked = |place: &Place| self.items.get(*place).is_some_and(|item| !item.is_logged());
        let found = self.ready.iter().position(|(place, _)| parked(place));
        self.bring_forward(found);
    }

    /// The same for one that was never attempted.
    pub(super) fn prefer_fresh(&mut self) {
        let found = if self.has_fresh() { self.ready.iter().position(|(_, fresh)| *fresh) } else { None };
        self.bring_forward(found);
    }

    fn bring_forward(&mut self, found: Option<usize>) {
        if let Some(ready) = found.and_then(|at| self.ready.remove(at)) {
            self.ready.push_front(ready);
        }
    }

    /// Whether a ready delivery was never attempted.
    pub(super) fn has_fresh(&self) -> bool {
        self.fresh > 0
    }

    /// How many deliveries are ready to be attempted.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    // === parking ===

    /// A delivery is being parked, by this record.
    pub(super) fn park(&mut self, place: Place, kind: Kind, key: StateKey) -> Option<&Item<L>> {
        let item = self.items.get_mut(place)?;
        item.stage = Stage::Parking(kind);
        self.parking.insert(place, key);
        let moves = kind != Kind::Delay && item.is_logged();
        if let Some(line) = item.lane.filter(|_| moves).and_then(|lane| self.lines.get_mut(lane)) {
            line.move_one();
        }
        Some(item)
    }

    /// Its record is durable at this offset: that stands for it now. Gives back why it is parked, its lane, and what stood
    /// for it before.
    pub(super) fn parked_at(&mut self, place: Place, at: u64) -> Option<(Kind, Option<L>, Home)> {
        let item = self.items.get_mut(place)?;
        let Stage::Parking(kind) = item.stage else { return None };
        let key = self.parking.remove(&place)?;
        item.stage = match kind {
            Kind::Retry => Stage::Resting,
            Kind::Behind => Stage::Waiting,
            Kind::Delay => Stage::Delayed,
        };
        let replaced = self.homes.leave(item.spot);
        item.spot = self.homes.spot(at, key);
        Some((kind, item.lane, replaced))
    }

    /// Removes a finished delivery and wakes the next of its lane. Gives back which record stood for it.
    pub(super) fn remove(&mut self, place: Place) -> Option<Home> {
        let item = self.items.remove(place)?;
        if let Some(lane) = item.lane {
            self.withdraw(place, lane, item.is_logged());
        }
        Some(self.homes.leave(item.spot))
    }

    /// Takes a delivery out of its lane for good and wakes the next of it.
    pub(super) fn detach(&mut self, place: Place) {
        let Some(item) = self.items.get_mut(place) else { return };
        let logged = item.is_logged();
        if let Some(lane) = item.lane.take() {
            self.withdraw(place, lane, logged);
        }
    }

    fn withdraw(&mut self, place: Place, lane: L, logged: bool) {
        let Some(line) = self.lines.get_mut(lane) else { return };
        match line.remove(place, logged) {
            Some(next) => self.wake(next),
            None => drop(self.lines.remove(lane)),
        }
    }

    /// What is known of a lane; nothing of one in which there is nothing.
    pub(super) fn look(&self, lane: L) -> Option<Look<'_, L>> {
        let line = self.lines.get(lane)?;
        let (head, logged) = (line.front(), line.logged());
        let parked = line.len().saturating_sub(logged);
        Some(Look { head, item: self.items.get(head)?, logged, parked })
    }

    /// The lanes whose first delivery is parked until an instant, while others wait behind it.
    pub(super) fn held(&self) -> Vec<L> {
        let rests = |place| self.items.get(place).is_some_and(|item| item.stage == Stage::Resting);
        let held = self.lines.iter().filter(|(_, line)| line.logged() > 0 && rests(line.front()));
        held.map(|(lane, _)| lane).collect()
    }

    /// The deliveries of a lane, first to last.
    pub(super) fn of(&self, lane: L) -> impl Iterator<Item = (Place, &Item<L>)> {
        let places = self.lines.get(lane).into_iter().flat_map(Line::iter);
        places.filter_map(|place| self.items.get(place).map(|item| (place, item)))
    }
}

impl<L> Lanes<L> {
    /// All that there is to know of each delivery, however it is kept.
    fn told(&self) -> impl Iterator<Item = (Place, &Option<L>, u32, Stage, Home)> {
        self.items.iter().map(|(place, item)| {
            let Item { lane, attempts, stage, spot } = item;
            (place, lane, *attempts, *stage, self.homes.home(*spot))
        })
    }
}

impl<L: PartialEq> PartialEq for Lanes<L> {
    fn eq(&self, other: &Self) -> bool {
        self.told().eq(other.told())
            && (&self.parking, &self.lines, &self.ready, &self.unpassed)
                == (&other.parking, &other.lines, &other.ready, &other.unpassed)
    }
}

impl<L: Eq> Eq for Lanes<L> {}

impl<L: Hash> Hash for Lanes<L> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.told().for_each(|told| told.hash(state));
        (&self.parking, &self.lines, &self.ready, &self.unpassed).hash(state);
    }
}

impl<L> Default for Lanes<L> {
    fn default() -> Self {
        Self {
            items: Shelf::default(),
            homes: Homes::default(),
            parking: BTreeMap::new(),
            lines: Shelf::default(),
            ready: VecDeque::new(),
            fresh: 0,
            unpassed: Shelf::default(),
        }
    }
}
