//! How a Processor is doing: counters that its worker writes and everybody may read.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
};

/// The figures of one Processor on this dataplane. Counters only rise; gauges say what is true now.
#[derive(Debug, Default)]
pub struct Progress {
    /// Every partition assigned here has its start committed and its claim acknowledged. They may be none: a group may have
    /// more members than partitions.
    pub listening: AtomicBool,
    /// As which generation of the Processor's resource its worker works. Somebody who knows of a newer one must not take
    /// that for listening.
    pub generation: AtomicI64,
    /// The Processor delivers nothing: an event was exhausted and its author wants it resumed by hand.
    pub suspended: AtomicBool,
    /// The target's breaker is not closed: it is spoken to little or not at all.
    pub breaker_open: AtomicBool,
    /// As much is parked as may be, or a little less again: until some of it is resolved, nothing new is read.
    pub full: AtomicBool,
    /// Gauge: attempts under way.
    pub in_flight: AtomicU64,
    /// Gauge: deliveries parked.
    pub parked: AtomicU64,
    /// Gauge: the bytes of their events.
    pub parked_bytes: AtomicU64,
    /// Gauge: how many attempts may be under way, as the target bears.
    pub concurrency: AtomicU64,
    /// Gauge: records received and not yet resolved.
    pub unresolved: AtomicU64,
    /// Counter: attempts started.
    pub attempts: AtomicU64,
    /// Counter: events delivered.
    pub delivered: AtomicU64,
    /// Counter: failed attempts that will be repeated.
    pub retried: AtomicU64,
    /// Counter: those of them that were throttled, and so do not count.
    pub throttled: AtomicU64,
    /// Counter: events parked because they asked for a delay.
    pub delayed: AtomicU64,
    /// Counter: events that a Processor with a `delayKey` got at once, because they asked for no delay of that key.
    pub undelayed: AtomicU64,
    /// Counters: events that were not delivered and left nothing behind, by [`Discard`].
    discarded: [AtomicU64; Discard::ALL.len()],
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
    /// Why it does not listen, or not to everything, where that is known.
    trouble: Mutex<Option<String>>,
}

/// Why an event was not delivered, although nothing failed that somebody would look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Discard {
    /// It has none of the tags that the filter wants.
    Tags,
    /// It is of no type that the filter wants.
    Type,
    /// The filter's expression is not true of it.
    Expression,
    /// The filter's expression cannot be evaluated on it: a field is missing, or is not what it should be.
    Unclear,
    /// It was exhausted, and its Processor drops such events.
    Exhausted,
    /// The target cancelled it.
    Cancelled,
    /// It was redriven for a Processor that had this one's name before it.
    Predecessor,
    /// The log took it before the instant from which on its Processor wants events.
    Early,
    /// Its publisher wanted it delivered by an instant that has passed.
    Expired,
}

impl Discard {
    /// All there are, in the order of their values.
    pub const ALL: [Self; 9] = [
        Self::Tags,
        Self::Type,
        Self::Expression,
        Self::Unclear,
        Self::Exhausted,
        Self::Cancelled,
        Self::Predecessor,
        Self::Early,
        Self::Expired,
    ];

    /// The stable word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tags => "tags",
            Self::Type => "type",
            Self::Expression => "expression",
            Self::Unclear => "unclear",
            Self::Exhausted => "exhausted",
            Self::Cancelled => "cancelled",
            Self::Predecessor => "predecessor",
            Self::Early => "early",
            Self::Expired => "expired",
        }
    }
}

impl Progress {
    /// Adds to a counter or gauge.
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Relaxed);
    }

    /// Whether this very generation listens: what ran before it has ended.
    pub fn listens(&self, generation: i64) -> bool {
        self.listening.load(Relaxed) && self.generation.load(Relaxed) == generation
    }

    /// The member left its group, or lost it: nothing is owned any more.
    pub fn left(&self) {
        self.listening.store(false, Relaxed);
        self.generation.store(0, Relaxed);
        for flag in [&self.suspended, &self.breaker_open, &self.full] {
            flag.store(false, Relaxed);
        }
        for gauge in [&self.in_flight, &self.parked, &self.parked_bytes, &self.concurrency, &self.unresolved]
        {
            gauge.store(0, Relaxed);
        }
    }

    /// Something keeps it from listening, or from listening to everything.
    pub fn troubled(&self, why: String) {
        *self.lock() = Some(why);
    }

    /// Nothing keeps it from listening.
    pub fn is_well(&self) {
        *self.lock() = None;
    }

    /// What keeps it from listening, where that is known.
    pub fn trouble(&self) -> Option<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event was discarded.
    pub fn discard(&self, why: Discard) {
        Self::add(&self.discarded[why as usize], 1);
    }

    /// How many events were discarded for this reason.
    pub fn discarded(&self, why: Discard) -> u64 {
        Self::get(&self.discarded[why as usize])
    }

    /// Reads a counter or gauge.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Relaxed)
    }
}
