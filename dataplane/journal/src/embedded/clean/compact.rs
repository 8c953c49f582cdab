//! Which records of a compacted partition nobody needs any more. Reads the log.
//!
//! A record is superfluous when a newer one has its key. A tombstone is when, besides, nothing older of its key is left in
//! any file, and has not been for as long as tombstones are kept: whoever read the older one has had that long to come to
//! the tombstone. Since when that is so is only remembered in memory; after a restart tombstones stay a little longer.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry as Slot},
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::super::{
    StoreError,
    codec::{self, Part},
    log::Log,
    segment::Name,
};

/// How many keys are compared at once: some 15 MiB of memory while it lasts. A partition with more is read several times.
const KEYS: u64 = 256 << 10;
/// How many tombstones are waited for at once.
const WAITING: usize = 64 << 10;

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
pub(super) struct Rule {
    pub(super) now: i64,
    pub(super) tombstones: Duration,
    pub(super) thorough: bool,
}

/// What is superfluous.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Dead {
    /// Offsets, in order.
    pub(super) offsets: Vec<u64>,
    /// How many bytes that is in each segment.
    pub(super) bytes: BTreeMap<Name, u64>,
}

/// The newest record of a key so far.
struct Newest {
    offset: u64,
    segment: Name,
    len: u32,
    tombstone: bool,
    /// Whether there is an older one.
    covers: bool,
}

impl Dead {
    pub(super) fn contains(&self, offset: u64) -> bool {
        self.offsets.binary_search(&offset).is_ok()
    }

    fn add(&mut self, newest: &Newest) {
        self.offsets.push(newest.offset);
        *self.bytes.entry(newest.segment).or_default() += u64::from(newest.len);
    }
}

impl Compaction {
    /// Looks what is superfluous, if that is worth it: when half of what is sealed came since the last look, or a tombstone
    /// has waited for long enough.
    pub(super) fn look(&mut self, log: &Log, part: Part, rule: Rule) -> Result<Option<Dead>, StoreError> {
        let Some((_, sealed)) = log.0.split_last() else { return Ok(None) };
        let held: Vec<_> = sealed.iter().filter_map(|segment| segment.part(part)).collect();
        let Some(end) = held.last().map(|held| held.next) else { return Ok(None) };
        let all: u64 = held.iter().map(|held| held.bytes).sum();
        let fresh: u64 = held.iter().filter(|held| held.next > self.looked).map(|held| held.bytes).sum();
        let due = rule.now.saturating_sub(i64::try_from(rule.tombstones.as_millis()).unwrap_or(i64::MAX));
        let waited = self.alone.values().any(|since| *since <= due);
        if !(rule.thorough || waited || fresh > 0 && fresh * 2 >= all) {
            return Ok(None);
        }
        self.looked = end;
        Ok(Some(self.find(log, part, rule.now, due)?))
    }

    fn find(&mut self, log: &Log, part: Part, now: i64, due: i64) -> Result<Dead, StoreError> {
        let mut count = 0;
        log.chunks(part, 0, u64::MAX, |_, entry| {
            count += u64::from(entry.count);
            Ok(true)
        })?;
        let slices = count.div_ceil(KEYS).max(1);
        // Nobody can choose keys that collide.
        let seed = RandomState::new().build_hasher().finish();
        let (mut dead, mut alone) = (Dead::default(), BTreeMap::new());
        for slice in 0..slices {
            let mine = |hash: u128| hash % u128::from(slices) == u128::from(slice);
            let newest = newest(log, part, seed, mine, &mut dead)?;
            for newest in newest.into_values().filter(|newest| newest.tombstone && !newest.covers) {
                let since = self.alone.get(&newest.offset).copied().unwrap_or(now);
                if since <= due {
                    dead.add(&newest);
                } else if alone.len() < WAITING {
                    alone.insert(newest.offset, since);
                }
            }
        }
        self.alone = alone;
        dead.offsets.sort_unstable();
        Ok(dead)
    }
}

/// The newest record of each of these keys; the others of them are dead.
fn newest(
    log: &Log,
    part: Part,
    seed: u64,
    mine: impl Fn(u128) -> bool,
    dead: &mut Dead,
) -> Result<HashMap<u128, Newest>, StoreError> {
    let mut newest: HashMap<u128, Newest> = HashMap::new();
    log.chunks(part, 0, u64::MAX, |segment, entry| {
        for raw in codec::records(entry.base, &segment.body(part, entry)?) {
            let raw = raw?;
            // A record without a key is refused, so there is none.
            let hash = xxh3_128_with_seed(raw.key().unwrap_or_default(), seed);
            if !mine(hash) {
                continue;
            }
            let mut next = Newest {
                offset: raw.offset,
                segment: segment.name,
                len: raw.len() as u32,
                tombstone: raw.is_tombstone(),
                covers: false,
            };
            match newest.entry(hash) {
                Slot::Vacant(slot) => drop(slot.insert(next)),
                Slot::Occupied(mut slot) => {
                    next.covers = true;
                    dead.add(&slot.insert(next));
                }
            }
        }
        Ok(true)
    })?;
    Ok(newest)
}
