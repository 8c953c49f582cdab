//! Which delivery waits for which: one lane per key, one delivery of a lane under way. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Kind, Place, load::StateKey};

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
    Parking(Kind, StateKey),
    /// Parked until an instant, in its lane.
    Resting,
    /// Parked until an instant, outside of its lane.
    Delayed,
    /// Being written to the `.dead` topic.
    Burying,
}

/// One delivery that is not finished.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Item<L> {
    pub(super) lane: Option<L>,
    pub(super) attempts: u32,
    pub(super) home: Home,
    pub(super) stage: Stage,
}

/// One lane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Queue {
    places: VecDeque<Place>,
    /// How many of them have no other home than the log, and are not on their way to one.
    logged: usize,
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lanes<L> {
    items: BTreeMap<Place, Item<L>>,
    queues: BTreeMap<L, Queue>,
    /// Those that wait for nothing but a free slot, each with whether it was never attempted, and how many of them were not:
    /// of a hundred thousand that rested none may have been, and that is asked again and again.
    ready: VecDeque<(Place, bool)>,
    fresh: usize,
    unpassed: BTreeSet<Place>,
}

impl<L> Look<'_, L> {
    /// Whether the head is parked, and all that comes later with it.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.item.stage, Stage::Resting | Stage::Parking(Kind::Retry, _))
    }
}

impl<L> Default for Lanes<L> {
    fn default() -> Self {
        Self {
            items: BTreeMap::new(),
            queues: BTreeMap::new(),
            ready: VecDeque::new(),
            fresh: 0,
            unpassed: BTreeSet::new(),
        }
    }
}

impl<L: Clone + Ord> Lanes<L> {
    pub(super) fn get(&self, place: Place) -> Option<&Item<L>> {
        self.items.get(&place)
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Item<L>> {
        self.items.get_mut(&place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Item<L>)> {
        self.items.iter().map(|(place, item)| (*place, item))
    }

    /// Keeps a loaded delivery out of its lane until replay has passed its place.
    pub(super) fn hold(&mut self, place: Place, item: Item<L>) {
        self.unpassed.insert(place);
        self.items.insert(place, item);
    }

    /// The held deliveries of one source up to and including an offset, in order; they are held no longer.
    pub(super) fn passed(&mut self, source: u16, offset: u64) -> Vec<Place> {
        let reached = Place { source, offset: 0 }..=Place { source, offset };
        let places: Vec<Place> = self.unpassed.range(reached).copied().collect();
        for place in &places {
            self.unpassed.remove(place);
        }
        places
    }

    /// Whether any delivery is still held.
    pub(super) fn has_unpassed(&self) -> bool {
        !self.unpassed.is_empty()
    }

    /// Adds a delivery that is not known yet.
    pub(super) fn add(&mut self, place: Place, item: Item<L>) {
        self.items.insert(place, item);
        self.enter(place);
    }

    /// Adds a delivery that is not known yet, outside of its lane.
    pub(super) fn keep(&mut self, place: Place, item: Item<L>) {
        self.items.insert(place, item);
    }

    /// Puts a known delivery at the end of its lane.
    pub(super) fn enter(&mut self, place: Place) {
        let Some(item) = self.items.get(&place) else { return };
        if let Some(lane) = item.lane.clone() {
            let queue = self.queues.entry(lane).or_default();
            queue.places.push_back(place);
            queue.logged += usize::from(item.home == Home::Log);
        }
        self.wake(place);
    }

    /// Makes a delivery ready if it waits for nothing but a free slot.
    pub(super) fn wake(&mut self, place: Place) {
        let Some(item) = self.items.get(&place) else { return };
        if item.stage == Stage::Waiting && self.is_head(place, item) {
            let fresh = item.attempts == 0;
            self.ready.push_back((place, fresh));
            self.fresh += usize::from(fresh);
        }
    }

    fn is_head(&self, place: Place, item: &Item<L>) -> bool {
        let lane = item.lane.as_ref().and_then(|lane| self.queues.get(lane));
        lane.is_none_or(|lane| lane.places.front() == Some(&place))
    }

    /// The next delivery to attempt.
    pub(super) fn next_ready(&mut self) -> Option<Place> {
        let (place, fresh) = self.ready.pop_front()?;
        self.fresh -= usize::from(fresh);
        Some(place)
    }

    /// Brings the first ready delivery that is parked already, if there is one, to the front.
    pub(super) fn prefer_parked(&mut self) {
        let parked = |place: &Place| self.items.get(place).is_some_and(|item| item.home != Home::Log);
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

    /// Removes a finished delivery and wakes the next of its lane.
    pub(super) fn remove(&mut self, place: Place) -> Option<Item<L>> {
        let item = self.items.remove(&place)?;
        if let Some(lane) = &item.lane {
            self.withdraw(place, lane, item.home);
        }
        Some(item)
    }

    /// Takes a delivery out of its lane for good and wakes the next of it.
    pub(super) fn detach(&mut self, place: Place) {
        let Some(item) = self.items.get_mut(&place) else { return };
        let home = item.home;
        if let Some(lane) = item.lane.take() {
            self.withdraw(place, &lane, home);
        }
    }

    fn withdraw(&mut self, place: Place, lane: &L, home: Home) {
        let Some(queue) = self.queues.get_mut(lane) else { return };
        queue.logged -= usize::from(home == Home::Log);
        match queue.places.front() {
            Some(first) if *first == place => drop(queue.places.pop_front()),
            _ => queue.places.retain(|other| *other != place),
        }
        match queue.places.front().copied() {
            Some(next) => self.wake(next),
            None => drop(self.queues.remove(lane)),
        }
    }

    /// One of a lane is on its way to another home than the log.
    pub(super) fn moving(&mut self, lane: Option<&L>) {
        if let Some(queue) = lane.and_then(|lane| self.queues.get_mut(lane)) {
            queue.logged -= 1;
        }
    }

    /// What is known of a lane; nothing of one in which there is nothing.
    pub(super) fn look(&self, lane: &L) -> Option<Look<'_, L>> {
        let queue = self.queues.get(lane)?;
        let head = *queue.places.front()?;
        let parked = queue.places.len().saturating_sub(queue.logged);
        Some(Look { head, item: self.items.get(&head)?, logged: queue.logged, parked })
    }

    /// The lanes whose first delivery is parked until an instant, while others wait behind it.
    pub(super) fn held(&self) -> Vec<L> {
        let rests = |place: &Place| self.items.get(place).is_some_and(|item| item.stage == Stage::Resting);
        let held = self
            .queues
            .iter()
            .filter(|(_, queue)| queue.logged > 0 && queue.places.front().is_some_and(rests));
        held.map(|(lane, _)| lane.clone()).collect()
    }

    /// The deliveries of a lane, first to last.
    pub(super) fn of(&self, lane: &L) -> impl Iterator<Item = (Place, &Item<L>)> {
        let places = self.queues.get(lane).into_iter().flat_map(|queue| &queue.places);
        places.filter_map(|place| self.items.get(place).map(|item| (*place, item)))
    }
}
