//! How deliveries are made: order, limits, retries, and what becomes of an event that is not tried again.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Serialize, Serializer};

/// How deliveries are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// What order is kept.
    pub order: Order,
    /// How many attempts may be under way at once.
    pub max_in_flight: u32,
    /// How many deliveries may be parked before intake stops.
    pub max_parked: u32,
    /// How many bytes of them.
    pub max_parked_bytes: u64,
    /// How many of one key, before that key holds its partition.
    pub max_parked_per_key: u32,
    /// How many attempts may begin in how much time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// When and how often to try again.
    pub retry: Retry,
    /// What happens to an event that will not be tried again.
    pub on_exhausted: OnExhausted,
    /// How long a dead letter is kept.
    pub dead_letter_retention: Duration,
}

/// What order is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Order {
    /// None: every event flows by itself.
    None,
    /// Events of one key are delivered one after the other.
    Key,
    /// The first attempts of one key's events are made one after the other; retries overtake and are overtaken.
    KeyFirstAttempt,
    /// Events of one partition are delivered one after the other, and nothing is parked behind another.
    Partition,
}

/// So many attempts in so much time: a bucket of `burst` that fills at `events` every `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// How many.
    pub events: u32,
    /// In how long.
    pub per: Duration,
    /// How many at once after a pause.
    pub burst: u32,
}

/// When and how often to try again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// How many attempts an event gets; the first one counts.
    pub max_attempts: u32,
    /// How long after its first attempt an event may be tried again.
    pub max_age: Duration,
    /// How long to wait before each further attempt.
    pub backoff: Backoff,
    /// What a target's `Retry-After` counts for.
    pub retry_after: RetryAfter,
    /// Which failures are tried again.
    pub retry_on: RetryOn,
}

/// How long to wait before the next attempt. Checked when compiled: `initial` is positive and at most `max`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// How the wait grows.
    pub growth: Growth,
    /// The wait after the first failure.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
    /// By how many percent a wait may be shorter or longer than computed.
    pub jitter_percent: u8,
}

/// How waits grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Growth {
    /// Every wait is the initial one.
    Fixed,
    /// Each wait is longer than the one before by the initial one.
    Linear,
    /// Each wait is so many times the one before.
    Exponential {
        /// The factor, at least 1.
        multiplier: u32,
    },
}

/// What a target's `Retry-After` counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryAfter {
    /// Whether it is obeyed.
    pub honor: bool,
    /// The longest wait that it can ask for.
    pub max: Duration,
}

/// Which failures are tried again; the others end the event's attempts at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryOn {
    /// HTTP statuses.
    pub status: Vec<StatusPattern>,
    /// gRPC codes.
    pub grpc: Vec<GrpcCode>,
    /// No connection, no answer in time, or no answer that can be read.
    pub connection: bool,
}

/// A failing HTTP status, `429`, or all of a hundred, `5xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatusPattern {
    first: u16,
    last: u16,
}

/// The text is no [`StatusPattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a failing status: write three digits from 300 to 599, or 3xx, 4xx, 5xx")]
pub struct InvalidStatus;

/// A failing gRPC code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GrpcCode(u8);

/// The text is no [`GrpcCode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a failing gRPC code: write its name, for example UNAVAILABLE")]
pub struct InvalidCode;

/// What happens to an event that will not be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum OnExhausted {
    /// It becomes a dead letter.
    DeadLetter,
    /// It stays, and the Processor delivers nothing more until it is resumed.
    Suspend,
    /// It is discarded and counted.
    Drop,
}

