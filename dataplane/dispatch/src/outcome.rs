//! What an answer means, and what happens next. Pure: this is the one place that decides *retry?* and *dead?*.

use std::time::Duration;

use evhub_backoff::Backoff;
use evhub_routing::{Growth, Retry};

use crate::dead::Reason;

/// How an attempt ended at the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It answered with this status; a failing answer's text is kept.
    Status(u16, String),
    /// It did not answer: no connection, no time left, or no HTTP.
    Failed(String),
    /// There was nothing to send: the record is not an event, or its parked state cannot be read.
    Poison(Reason, String),
}

/// What follows from an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The event is delivered.
    Delivered,
    /// It will be attempted again, not before this long from now.
    Retry(Duration),
    /// It will not.
    Dead(Reason),
}

/// Decides on the answer to the `attempt`-th attempt, from 1. `random` spreads the wait.
pub fn decide(retry: &Retry, attempt: u32, answer: &Answer, random: u64) -> Outcome {
    match answer {
        Answer::Status(200..=299, _) => Outcome::Delivered,
        Answer::Poison(reason, _) => Outcome::Dead(*reason),
        Answer::Status(status, _) if !is_retryable(*status) => Outcome::Dead(Reason::NotRetryable),
        _ if attempt >= retry.max_attempts => Outcome::Dead(Reason::MaxAttempts),
        _ => Outcome::Retry(wait(retry, attempt, random)),
    }
}

/// The statuses that say *not now* and not *never*.
const fn is_retryable(status: u16) -> bool {
    matches!(status, 404 | 408 | 425 | 429 | 500..=599)
}

/// How long to wait after the `failures`-th failure.
fn wait(retry: &Retry, failures: u32, random: u64) -> Duration {
    let policy = &retry.backoff;
    let backoff = match policy.growth {
        Growth::Fixed => Backoff::fixed(policy.initial, policy.jitter_percent),
        Growth::Exponential { multiplier } => {
            Backoff::exponential(policy.initial, policy.max, multiplier, policy.jitter_percent)
        }
    };
    // Compile refuses what `Backoff` refuses. Should a snapshot say otherwise all the same, waiting the longest is safe.
    backoff.map_or(policy.max.max(Duration::from_secs(1)), |backoff| backoff.wait(failures, random))
}

impl Answer {
    /// The status, if the target answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status(status, _) => Some(*status),
            Self::Failed(_) | Self::Poison(..) => None,
        }
    }

    /// What happened, in words.
    pub fn text(&self) -> String {
        match self {
            Self::Status(status @ 300..=399, _) => {
                format!("the target answered {status}; redirects are not followed")
            }
            Self::Status(status, text) if text.is_empty() => format!("the target answered {status}"),
            Self::Status(status, text) => format!("the target answered {status}: {text}"),
            Self::Failed(text) | Self::Poison(_, text) => text.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evhub_routing::{Backoff, Growth, Retry};
    use proptest::prelude::*;

    use super::{Answer, Outcome, decide};
    use crate::dead::Reason;

    fn retry(growth: Growth) -> Retry {
        let (initial, max) = (Duration::from_millis(200), Duration::from_secs(2));
        Retry { max_attempts: 3, backoff: Backoff { growth, initial, max, jitter_percent: 20 } }
    }

    #[track_caller]
    fn check(attempt: u32, answer: &Answer, expected: &Outcome) {
        let outcome = decide(&retry(Growth::Fixed), attempt, answer, u64::MAX / 2);
        match (&outcome, expected) {
            (Outcome::Retry(_), Outcome::Retry(_)) => {}
            _ => assert_eq!(&outcome, expected),
        }
    }

    #[test]
    fn answers_and_what_follows() {
        let retry = Outcome::Retry(Duration::ZERO);
        for status in [200, 202, 204, 299] {
            check(1, &Answer::Status(status, String::new()), &Outcome::Delivered);
        }
        for status in [404, 408, 425, 429, 500, 503, 599] {
            check(1, &Answer::Status(status, String::new()), &retry);
            check(2, &Answer::Status(status, String::new()), &retry);
            check(3, &Answer::Status(status, String::new()), &Outcome::Dead(Reason::MaxAttempts));
        }
        for status in [301, 307, 400, 401, 403, 410, 422, 600] {
            check(1, &Answer::Status(status, String::new()), &Outcome::Dead(Reason::NotRetryable));
        }
        check(1, &Answer::Failed("refused".into()), &retry);
        check(3, &Answer::Failed("refused".into()), &Outcome::Dead(Reason::MaxAttempts));
        let poison = Answer::Poison(Reason::PoisonDecode, "no event".into());
        check(1, &poison, &Outcome::Dead(Reason::PoisonDecode));
    }

    proptest! {
        #[test]
        fn waits_stay_within_the_jitter_and_under_the_cap(attempt in 1u32..=1000, random: u64, fixed: bool) {
            let growth = if fixed { Growth::Fixed } else { Growth::Exponential { multiplier: 2 } };
            let retry = Retry { max_attempts: 1001, ..retry(growth) };
            let base = if fixed { 200 } else { 200u64.saturating_mul(1 << (attempt - 1).min(40)).min(2000) };
            let Outcome::Retry(wait) = decide(&retry, attempt, &Answer::Failed(String::new()), random) else {
                return Err(TestCaseError::fail("not retried"));
            };
            prop_assert!(wait >= Duration::from_millis(base * 4 / 5) && wait <= Duration::from_millis(base * 6 / 5));
        }
    }
}
