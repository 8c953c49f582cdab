//! Which offsets of one source partition are resolved. Pure.
//!
//! Offsets have gaps (transactions, compaction), so what counts is what was *received*: everything below the reading
//! position that is not open is resolved or does not exist.

use std::collections::BTreeSet;

/// The resolved offsets of one source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tracker {
    /// Everything below has been received or does not exist.
    next: u64,
    /// Received and not yet resolved.
    open: BTreeSet<u64>,
    /// Runs `[from, to)` that an earlier owner resolved and that have not been received again yet.
    ahead: Vec<(u64, u64)>,
}

impl Tracker {
    /// Begins at a committed offset, with the runs above it that were resolved already: ascending and disjoint.
    pub fn new(offset: u64, completed: Vec<(u64, u64)>) -> Self {
        let mut tracker = Self { next: offset, open: BTreeSet::new(), ahead: completed };
        tracker.pass(offset);
        tracker
    }

    /// Notes that a record was received. `false` means that it needs nothing: it was resolved by an earlier owner, or
    /// it was received before.
    pub fn received(&mut self, offset: u64) -> bool {
        if offset < self.next {
            return false;
        }
        self.pass(offset);
        if offset < self.next {
            return false;
        }
        self.open.insert(offset);
        self.pass(offset + 1);
        true
    }

    /// Notes that nothing more exists below this offset. Resolved runs that begin there are passed along with it.
    pub fn pass(&mut self, next: u64) {
        self.next = self.next.max(next);
        let reached = self.ahead.iter().take_while(|&&(from, _)| from <= self.next).count();
        for (_, to) in self.ahead.drain(..reached) {
            self.next = self.next.max(to);
        }
    }

    /// Notes that a received record needs no more work here.
    pub fn resolve(&mut self, offset: u64) {
        self.open.remove(&offset);
    }

    /// The first offset that is not known to be resolved: what may be committed.
    pub fn base(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.next)
    }

    /// The reading position: everything below has been received or needs nothing.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether replay has passed this offset.
    pub fn has_passed(&self, offset: u64) -> bool {
        offset < self.next
    }

    /// How many records are received and unresolved.
    pub fn unresolved(&self) -> usize {
        self.open.len()
    }

    /// The runs `[from, to)` of resolved offsets above [`base`](Self::base), ascending and disjoint.
    pub fn completed(&self) -> Vec<(u64, u64)> {
        let mut runs = Vec::new();
        let mut from = self.base();
        for &open in &self.open {
            if from < open {
                runs.push((from, open));
            }
            from = open + 1;
        }
        if from < self.next {
            runs.push((from, self.next));
        }
        runs.extend_from_slice(&self.ahead);
        runs
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Tracker;

    #[test]
    fn gaps_are_passed_over() {
        let mut tracker = Tracker::new(0, vec![]);
        for offset in [0, 3, 9] {
            assert!(tracker.received(offset));
        }
        tracker.resolve(0);
        assert_eq!(tracker.base(), 3);
        tracker.resolve(9);
        assert_eq!(tracker.completed(), [(4, 10)]);
        tracker.resolve(3);
        tracker.pass(12);
        assert_eq!((tracker.base(), tracker.completed()), (12, vec![]));
    }

    #[test]
    fn resolved_runs_are_taken_over_and_their_records_not_offered_again() {
        let mut tracker = Tracker::new(5, vec![(5, 7), (9, 10)]);
        assert_eq!((tracker.base(), tracker.completed()), (7, vec![(9, 10)]));
        assert!(!tracker.received(5) && !tracker.received(6));
        assert!(tracker.received(8));
        assert!(!tracker.received(9));
        assert_eq!((tracker.base(), tracker.completed()), (8, vec![(9, 10)]));
    }

    proptest! {
        /// Whatever is received, resolved and handed over, in whatever order: the base never passes an unresolved
        /// record, every record is offered until it is resolved, and never again afterwards.
        #[test]
        fn nothing_is_passed_over_and_nothing_comes_back(
            gaps in prop::collection::vec(1u64..4, 1..40),
            picks in prop::collection::vec((any::<prop::sample::Index>(), 0u8..10), 0..120),
        ) {
            let offsets: Vec<u64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let mut resolved = BTreeSet::new();
            let mut tracker = Tracker::new(0, vec![]);
            let mut read = 0;
            for (pick, what) in picks {
                match what {
                    0 => {
                        let (base, completed) = (tracker.base(), tracker.completed());
                        tracker = Tracker::new(base, completed);
                        read = offsets.iter().take_while(|&&o| o < base).count();
                    }
                    1..=5 if read < offsets.len() => {
                        let offset = offsets[read];
                        read += 1;
                        prop_assert_eq!(tracker.received(offset), !resolved.contains(&offset));
                    }
                    _ if read > 0 => {
                        let offset = offsets[pick.index(read)];
                        tracker.resolve(offset);
                        resolved.insert(offset);
                    }
                    _ => {}
                }
                let base = tracker.base();
                prop_assert!(offsets.iter().filter(|&&o| o < base).all(|o| resolved.contains(o)));
                for (from, to) in tracker.completed() {
                    prop_assert!(base <= from && from < to);
                    prop_assert!(offsets.iter().filter(|o| (from..to).contains(*o)).all(|o| resolved.contains(o)));
                }
            }
        }
    }
}