/// The codes by their numbers, `OK` apart.
const CODES: [&str; 16] = [
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

// === impl RetryOn ===

impl RetryOn {
    /// Whether an answer of this HTTP status is tried again.
    pub fn status(&self, status: u16) -> bool {
        self.status.iter().any(|pattern| pattern.matches(status))
    }

    /// Whether an answer of this gRPC code is tried again.
    pub fn grpc(&self, code: GrpcCode) -> bool {
        self.grpc.contains(&code)
    }
}

impl Default for RetryOn {
    /// What says *not now* rather than *never*.
    fn default() -> Self {
        let exactly = |status| StatusPattern { first: status, last: status };
        let status = [404, 408, 425, 429].map(exactly).into_iter();
        Self {
            status: status.chain([StatusPattern { first: 500, last: 599 }]).collect(),
            // UNAVAILABLE, RESOURCE_EXHAUSTED, ABORTED, DEADLINE_EXCEEDED
            grpc: [14, 8, 10, 4].map(GrpcCode).to_vec(),
            connection: true,
        }
    }
}

// === impl StatusPattern ===

impl StatusPattern {
    /// Whether a status is meant.
    pub const fn matches(self, status: u16) -> bool {
        self.first <= status && status <= self.last
    }
}

impl FromStr for StatusPattern {
    type Err = InvalidStatus;

    fn from_str(text: &str) -> Result<Self, InvalidStatus> {
        match text.as_bytes() {
            [hundred @ b'3'..=b'5', b'x', b'x'] => {
                let first = u16::from(hundred - b'0') * 100;
                Ok(Self { first, last: first + 99 })
            }
            [b'3'..=b'5', b'0'..=b'9', b'0'..=b'9'] => {
                let status = text.parse().map_err(|_| InvalidStatus)?;
                Ok(Self { first: status, last: status })
            }
            _ => Err(InvalidStatus),
        }
    }
}

impl fmt::Display for StatusPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}xx", self.first / 100)
        }
    }
}

impl Serialize for StatusPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

// === impl GrpcCode ===

impl GrpcCode {
    /// The code of a number; one that no code has stands for `UNKNOWN`, as gRPC says.
    pub const fn of(number: i32) -> Self {
        match number {
            1..=16 => Self(number as u8),
            _ => Self(2),
        }
    }

    /// The number on the wire.
    pub const fn number(self) -> i32 {
        self.0 as i32
    }
}

impl FromStr for GrpcCode {
    type Err = InvalidCode;

    fn from_str(text: &str) -> Result<Self, InvalidCode> {
        let index = CODES.iter().position(|name| *name == text).ok_or(InvalidCode)?;
        Ok(Self(index as u8 + 1))
    }
}

impl fmt::Display for GrpcCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(CODES[usize::from(self.0 - 1)])
    }
}

impl Serialize for GrpcCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_hundreds_are_read_printed_and_matched() {
        for (text, yes, no) in [
            ("429", &[429][..], &[428, 430][..]),
            ("5xx", &[500, 503, 599], &[499, 600]),
            ("3xx", &[300], &[200]),
        ] {
            let pattern: StatusPattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), text);
            assert!(yes.iter().all(|status| pattern.matches(*status)), "{text}");
            assert!(!no.iter().any(|status| pattern.matches(*status)), "{text}");
        }
        for text in ["", "2xx", "200", "600", "6xx", "5x", "5XX", "50x", "5000", "+50", "x5x", "5xx "] {
            assert_eq!(text.parse::<StatusPattern>(), Err(InvalidStatus), "{text}");
        }
    }

    #[test]
    fn codes_have_their_numbers() {
        for (text, number) in
            [("CANCELLED", 1), ("DEADLINE_EXCEEDED", 4), ("UNAVAILABLE", 14), ("UNAUTHENTICATED", 16)]
        {
            let code: GrpcCode = text.parse().unwrap();
            assert_eq!((code.number(), code.to_string().as_str()), (number, text));
        }
        for text in ["OK", "unavailable", "14", ""] {
            assert_eq!(text.parse::<GrpcCode>(), Err(InvalidCode), "{text}");
        }
    }

    #[test]
    fn what_is_tried_again_unless_told_otherwise() {
        let retry_on = RetryOn::default();
        let status = (0..1000).filter(|status| retry_on.status(*status));
        assert!(status.eq([404, 408, 425, 429].into_iter().chain(500..=599)));
        let names: Vec<String> = retry_on.grpc.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED", "DEADLINE_EXCEEDED"]);
        assert!(retry_on.grpc(GrpcCode::of(14)) && !retry_on.grpc(GrpcCode::of(3)));
        assert_eq!(GrpcCode::of(17).to_string(), "UNKNOWN");
    }
}
