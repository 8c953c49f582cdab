//! How many bytes of events may be on their way to the log. No I/O.
//!
//! Shed here, before anything is acknowledged, what would otherwise pile up behind a slow log. Bytes are charged as they
//! come, not as they are promised, so that slow publishers cannot fill the door with events that they never send.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Enough for 64 of the largest usual events, and for far more small ones than an fsync takes at once. Where there is little
/// memory it is less: [`crate::budget`].
const CAPACITY: usize = 64 << 20;

/// Bounds the bytes in flight; cheap to clone.
#[derive(Clone, Debug)]
pub struct Door {
    room: Arc<Semaphore>,
    capacity: usize,
}

/// The bytes of one event; they are free again when dropped.
#[derive(Debug)]
pub struct Charge {
    room: Arc<Semaphore>,
    capacity: usize,
    held: Option<OwnedSemaphorePermit>,
}

impl Door {
    /// A door for so many bytes.
    pub fn new(capacity: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(capacity)), capacity }
    }

    /// Begins an event, of which nothing has come yet.
    pub fn enter(&self) -> Charge {
        Charge { room: Arc::clone(&self.room), capacity: self.capacity, held: None }
    }

    /// How many bytes are in flight.
    pub fn in_flight(&self) -> usize {
        self.capacity.saturating_sub(self.room.available_permits())
    }

    /// How many bytes may be.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

impl Default for Door {
    fn default() -> Self {
        Self::new(CAPACITY)
    }
}

impl Charge {
    /// Takes room for more bytes; says whether there was any.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let Ok(bytes) = u32::try_from(bytes) else { return false };
        let Ok(more) = Arc::clone(&self.room).try_acquire_many_owned(bytes) else { return false };
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        true
    }

    /// How many bytes there could ever be room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether so many more bytes would find room now.
    pub fn would_fit(&self, bytes: usize) -> bool {
        bytes <= self.room.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_held_until_dropped() {
        let door = Door::new(10);
        let mut first = door.enter();
        assert!(first.grow(4) && first.grow(5));
        let mut second = door.enter();
        assert!(!second.would_fit(2) && !second.grow(2));
        assert!(second.grow(1));
        assert_eq!(door.in_flight(), 10);
        drop(first);
        assert_eq!(door.in_flight(), 1);
        assert!(second.grow(9));
    }
}
