//! A partition driven at random, against a model that is as simple as its promises.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{
    Behind, Committed, Effect, Kind, Loaded, Loading, Metadata, Offsets, Partition, Place, Planted, Rules,
    StateKey, Verdict, listing::Listing,
};

const RULES: Rules = Rules {
    max_unresolved: 8,
    max_waiting: 2,
    max_parked_in_lane: usize::MAX,
    behind: Behind::Park,
    planted: Planted::NONE,
};
const SOURCES: u16 = 2;

/// A `.state` record, or its tombstone.
#[derive(Clone, Debug)]
struct Written {
    key: StateKey,
    body: Option<(Place, Kind, u32)>,
}

/// What is under way for one owner.
#[derive(Default)]
struct UnderWay {
    attempts: BTreeSet<Place>,
    parks: BTreeMap<Place, (StateKey, Kind, u32)>,
    buries: BTreeSet<Place>,
    resting: BTreeSet<Place>,
    clears: BTreeMap<u64, StateKey>,
    commit: Option<Offsets>,
}

struct World {
    /// The lane of each record that there is.
    log: BTreeMap<Place, Option<u8>>,
    ends: [u64; SOURCES as usize],
    state: Vec<Written>,
    committed: Vec<(u64, Metadata)>,
    partition: Partition<u8>,
    way: UnderWay,
    position: [u64; SOURCES as usize],
    /// Delivered or dead-lettered, as far as this owner knows.
    finished: BTreeSet<Place>,
    failures: BTreeMap<Place, u32>,
    /// Received by this owner, not finished, and not parked.
    unparked: BTreeSet<Place>,
}

fn claimed(state: &mut Vec<Written>, committed: &mut [(u64, Metadata)]) -> (Partition<u8>, Vec<Effect>) {
    let known: Vec<Committed> = committed
        .iter()
        .map(|(offset, metadata)| Committed { offset: *offset, metadata: Some(metadata.clone()) })
        .collect();
    let end = state.len() as u64;
    let mut loading = Loading::new(RULES, end + 1, &known, end).expect("the end is the latest");
    let (from, to) = loading.range();
    for at in from..to {
        let Written { key, body } = state[at as usize].clone();
        match body {
            None => drop(loading.tombstone(key)),
            // Its lane is not stored here: places tell it.
            Some((place, kind, attempts)) => {
                let lane = lane_of(place);
                assert!(loading.record(Loaded { at, key, place, lane, kind, attempts }));
            }
        }
    }
    let mut claiming = loading.finish();
    for (at, key) in claiming.sweep().to_vec() {
        state.push(Written { key, body: None });
        claiming.swept(at, state.len() as u64 - 1);
    }
    let claim = claiming.claim().expect("the sweep is done");
    committed.clone_from_slice(&claim);
    let mut effects = Vec::new();
    (claiming.acknowledged(&mut effects), effects)
}

/// Three keys and no key, spread over the offsets.
fn lane_of(place: Place) -> Option<u8> {
    let n = (place.offset * 7 + u64::from(place.source)) % 5;
    (n < 3).then_some(n as u8)
}

