//! What the workers of one dataplane may have in memory together, and each one's share of it. No I/O.
//!
//! Shares are equal: were there one pot for all, whoever's target hangs would empty it, and the others would stand still.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The room of all; clones share it.
#[derive(Clone, Debug)]
pub struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    events: usize,
    parked: usize,
    workers: AtomicUsize,
}

/// A worker's share; it falls to the others when dropped.
#[derive(Debug)]
pub(super) struct Share(Room);

/// How many bytes of events a Processor has in memory at the most: enough for the default of attempts under way at the
/// default size of events.
const MOST_EVENTS: usize = 64 << 20;

impl Room {
    /// What one parked delivery is reckoned to take: an entry of each index, and a lane of its own.
    pub const PARKED: usize = 132;

    /// Room for so many bytes of events, and for so many bytes of the indexes of what is parked.
    pub fn new(events: usize, parked: usize) -> Self {
        Self(Arc::new(Inner { events, parked, workers: AtomicUsize::new(0) }))
    }

    pub(super) fn share(&self) -> Share {
        self.0.workers.fetch_add(1, Relaxed);
        Share(self.clone())
    }
}

impl Default for Room {
    /// As much as one may have.
    fn default() -> Self {
        Self::new(usize::MAX, usize::MAX)
    }
}

impl Share {
    /// How many bytes of events may be in memory that were read from sources and are not yet finished or parked.
    pub(super) fn events(&self) -> usize {
        self.of(self.0.0.events).min(MOST_EVENTS)
    }

    /// How many deliveries may be parked.
    pub(super) fn parked(&self) -> u64 {
        (self.of(self.0.0.parked) / Room::PARKED) as u64
    }

    fn of(&self, all: usize) -> usize {
        all / self.0.0.workers.load(Relaxed).max(1)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.0.workers.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_EVENTS, Room};

    #[test]
    fn shares_are_equal_and_fall_to_those_who_stay() {
        let room = Room::new(3 << 20, 1000 * Room::PARKED);
        let first = room.share();
        assert_eq!((first.events(), first.parked()), (3 << 20, 1000));
        let second = room.share();
        assert_eq!((first.events(), second.events(), second.parked()), (3 << 19, 3 << 19, 500));
        drop(first);
        assert_eq!(second.parked(), 1000);
        assert_eq!(Room::default().share().events(), MOST_EVENTS);
    }
}
