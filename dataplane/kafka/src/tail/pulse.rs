//! Whether the thread that polls a member goes on, or stood still for longer than its group waits. No I/O.
//!
//! A process that was stopped, or starved, does not hear that its group has gone on without it before it asks. What it must not do
//! meanwhile is to begin anything in the name of what it was.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    time::{Duration, Instant},
};

/// When the thread last went round.
#[derive(Debug)]
pub(crate) struct Pulse {
    began: Instant,
    /// In milliseconds since it began.
    last: AtomicU64,
    /// It stood still, and what it had is lost.
    missed: AtomicBool,
    session: Duration,
}

impl Pulse {
    pub(crate) fn new(session: Duration) -> Self {
        Self { began: Instant::now(), last: AtomicU64::new(0), missed: AtomicBool::new(false), session }
    }

    /// The thread goes round. Returns whether it stood still before, which is then known to everybody before anything else is.
    pub(crate) fn beat(&self) -> bool {
        let missed = self.is_late();
        if missed {
            self.missed.store(true, SeqCst);
        }
        self.last.store(self.now(), SeqCst);
        missed
    }

    /// The member has its partitions anew.
    pub(crate) fn begin_anew(&self) {
        self.missed.store(false, SeqCst);
    }

    /// Whether the thread goes round, and has done so since its partitions were assigned.
    pub(crate) fn is_regular(&self) -> bool {
        !self.missed.load(SeqCst) && !self.is_late()
    }

    fn is_late(&self) -> bool {
        let since = self.now().saturating_sub(self.last.load(SeqCst));
        u128::from(since) > self.session.as_millis()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pulse;

    #[test]
    fn who_stood_still_owns_nothing_until_it_begins_anew() {
        let pulse = Pulse::new(Duration::from_mins(1));
        assert!(!pulse.beat() && pulse.is_regular());

        let still = Pulse::new(Duration::ZERO);
        while still.is_regular() {
            std::hint::spin_loop();
        }
        assert!(still.beat(), "it is noticed at the next round");
        let slow = Pulse { session: Duration::from_mins(1), ..still };
        assert!(!slow.beat() && !slow.is_regular(), "and stays so");
        slow.begin_anew();
        assert!(slow.is_regular());
    }
}