impl World {
    fn new(gaps: &[u8]) -> Self {
        let mut ends = [0; SOURCES as usize];
        let mut log = BTreeMap::new();
        for (n, gap) in gaps.iter().enumerate() {
            let source = (n % 3 / 2) as u16;
            let end = &mut ends[usize::from(source)];
            let place = Place { source, offset: *end + u64::from(gap % 3) };
            *end = place.offset + 1;
            log.insert(place, lane_of(place));
        }
        let mut state = Vec::new();
        let mut committed = vec![(0, Metadata::default()); usize::from(SOURCES)];
        let (partition, effects) = claimed(&mut state, &mut committed);
        assert!(effects.is_empty());
        Self {
            log,
            ends,
            state,
            committed,
            partition,
            way: UnderWay::default(),
            position: [0; SOURCES as usize],
            finished: BTreeSet::new(),
            failures: BTreeMap::new(),
            unparked: BTreeSet::new(),
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Park { place, key, kind, attempts } => {
                    assert_eq!(attempts, self.failed(place), "what is parked knows its attempts");
                    self.unparked.remove(&place);
                    assert!(self.way.parks.insert(place, (key, kind, attempts)).is_none());
                }
                Effect::Rest(place) => assert!(self.way.resting.insert(place)),
                Effect::Bury(place) => assert!(self.way.buries.insert(place)),
                Effect::Clear(at, key) => {
                    let listed = self.committed.iter().all(|(_, m)| m.claim.dead.contains(&at));
                    assert!(listed, "a tombstone goes out only when a commit lists its record");
                    assert!(self.way.clears.insert(at, key).is_none());
                }
            }
        }
    }

    fn failed(&self, place: Place) -> u32 {
        self.failures.get(&place).copied().unwrap_or(0)
    }

    fn receive(&mut self, source: u16) {
        if !self.partition.has_room() {
            return;
        }
        let from = Place { source, offset: self.position[usize::from(source)] };
        let to = Place { source, offset: u64::MAX };
        let next = self.log.range(from..=to).next().map(|(place, lane)| (*place, *lane));
        let mut effects = Vec::new();
        if let Some((place, lane)) = next {
            self.position[usize::from(source)] = place.offset + 1;
            let done = self.is_durably_done(place);
            if self.partition.received(place, lane, &mut effects) {
                assert!(!done, "{place:?} was finished by an earlier owner");
                self.unparked.insert(place);
            }
        } else {
            self.partition.reached(source, self.ends[usize::from(source)], &mut effects);
        }
        self.carry_out(effects);
        assert!(self.partition.unresolved() <= RULES.max_unresolved);
        for lane in 0..3 {
            let waiting = self.unparked.iter().filter(|place| lane_of(**place) == Some(lane));
            // The head is under way or about to be.
            assert!(waiting.count() <= RULES.max_waiting + 1);
        }
    }

    fn start(&mut self) {
        let ready = self.partition.ready();
        let Some(start) = self.partition.start() else {
            assert_eq!(ready, 0, "what is ready starts");
            return;
        };
        let place = start.place;
        assert_eq!(start.attempt, self.failed(place) + 1);
        assert!(!self.finished.contains(&place), "{place:?} was finished");
        if let Some(lane) = lane_of(place) {
            let of_lane = |other: &Place| lane_of(*other) == Some(lane);
            assert!(!self.way.attempts.iter().any(of_lane), "one of a lane at a time");
            let first = Place { source: place.source, offset: 0 };
            let earlier = self.log.range(first..place).map(|(place, _)| place);
            let unfinished: Vec<_> =
                earlier.filter(|other| of_lane(other) && !self.finished.contains(other)).collect();
            assert!(unfinished.is_empty(), "{place:?} before {unfinished:?}");
        }
        assert!(self.way.attempts.insert(place), "one attempt at a time");
    }

    fn end(&mut self, pick: usize, verdict: Verdict) {
        let Some(place) = nth(&self.way.attempts, pick) else { return };
        self.way.attempts.remove(&place);
        let mut effects = Vec::new();
        if verdict == Verdict::Retry {
            *self.failures.entry(place).or_default() += 1;
        } else if verdict == Verdict::Delivered {
            self.finish(place);
        }
        self.partition.ended(place, verdict, &mut effects);
        self.carry_out(effects);
    }

    fn finish(&mut self, place: Place) {
        self.unparked.remove(&place);
        assert!(self.finished.insert(place), "{place:?} ends once");
    }

    fn bury(&mut self, pick: usize) {
        let Some(place) = nth(&self.way.buries, pick) else { return };
        self.way.buries.remove(&place);
        self.finish(place);
        let mut effects = Vec::new();
        self.partition.buried(place, &mut effects);
        self.carry_out(effects);
    }

    fn write_park(&mut self, pick: usize) -> Option<(Place, u64)> {
        let place = nth(&self.way.parks, pick)?;
        let (key, kind, attempts) = self.way.parks.remove(&place)?;
        self.state.push(Written { key, body: Some((place, kind, attempts)) });
        Some((place, self.state.len() as u64 - 1))
    }

    fn park(&mut self, pick: usize) {
        let Some((place, at)) = self.write_park(pick) else { return };
        let mut effects = Vec::new();
        self.partition.parked(place, at, &mut effects);
        self.carry_out(effects);
        if let Some(lane) = lane_of(place)
            && self.way.resting.contains(&place)
        {
            let followers = self.unparked.iter().filter(|other| lane_of(**other) == Some(lane));
            assert_eq!(followers.count(), 0, "who waits behind a parked head is parked");
        }
    }

    fn due(&mut self, pick: usize) {
        let Some(place) = nth(&self.way.resting, pick) else { return };
        self.way.resting.remove(&place);
        self.partition.due(place);
    }

    fn write_clear(&mut self, pick: usize) -> Option<u64> {
        let at = nth(&self.way.clears, pick)?;
        let key = self.way.clears.remove(&at)?;
        self.state.push(Written { key, body: None });
        Some(at)
    }

    fn clear(&mut self, pick: usize) {
        if let Some(at) = self.write_clear(pick) {
            self.partition.cleared(at, self.state.len() as u64 - 1);
        }
    }

    fn commit(&mut self) {
        if let Some(offsets) = self.partition.commit() {
            assert!(self.way.commit.is_none(), "one commit at a time");
            for (offset, metadata) in &offsets {
                assert!(metadata.encode(*offset).len() <= Metadata::MAX);
            }
            self.way.commit = Some(offsets);
        }
    }

    /// The commit under way is applied: nothing that is not finished may be by it.
    fn apply(&mut self, offsets: Offsets) {
        for (now, before) in offsets.iter().zip(&self.committed) {
            assert!(now.0 >= before.0, "commits never go back");
        }
        self.committed = offsets;
        for place in self.log.keys() {
            assert!(
                !self.is_durably_done(*place) || self.finished.contains(place),
                "{place:?} was passed over"
            );
        }
        for (at, written) in self.state.iter().enumerate() {
            let kept = written.body.is_some() && !self.is_gone(at as u64);
            assert!(!kept || at as u64 >= self.committed[0].1.claim.low, "the low mark hides nothing");
        }
    }

    fn committed(&mut self) {
        let Some(offsets) = self.way.commit.take() else { return };
        self.apply(offsets);
        let mut effects = Vec::new();
        self.partition.committed(&mut effects);
        self.carry_out(effects);
    }

    fn refused(&mut self) {
        if self.way.commit.take().is_some() {
            self.partition.commit_rejected();
        }
    }

    /// A record that the next owner will not take for a delivery.
    fn is_gone(&self, at: u64) -> bool {
        let key = self.state[at as usize].key;
        let cleared = self.state.iter().any(|written| written.key == key && written.body.is_none());
        cleared || self.committed[0].1.claim.dead.contains(&at)
    }

    /// Whether the next owner would know it to be finished.
    fn is_durably_done(&self, place: Place) -> bool {
        let of_place = |(_, written): &(usize, &Written)| written.body.is_some_and(|body| body.0 == place);
        let newest = self.state.iter().enumerate().filter(of_place).max_by_key(|(_, written)| written.key);
        if let Some((at, _)) = newest {
            return self.is_gone(at as u64);
        }
        let (base, metadata) = &self.committed[usize::from(place.source)];
        let covered = |&(from, to): &(u64, u64)| from <= place.offset && place.offset < to;
        place.offset < *base || metadata.completed.iter().any(covered)
    }

    /// Another owner: what is under way may or may not have come through.
    fn take_over(&mut self, luck: u8) {
        if luck & 1 > 0 {
            while self.write_park(0).is_some() {}
        }
        if luck & 2 > 0 {
            while self.write_clear(0).is_some() {}
        }
        if let Some(offsets) = self.way.commit.take().filter(|_| luck & 4 > 0) {
            self.apply(offsets);
        }
        let durable = self.log.keys().copied().filter(|place| self.is_durably_done(*place)).collect();
        self.finished = durable;
        self.failures.clear();
        for written in &self.state {
            if let Some((place, _, attempts)) = written.body {
                let known = self.failures.entry(place).or_default();
                *known = attempts.max(*known);
            }
        }
        self.way = UnderWay::default();
        self.unparked.clear();
        let (partition, effects) = claimed(&mut self.state, &mut self.committed);
        self.partition = partition;
        for source in 0..SOURCES {
            self.position[usize::from(source)] = self.partition.resume(source);
        }
        self.carry_out(effects);
    }

    fn step(&mut self, what: u8, pick: usize) {
        match what {
            0..=9 => self.receive(u16::from(what % 2 == 1)),
            10..=16 => self.start(),
            17..=19 => self.end(pick, Verdict::Delivered),
            20..=22 => self.end(pick, Verdict::Retry),
            23 => self.end(pick, Verdict::Dead),
            24 => self.bury(pick),
            25..=28 => self.park(pick),
            29..=30 => self.due(pick),
            31..=32 => self.commit(),
            33..=34 => self.committed(),
            35 => self.refused(),
            36..=37 => self.clear(pick),
            _ => self.take_over(pick as u8),
        }
    }

    /// Lets everything come to its end.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            for source in 0..SOURCES {
                self.receive(source);
            }
            for what in [10, 17, 24, 25, 29, 31, 33, 36] {
                self.step(what, 0);
            }
        }
    }
}

