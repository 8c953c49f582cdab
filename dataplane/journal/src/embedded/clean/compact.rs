//! Which records of a compacted partition nobody needs any more. Reads the log.
//!
//! A record is superfluous when a newer one has its key. A tombstone is when, besides, nothing older of its key is left in
//! any file, and has not been for as long as tombstones are kept: whoever read the older one has had that long to come to
//! the tombstone. Since when that is so is only remembered in memory; after a restart tombstones stay a little longer.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry as Slot},
    hash::{BuildHasher, Hasher, RandomState},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::super::{
    StoreError,
    codec::{self, Part, Raw},
    log::Log,
};

/// How many keys are compared at once: what fits into some 6 MiB of memory. A partition with more is read several times.
const KEYS: usize = if cfg!(test) { 56 } else { 112 << 10 };
/// How many tombstones are waited for at once.
const WAITING: usize = if cfg!(test) { 20 } else { 64 << 10 };

/// What is remembered of a partition from pass to pass.
#[derive(Debug, Default)]
pub(super) struct Compaction {
    /// Sealed records up to this offset were looked at.
    looked: u64,
    /// Tombstones with nothing older left, and since when.
    alone: BTreeMap<u64, i64>,
}

/// How to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule<'a> {
    pub(super) now: i64,
    pub(super) tombstones: Duration,
    pub(super) thorough: bool,
    /// Set when nobody waits for the answer any more.
    pub(super) stop: &'a AtomicBool,
}

/// What is superfluous of a partition, by the numbers of segments.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Dead(BTreeMap<u64, Marks>);

/// A bit for each record that a segment has of the partition, in order: there may be far more records than memory could name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Marks {
    bits: Vec<u64>,
    bytes: u64,
}

/// A record, by its place.
#[derive(Clone, Copy, Debug)]
struct Place {
    segment: u64,
    /// Which one of those that the segment has of the partition.
    number: u32,
    len: u32,
}

/// A key's hash. Nobody can choose keys that collide, since nobody knows its seed.
type Key = (u64, u64);

/// The newest record of a key so far.
struct Newest {
    place: Place,
    offset: u64,
    tombstone: bool,
    /// Whether there is an older one.
    covers: bool,
}

/// One reading of the partition, for the keys whose hashes lie in a range. The range shrinks when it has too many.
struct Round {
    low: u64,
    high: u64,
    newest: HashMap<Key, Newest>,
}

impl Dead {
    /// How many bytes of a segment are.
    pub(super) fn bytes(&self, segment: u64) -> u64 {
        self.0.get(&segment).map_or(0, |marks| marks.bytes)
    }

    /// Whether that record of a segment is.
    pub(super) fn contains(&self, segment: u64, number: u32) -> bool {
        let word = |marks: &Marks| marks.bits.get(number as usize / 64).copied();
        self.0.get(&segment).and_then(word).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Marks a record. One that is marked twice counts once.
    fn mark(&mut self, place: Place) {
        let marks = self.0.entry(place.segment).or_default();
        let (word, bit) = (place.number as usize / 64, 1 << (place.number % 64));
        if marks.bits.len() <= word {
            marks.bits.resize(word + 1, 0);
        }
        if let Some(word) = marks.bits.get_mut(word).filter(|word| **word & bit == 0) {
            *word |= bit;
            marks.bytes += u64::from(place.len);
        }
    }
}

impl Compaction {
    /// Looks what is superfluous, if that is worth it: when half of what is sealed came since the last look, or a tombstone
    /// has waited for long enough.
    pub(super) fn look(&mut self, log: &Log, part: Part, rule: Rule<'_>) -> Result<Option<Dead>, StoreError> {
        let held: Vec<_> = log.sealed.iter().filter_map(|segment| segment.part(part)).collect();
        let Some(end) = held.last().map(|held| held.next) else { return Ok(None) };
        let all: u64 = held.iter().map(|held| held.bytes).sum();
        let fresh: u64 = held.iter().filter(|held| held.next > self.looked).map(|held| held.bytes).sum();
        let due = rule.now.saturating_sub(i64::try_from(rule.tombstones.as_millis()).unwrap_or(i64::MAX));
        let waited = self.alone.values().any(|since| *since <= due);
        if !(rule.thorough || waited || fresh > 0 && fresh * 2 >= all) {
            return Ok(None);
        }
        let found = self.find(log, part, rule, due);
        // What is damaged will be no better by the next pass.
        if !matches!(found, Err(StoreError::Io(_))) {
            self.looked = end;
        }
        found
    }

