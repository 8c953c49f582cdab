//! Which answers come to what, and how long it takes.

use std::time::Duration;

use evhub_routing::{Backoff, Growth, OnExhausted, Order, Policy, Retry, RetryAfter, RetryOn, StatusPattern};
use proptest::prelude::*;

use super::{Answer, Outcome, Tried, decide, longest_wait};
use crate::{dead::Reason, progress::Discard};

fn policy(growth: Growth) -> Policy {
    let (initial, max) = (Duration::from_millis(200), Duration::from_secs(2));
    Policy {
        order: Order::Key,
        max_in_flight: 1,
        max_parked: 1,
        max_parked_bytes: 1,
        max_parked_per_key: 1,
        rate_limit: None,
        retry: Retry {
            max_attempts: 3,
            max_age: Duration::from_hours(1),
            backoff: Backoff { growth, initial, max, jitter_percent: 20 },
            retry_after: RetryAfter { honor: true, max: Duration::from_mins(1) },
            retry_on: RetryOn::default(),
        },
        on_exhausted: OnExhausted::DeadLetter,
        dead_letter_retention: Duration::from_secs(1),
    }
}

fn status(status: u16) -> Answer {
    Answer::Status { status, text: String::new(), retry_after: None }
}

fn asking(status: u16, seconds: u64) -> Answer {
    Answer::Status { status, text: String::new(), retry_after: Some(Duration::from_secs(seconds)) }
}

fn failed() -> Answer {
    Answer::Failed("refused".into())
}

const fn at(attempt: u32) -> Tried {
    Tried { attempt, throttled: 0, age: Duration::ZERO, allowed: None }
}

#[track_caller]
fn retried(policy: &Policy, tried: Tried, answer: &Answer) -> (Duration, bool) {
    match decide(policy, tried, answer, u64::MAX / 2) {
        Outcome::Retry { wait, throttled } => (wait, throttled),
        other => panic!("{answer:?} came to {other:?}"),
    }
}

#[track_caller]
fn ends(policy: &Policy, tried: Tried, answer: &Answer, expected: &Outcome) {
    assert_eq!(&decide(policy, tried, answer, 0), expected, "{answer:?}");
}

#[test]
fn answers_and_what_follows() {
    let policy = policy(Growth::Fixed);
    for code in [200, 202, 204, 299] {
        ends(&policy, at(1), &status(code), &Outcome::Delivered);
    }
    for code in [404, 408, 425, 429, 500, 503, 599] {
        retried(&policy, at(1), &status(code));
        retried(&policy, at(2), &status(code));
        ends(&policy, at(3), &status(code), &Outcome::Dead(Reason::MaxAttempts));
    }
    for code in [301, 307, 400, 401, 403, 410, 422, 600] {
        ends(&policy, at(1), &status(code), &Outcome::Dead(Reason::NotRetryable));
    }
    for answer in
        [failed(), Answer::TimedOut(String::new()), Answer::Refused { code: 7, text: String::new() }]
    {
        retried(&policy, at(1), &answer);
        ends(&policy, at(3), &answer, &Outcome::Dead(Reason::MaxAttempts));
    }
    let poison = Answer::Poison(Reason::PoisonDecode, "no event".into());
    ends(&policy, at(1), &poison, &Outcome::Dead(Reason::PoisonDecode));
    ends(&policy, at(1), &Answer::Cancelled, &Outcome::Discard(Discard::Cancelled));
}

#[test]
fn exhausted_events_go_where_the_author_says() {
    for (on_exhausted, expected) in [
        (OnExhausted::DeadLetter, Outcome::Dead(Reason::MaxAttempts)),
        (OnExhausted::Suspend, Outcome::Suspend(Reason::MaxAttempts)),
        (OnExhausted::Drop, Outcome::Discard(Discard::Exhausted)),
    ] {
        let policy = Policy { on_exhausted, ..policy(Growth::Fixed) };
        ends(&policy, at(3), &failed(), &expected);
        let poison = Answer::Poison(Reason::PoisonEmpty, String::new());
        ends(&policy, at(1), &poison, &Outcome::Dead(Reason::PoisonEmpty));
    }
    let policy = Policy { on_exhausted: OnExhausted::Suspend, ..policy(Growth::Fixed) };
    ends(&policy, at(1), &status(400), &Outcome::Suspend(Reason::NotRetryable));
}

#[test]
fn what_is_tried_again_is_the_authors_choice() {
    let mut policy = policy(Growth::Fixed);
    let only: StatusPattern = "409".parse().unwrap();
    policy.retry.retry_on = RetryOn { status: vec![only], grpc: Vec::new(), connection: false };
    retried(&policy, at(1), &status(409));
    for answer in [status(503), asking(429, 1), failed(), Answer::TimedOut(String::new())] {
        ends(&policy, at(1), &answer, &Outcome::Dead(Reason::NotRetryable));
    }
}

