//! A map by timers' ids that takes little more than what it holds. Pure.
//!
//! Values lie in slabs, one behind the other, that never move; what is hashed are their numbers. A common map keeps places for
//! whole values, up to twice as many as there are, and moves all of them when it grows, while nothing fires.

use std::hash::{BuildHasher as _, RandomState};

use crate::TimerId;

/// How many values a slab has.
const SLAB: usize = 1_024;
/// The end of the list of free cells.
const END: u32 = u32::MAX;
/// The fewest places of the index.
const FEWEST: usize = 16;

/// Values by timers' ids.
#[derive(Clone, Debug)]
pub(crate) struct Slabs<V> {
    /// In slabs.
    cells: Vec<Vec<Cell<V>>>,
    /// The first free cell.
    free: u32,
    /// Each place is empty, which is 0, or has a hash and, one more than it is, the number of the cell. Whoever looks begins at
    /// the place that the hash says, and ends at an empty one.
    index: Vec<u64>,
    count: usize,
    /// Ids are made of what publishers say, who must not know where they lie.
    hasher: RandomState,
}

#[derive(Clone, Debug)]
enum Cell<V> {
    Full(TimerId, V),
    /// And which is the next free one.
    Free(u32),
}

impl<V> Default for Slabs<V> {
    fn default() -> Self {
        Self { cells: Vec::new(), free: END, index: Vec::new(), count: 0, hasher: RandomState::new() }
    }
}

impl<V> Slabs<V> {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn get(&self, id: &TimerId) -> Option<&V> {
        self.full(number(self.index[self.find(*id)?])).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, id: &TimerId) -> Option<&mut V> {
        let number = number(self.index[self.find(*id)?]);
        match self.cells.get_mut(number / SLAB)?.get_mut(number % SLAB)? {
            Cell::Full(_, value) => Some(value),
            Cell::Free(_) => None,
        }
    }

    /// The value of a number, and whose it is.
    pub(crate) fn at(&self, number: u32) -> Option<(TimerId, &V)> {
        self.full(number as usize).map(|(id, value)| (*id, value))
    }

    /// Puts a value in; tells its number, which is its own until it is taken out, and gives back the one that was there.
    pub(crate) fn insert(&mut self, id: TimerId, value: V) -> (u32, Option<V>) {
        if let Some(at) = self.find(id) {
            let number = number(self.index[at]) as u32;
            let before = self.get_mut(&id).map(|known| std::mem::replace(known, value));
            return (number, before);
        }
        if (self.count + 1) * 5 > self.index.len() * 4 {
            self.grow();
        }
        let number = self.place(Cell::Full(id, value));
        let entry = u64::from(self.hash(id)) << 32 | u64::from(number + 1);
        enter(&mut self.index, entry);
        self.count += 1;
        (number, None)
    }

    /// Takes a value out.
    pub(crate) fn remove(&mut self, id: &TimerId) -> Option<V> {
        let at = self.find(*id)?;
        let number = number(self.index[at]);
        let cell = self.cells.get_mut(number / SLAB)?.get_mut(number % SLAB)?;
        let Cell::Full(_, value) = std::mem::replace(cell, Cell::Free(self.free)) else { return None };
        self.free = number as u32;
        self.count -= 1;
        self.close(at);
        Some(value)
    }

