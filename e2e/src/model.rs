//! What a run's resources promise, told a second time so that the checks need not believe the hub. Pure.

use std::time::Duration;

/// What the checks must know of a run beside its history.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Every Processor.
    pub processors: Vec<Processor>,
    /// How much may pass between things that have no common clock.
    pub slack: Slack,
}

/// A Processor as its author meant it. All start at the first record of their Producer.
#[derive(Clone, Debug)]
pub struct Processor {
    /// Its name.
    pub name: String,
    /// The Producer it reads.
    pub producer: String,
    /// Ids beginning so are the only ones it is sent; empty for all. (An event's type is the part of its id before the
    /// first dash, so that the filter can be told from the id alone.)
    pub kinds: Vec<String>,
    /// Whether attempts follow the log per key.
    pub ordered: bool,
    /// Attempts at once, at most.
    pub max_in_flight: usize,
    /// Attempts of one delivery, at most.
    pub max_attempts: u32,
    /// When an unanswered attempt has failed.
    pub timeout: Duration,
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
    /// Completions between two commits, at most.
    pub commit_every: usize,
}

impl Default for Slack {
    fn default() -> Self {
        Self {
            durable: Duration::from_millis(600),
            margin: Duration::from_millis(500),
            reading: Duration::from_millis(100),
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

/// The part of an id before its first dash.
pub fn kind_of(id: &str) -> &str {
    id.split('-').next().unwrap_or(id)
}
