//! A sorted map that costs little more than what is in it. Pure.
//!
//! A Processor may have a million parked deliveries, so what the containers add counts as much as the entries. A
//! `BTreeMap` that grows at its end is hardly more than half full, and a `HashMap` at the wrong size is half empty, and
//! needs one and a half times its size while it grows. Here keys and values lie in runs of their own, without padding between
//! them; runs are full where entries come in order, as offsets do, and at least a quarter full otherwise.

use std::{
    fmt,
    hash::{Hash, Hasher},
    ops::RangeBounds,
};

/// How many entries lie in one run: few enough that moving half of one is a matter of a microsecond.
const RUN: usize = 512;
/// Neighbours that together have no more than this become one.
const SMALL: usize = RUN / 2;

/// A sorted map.
#[derive(Clone)]
pub(crate) struct Shelf<K, V> {
    /// None of them empty; every key of one is less than every key of the next.
    runs: Vec<Run<K, V>>,
    len: usize,
}

#[derive(Clone)]
struct Run<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K: Copy + Ord, V> Shelf<K, V> {
    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn get(&self, key: K) -> Option<&V> {
        let run = self.runs.get(self.run_of(key)?)?;
        run.values.get(run.keys.binary_search(&key).ok()?)
    }

    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let at = self.run_of(key)?;
        let run = self.runs.get_mut(at)?;
        run.values.get_mut(run.keys.binary_search(&key).ok()?)
    }

    pub(crate) fn contains(&self, key: K) -> bool {
        self.get(key).is_some()
    }

    /// The value of this key, made first if there is none.
    pub(crate) fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        if !self.contains(key) {
            self.insert(key, V::default());
        }
        self.get_mut(key).expect("it was inserted just before")
    }

    /// Puts an entry where it belongs, and gives back what was there.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Some(at) = self.run_of(key) else {
            self.runs.push(Run::of(key, value));
            self.len += 1;
            return None;
        };
        let run = &mut self.runs[at];
        let place = match run.keys.binary_search(&key) {
            Ok(found) => return Some(std::mem::replace(&mut run.values[found], value)),
            Err(place) => place,
        };
        self.len += 1;
        match (run.keys.len() < RUN, place) {
            (true, _) => run.insert(place, key, value),
            // At the end of a full run another begins: what comes in order fills them all.
            (false, RUN) => self.runs.insert(at + 1, Run::of(key, value)),
            (false, _) => {
                let mut behind = run.split();
                match place.checked_sub(run.keys.len()) {
                    Some(place) => behind.insert(place, key, value),
                    None => run.insert(place, key, value),
                }
                self.runs.insert(at + 1, behind);
            }
        }
        None
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let at = self.run_of(key)?;
        let place = self.runs[at].keys.binary_search(&key).ok()?;
        Some(self.take(at, place).1)
    }

    pub(crate) fn first(&self) -> Option<(K, &V)> {
        let run = self.runs.first()?;
        run.keys.first().copied().zip(run.values.first())
    }

    pub(crate) fn pop_first(&mut self) -> Option<(K, V)> {
        (!self.is_empty()).then(|| self.take(0, 0))
    }

    /// All entries in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.entries().map(|(key, value)| (*key, value))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = K> {
        self.entries().map(|(key, _)| *key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries().map(|(_, value)| value)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut V)> {
        self.runs.iter_mut().flat_map(|run| run.keys.iter().copied().zip(&mut run.values))
    }

    /// All entries in order; what was passed is freed on the way.
    pub(crate) fn into_iter(self) -> impl Iterator<Item = (K, V)> {
        self.runs.into_iter().flat_map(|run| run.keys.into_iter().zip(run.values))
    }

    /// Removes what is in a range, in order, and gives back its keys.
    pub(crate) fn drain_keys(&mut self, range: impl RangeBounds<K>) -> Vec<K> {
        let from = match range.start_bound() {
            std::ops::Bound::Included(key) | std::ops::Bound::Excluded(key) => {
                self.runs.partition_point(|run| run.last() < Some(key))
            }
            std::ops::Bound::Unbounded => 0,
        };
        let within =
            self.runs.iter().skip(from).flat_map(|run| &run.keys).skip_while(|key| !range.contains(key));
        let keys: Vec<K> = within.take_while(|key| range.contains(key)).copied().collect();
        for key in &keys {
            self.remove(*key);
        }
        keys
    }

    /// Keeps only entries that are such ones.
    pub(crate) fn retain(&mut self, is_such: impl Fn(K) -> bool) {
        let gone: Vec<K> = self.keys().filter(|key| !is_such(*key)).collect();
        for key in gone {
            self.remove(key);
        }
    }

    /// The run that has this key if any has: the last one that does not begin behind it. `None` where there is no run.
    fn run_of(&self, key: K) -> Option<usize> {
        let behind = self.runs.partition_point(|run| run.keys.first().is_some_and(|first| *first <= key));
        (!self.runs.is_empty()).then_some(behind.saturating_sub(1))
    }

    fn take(&mut self, at: usize, place: usize) -> (K, V) {
        self.len -= 1;
        let run = &mut self.runs[at];
        let taken = (run.keys.remove(place), run.values.remove(place));
        let left = run.keys.len();
        if left == 0 {
            self.runs.remove(at);
        } else if left <= SMALL / 2 {
            self.join(at);
        }
        taken
    }

    /// Puts a small run together with a neighbour, if both are small enough.
    fn join(&mut self, at: usize) {
        let len = |at: usize| self.runs.get(at).map_or(RUN, |run| run.keys.len());
        let first = if len(at) + len(at + 1) <= SMALL {
            at
        } else if at > 0 && len(at - 1) + len(at) <= SMALL {
            at - 1
        } else {
            return;
        };
        let Run { keys, values } = self.runs.remove(first + 1);
        let run = &mut self.runs[first];
        run.keys.extend(keys);
        run.values.extend(values);
    }
}

impl<K, V> Shelf<K, V> {
    fn entries(&self) -> impl Iterator<Item = (&K, &V)> {
        self.runs.iter().flat_map(|run| run.keys.iter().zip(&run.values))
    }
}

impl<K: Copy, V> Run<K, V> {
    fn of(key: K, value: V) -> Self {
        Self { keys: vec![key], values: vec![value] }
    }

    fn last(&self) -> Option<&K> {
        self.keys.last()
    }

    fn insert(&mut self, place: usize, key: K, value: V) {
        self.keys.insert(place, key);
        self.values.insert(place, value);
    }

    /// Keeps the first half and gives back the other.
    fn split(&mut self) -> Self {
        let half = self.keys.len() / 2;
        Self { keys: self.keys.split_off(half), values: self.values.split_off(half) }
    }
}

// Two are the same when the same is in them, however it is spread over runs.

impl<K: PartialEq, V: PartialEq> PartialEq for Shelf<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.entries().eq(other.entries())
    }
}

impl<K: Eq, V: Eq> Eq for Shelf<K, V> {}

impl<K: Hash, V: Hash> Hash for Shelf<K, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len.hash(state);
        self.entries().for_each(|entry| entry.hash(state));
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Shelf<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries()).finish()
    }
}

impl<K, V> Default for Shelf<K, V> {
    fn default() -> Self {
        Self { runs: Vec::new(), len: 0 }
    }
}

impl<K: Copy + Ord, V> FromIterator<(K, V)> for Shelf<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut shelf = Self::default();
        for (key, value) in entries {
            shelf.insert(key, value);
        }
        shelf
    }
}

#[cfg(test)]
mod tests;