/// The `n`-th of a set or of the keys of a map, if there is any.
fn nth<'a, T: Copy + 'a>(of: impl IntoIterator<Item = impl Key<T>>, n: usize) -> Option<T> {
    let all: Vec<T> = of.into_iter().map(|item| item.key()).collect();
    all.get(n.checked_rem(all.len())?).copied()
}

/// What iterating over a set or a map yields.
trait Key<T> {
    fn key(&self) -> T;
}

impl<T: Copy> Key<T> for &T {
    fn key(&self) -> T {
        **self
    }
}

impl<T: Copy, V> Key<T> for (&T, V) {
    fn key(&self) -> T {
        *self.0
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever happens in whatever order: one attempt per lane, in order, each event ends once per owner, bounds
    /// hold, no commit passes over anything, and in the end nothing is left.
    #[test]
    fn a_partition_keeps_its_promises(
        gaps in prop::collection::vec(any::<u8>(), 1..60),
        steps in prop::collection::vec((0u8..39, any::<usize>()), 0..600),
    ) {
        let mut world = World::new(&gaps);
        for (what, pick) in steps {
            world.step(what, pick);
        }
        world.settle();
        prop_assert_eq!(world.finished.len(), world.log.len());
        prop_assert_eq!((world.partition.parked_count(), world.partition.unresolved()), (0, 0));
        prop_assert!(world.partition.is_quiet() && world.partition.commit().is_none());
        for (source, (offset, metadata)) in world.committed.iter().enumerate() {
            prop_assert_eq!(*offset, world.ends[source]);
            prop_assert!(metadata.completed.is_empty() && metadata.claim.dead.is_empty());
            prop_assert_eq!(metadata.claim.low, metadata.claim.floor);
        }
    }
}

// === lists that do not fit ===

const WIDE: Rules = Rules { max_unresolved: 512, max_waiting: 64, ..RULES };

fn key(seq: u64) -> StateKey {
    StateKey { epoch: 1, seq, nonce: 1 }
}

fn loading(count: u64) -> Loading<u8> {
    let claim = super::Claim { epoch: 1, nonce: 1, floor: 0, low: 0, high: 0, dead: vec![] };
    let metadata = Some(Metadata { claim, completed: vec![] });
    Loading::new(WIDE, 2, &[Committed { offset: 1_000_000, metadata }], count * 200)
        .expect("nothing was there before")
}

fn fits(offsets: &Offsets) -> bool {
    offsets.iter().all(|(offset, metadata)| metadata.encode(*offset).len() <= Metadata::MAX)
}

#[test]
fn discards_that_do_not_fit_the_claim_are_swept_before_it() {
    let mut loading = loading(5_000);
    for n in 0..5_000 {
        loading.unreadable(n * 200, key(n));
    }
    let mut claiming = loading.finish();
    let sweep: Vec<(u64, StateKey)> = claiming.sweep().to_vec();
    assert!(sweep.len() > 3_000, "{} are swept", sweep.len());
    for (at, _) in &sweep {
        assert!(claiming.claim().is_none(), "not before the last tombstone");
        claiming.swept(*at, 1_000_000);
    }
    let claim = claiming.claim().expect("the sweep is done");
    assert!(fits(&claim));
    let listed = claim[0].1.claim.dead.clone();
    assert_eq!(listed.len() + sweep.len(), 5_000);
    assert!(sweep.iter().all(|(at, _)| !listed.contains(at)));
    let mut effects = Vec::new();
    let partition = claiming.acknowledged(&mut effects);
    let cleared: BTreeSet<u64> =
        effects.iter().map(|e| if let Effect::Clear(at, _) = e { *at } else { u64::MAX }).collect();
    assert_eq!(cleared, listed.into_iter().collect());
    assert_eq!(partition.parked_count(), 0);
}

/// A partition with this many deliveries loaded, all of them ready.
fn full(count: u64) -> Partition<u8> {
    loaded(count, 0)
}

/// The same after so many attempts of each.
fn loaded(count: u64, attempts: u32) -> Partition<u8> {
    let mut loading = loading(count);
    for n in 0..count {
        let place = Place { source: 0, offset: n };
        loading.record(Loaded { at: n * 200, key: key(n), place, lane: None, kind: Kind::Behind, attempts });
    }
    let mut claiming = loading.finish();
    assert!(claiming.sweep().is_empty());
    claiming.claim().expect("there is nothing to sweep");
    let mut effects = Vec::new();
    let partition = claiming.acknowledged(&mut effects);
    assert!(effects.is_empty());
    partition
}

#[test]
fn finished_records_are_listed_as_far_as_they_fit_and_the_rest_later() {
    let mut partition = full(4_000);
    let mut effects = Vec::new();
    while let Some(start) = partition.start() {
        partition.ended(start.place, Verdict::Delivered, &mut effects);
    }
    let (mut commits, mut cleared) = (0, BTreeSet::new());
    while let Some(offsets) = partition.commit() {
        commits += 1;
        assert!(fits(&offsets) && commits < 100);
        partition.committed(&mut effects);
        for effect in effects.drain(..) {
            let Effect::Clear(at, _) = effect else { panic!("{effect:?}") };
            assert!(cleared.insert(at), "one tombstone each");
            partition.cleared(at, 2_000_000);
        }
    }
    assert_eq!((cleared.len(), partition.parked_count()), (4_000, 0));
    assert!(commits > 3, "{commits} commits");
}

#[test]
fn a_commit_that_does_not_fit_waits_for_tombstones() {
    let mut partition = full(1_280);
    let mut effects = Vec::new();
    while let Some(start) = partition.start() {
        partition.ended(start.place, Verdict::Delivered, &mut effects);
    }
    let offsets = partition.commit().expect("much is finished");
    assert_eq!(offsets[0].1.claim.dead.len(), 1_280);
    partition.committed(&mut effects);
    // The list is full now. The completed set grows, and has no room beside it.
    let mut clears = std::mem::take(&mut effects);
    for n in 0..500 {
        let place = Place { source: 0, offset: 1_000_000 + n };
        assert!(partition.received(place, None, &mut effects));
        let start = partition.start().expect("it has no lane");
        if n % 2 == 1 {
            partition.ended(start.place, Verdict::Delivered, &mut effects);
        }
    }
    let mut commits = 0;
    while let Some(Effect::Clear(at, _)) = clears.pop() {
        if let Some(offsets) = partition.commit() {
            assert!(fits(&offsets));
            commits += 1;
            partition.committed(&mut clears);
        }
        partition.cleared(at, 2_000_000);
    }
    assert!(commits > 0, "it goes on when there is room");
}

// === room ===

/// Receives the next record of a lane; says which delivery is now to be parked, if one is.
fn next_of(partition: &mut Partition<u8>, offset: &mut u64, lane: Option<u8>) -> Option<Place> {
    let mut effects = Vec::new();
    let place = Place { source: 0, offset: 1_000_000 + *offset };
    *offset += 1;
    assert!(partition.received(place, lane, &mut effects));
    effects.iter().find_map(|effect| match effect {
        Effect::Park { place, .. } => Some(*place),
        _ => None,
    })
}

#[test]
fn a_full_lane_tells_what_it_waits_for_and_a_held_one_does_not() {
    let (mut partition, mut offset) = (full(0), 0);
    let first = Place { source: 0, offset: 1_000_000 };
    for n in 0..=WIDE.max_waiting {
        assert_eq!(partition.head_of_full(0), None, "{n} of it");
        assert_eq!(next_of(&mut partition, &mut offset, Some(0)), None, "one goes, 64 wait");
    }
    assert_eq!(partition.head_of_full(0), Some(first));
    assert_eq!(partition.head_of_full(1), None, "another lane has room");
    let behind = next_of(&mut partition, &mut offset, Some(0));
    assert_eq!(behind, Some(Place { source: 0, offset: 1_000_065 }), "who comes all the same is parked");

    let mut effects = Vec::new();
    let start = partition.start().expect("the head is ready");
    partition.ended(start.place, Verdict::Retry, &mut effects);
    assert_eq!(partition.head_of_full(0), None, "behind a parked head all is parked");
    partition.spare(true, &mut effects);
    assert_eq!(partition.head_of_full(0), None, "and nothing is while it is spared");
}

#[test]
fn in_a_crowded_partition_a_lane_is_full_as_soon_as_one_waits() {
    let (mut partition, mut offset) = (full(0), 0);
    let one = Place { source: 0, offset: 1_000_000 };
    assert_eq!(next_of(&mut partition, &mut offset, Some(0)), None);
    for _ in 1..WIDE.max_unresolved / 4 * 3 {
        assert_eq!(partition.head_of_full(0), None, "{offset} are in");
        assert_eq!(next_of(&mut partition, &mut offset, None), None);
    }
    assert_eq!(partition.head_of_full(0), Some(one));
    assert_eq!(partition.head_of_full(1), None, "nothing of it waits");
    assert_eq!(next_of(&mut partition, &mut offset, Some(1)), None);
    assert!(next_of(&mut partition, &mut offset, Some(1)).is_some(), "its second is parked");
}

// === the dead list ===

#[test]
fn records_are_listed_in_the_order_of_their_finishing() {
    let mut listing = Listing::default();
    for at in [9, 4, 7, 1] {
        listing.finish(at, key(at), Planted::NONE);
    }
    assert_eq!(listing.compose(|list| list.len() <= 2), [4, 9]);
    assert_eq!(listing.committed(), [(9, key(9)), (4, key(4))]);
    assert!(listing.has_more());
    // What is listed stays, and the next come in their order: there is room for one.
    assert_eq!(listing.compose(|list| list.len() <= 3), [4, 7, 9]);
    assert_eq!(listing.committed(), [(7, key(7))]);
}

#[test]
fn a_refused_commit_lists_and_leaves_nothing() {
    let mut listing = Listing::default();
    listing.finish(1, key(1), Planted::NONE);
    assert_eq!(listing.compose(|_| true), [1]);
    listing.committed();
    listing.cleared(1);
    listing.finish(2, key(2), Planted::NONE);
    assert_eq!(listing.compose(|_| true), [2]);
    assert_eq!(listing.lowest(), Some(2), "the first is left off");
    listing.refused();
    assert_eq!((listing.lowest(), listing.len(), listing.has_more()), (Some(1), 2, true));
    assert_eq!(listing.compose(|_| true), [2]);
    assert_eq!(listing.committed(), [(2, key(2))], "no second tombstone for the first");
    assert_eq!((listing.lowest(), listing.len()), (Some(2), 1));
}

#[test]
fn an_entry_leaves_only_at_a_commit_after_its_tombstone() {
    let mut listing = Listing::default();
    listing.finish(1, key(1), Planted::NONE);
    listing.cleared(1);
    assert_eq!(listing.compose(|_| true), [1], "a tombstone that was not asked for means nothing");
    listing.committed();
    assert_eq!(listing.compose(|_| true), [1]);
    listing.cleared(1);
    listing.committed();
    assert_eq!(listing.len(), 1, "its acknowledgement came after that commit was composed");
    assert!(listing.compose(|_| true).is_empty());
    listing.committed();
    assert_eq!(listing.len(), 0);
}

// === sparing ===

/// Receives so many more of a lane; returns how many of them are parked at once.
fn parked_of(partition: &mut Partition<u8>, lane: u8, offsets: std::ops::Range<u64>) -> usize {
    let mut effects = Vec::new();
    for n in offsets {
        assert!(partition.received(Place { source: 0, offset: 1_000_000 + n }, Some(lane), &mut effects));
    }
    effects.len()
}

#[test]
fn what_waits_behind_parked_heads_is_parked_when_nothing_is_spared_any_more_or_room_is_short() {
    let mut partition = full(0);
    let mut effects = Vec::new();
    assert_eq!(parked_of(&mut partition, 0, 0..1) + parked_of(&mut partition, 1, 1..2), 0, "two heads");
    partition.spare(true, &mut effects);
    let head = partition.start().expect("it is ready").place;
    partition.ended(head, Verdict::Retry, &mut effects);
    partition.parked(head, 7, &mut effects);
    assert_eq!(parked_of(&mut partition, 0, 2..256), 0, "half of the room is for what waits");
    assert_eq!(parked_of(&mut partition, 0, 256..300), 43, "the rest is not");
    effects.clear();
    partition.spare(false, &mut effects);
    let parked = effects.iter().filter(|effect| matches!(effect, Effect::Park { kind: Kind::Behind, .. }));
    assert_eq!((parked.count(), effects.len()), (255, 255));
    effects.clear();
    partition.spare(false, &mut effects);
    assert!(effects.is_empty(), "once");
}

// === fresh ones ===

/// While a target is down that is asked in every turn of the loop.
#[test]
fn what_was_never_attempted_is_found_among_many_that_were_without_looking_at_them() {
    let mut partition = loaded(100_000, 1);
    let began = std::time::Instant::now();
    let found = (0..50_000).filter(|_| partition.has_fresh()).count();
    assert!(found == 0 && began.elapsed().as_secs() < 2, "{found} in {:?}", began.elapsed());
    let (fresh, mut effects) = (Place { source: 0, offset: 1_000_000 }, Vec::new());
    assert!(partition.received(fresh, None, &mut effects) && partition.has_fresh());
    assert_ne!(partition.start_parked_first().map(|start| start.place), Some(fresh));
    assert!(partition.has_fresh());
    assert_eq!(partition.start_fresh_first().map(|start| start.place), Some(fresh));
    assert!(!partition.has_fresh());
    let rest = std::iter::from_fn(|| partition.start()).map(|start| start.attempt);
    assert_eq!(rest.filter(|attempt| *attempt == 2).count(), 99_999);
}
