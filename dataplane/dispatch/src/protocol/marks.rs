//! A set of offsets that lie close together. Pure.

use crate::shelf::Shelf;

/// Offsets, as bits of words of 64 of them: parked records lie one behind the other in their topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Marks {
    words: Shelf<u64, u64>,
    len: usize,
}

impl Marks {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The least of them.
    pub(super) fn first(&self) -> Option<u64> {
        self.words.first().map(|(word, bits)| word * 64 + u64::from(bits.trailing_zeros()))
    }

    pub(super) fn insert(&mut self, offset: u64) {
        let bits = self.words.or_default(offset / 64);
        let bit = 1 << (offset % 64);
        self.len += usize::from(*bits & bit == 0);
        *bits |= bit;
    }

    pub(super) fn remove(&mut self, offset: u64) {
        let Some(bits) = self.words.get_mut(offset / 64) else { return };
        let bit = 1 << (offset % 64);
        self.len -= usize::from(*bits & bit != 0);
        *bits &= !bit;
        if *bits == 0 {
            self.words.remove(offset / 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Marks;

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((any::<bool>(), 0u64..300), 0..300)) {
            let (mut marks, mut model) = (Marks::default(), BTreeSet::new());
            for (insert, offset) in steps {
                if insert {
                    marks.insert(offset);
                    model.insert(offset);
                } else {
                    marks.remove(offset);
                    model.remove(&offset);
                }
                prop_assert_eq!((marks.first(), marks.len()), (model.first().copied(), model.len()));
            }
        }
    }
}
