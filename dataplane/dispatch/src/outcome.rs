//! What an answer means, and what happens next. Pure: this is the one place that decides *retry?* and *dead?*.

mod retry_after;

use std::time::Duration;

use evhub_backoff::Backoff;
use evhub_routing::{Growth, GrpcCode, OnExhausted, Policy, Retry};

pub use self::retry_after::read as read_retry_after;
use crate::{dead::Reason, pace::Signal, progress::Discard};

/// How an attempt ended at the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It answered with this HTTP status; a failing answer's text is kept.
    Status {
        /// The status.
        status: u16,
        /// What it said.
        text: String,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// It took the event, in words that know no status.
    Accepted,
    /// It answered with this failing gRPC code.
    Grpc {
        /// The code.
        code: GrpcCode,
        /// What it said.
        text: String,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// It answered that it wants the event again.
    Deferred {
        /// What it said.
        text: String,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// It answered that it will never take the event; what it said.
    Rejected(String),
    /// It answered in EvHub's words: a code other than 0.
    Refused {
        /// The code.
        code: i64,
        /// What it said.
        text: String,
    },
    /// It answered that the event is to be forgotten.
    Cancelled,
    /// It did not answer in time.
    TimedOut(String),
    /// It did not answer: no connection, or nothing that can be read.
    Failed(String),
    /// It was not asked: the event is older than its attempts may be.
    TooOld,
    /// It was not asked: the event's publisher wanted it delivered earlier or not at all.
    Expired,
    /// The hub's own code failed while it made the attempt: how.
    Broken(String),
    /// There was nothing to send: the record is not an event, or its parked state cannot be read.
    Poison(Reason, String),
}

/// What came before an answer.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    /// Which attempt was answered, from 1.
    pub attempt: u32,
    /// How many of the earlier ones were throttled, and so do not count.
    pub throttled: u32,
    /// How long ago the first attempt began.
    pub age: Duration,
    /// How many attempts the event's publisher allows, if that was said.
    pub allowed: Option<u32>,
}

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The event is delivered.
    Delivered,
    /// It will be attempted again.
    Retry {
        /// Not before this long from now.
        wait: Duration,
        /// Whether this attempt was throttled: it does not count.
        throttled: bool,
    },
    /// It will not, and becomes a dead letter.
    Dead(Reason),
    /// It will not, and the Processor delivers nothing more until somebody resumes it.
    Suspend(Reason),
    /// It will not, and nothing is left of it.
    Discard(Discard),
}

/// Decides on an answer. `random` spreads the wait.
pub fn decide(policy: &Policy, tried: Tried, answer: &Answer, random: u64) -> Outcome {
    let retry = &policy.retry;
    let exhausted = |reason| match policy.on_exhausted {
        OnExhausted::DeadLetter => Outcome::Dead(reason),
        OnExhausted::Suspend => Outcome::Suspend(reason),
        OnExhausted::Drop => Outcome::Discard(Discard::Exhausted),
    };
    match answer {
        Answer::Status { status: 200..=299, .. } | Answer::Accepted => return Outcome::Delivered,
        Answer::Cancelled => return Outcome::Discard(Discard::Cancelled),
        Answer::Expired => return Outcome::Discard(Discard::Expired),
        // Nobody can mend it by trying again, and whoever reads dead letters should see it.
        Answer::Poison(reason, _) => return Outcome::Dead(*reason),
        Answer::Broken(_) if tried.attempt >= BROKEN_ATTEMPTS => {
            return Outcome::Dead(Reason::PoisonProcessing);
        }
        Answer::TooOld => return exhausted(Reason::MaxAge),
        _ if !is_retryable(retry, answer) => return exhausted(Reason::NotRetryable),
        _ => {}
    }
    let asked = asked(retry, answer);
    let throttled = asked.is_some() && answer.is_throttle();
    let counted = tried.attempt.saturating_sub(tried.throttled);
    let allowed = tried.allowed.map_or(retry.max_attempts, |allowed| allowed.min(retry.max_attempts));
    if !throttled && counted >= allowed {
        return exhausted(Reason::MaxAttempts);
    }
    // By all attempts: one that is told *too much* again and again is to ask ever less often.
    let wait = wait(retry, tried.attempt, random).max(asked.unwrap_or_default());
    if tried.age.saturating_add(wait) > retry.max_age {
        return exhausted(Reason::MaxAge);
    }
    Outcome::Retry { wait, throttled }
}

/// The longest that a delivery of this policy is ever told to wait.
pub fn longest_wait(retry: &Retry) -> Duration {
    let backoff = &retry.backoff;
    let jitter = 1.0 + f64::from(backoff.jitter_percent) / 100.0;
    let asked = if retry.retry_after.honor { retry.retry_after.max } else { Duration::ZERO };
    backoff.max.max(backoff.initial).mul_f64(jitter).max(asked)
}

/// Whether an answer says *not now* and not *never*.
fn is_retryable(retry: &Retry, answer: &Answer) -> bool {
    match answer {
        Answer::Status { status, .. } => retry.retry_on.status(*status),
        Answer::Grpc { code, .. } => retry.retry_on.grpc(*code),
        Answer::TimedOut(_) | Answer::Failed(_) => retry.retry_on.connection,
        Answer::Refused { .. } | Answer::Deferred { .. } | Answer::Broken(_) => true,
        Answer::Accepted
        | Answer::Cancelled
        | Answer::Rejected(_)
        | Answer::TooOld
        | Answer::Expired
        | Answer::Poison(..) => false,
    }
}

