//! C-08: each way to leave the automaton, and its near miss.

use evhub_e2e::{
    check::Class,
    history::{
        Answer::{Failure, Success},
        Fault, Rec,
    },
    model::Order,
};

use crate::story::Story;

/// Three records of one key.
fn three() -> Story {
    let mut story = Story::default();
    story.event(0, "a-1", "k", 0).event(2, "a-2", "k", 1).event(4, "a-3", "k", 2);
    story
}

#[test]
fn in_order_with_retries() {
    let mut story = three();
    story.attempt(10, "a-1", 1, 1, Failure(500)).attempt(100, "a-1", 2, 1, Success);
    story.attempt(200, "a-2", 1, 1, Success).attempt(300, "a-3", 1, 1, Success);
    story.is_valid();
}

#[test]
fn the_next_may_start_before_the_answer_is_flushed() {
    let mut story = three();
    // The answer leaves at 15 and is flushed at 16; the next arrives between.
    story
        .attempt(10, "a-1", 1, 1, Success)
        .attempt(15, "a-2", 1, 1, Success)
        .attempt(30, "a-3", 1, 1, Success);
    story.is_valid();
}

#[test]
fn gap() {
    let mut story = three();
    story
        .attempt(10, "a-1", 1, 1, Success)
        .attempt(20, "a-3", 1, 1, Success)
        .attempt(30, "a-2", 1, 1, Success);
    story.shows(Class::Gap);
}

#[test]
fn gap_at_a_take_over() {
    let mut story = three();
    story.attempt(10, "a-1", 1, 1, Success).kill(20).attempt(100, "a-3", 1, 2, Success);
    story.attempt(130, "a-2", 1, 2, Success);
    story.shows(Class::Gap);
}

#[test]
fn reorder_past_a_failure() {
    let mut story = three();
    story.attempt(10, "a-1", 1, 1, Failure(500)).attempt(100, "a-2", 1, 1, Success);
    story.attempt(200, "a-1", 2, 1, Success).attempt(300, "a-3", 1, 1, Success);
    story.shows(Class::Reorder);
}

#[test]
fn a_dead_letter_lets_the_next_pass() {
    let mut story = three();
    story.attempt(10, "a-1", 1, 1, Failure(400)).dead(0, "a-1", 1, "NOT_RETRYABLE");
    story.attempt(100, "a-2", 1, 1, Success).attempt(300, "a-3", 1, 1, Success);
    story.is_valid();
}

#[test]
fn a_dead_letter_to_come_does_not() {
    let mut story = three();
    story.attempt(10, "a-1", 1, 1, Failure(500)).attempt(20, "a-2", 1, 1, Success);
    story.attempt(100, "a-1", 2, 1, Failure(400)).dead(0, "a-1", 2, "NOT_RETRYABLE");
    story.attempt(300, "a-3", 1, 1, Success);
    story.shows(Class::Reorder);
}

#[test]
fn a_replayed_suffix_is_legal() {
    let mut story = three();
    story.attempt(10, "a-1", 1, 1, Success).attempt(20, "a-2", 1, 1, Success).kill(40);
    story.attempt(100, "a-2", 1, 2, Success).attempt(120, "a-3", 1, 2, Success);
    story.is_valid();
}

#[test]
fn regress_below_a_commit() {
    let mut story = three();
    story.attempt(10, "a-1", 1, 1, Success).attempt(20, "a-2", 1, 1, Success).commit(30, 2).kill(40);
    story.attempt(100, "a-2", 1, 2, Success).attempt(120, "a-3", 1, 2, Success);
    story.shows_only(Class::Regress);
}

#[test]
fn a_commit_permits_what_lies_above_it() {
    let mut story = three();
    story.attempt(10, "a-1", 1, 1, Success).attempt(20, "a-2", 1, 1, Success).commit(30, 1).kill(40);
    story.attempt(100, "a-2", 1, 2, Success).attempt(120, "a-3", 1, 2, Success);
    story.is_valid();
}

#[test]
fn a_parked_record_may_be_below_a_commit() {
    let mut story = three();
    story.attempt(10, "a-1", 1, 1, Failure(500)).commit(30, 3).kill(40);
    story
        .attempt(100, "a-1", 2, 2, Success)
        .attempt(120, "a-2", 1, 2, Success)
        .attempt(140, "a-3", 1, 2, Success);
    story.is_valid();
}

#[test]
fn stale_start() {
    let mut story = three();
    story.attempt(10, "a-1", 1, 1, Failure(500)).kill(20).attempt(100, "a-1", 2, 2, Success);
    story.attempt(120, "a-2", 1, 1, Failure(500));
    story.attempt(140, "a-2", 1, 2, Success).attempt(160, "a-3", 1, 2, Success);
    story.shows(Class::StaleStart);
}

