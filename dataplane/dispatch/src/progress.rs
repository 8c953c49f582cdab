//! How a Processor is doing: counters that its worker writes and everybody may read.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

/// The figures of one Processor on this dataplane. Counters only rise; gauges say what is true now.
#[derive(Debug, Default)]
pub struct Progress {
    /// Every partition assigned here has its start committed and its claim acknowledged, and there is at least one.
    pub listening: AtomicBool,
    /// Gauge: attempts under way.
    pub in_flight: AtomicU64,
    /// Gauge: deliveries parked.
    pub parked: AtomicU64,
    /// Gauge: records received and not yet resolved.
    pub unresolved: AtomicU64,
    /// Counter: attempts started.
    pub attempts: AtomicU64,
    /// Counter: events delivered.
    pub delivered: AtomicU64,
    /// Counter: failed attempts that will be repeated.
    pub retried: AtomicU64,
    /// Counter: dead letters written.
    pub dead_lettered: AtomicU64,
    /// Counter: records that could not be read as events or as parked state.
    pub poisoned: AtomicU64,
    /// Counter: claims acknowledged, one per partition and take-over.
    pub claims: AtomicU64,
    /// Counter: commits acknowledged.
    pub commits: AtomicU64,
    /// Counter: waits because a record of ours could not be appended.
    pub append_waits: AtomicU64,
    /// Counter: the sum of all attempts' durations, in microseconds.
    pub attempt_micros: AtomicU64,
    /// When an event was last delivered, in milliseconds since the Unix epoch; 0 when never.
    pub last_delivery: AtomicI64,
}

impl Progress {
    /// Adds to a counter or gauge.
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Relaxed);
    }

    /// The member left its group, or lost it: nothing is owned any more.
    pub fn left(&self) {
        self.listening.store(false, Relaxed);
        for gauge in [&self.in_flight, &self.parked, &self.unresolved] {
            gauge.store(0, Relaxed);
        }
    }

    /// Reads a counter or gauge.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Relaxed)
    }
}
