//! The dead list: `.state` records on their way from *finished* to *gone*. Pure.
//!
//! A record that is finished, replaced or discarded is first listed by a successful commit, which is what makes it so.
//! Only then its tombstone goes out, which merely clears it away, and only a commit after the tombstone's
//! acknowledgement leaves it off the list. Records are listed in the order in which they were finished: were a later
//! one of an event listed before an earlier one, the earlier would come back to life.

use super::{Deviation, Planted, load::StateKey};

/// Where a record is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// Finished; no commit lists it.
    Finished,
    /// The commit under way lists it.
    Flying,
    /// A successful commit lists it; its tombstone is out.
    Listed,
    /// Its tombstone is acknowledged.
    Cleared,
    /// The commit under way leaves it off.
    Leaving,
}

/// The dead list and its candidates, in order of their finishing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Listing {
    entries: Vec<(u64, StateKey, Stage)>,
}

impl Listing {
    /// With more on their way than this no attempt is started: tombstones come first.
    pub const MAX: usize = 4_096;

    /// Puts a finished record on its way. Returns whether its tombstone may go out at once: never, unless that mistake
    /// is planted.
    pub fn finish(&mut self, at: u64, key: StateKey, planted: Planted) -> bool {
        self.entries.push((at, key, Stage::Finished));
        planted.is(Deviation::TombstoneBeforeCommit)
    }

    /// The list for the next commit: what must stay listed, and of the newly finished as many as fit. Remembers what
    /// was chosen until [`committed`](Self::committed).
    pub fn compose(&mut self, fits: impl Fn(&[u64]) -> bool) -> Vec<u64> {
        let mut finished = self.entries.iter().filter(|entry| entry.2 == Stage::Finished).count();
        let mut list = self.list(finished);
        while !fits(&list) && finished > 0 {
            finished /= 2;
            list = self.list(finished);
        }
        let mut room = finished;
        for (.., stage) in &mut self.entries {
            match stage {
                Stage::Cleared => *stage = Stage::Leaving,
                Stage::Finished if room > 0 => {
                    *stage = Stage::Flying;
                    room -= 1;
                }
                _ => {}
            }
        }
        list
    }

    /// What the next commit must list whatever else it does: records whose tombstones are not acknowledged.
    pub fn held(&self) -> Vec<u64> {
        self.list(0)
    }

    /// Removes and returns the newest entries, so that the rest fits a list.
    pub fn overflow(&mut self, fits: impl Fn(&[u64]) -> bool) -> Vec<(u64, StateKey)> {
        let mut keep = self.entries.len();
        while !fits(&self.list(keep)) && keep > 0 {
            keep /= 2;
        }
        self.entries.split_off(keep).into_iter().map(|(at, key, _)| (at, key)).collect()
    }

    fn list(&self, mut finished: usize) -> Vec<u64> {
        let mut list: Vec<u64> = self
            .entries
            .iter()
            .filter(|(.., stage)| match stage {
                Stage::Listed => true,
                Stage::Finished if finished > 0 => {
                    finished -= 1;
                    true
                }
                _ => false,
            })
            .map(|entry| entry.0)
            .collect();
        list.sort_unstable();
        list
    }

    /// The commit under way was refused: what it would have changed is still to do.
    pub fn refused(&mut self) {
        for (.., stage) in &mut self.entries {
            match stage {
                Stage::Flying => *stage = Stage::Finished,
                Stage::Leaving => *stage = Stage::Cleared,
                _ => {}
            }
        }
    }

    /// The commit under way succeeded. Returns the tombstones that may go out now.
    pub fn committed(&mut self) -> Vec<(u64, StateKey)> {
        self.entries.retain(|entry| entry.2 != Stage::Leaving);
        let flying = self.entries.iter_mut().filter(|entry| entry.2 == Stage::Flying);
        flying
            .map(|(at, key, stage)| {
                *stage = Stage::Listed;
                (*at, *key)
            })
            .collect()
    }

    /// A tombstone was acknowledged.
    pub fn cleared(&mut self, at: u64) {
        for entry in &mut self.entries {
            if entry.0 == at && entry.2 == Stage::Listed {
                entry.2 = Stage::Cleared;
            }
        }
    }

    /// Whether a finished record still waits to be listed.
    pub fn has_more(&self) -> bool {
        self.entries.iter().any(|entry| entry.2 == Stage::Finished)
    }

    /// The lowest record that a new owner must still find: all but those that the commit under way leaves off.
    pub fn lowest(&self) -> Option<u64> {
        self.entries.iter().filter(|entry| entry.2 != Stage::Leaving).map(|entry| entry.0).min()
    }

    /// How many records are on their way.
    #[expect(clippy::len_without_is_empty, reason = "only its length is a bound")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}
