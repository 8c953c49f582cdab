//! C-11: each way for attempt counts to be wrong, and its near miss.

use evhub_e2e::{
    check::Class,
    history::{
        Answer::{Ambiguous, Failure, PeerGone, Success},
        Fault, Outcome, Rec,
    },
};

use crate::story::Story;

fn one() -> Story {
    let mut story = Story::default();
    story.event(0, "a-1", "k", 0);
    story
}

#[test]
fn the_first_number_is_one() {
    let mut story = one();
    story.attempt(10, "a-1", 2, 1, Success);
    story.shows_only(Class::WrongNumber);
}

#[test]
fn numbers_rise_by_one() {
    let mut story = one();
    story.attempt(10, "a-1", 1, 1, Failure(500)).attempt(100, "a-1", 3, 1, Success);
    story.shows_only(Class::WrongNumber);
}

#[test]
fn a_number_may_stay_unseen_in_a_pause() {
    let mut story = one();
    story
        .attempt(10, "a-1", 1, 1, Failure(500))
        .fault(50, 2000, Fault::Pause)
        .attempt(2100, "a-1", 3, 1, Success);
    story.is_valid();
}

#[test]
fn the_first_number_may_stay_unseen_in_a_pause() {
    let mut story = one();
    story.fault(5, 2000, Fault::Pause).attempt(2100, "a-1", 2, 1, Success);
    story.is_valid();
    let mut story = Story::default();
    story.fault(5, 2000, Fault::Pause).event(2010, "a-1", "k", 0).attempt(2100, "a-1", 2, 1, Success);
    story.shows_only(Class::WrongNumber);
}

#[test]
fn same_epoch_repeat() {
    let mut story = one();
    story.attempt(10, "a-1", 1, 1, Failure(500)).attempt(100, "a-1", 1, 1, Success);
    story.shows_only(Class::SameEpochRepeat);
}

#[test]
fn repeat_after_success() {
    let mut story = one();
    story.attempt(10, "a-1", 1, 1, Success).attempt(100, "a-1", 2, 1, Success);
    story.shows(Class::RepeatAfterSuccess);
}

#[test]
fn an_ambiguous_success_may_be_repeated() {
    let mut story = one();
    story.attempt(10, "a-1", 1, 1, Ambiguous).attempt(100, "a-1", 2, 1, Success);
    story.is_valid();
}

#[test]
fn a_killed_owner_may_repeat_its_last_number_or_go_on() {
    for (answer, number) in [(Success, 1), (Failure(500), 1), (Failure(500), 2), (PeerGone, 1)] {
        let mut story = one();
        story.attempt(10, "a-1", 1, 1, answer).kill(40).attempt(300, "a-1", number, 2, Success);
        story.is_valid();
    }
}

#[test]
fn a_success_never_makes_a_further_number() {
    let mut story = one();
    story.attempt(10, "a-1", 1, 1, Success).kill(40).attempt(300, "a-1", 2, 2, Success);
    story.shows_only(Class::WrongNumber);
}

#[test]
fn an_attempt_cut_off_by_a_kill_keeps_its_number() {
    let mut story = one();
    let attempt = story.recv(10, "a-1", "k", 1, 1);
    story.kill(40).push(45, Rec::Done { attempt, answer: PeerGone, from: 45_000_000 });
    let mut repeated = story.clone();
    repeated.attempt(300, "a-1", 1, 2, Success);
    repeated.is_valid();
    story.attempt(300, "a-1", 2, 2, Success);
    story.shows_only(Class::WrongNumber);
}

#[test]
fn an_attempt_that_timed_out_before_the_kill_may_have_counted() {
    let mut story = one();
    let attempt = story.recv(10, "a-1", "k", 1, 1);
    story.push(1012, Rec::Done { attempt, answer: PeerGone, from: 1_012_000_000 }).kill(1400);
    story.attempt(1800, "a-1", 2, 2, Success);
    story.is_valid();
}

#[test]
fn numbers_never_fall() {
    let mut story = one();
    story.attempt(10, "a-1", 1, 1, Failure(500)).attempt(50, "a-1", 2, 1, Failure(500)).kill(90);
    story.attempt(300, "a-1", 1, 2, Success);
    story.shows_only(Class::WrongNumber);
}

#[test]
fn durable_repeated() {
    for answer in [Success, Failure(500)] {
        let mut story = one();
        story.attempt(10, "a-1", 1, 1, answer).kill(700).attempt(2000, "a-1", 1, 2, Success);
        story.shows_only(Class::DurableRepeated);
        let mut near = one();
        near.attempt(10, "a-1", 1, 1, answer).kill(500).attempt(2000, "a-1", 1, 2, Success);
        near.is_valid();
    }
}

