//! When parked deliveries may be attempted again. No I/O; the clock is handed in.
//!
//! There may be as many as deliveries are parked, so a timer is 22 bytes long: milliseconds since the member began, rounded
//! up, and whose it is.

use std::time::Duration;

use tokio::time::Instant;

use crate::{protocol::Place, shelf::Shelf};

/// The timers of a member.
pub(super) struct Timers {
    began: Instant,
    set: Shelf<Timer, ()>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(Rust, packed(2))]
struct Timer {
    millis: u64,
    partition: u32,
    place: Place,
}

impl Timers {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, set: Shelf::default() }
    }

    /// Sets one for a delivery of a partition.
    pub(super) fn set(&mut self, at: Instant, partition: u32, place: Place) {
        let since = at.saturating_duration_since(self.began);
        let millis = since.as_micros().div_ceil(1000) as u64;
        self.set.insert(Timer { millis, partition, place }, ());
    }

    /// When the next runs out.
    pub(super) fn next(&self) -> Option<Instant> {
        let (timer, ()) = self.set.first()?;
        Some(self.began + Duration::from_millis(timer.millis))
    }

    /// The next one that has run out by now.
    pub(super) fn run_out(&mut self, now: Instant) -> Option<(u32, Place)> {
        self.next().filter(|at| *at <= now)?;
        let (Timer { partition, place, .. }, ()) = self.set.pop_first()?;
        Some((partition, place))
    }

    /// Forgets those of a partition.
    pub(super) fn forget(&mut self, partition: u32) {
        self.set.retain(|timer| timer.partition != partition);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Timers;
    use crate::protocol::Place;

    #[test]
    fn they_run_out_in_their_order_and_never_early() {
        let began = Instant::now();
        let (mut timers, place) = (Timers::new(began), |offset| Place { source: 0, offset });
        let micros = |micros| began + Duration::from_micros(micros);
        for (at, partition, offset) in [(2_500, 1, 1), (1_000, 0, 2), (900, 1, 3), (0, 2, 4)] {
            timers.set(micros(at), partition, place(offset));
        }
        timers.forget(2);
        assert_eq!(timers.next(), Some(micros(1_000)));
        assert_eq!(timers.run_out(micros(999)), None);
        assert_eq!(timers.run_out(micros(1_000)), Some((0, place(2))));
        assert_eq!(timers.run_out(micros(1_000)), Some((1, place(3))));
        assert_eq!(timers.run_out(micros(2_999)), None);
        assert_eq!(timers.run_out(micros(3_000)), Some((1, place(1))));
        assert_eq!(timers.next(), None);
    }
}