    /// All of them, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TimerId, &V)> {
        self.cells.iter().flatten().filter_map(|cell| match cell {
            Cell::Full(id, value) => Some((id, value)),
            Cell::Free(_) => None,
        })
    }

    fn hash(&self, id: TimerId) -> u32 {
        self.hasher.hash_one(id) as u32
    }

    fn full(&self, number: usize) -> Option<(&TimerId, &V)> {
        match self.cells.get(number / SLAB)?.get(number % SLAB)? {
            Cell::Full(id, value) => Some((id, value)),
            Cell::Free(_) => None,
        }
    }

    /// The place of an id in the index.
    fn find(&self, id: TimerId) -> Option<usize> {
        let hash = self.hash(id);
        let mut at = home(hash, self.index.len());
        loop {
            let entry = *self.index.get(at).filter(|entry| **entry != 0)?;
            let is_it = || self.full(number(entry)).is_some_and(|(known, _)| *known == id);
            if hash_of(entry) == hash && is_it() {
                return Some(at);
            }
            at = behind(at, self.index.len());
        }
    }

    /// Puts a cell where one is free.
    fn place(&mut self, cell: Cell<V>) -> u32 {
        let free = self.free as usize;
        if let Some(there) = self.cells.get_mut(free / SLAB).and_then(|slab| slab.get_mut(free % SLAB))
            && let Cell::Free(next) = *there
        {
            self.free = next;
            *there = cell;
            return free as u32;
        }
        if self.cells.last().is_none_or(|slab| slab.len() == SLAB) {
            self.cells.push(Vec::with_capacity(SLAB));
        }
        let before = (self.cells.len() - 1) * SLAB;
        let slab = self.cells.last_mut().expect("there is one by now");
        slab.push(cell);
        u32::try_from(before + slab.len() - 1).expect("no memory holds so many")
    }

    fn grow(&mut self) {
        let places = (self.index.len() / 2 * 3).max(FEWEST);
        let before = std::mem::replace(&mut self.index, vec![0; places]);
        before.into_iter().filter(|entry| *entry != 0).for_each(|entry| enter(&mut self.index, entry));
    }

    /// Empties a place: what was put behind it because it was full moves up.
    fn close(&mut self, mut hole: usize) {
        let places = self.index.len();
        let far = |from: usize, to: usize| (to + places - from) % places;
        let mut next = behind(hole, places);
        while self.index[next] != 0 {
            if far(home(hash_of(self.index[next]), places), next) >= far(hole, next) {
                self.index[hole] = self.index[next];
                hole = next;
            }
            next = behind(next, places);
        }
        self.index[hole] = 0;
    }
}

/// Puts an entry into the first empty place from its own on; there is one.
fn enter(index: &mut [u64], entry: u64) {
    let mut at = home(hash_of(entry), index.len());
    while index[at] != 0 {
        at = behind(at, index.len());
    }
    index[at] = entry;
}

fn home(hash: u32, places: usize) -> usize {
    ((u64::from(hash) * places as u64) >> 32) as usize
}

fn behind(at: usize, places: usize) -> usize {
    if at + 1 == places { 0 } else { at + 1 }
}

fn hash_of(entry: u64) -> u32 {
    (entry >> 32) as u32
}

fn number(entry: u64) -> usize {
    entry as u32 as usize - 1
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::Slabs;
    use crate::TimerId;

    fn id(n: u16) -> TimerId {
        TimerId::of("p", None, "/s", &n.to_string(), 1)
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Insert(u16, u32),
        Remove(u16),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0_u16..300, any::<u32>()).prop_map(|(n, value)| Step::Insert(n, value)),
            2 => (0_u16..300).prop_map(Step::Remove),
        ];
        prop::collection::vec(step, 0..1_500)
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in steps()) {
            let (mut slabs, mut oracle) = (Slabs::default(), HashMap::new());
            for step in steps {
                match step {
                    Step::Insert(n, value) => {
                        let (number, before) = slabs.insert(id(n), value);
                        prop_assert_eq!(before, oracle.insert(id(n), value));
                        prop_assert_eq!(slabs.at(number), Some((id(n), &value)));
                    }
                    Step::Remove(n) => prop_assert_eq!(slabs.remove(&id(n)), oracle.remove(&id(n))),
                }
                prop_assert_eq!(slabs.len(), oracle.len());
            }
            for n in 0..300 {
                prop_assert_eq!(slabs.get(&id(n)), oracle.get(&id(n)));
                prop_assert_eq!(slabs.get_mut(&id(n)), oracle.get_mut(&id(n)));
            }
            let all: HashMap<_, _> = slabs.iter().map(|(id, value)| (*id, *value)).collect();
            prop_assert_eq!(all, oracle);
        }
    }

    #[test]
    fn cells_are_used_again() {
        let mut slabs = Slabs::default();
        for round in 0..50 {
            (0..2_000).for_each(|n| assert_eq!(slabs.insert(id(n), round), (u32::from(n), None)));
            (0..2_000).rev().for_each(|n| assert_eq!(slabs.remove(&id(n)), Some(round)));
        }
        assert!(slabs.is_empty() && slabs.cells.len() <= 2, "{} slabs", slabs.cells.len());
    }
}