#[test]
fn nothing_becomes_durable_in_a_pause() {
    for (kill, valid) in [(2500, true), (2700, false)] {
        let mut story = one();
        story.attempt(10, "a-1", 1, 1, Success).fault(20, 2000, Fault::Pause).kill(kill);
        story.attempt(3000, "a-1", 1, 2, Success);
        if valid {
            story.is_valid();
        } else {
            story.shows_only(Class::DurableRepeated);
        }
    }
}

#[test]
fn a_number_unseen_in_a_pause_may_be_followed_by_a_new_owner() {
    let mut story = one();
    story.attempt(10, "a-1", 1, 1, Failure(500)).fault(50, 2000, Fault::Pause).kill(2500);
    story.attempt(2700, "a-1", 3, 2, Success);
    story.is_valid();
}

#[test]
fn durable_repeated_without_a_kill() {
    let mut story = one();
    story.attempt(10, "a-1", 1, 1, Success).attempt(2000, "a-1", 1, 2, Success);
    story.shows_only(Class::DurableRepeated);
}

#[test]
fn an_owner_that_gave_up_by_itself_is_a_change_of_owner() {
    let mut story = one();
    story.attempt(10, "a-1", 1, 1, Success).attempt(400, "a-1", 1, 2, Success);
    story.is_valid();
}

#[test]
fn stale_epoch() {
    let mut story = one();
    story.attempt(10, "a-1", 1, 2, Failure(500)).attempt(100, "a-1", 2, 1, Success);
    story.shows(Class::StaleEpoch);
}

#[test]
fn repeated_by_clean_stop() {
    let mut story = one();
    story
        .attempt(10, "a-1", 1, 1, Success)
        .fault(30, 90, Fault::CleanStop)
        .attempt(300, "a-1", 1, 2, Success);
    story.shows_only(Class::RepeatedByCleanStop);
}

#[test]
fn a_clean_stop_may_abandon_what_hangs() {
    let mut story = one();
    let attempt = story.recv(10, "a-1", "k", 1, 1);
    story.push(90, Rec::Done { attempt, answer: PeerGone, from: 90_000_000 }).fault(30, 91, Fault::CleanStop);
    story.attempt(300, "a-1", 1, 2, Success);
    story.is_valid();
}

#[test]
fn a_retry_after_a_clean_stop_is_no_repeat() {
    let mut story = one();
    story
        .attempt(10, "a-1", 1, 1, Failure(500))
        .fault(30, 90, Fault::CleanStop)
        .attempt(300, "a-1", 2, 2, Success);
    story.is_valid();
}

/// So many events of their own keys, all under way when their owner is killed.
fn under_way(events: u64) -> Story {
    let mut story = Story::default();
    for n in 0..events {
        let (id, key) = (format!("a-{n}"), format!("k{n}"));
        story.publish(n, "c", &id, &key, Outcome::Acked { partition: 0, offset: n }).log(0, n, &id, &key);
        story.recv(1000 + n, &id, &key, 1, 1);
    }
    story.kill(1100);
    for n in 0..events {
        let (id, key) = (format!("a-{n}"), format!("k{n}"));
        let attempt = story.recv(2000 + n, &id, &key, 1, 2);
        story.push(2500, Rec::Done { attempt, answer: Success, from: 2_400_000_000 });
    }
    story
}

#[test]
fn too_many_repeats() {
    under_way(8).is_valid();
    under_way(9).shows(Class::TooManyRepeats);
}

#[test]
fn delivery_key_changes() {
    let mut story = one();
    story.attempt(10, "a-1", 1, 1, Failure(500)).attempt(100, "a-1", 2, 1, Success);
    for entry in &mut story.entries {
        if let Rec::Recv { number: 2, delivery, .. } = &mut entry.rec {
            delivery.push('x');
        }
    }
    story.shows_only(Class::DeliveryKey);
}

#[test]
fn delivery_key_shared() {
    let mut story = one();
    story.event(2, "a-2", "k", 1).attempt(10, "a-1", 1, 1, Success).attempt(100, "a-2", 1, 1, Success);
    for entry in &mut story.entries {
        if let Rec::Recv { delivery, .. } = &mut entry.rec {
            "same".clone_into(delivery);
        }
    }
    story.shows_only(Class::DeliveryKey);
}