#[test]
fn a_zombie_that_began_before_is_legal() {
    let mut story = three();
    story.attempt(10, "a-1", 1, 1, Success).kill(20).attempt(100, "a-1", 1, 2, Success);
    story.attempt(120, "a-2", 1, 1, Failure(500));
    for entry in &mut story.entries {
        if let Rec::Recv { id, began, epoch: 1, .. } = &mut entry.rec
            && id == "a-2"
        {
            *began = 15 * 1_000_000;
        }
    }
    story.attempt(140, "a-2", 1, 2, Success).attempt(160, "a-3", 1, 2, Success);
    story.is_valid();
}

#[test]
fn retry_after_success() {
    let mut story = three();
    story.attempt(10, "a-1", 1, 1, Success).attempt(50, "a-1", 2, 1, Success);
    story.attempt(100, "a-2", 1, 1, Success).attempt(120, "a-3", 1, 1, Success);
    story.shows(Class::RetryAfterSuccess);
}

#[test]
fn a_success_that_came_too_late_may_be_retried() {
    let mut story = three();
    let attempt = story.recv(10, "a-1", "k", 1, 1);
    story.push(990, Rec::Done { attempt, answer: Success, from: 985_000_000 });
    story.attempt(1100, "a-1", 2, 1, Success);
    story.attempt(1200, "a-2", 1, 1, Success).attempt(1220, "a-3", 1, 1, Success);
    story.is_valid();
}

#[test]
fn a_success_read_after_a_pause_may_be_retried() {
    // The answer has left at 16. The hub may stop before it could read it, but not that long after.
    for (stops, valid) in [(12, true), (17, true), (110, true), (200, false)] {
        let mut story = three();
        story
            .attempt(10, "a-1", 1, 1, Success)
            .fault(stops, 3000, Fault::Pause)
            .attempt(3100, "a-1", 2, 1, Success);
        story.attempt(4200, "a-2", 1, 1, Success).attempt(4300, "a-3", 1, 1, Success);
        if valid {
            story.is_valid();
        } else {
            story.shows(Class::RetryAfterSuccess);
        }
    }
}

#[test]
fn a_success_right_after_a_pause_may_have_begun_before_it() {
    for (arrives, valid) in [(3050, true), (3600, false)] {
        let mut story = three();
        story.fault(8, 3000, Fault::Pause).attempt(arrives, "a-1", 1, 1, Success);
        story.attempt(arrives + 100, "a-1", 2, 1, Success);
        story.attempt(4200, "a-2", 1, 1, Success).attempt(4300, "a-3", 1, 1, Success);
        if valid {
            story.is_valid();
        } else {
            story.shows(Class::RetryAfterSuccess);
        }
    }
}

/// Two records of different keys in one partition.
fn two() -> Story {
    let mut story = Story::default();
    story.event(0, "a-1", "j", 0).event(2, "a-2", "k", 1);
    story
}

#[test]
fn a_partition_in_order() {
    let mut story = two();
    story.model.processors[0].order = Order::Partition;
    let mut near = story.clone();
    story.attempt(10, "a-2", 1, 1, Success).attempt(20, "a-1", 1, 1, Success);
    story.shows(Class::Gap);
    near.attempt(10, "a-1", 1, 1, Success).attempt(20, "a-2", 1, 1, Success);
    near.is_valid();
    let mut by_key = two();
    by_key.attempt(10, "a-2", 1, 1, Success).attempt(20, "a-1", 1, 1, Success);
    by_key.is_valid();
}

#[test]
fn first_attempts_in_order() {
    let mut story = three();
    story.model.processors[0].order = Order::KeyFirstAttempt;
    let mut near = story.clone();
    story.attempt(10, "a-2", 1, 1, Success).attempt(20, "a-1", 1, 1, Success);
    story.attempt(30, "a-3", 1, 1, Success);
    story.shows(Class::Gap);
    near.attempt(10, "a-1", 1, 1, Failure(500)).attempt(20, "a-2", 1, 1, Success);
    near.attempt(38, "a-1", 2, 1, Success).attempt(50, "a-3", 1, 1, Success);
    near.is_valid();
    near.model.processors[0].order = Order::Key;
    near.shows(Class::Reorder);
}

#[test]
fn a_first_attempt_that_failed_is_not_made_again_by_a_new_owner() {
    let mut story = three();
    story.model.processors[0].order = Order::KeyFirstAttempt;
    story.attempt(10, "a-1", 1, 1, Success);
    let mut never = story.clone();
    // The failure of a-2 is in `.state`; the success of a-1 was not committed.
    story.attempt(20, "a-2", 1, 1, Failure(500)).kill(30);
    story.attempt(100, "a-1", 1, 2, Success).attempt(110, "a-3", 1, 2, Success);
    story.attempt(128, "a-2", 2, 2, Success);
    story.is_valid();
    never.kill(30);
    never.attempt(100, "a-1", 1, 2, Success).attempt(110, "a-3", 1, 2, Success);
    never.attempt(128, "a-2", 1, 2, Success);
    never.shows(Class::Gap);
}
