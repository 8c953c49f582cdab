//! A timer: an event that is to come due, once. Pure.

use std::{fmt, str::FromStr, sync::Arc};

use evhub_event::Record;
use evhub_journal::murmur2::partition;
use uuid::Uuid;

use crate::{chain::Chain, series::Series};

/// Identifies a timer: 16 bytes, of which the first is its shard's number. The same event of the same Producer always gets
/// the same one, so that asking twice is asking once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId([u8; 16]);

/// The most shards that an id can name.
pub const MAX_SHARDS: u32 = 256;

/// About what allocations take beside what they hold, of a timer and of each header.
const OVERHEAD: (usize, usize) = (128, 96);

/// A pending timer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Which it is.
    pub id: TimerId,
    /// The uid of the Producer whose event it is.
    pub producer: Arc<str>,
    /// The topic that it fires into.
    pub topic: Arc<str>,
    /// When it fires, in milliseconds since the Unix epoch.
    pub due: i64,
    /// The offset of the command that made it: among timers due at the same instant the earlier one fires first.
    pub seq: u64,
    /// How often it was rescheduled.
    pub generation: u32,
    /// Of what was asked for: the same again is the same timer, anything else under this id is a conflict.
    pub digest: u64,
    /// The longest delay that its Producer allowed, in milliseconds: a bound for rescheduling.
    pub max_delay: u64,
    /// The event's own id.
    pub event_id: String,
    /// The event; of a schedule all of it that its runs have in common.
    pub record: Record,
    /// Of a schedule, its runs: it is put again when it has fired.
    pub series: Option<Box<Series>>,
    /// It is the event of a claim: published as it is as soon as it can be, and nothing is left of it.
    pub claimed: bool,
    /// Of a repeated event, how: it is put again when it has fired.
    pub chain: Option<Box<Chain>>,
}

/// How a timer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It fired.
    Fired,
    /// It was cancelled before.
    Cancelled,
}

/// What is kept for a while of a timer that ended, so that a late repeat does not bring it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub how: End,
    /// When it was due.
    pub due: i64,
    /// When it ended.
    pub at: i64,
    /// As [`Timer::digest`].
    pub digest: u64,
}

// === impl Timer ===

impl Timer {
    /// About how many bytes of memory it takes: far more than its event has in the log.
    pub fn footprint(&self) -> usize {
        size_of::<Self>()
            + OVERHEAD.0
            + self.event_id.len()
            + self.record.size()
            + OVERHEAD.1 * self.record.headers.len()
    }
}

// === impl TimerId ===

impl TimerId {
    /// The id of an event's timer, in a ledger of so many shards. All timers of one key of a Producer lie in one shard, which
    /// fires them in order.
    pub fn of(producer: &str, key: Option<&[u8]>, source: &str, event: &str, shards: u32) -> Self {
        let namespace = Uuid::new_v5(&Uuid::NAMESPACE_URL, producer.as_bytes());
        let mut bytes = Uuid::new_v5(&namespace, format!("{source}\n{event}").as_bytes()).into_bytes();
        let shards = shards.clamp(1, MAX_SHARDS);
        bytes[0] = match key {
            Some(key) => partition(&[producer.as_bytes(), key].concat(), shards),
            None => partition(&bytes, shards),
        } as u8;
        Self(bytes)
    }

    /// The id of a schedule that somebody puts for a Producer: all of one Producer lie in one shard, which counts and lists them.
    pub fn dynamic(producer: &str, name: &str, shards: u32) -> Self {
        // No event has such a source.
        Self::of(producer, Some(b"\ndynamic"), "\ndynamic", name, shards)
    }

    /// The id of a half message, in the same shard as timers of its key.
    pub fn half(producer: &str, key: Option<&[u8]>, source: &str, event: &str, shards: u32) -> Self {
        // No event has such a source.
        Self::of(producer, key, &format!("\nhalf\n{source}"), event, shards)
    }

    /// The id of a half message of which nothing is known but an id that no other event has, whichever its Producer.
    pub fn half_alone(event: &str, shards: u32) -> Self {
        Self::of("", None, "\nhalf", event, shards)
    }

    /// The timer that a half message becomes when it is committed: of the same shard, so that one transaction does both.
    #[must_use]
    pub fn published(self) -> Self {
        self.derived(b"published")
    }

    /// Another id in the same shard.
    pub(crate) fn derived(self, name: &[u8]) -> Self {
        let mut bytes = Uuid::new_v5(&Uuid::from_bytes(self.0), name).into_bytes();
        bytes[0] = self.0[0];
        Self(bytes)
    }

    /// The shard that decides about it.
    pub fn shard(self) -> u32 {
        self.0[0].into()
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The id of these bytes, if they are sixteen.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl FromStr for TimerId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::try_parse(text).map(|id| Self(id.into_bytes()))
    }
}

impl fmt::Display for TimerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Uuid::from_bytes(self.0), f)
    }
}

impl fmt::Debug for TimerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::TimerId;

    #[test]
    fn the_same_event_is_the_same_timer_and_no_other_is() {
        let id = TimerId::of("uid", None, "/s", "1", 16);
        assert_eq!(id, TimerId::of("uid", None, "/s", "1", 16));
        assert_eq!(id.to_string().parse::<TimerId>().ok(), Some(id));
        for other in [
            TimerId::of("uid2", None, "/s", "1", 16),
            TimerId::of("uid", None, "/s2", "1", 16),
            TimerId::of("uid", None, "/s", "2", 16),
        ] {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn a_key_lies_in_one_shard_and_events_without_one_in_all() {
        let shards = |key: Option<&[u8]>| -> BTreeSet<u32> {
            (0..500).map(|n| TimerId::of("uid", key, "/s", &n.to_string(), 16).shard()).collect()
        };
        assert_eq!(shards(Some(b"k")).len(), 1);
        assert_eq!(shards(None), (0..16).collect());
    }
}
