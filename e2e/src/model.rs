//! What a run's resources promise, told a second time so that the checks need not believe the hub. Pure.

use std::time::Duration;

/// What the checks must know of a run beside its history.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Every Processor.
    pub processors: Vec<Processor>,
    /// How many processes may own what a Processor reads.
    pub owners: Owners,
    /// How much may pass between things that have no common clock.
    pub slack: Slack,
}

/// How many processes may own what a Processor reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owners {
    /// One at a time: when it ends, everything changes hands.
    #[default]
    One,
    /// Several at once. Which of them an attempt was made by nobody sees, so that the end of any of them explains as much as its
    /// owner's would.
    Many,
}

/// A Processor as its author meant it.
#[derive(Clone, Debug)]
pub struct Processor {
    /// Its name.
    pub name: String,
    /// The Producer it reads.
    pub producer: String,
    /// Ids beginning so are the only ones it is sent; empty for all. (An event's type is the part of its id before the
    /// first dash, so that the filter can be told from the id alone.)
    pub kinds: Vec<String>,
    /// Where in its Producer it begins.
    pub start: Start,
    /// What order its attempts keep.
    pub order: Order,
    /// Attempts at once, at most.
    pub max_in_flight: usize,
    /// When an unanswered attempt has failed.
    pub timeout: Duration,
    /// When and how often it tries again.
    pub retry: Retry,
}

/// Where a Processor begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first record of its Producer.
    Earliest,
    /// When it is made. Whatever is published after it was seen ready, and before it was removed, is its own.
    Ready,
}

/// What order is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// None.
    None,
    /// One of a key after the other.
    Key,
    /// The first attempts of a key one after the other.
    KeyFirstAttempt,
    /// One of a partition after the other.
    Partition,
}

/// When and how often a Processor tries again.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Attempts that count, at most; the first one counts.
    pub max_attempts: u32,
    /// How long after the first attempt another may begin.
    pub max_age: Duration,
    /// How waits grow.
    pub growth: Growth,
    /// The first wait.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
    /// By how many percent a wait may be shorter or longer.
    pub jitter: u32,
    /// The longest wait that a target may ask for.
    pub asked: Duration,
    /// How long after its instant an attempt may begin; nobody counts where the target is spared, or has no room.
    pub prompt: Option<Duration>,
}

/// How waits grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Not at all.
    Fixed,
    /// By the first one.
    Linear,
    /// To twice the one before.
    Doubled,
}

/// Bounds on what cannot be seen from outside.
#[derive(Clone, Copy, Debug)]
pub struct Slack {
    /// An outcome that the hub learned of this long ago is durable: 100 ms until the commit, the rest for a slow disk.
    pub durable: Duration,
    /// How far the hub's view of an attempt's begin and ours may be apart.
    pub margin: Duration,
    /// How long the hub may take to read an answer that has left.
    pub reading: Duration,
    /// How far clocks of the same machine, read one after the other and rounded, may be apart.
    pub rounding: Duration,
    /// How long a Processor that is gone may go on.
    pub removal: Duration,
    /// How long after something was done to the log's brokers its clients may take to find them again.
    pub recovery: Duration,
    /// How long an owner that stood still may go on before it hears that it is none any more.
    pub waking: Duration,
    /// Completions between two commits, at most.
    pub commit_every: usize,
}

impl Default for Slack {
    fn default() -> Self {
        Self {
            durable: Duration::from_millis(600),
            margin: Duration::from_millis(500),
            reading: Duration::from_millis(100),
            rounding: Duration::from_millis(5),
            removal: Duration::from_secs(1),
            recovery: Duration::from_secs(12),
            waking: Duration::from_millis(100),
            commit_every: 256,
        }
    }
}

impl Model {
    /// The Processor of that name.
    pub fn processor(&self, name: &str) -> Option<&Processor> {
        self.processors.iter().find(|processor| processor.name == name)
    }
}

impl Processor {
    /// The reference filter.
    pub fn wants(&self, id: &str) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == kind_of(id))
    }

    /// Whether this status is worth repeating, by the documented default.
    pub fn retries(status: u16) -> bool {
        matches!(status, 404 | 408 | 425 | 429 | 500..=599)
    }
}

impl Retry {
    /// The shortest and the longest wait after so many failures that count.
    pub fn band(&self, failures: u32, asked: Option<Duration>) -> (Duration, Duration) {
        let failures = failures.max(1);
        let grown = match self.growth {
            Growth::Fixed => self.initial,
            Growth::Linear => self.initial.saturating_mul(failures),
            Growth::Doubled => self.initial.saturating_mul(1 << (failures - 1).min(30)),
        };
        let wait = grown.min(self.max);
        let asked = asked.unwrap_or_default().min(self.asked);
        let (low, high) = (wait * (100 - self.jitter.min(100)) / 100, wait * (100 + self.jitter) / 100);
        (low.max(asked), high.max(asked))
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            max_age: Duration::from_hours(24),
            growth: Growth::Doubled,
            initial: Duration::from_millis(100),
            max: Duration::from_millis(400),
            jitter: 20,
            asked: Duration::from_hours(1),
            prompt: None,
        }
    }
}

/// The part of an id before its first dash.
pub fn kind_of(id: &str) -> &str {
    id.split('-').next().unwrap_or(id)
}
