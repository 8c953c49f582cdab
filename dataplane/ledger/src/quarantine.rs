//! Destinations that fail: their timers stay pending, and the others fire. Pure.
//!
//! A transaction that fails does not say which of its destinations was at fault. So each of them is tried alone before it is
//! trusted again, and one that fails alone is left in peace for a while.

use std::{collections::BTreeMap, sync::Arc};

/// How long one that failed is left in peace at first and at most, in milliseconds.
const REST: (i64, i64) = (1_000, 60_000);

/// Which destinations are suspected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quarantine(BTreeMap<Arc<str>, Suspect>);

#[derive(Clone, Copy, Debug)]
struct Suspect {
    /// How often it failed alone.
    failures: u32,
    /// Before this nothing fires into it.
    until: i64,
}

impl Quarantine {
    /// A transaction into these destinations was refused.
    pub(crate) fn refused(&mut self, topics: &[Arc<str>], now: i64) {
        match topics {
            [alone] => {
                let suspect = self.0.entry(Arc::clone(alone)).or_insert(Suspect { failures: 0, until: now });
                let rest =
                    REST.0.checked_shl(suspect.failures.min(16)).map_or(REST.1, |rest| rest.min(REST.1));
                *suspect =
                    Suspect { failures: suspect.failures.saturating_add(1), until: now.saturating_add(rest) };
            }
            several => {
                for topic in several {
                    self.0.entry(Arc::clone(topic)).or_insert(Suspect { failures: 0, until: now });
                }
            }
        }
    }

    /// A transaction into these was committed.
    pub(crate) fn committed(&mut self, topics: &[Arc<str>]) {
        for topic in topics {
            self.0.remove(topic);
        }
    }

    /// Whether this one fires only in a transaction of its own.
    pub(crate) fn is_suspect(&self, topic: &str) -> bool {
        self.0.contains_key(topic)
    }

    /// Until when nothing fires into this one.
    pub(crate) fn rests(&self, topic: &str) -> Option<i64> {
        self.0.get(topic).map(|suspect| suspect.until)
    }

    /// All of them, each with the instant before which nothing fires into it.
    pub(crate) fn suspects(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(topic, suspect)| (&**topic, suspect.until))
    }

    /// The ones that failed alone.
    pub(crate) fn len(&self) -> usize {
        self.0.values().filter(|suspect| suspect.failures > 0).count()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Quarantine;

    #[test]
    fn the_one_at_fault_is_found_and_rests_ever_longer() {
        let (good, bad): (Arc<str>, Arc<str>) = ("good".into(), "bad".into());
        let mut quarantine = Quarantine::default();
        quarantine.refused(&[Arc::clone(&good), Arc::clone(&bad)], 0);
        assert!(quarantine.is_suspect("good") && quarantine.is_suspect("bad"));
        assert_eq!((quarantine.rests("bad"), quarantine.len()), (Some(0), 0));
        quarantine.committed(&[good]);
        assert!(!quarantine.is_suspect("good"));
        let mut rests = Vec::new();
        for _ in 0..8 {
            quarantine.refused(&[Arc::clone(&bad)], 0);
            rests.extend(quarantine.rests("bad"));
        }
        assert_eq!(rests, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(quarantine.len(), 1);
        quarantine.committed(&[bad]);
        assert_eq!(quarantine.suspects().count(), 0);
    }
}