/// How long the target asked to be left alone, as far as that counts.
fn asked(retry: &Retry, answer: &Answer) -> Option<Duration> {
    match answer {
        Answer::Status { retry_after, .. }
        | Answer::Grpc { retry_after, .. }
        | Answer::Deferred { retry_after, .. }
            if retry.retry_after.honor =>
        {
            retry_after.map(|asked| asked.min(retry.retry_after.max))
        }
        _ => None,
    }
}

/// How long to wait after the `failures`-th failure.
fn wait(retry: &Retry, failures: u32, random: u64) -> Duration {
    let policy = &retry.backoff;
    let backoff = match policy.growth {
        Growth::Fixed => Backoff::fixed(policy.initial, policy.jitter_percent),
        Growth::Linear => {
            let grown = policy.initial.saturating_mul(failures.max(1)).min(policy.max);
            Backoff::fixed(grown, policy.jitter_percent)
        }
        Growth::Exponential { multiplier } => {
            Backoff::exponential(policy.initial, policy.max, multiplier, policy.jitter_percent)
        }
    };
    // Compile refuses what `Backoff` refuses. Should a snapshot say otherwise all the same, waiting the longest is safe.
    backoff.map_or(policy.max.max(Duration::from_secs(1)), |backoff| backoff.wait(failures, random))
}

/// How often an event may be attempted by code of ours that fails over it.
const BROKEN_ATTEMPTS: u32 = 3;

/// `RESOURCE_EXHAUSTED`: gRPC's 429.
const EXHAUSTED: i32 = 8;
/// The codes of a target in trouble, as 5xx are: `UNKNOWN`, `DEADLINE_EXCEEDED`, `UNIMPLEMENTED`, `INTERNAL`, `UNAVAILABLE`,
/// `DATA_LOSS`.
const TROUBLE: [i32; 6] = [2, 4, 12, 13, 14, 15];
/// Those of one that has too much to do: `DEADLINE_EXCEEDED`, `RESOURCE_EXHAUSTED`, `UNAVAILABLE`.
const OVERLOAD: [i32; 3] = [4, EXHAUSTED, 14];

/// What happened, and what the target said to it.
fn said(what: &str, text: &str) -> String {
    if text.is_empty() { what.to_owned() } else { format!("{what}: {text}") }
}

impl Answer {
    /// The status, if the target answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// What happened, in words.
    pub fn text(&self) -> String {
        match self {
            Self::Status { status: status @ 300..=399, .. } => {
                format!("the target answered {status}; redirects are not followed")
            }
            Self::Status { status, text, .. } => said(&format!("the target answered {status}"), text),
            Self::Accepted => "the target took the event".to_owned(),
            Self::Grpc { code, text, .. } => said(&format!("the target answered {code}"), text),
            Self::Deferred { text, .. } => said("the target wants the event again", text),
            Self::Rejected(text) => said("the target rejected the event", text),
            Self::Refused { code, text } => said(&format!("the target answered with code {code}"), text),
            Self::TooOld => "its age did not allow another attempt".to_owned(),
            Self::Expired => "its expiry time had passed".to_owned(),
            Self::Cancelled => "the target cancelled the event".to_owned(),
            Self::Broken(text) => said("the hub failed over the event", text),
            Self::TimedOut(text) | Self::Failed(text) | Self::Poison(_, text) => text.clone(),
        }
    }

    /// Whether the target itself is in trouble, and not just this event; `None` when it was not asked.
    pub fn is_trouble(&self) -> Option<bool> {
        match self {
            Self::Status { status, .. } => Some(*status >= 500),
            Self::Grpc { code, .. } => Some(TROUBLE.contains(&code.number())),
            Self::Accepted
            | Self::Deferred { .. }
            | Self::Rejected(_)
            | Self::Refused { .. }
            | Self::Cancelled => Some(false),
            Self::TimedOut(_) | Self::Failed(_) => Some(true),
            Self::Broken(_) | Self::TooOld | Self::Expired | Self::Poison(..) => None,
        }
    }

    /// Whether the target was asked. Where it was not, there was no attempt.
    pub const fn was_asked(&self) -> bool {
        !matches!(self, Self::TooOld | Self::Expired | Self::Poison(..))
    }

    /// What was said, by whomever.
    pub fn said_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Status { text, .. }
            | Self::Grpc { text, .. }
            | Self::Deferred { text, .. }
            | Self::Refused { text, .. }
            | Self::Rejected(text)
            | Self::TimedOut(text)
            | Self::Failed(text) => Some(text),
            Self::Accepted
            | Self::Cancelled
            | Self::TooOld
            | Self::Expired
            | Self::Broken(_)
            | Self::Poison(..) => None,
        }
    }

    /// Whether it says *too much* rather than *no*.
    fn is_throttle(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status == 429,
            Self::Grpc { code, .. } => code.number() == EXHAUSTED,
            _ => false,
        }
    }

    /// What it says of the target's load.
    pub fn signal(&self, took: Duration) -> Signal {
        match self {
            Self::Status { status: 429 | 503, .. } | Self::TimedOut(_) => Signal::Overloaded,
            Self::Grpc { code, .. } if OVERLOAD.contains(&code.number()) => Signal::Overloaded,
            Self::Status { status: 200..=299, .. } | Self::Accepted => Signal::Delivered(took),
            Self::Status { .. }
            | Self::Grpc { .. }
            | Self::Deferred { .. }
            | Self::Rejected(_)
            | Self::Refused { .. }
            | Self::Cancelled => Signal::Answered(took),
            Self::Failed(_) | Self::Broken(_) | Self::TooOld | Self::Expired | Self::Poison(..) => {
                Signal::Nothing
            }
        }
    }
}

#[cfg(test)]
mod tests;
