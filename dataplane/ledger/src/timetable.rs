//! What is due next: in order within a destination, and in turns among destinations. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    iter::from_fn,
};

/// When a timer fires, and its place among those that fire at the same instant.
pub(crate) type Slot = (i64, u64);

/// The pending timers of one shard, by their numbers in memory, in the order in which they fire.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timetable {
    lines: BTreeMap<u32, BTreeMap<Slot, u32>>,
    /// The first of each line.
    heads: BTreeSet<(Slot, u32)>,
}

impl Timetable {
    /// Puts a timer of a destination in.
    pub(crate) fn insert(&mut self, line: u32, slot: Slot, timer: u32) {
        self.edit(line, |timers| {
            timers.insert(slot, timer);
        });
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, line: u32, slot: Slot) {
        self.edit(line, |timers| {
            timers.remove(&slot);
        });
    }

    /// The instant at which the first one of the destinations that are not barred is due.
    pub(crate) fn next(&self, barred: impl Fn(u32) -> bool) -> Option<i64> {
        self.heads.iter().find(|(_, line)| !barred(*line)).map(|((due, _), _)| *due)
    }

    /// The destinations of which something is due by now, that whose turn it is first: the one behind the last.
    pub(crate) fn ready(&self, now: i64, last: u32) -> Vec<u32> {
        let due = self.heads.range(..=((now, u64::MAX), u32::MAX));
        let mut lines: Vec<u32> = due.map(|(_, line)| *line).collect();
        lines.sort_unstable_by_key(|line| (*line <= last, *line));
        lines
    }

    /// The timer of a destination that fires first.
    pub(crate) fn head(&self, line: u32) -> Option<(Slot, u32)> {
        self.lines.get(&line)?.first_key_value().map(|(slot, id)| (*slot, *id))
    }

    /// Those due by then, soonest first within each destination.
    pub(crate) fn due(&self, by: i64) -> impl Iterator<Item = u32> + '_ {
        let lines =
            self.heads.range(..=((by, u64::MAX), u32::MAX)).filter_map(|(_, line)| self.lines.get(line));
        lines.flat_map(move |timers| timers.range(..=(by, u64::MAX)).map(|(_, id)| *id))
    }

    /// The same, about so many, of each destination as many as of any other.
    pub(crate) fn soon(&self, by: i64, most: usize) -> impl Iterator<Item = u32> + '_ {
        let heads = self.heads.range(..=((by, u64::MAX), u32::MAX));
        let each = (most / heads.clone().count().max(1)).max(1);
        let lines = heads.filter_map(|(_, line)| self.lines.get(line));
        lines.flat_map(move |timers| timers.range(..=(by, u64::MAX)).take(each).map(|(_, id)| *id))
    }

    /// Those of all destinations from a place on, soonest first.
    pub(crate) fn from(&self, place: Slot) -> impl Iterator<Item = (Slot, u32)> + '_ {
        let mut lines: Vec<_> = self.lines.values().map(|timers| timers.range(place..)).collect();
        let firsts = lines.iter_mut().enumerate();
        let mut next: BinaryHeap<_> =
            firsts.filter_map(|(line, timers)| timers.next().map(|first| Reverse((first, line)))).collect();
        from_fn(move || {
            let Reverse(((slot, id), line)) = next.pop()?;
            next.extend(lines[line].next().map(|first| Reverse((first, line))));
            Some((*slot, *id))
        })
    }

    /// The timers of a destination behind a place, soonest first.
    pub(crate) fn behind(&self, line: u32, after: Option<Slot>) -> impl Iterator<Item = (Slot, u32)> + '_ {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let timers =
            self.lines.get(&line).into_iter().flat_map(move |timers| timers.range((from, Unbounded)));
        timers.map(|(slot, id)| (*slot, *id))
    }

    fn edit(&mut self, line: u32, edit: impl FnOnce(&mut BTreeMap<Slot, u32>)) {
        let timers = self.lines.entry(line).or_default();
        let before = timers.first_key_value().map(|(head, _)| *head);
        edit(timers);
        let after = timers.first_key_value().map(|(head, _)| *head);
        if before != after {
            if let Some(head) = before {
                self.heads.remove(&(head, line));
            }
            self.heads.extend(after.map(|head| (head, line)));
        }
        if after.is_none() {
            self.lines.remove(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Timetable;

    #[test]
    fn destinations_take_turns() {
        let mut table = Timetable::default();
        for (line, slot) in [(1, (10, 0)), (2, (5, 1)), (3, (10, 2)), (4, (11, 3))] {
            table.insert(line, slot, 0);
        }
        assert_eq!(table.ready(10, 0), [1, 2, 3]);
        assert_eq!(table.ready(10, 2), [3, 1, 2]);
        assert_eq!(table.next(|_| false), Some(5));
        assert_eq!(table.next(|line| line == 2), Some(10));
        table.remove(2, (5, 1));
        assert_eq!((table.head(2), table.next(|_| false)), (None, Some(10)));
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_map(steps in prop::collection::vec((any::<bool>(), 0_u32..3, 0_i64..20, 0_u64..5), 0..80)) {
            let (mut table, mut oracle) = (Timetable::default(), BTreeMap::new());
            for (put, line, due, seq) in steps {
                if put {
                    table.insert(line, (due, seq), seq as u32);
                    oracle.insert((line, due, seq), seq as u32);
                } else {
                    table.remove(line, (due, seq));
                    oracle.remove(&(line, due, seq));
                }
                prop_assert_eq!(table.next(|_| false), oracle.keys().map(|(_, due, _)| *due).min());
                for line in 0..3 {
                    let all: Vec<_> = table.behind(line, None).map(|((due, seq), id)| ((line, due, seq), id)).collect();
                    let expected: Vec<_> = oracle.iter().filter(|((l, ..), _)| *l == line).map(|(k, v)| (*k, *v)).collect();
                    prop_assert_eq!(all, expected);
                }
                let mut due: Vec<_> = table.due(10).collect();
                let mut expected: Vec<_> = oracle.iter().filter(|((_, due, _), _)| *due <= 10).map(|(_, id)| *id).collect();
                due.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(&due, &expected);
                let mut soon: Vec<_> = table.soon(10, 1_000).collect();
                soon.sort_unstable();
                prop_assert_eq!(soon, due);
                let from: Vec<_> = table.from((10, 2)).map(|(slot, _)| slot).collect();
                let later = oracle.keys().map(|(_, due, seq)| (*due, *seq)).filter(|slot| *slot >= (10, 2));
                let mut later: Vec<_> = later.collect();
                later.sort_unstable();
                prop_assert_eq!(from, later);
            }
        }
    }
}
