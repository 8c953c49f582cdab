//! The rules that a schema cannot say: once as CEL for the API server, once as Rust, with the same words.

use std::fmt;

use kube::core::Rule;

use crate::{Duration, Quantity};

/// Both ends of what a field may say.
#[derive(Clone, Copy, Debug)]
pub struct Between<T> {
    /// The least.
    pub min: T,
    /// The most.
    pub max: T,
}

/// A rule that a spec breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, from the spec on.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
}

/// How large the largest event of a Producer may be.
pub const EVENT_BYTES: Between<Quantity> =
    Between { min: Quantity::from_bytes(1 << 10), max: Quantity::from_bytes(8 << 20) };

/// How long one attempt may take.
pub const TIMEOUT: Between<Duration> =
    Between { min: Duration::from_millis(1), max: Duration::from_secs(10 * 60) };

/// How long the waits between attempts may be.
pub const WAIT: Between<Duration> =
    Between { min: Duration::from_millis(1), max: Duration::from_secs(24 * 3600) };

/// Said when the first wait is longer than the longest.
pub const INITIAL_OVER_MAX: &str = "initial must not be longer than max";

/// Said when the number of partitions falls.
pub const PARTITIONS_SHRINK: &str = "partitions may grow, never shrink; create a new Producer";

/// Said when a Processor is to start elsewhere.
pub const START_FROM_IMMUTABLE: &str = "startFrom is immutable; create a new Processor";

/// Said when a resource's name cannot be part of a topic's.
pub const NAME: &str = "must be a DNS label: at most 63 lower-case letters, digits and '-', no dots";

// === as CEL ===

/// A duration within its limits.
pub(crate) fn duration(limits: Between<Duration>) -> Rule {
    let Between { min, max } = limits;
    Rule::new(format!("duration(self) >= duration('{min}') && duration(self) <= duration('{max}')"))
        .message(limits.message().as_str())
}

/// A quantity within its limits.
pub(crate) fn quantity(limits: Between<Quantity>) -> Rule {
    let Between { min, max } = limits;
    Rule::new(format!(
        "quantity(string(self)).compareTo(quantity('{min}')) >= 0 && \
         quantity(string(self)).compareTo(quantity('{max}')) <= 0"
    ))
    .message(limits.message().as_str())
}

/// The first wait against the longest.
pub(crate) fn initial_within_max() -> Rule {
    Rule::new("duration(self.initial) <= duration(self.max)").message(INITIAL_OVER_MAX)
}

/// Partitions against the ones before.
pub(crate) fn partitions_never_shrink() -> Rule {
    Rule::new("self.partitions >= oldSelf.partitions").message(PARTITIONS_SHRINK)
}

/// The start against the one before.
pub(crate) fn start_from_immutable() -> Rule {
    Rule::new("self.startFrom == oldSelf.startFrom").message(START_FROM_IMMUTABLE)
}

/// The API server already refuses everything else that is no DNS label.
pub(crate) fn name() -> Rule {
    Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')").message(NAME)
}

// === as Rust ===

/// Whether a name can be part of a topic's.
pub fn is_dns_label(name: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

impl<T: Copy + PartialOrd + fmt::Display> Between<T> {
    /// What is wrong with a value, if anything.
    pub(crate) fn check(self, field: &'static str, value: T) -> Option<Violation> {
        let within = self.min <= value && value <= self.max;
        (!within).then(|| Violation { field, message: format!("{} (got {value})", self.message()) })
    }

    fn message(self) -> String {
        format!("must be between {} and {}", self.min, self.max)
    }
}
