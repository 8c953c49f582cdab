//! C-12: each way to break a retry policy, and its near miss. The stories' policy is 20 ms, then 40, then 60, each give or
//! take half; three attempts; a second's grace.

use std::time::Duration;

use evhub_e2e::{
    check::Class,
    history::{
        Answer::{Asked, Cut, Failure, PeerGone, Success},
        Fault, Rec,
    },
    model::{Growth, Retry},
};

use crate::story::Story;

fn one() -> Story {
    let mut story = Story::default();
    story.event(0, "a-1", "k", 0);
    story
}

/// The first attempt ends so at 15; the second comes at this instant.
fn again(answer: evhub_e2e::history::Answer, at: u64) -> Story {
    let mut story = one();
    story.attempt(10, "a-1", 1, 1, answer).attempt(at, "a-1", 2, 1, Success);
    story
}

#[test]
fn too_soon_and_too_late() {
    for (at, expected) in [(18, Some(Class::TooSoon)), (26, None), (1040, None), (1060, Some(Class::TooLate))]
    {
        for answer in [Failure(500), Cut] {
            assert_eq!(again(answer, at).classes(), Vec::from_iter(expected), "{answer:?} at {at}");
        }
    }
}

#[test]
fn the_target_is_left_alone_for_as_long_as_it_asked_up_to_the_cap() {
    for (asked, at, expected) in [
        (500, 400, Some(Class::TooSoon)),
        (500, 520, None),
        (500, 1500, None),
        (500, 1560, Some(Class::TooLate)),
        (0, 26, None),
        (0, 18, Some(Class::TooSoon)),
        (1_000_000_000_000, 1900, Some(Class::TooSoon)),
        (1_000_000_000_000, 2020, None),
        (1_000_000_000_000, 3200, Some(Class::TooLate)),
    ] {
        for status in [429, 503] {
            let mut story = again(Asked(status, asked), at);
            story.model.processors[0].retry.asked = Duration::from_secs(2);
            assert_eq!(story.classes(), Vec::from_iter(expected), "{status} asked for {asked}, came at {at}");
        }
    }
}

#[test]
fn waits_grow_as_the_policy_says() {
    let ms = Duration::from_millis;
    let retry = |growth| Retry { growth, initial: ms(100), max: ms(250), jitter: 0, ..Retry::default() };
    for (growth, waits) in [
        (Growth::Fixed, [100, 100, 100, 100]),
        (Growth::Linear, [100, 200, 250, 250]),
        (Growth::Doubled, [100, 200, 250, 250]),
    ] {
        for (failures, wait) in (1..).zip(waits) {
            assert_eq!(retry(growth).band(failures, None), (ms(wait), ms(wait)), "{growth:?}, {failures}");
        }
    }
    let jittered = Retry { jitter: 20, ..retry(Growth::Doubled) };
    assert_eq!(jittered.band(2, None), (ms(160), ms(240)));
    assert_eq!(jittered.band(2, Some(ms(200))), (ms(200), ms(240)));
}

#[test]
fn a_pause_or_a_new_owner_may_be_late_and_never_early() {
    let mut story = one();
    story.attempt(10, "a-1", 1, 1, Failure(500)).fault(20, 1900, Fault::Pause);
    story.attempt(2000, "a-1", 2, 1, Success);
    story.is_valid();
    for (at, expected) in [(17, Some(Class::TooSoon)), (2000, None)] {
        let mut story = one();
        story.attempt(10, "a-1", 1, 1, Failure(500)).attempt(at, "a-1", 2, 2, Success);
        assert_eq!(story.classes(), Vec::from_iter(expected), "a new owner at {at}");
    }
}