    fn find(&mut self, log: &Log, part: Part, rule: Rule<'_>, due: i64) -> Result<Option<Dead>, StoreError> {
        let seed = RandomState::new().build_hasher().finish();
        let (mut dead, mut alone, mut fresh) = (Dead::default(), BTreeMap::new(), Vec::new());
        let mut low = Some(0);
        while let Some(from) = low {
            let mut round = Round { low: from, high: u64::MAX, newest: HashMap::new() };
            if !round.read(log, part, seed, rule.stop, &mut dead)? {
                return Ok(None);
            }
            low = round.high.checked_add(1);
            for newest in round.newest.into_values().filter(|newest| newest.tombstone && !newest.covers) {
                match self.alone.get(&newest.offset) {
                    Some(since) if *since <= due => dead.mark(newest.place),
                    Some(since) => drop(alone.insert(newest.offset, *since)),
                    None if rule.now <= due => dead.mark(newest.place),
                    None if fresh.len() < WAITING => fresh.push(newest.offset),
                    None => {}
                }
            }
        }
        // Those that have waited go on waiting; others only take the room that is left.
        let room = WAITING.saturating_sub(alone.len());
        alone.extend(fresh.into_iter().take(room).map(|offset| (offset, rule.now)));
        self.alone = alone;
        Ok(Some(dead))
    }
}

impl Round {
    /// Reads the partition; whether to its end.
    fn read(
        &mut self,
        log: &Log,
        part: Part,
        seed: u64,
        stop: &AtomicBool,
        dead: &mut Dead,
    ) -> Result<bool, StoreError> {
        let (mut segment, mut number) = (None, 0);
        let mut whole = true;
        log.chunks(part, 0, u64::MAX, |holder, entry| {
            whole = !stop.load(Ordering::Acquire);
            if segment.replace(holder.name.id) != Some(holder.name.id) {
                number = 0;
            }
            for raw in codec::records(entry.base, &holder.body(part, entry)?) {
                let raw = raw?;
                self.see(&raw, Place { segment: holder.name.id, number, len: raw.len() as u32 }, seed, dead);
                number += 1;
            }
            Ok(whole)
        })?;
        Ok(whole)
    }

    /// Takes in a record; the one before it of its key is dead.
    fn see(&mut self, raw: &Raw<'_>, place: Place, seed: u64, dead: &mut Dead) {
        // A record without a key is refused, so there is none.
        let hash = xxh3_128_with_seed(raw.key().unwrap_or_default(), seed);
        let key = ((hash >> 64) as u64, hash as u64);
        if !(self.low..=self.high).contains(&key.0) {
            return;
        }
        let tombstone = raw.is_tombstone();
        let mut next = Newest { place, offset: raw.offset, tombstone, covers: false };
        match self.newest.entry(key) {
            Slot::Vacant(slot) => drop(slot.insert(next)),
            Slot::Occupied(mut slot) => {
                next.covers = true;
                dead.mark(slot.insert(next).place);
            }
        }
        // The upper half is for the next round.
        while self.newest.len() > KEYS && self.low < self.high {
            self.high = self.low + (self.high - self.low) / 2;
            let high = self.high;
            self.newest.retain(|key, _| key.0 <= high);
        }
    }
}

#[cfg(test)]
mod tests;