#[test]
fn retry_after_is_obeyed_up_to_its_bound() {
    let mut policy = policy(Growth::Fixed);
    assert_eq!(retried(&policy, at(1), &asking(503, 7)).0, Duration::from_secs(7));
    assert_eq!(retried(&policy, at(1), &asking(503, 1_000_000_000)).0, Duration::from_mins(1));
    let usual = retried(&policy, at(1), &status(503)).0;
    assert_eq!(retried(&policy, at(1), &asking(503, 0)).0, usual, "it never shortens a wait");
    policy.retry.retry_after.honor = false;
    assert_eq!(retried(&policy, at(1), &asking(503, 7)).0, usual);
}

#[test]
fn being_throttled_does_not_use_up_an_attempt() {
    let mut policy = policy(Growth::Fixed);
    let throttled = |attempt, throttled| Tried { throttled, ..at(attempt) };
    assert_eq!(retried(&policy, throttled(50, 49), &asking(429, 1)), (Duration::from_secs(1), true));
    assert!(retried(&policy, throttled(50, 49), &asking(503, 1)).0 >= Duration::from_secs(1));
    let growing = self::policy(Growth::Exponential { multiplier: 2 });
    let waits =
        [1, 2, 3].map(|attempt| retried(&growing, throttled(attempt, attempt - 1), &asking(429, 0)).0);
    assert!(waits.is_sorted_by(|one, next| *one < *next), "it is asked ever less often: {waits:?}");
    ends(&policy, throttled(50, 47), &asking(503, 1), &Outcome::Dead(Reason::MaxAttempts));
    // Without saying for how long, 429 is a failure like others.
    ends(&policy, at(3), &status(429), &Outcome::Dead(Reason::MaxAttempts));
    policy.retry.retry_after.honor = false;
    ends(&policy, at(3), &asking(429, 1), &Outcome::Dead(Reason::MaxAttempts));
}

#[test]
fn no_attempt_begins_later_than_the_age_allows() {
    let mut policy = policy(Growth::Fixed);
    policy.retry.backoff.jitter_percent = 0;
    policy.retry.max_age = Duration::from_secs(10);
    let aged = |millis| Tried { age: Duration::from_millis(millis), ..at(1) };
    retried(&policy, aged(9_800), &failed());
    ends(&policy, aged(9_801), &failed(), &Outcome::Dead(Reason::MaxAge));
    ends(&policy, aged(0), &asking(429, 11), &Outcome::Dead(Reason::MaxAge));
}

#[test]
fn a_publisher_may_allow_fewer_attempts_and_never_more() {
    let policy = policy(Growth::Fixed);
    let allowed = |attempt, allowed| Tried { allowed: Some(allowed), ..at(attempt) };
    ends(&policy, allowed(1, 1), &failed(), &Outcome::Dead(Reason::MaxAttempts));
    retried(&policy, allowed(1, 2), &failed());
    ends(&policy, allowed(3, 9), &failed(), &Outcome::Dead(Reason::MaxAttempts));
}

proptest! {
    #[test]
    fn waits_stay_within_the_jitter_and_under_the_cap(attempt in 1u32..=1000, random: u64, growth in 0u8..3) {
        let (growth, factor) = match growth {
            0 => (Growth::Fixed, 1),
            1 => (Growth::Linear, u64::from(attempt)),
            _ => (Growth::Exponential { multiplier: 2 }, 1 << (attempt - 1).min(40)),
        };
        let mut policy = policy(growth);
        policy.retry.max_attempts = 1001;
        let base = 200u64.saturating_mul(factor).min(2000);
        let Outcome::Retry { wait, .. } = decide(&policy, at(attempt), &failed(), random) else {
            return Err(TestCaseError::fail("not retried"));
        };
        prop_assert!(wait >= Duration::from_millis(base * 4 / 5) && wait <= Duration::from_millis(base * 6 / 5));
        prop_assert!(wait <= longest_wait(&policy.retry));
    }
}

#[test]
fn what_the_hub_fails_over_is_tried_three_times_and_then_buried_whatever_the_policy() {
    let (broken, mut policy) = (Answer::Broken("index out of bounds".into()), policy(Growth::Fixed));
    policy.retry.max_attempts = 10;
    policy.on_exhausted = OnExhausted::Drop;
    for attempt in 1..=2 {
        assert!(!retried(&policy, at(attempt), &broken).1);
    }
    ends(&policy, at(3), &broken, &Outcome::Dead(Reason::PoisonProcessing));
    assert_eq!((broken.is_trouble(), broken.was_asked()), (None, true), "it says nothing of the target");
}