#[test]
fn a_target_that_is_away_sees_attempts_late_or_not_at_all() {
    let mut story = one();
    story.attempt(10, "a-1", 1, 1, Failure(500));
    story.fault(20, 1900, Fault::Away(crate::story::PROCESSOR.to_owned()));
    story.attempt(2000, "a-1", 3, 1, Success);
    story.is_valid();
    let mut story = one();
    story.attempt(10, "a-1", 1, 1, Failure(500));
    story.fault(20, 1900, Fault::Away("shop/another".to_owned()));
    story.attempt(1030, "a-1", 3, 1, Success);
    story.shows_only(Class::WrongNumber);
}

#[test]
fn who_is_in_no_hurry_is_never_late() {
    let mut story = again(Failure(500), 5000);
    story.model.processors[0].retry.prompt = None;
    story.is_valid();
}

#[test]
fn a_time_out_is_waited_for_and_then_the_policy() {
    for (at, expected) in [(1050, None), (2300, Some(Class::TooLate))] {
        let mut story = one();
        let attempt = story.recv(10, "a-1", "k", 1, 1);
        story.push(1012, Rec::Done { attempt, answer: PeerGone, from: 1_012_000_000 });
        story.attempt(at, "a-1", 2, 1, Success);
        assert_eq!(story.classes(), Vec::from_iter(expected), "at {at}");
    }
}

/// Attempts that end so, 100 ms apart, and the last one well.
fn after(answers: &[evhub_e2e::history::Answer]) -> Story {
    let mut story = one();
    let mut number = 0;
    for answer in answers {
        number += 1;
        story.attempt(u64::from(number) * 100, "a-1", number, 1, *answer);
    }
    story.attempt(u64::from(number + 1) * 100, "a-1", number + 1, 1, Success);
    story
}

#[test]
fn too_many_attempts() {
    after(&[Failure(500), Failure(500)]).is_valid();
    after(&[Failure(500), Failure(500), Failure(500)]).shows_only(Class::TooManyAttempts);
}

#[test]
fn being_throttled_does_not_count_where_the_target_said_for_how_long() {
    after(&[Asked(429, 0), Asked(429, 0), Failure(500), Failure(500)]).is_valid();
    after(&[Failure(429), Failure(500), Failure(500)]).shows_only(Class::TooManyAttempts);
    after(&[Asked(503, 0), Failure(500), Failure(500)]).shows_only(Class::TooManyAttempts);
}

#[test]
fn a_dead_letter_counts_as_the_policy_does() {
    for (last, expected) in [(3, Some(Class::WrongDead)), (4, None)] {
        let mut story = one();
        story.attempt(100, "a-1", 1, 1, Asked(429, 0));
        for number in 2..=last {
            story.attempt(u64::from(number) * 100, "a-1", number, 1, Failure(500));
        }
        story.dead(0, "a-1", last, "MAX_ATTEMPTS");
        assert_eq!(story.classes(), Vec::from_iter(expected), "dead after {last}");
    }
}

#[test]
fn too_old() {
    for (asked, expected) in [(900, None), (2500, Some(Class::TooOld))] {
        let mut story = again(Asked(503, asked), asked + 30);
        story.model.processors[0].retry.max_age = Duration::from_secs(1);
        assert_eq!(story.classes(), Vec::from_iter(expected), "asked for {asked}");
    }
}

#[test]
fn what_was_due_while_nobody_owned_it_is_made_late() {
    let mut story = one();
    story.attempt(10, "a-1", 1, 1, Asked(503, 900)).kill(100).attempt(5000, "a-1", 2, 2, Success);
    story.model.processors[0].retry.max_age = Duration::from_secs(1);
    story.is_valid();
}

#[test]
fn who_dies_of_age_was_old() {
    for (asked, expected) in [(2500, None), (300, Some(Class::WrongDead))] {
        let mut story = one();
        story.attempt(10, "a-1", 1, 1, Asked(503, asked)).dead(0, "a-1", 1, "MAX_AGE");
        story.model.processors[0].retry.max_age = Duration::from_secs(1);
        assert_eq!(story.classes(), Vec::from_iter(expected), "asked for {asked}");
    }
}
