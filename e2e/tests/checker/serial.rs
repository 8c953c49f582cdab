//! C-09: attempts of one lane side by side, and the near misses.

use evhub_e2e::{
    check::{self, Class},
    history::{
        Answer::{Failure, PeerGone, Success},
        History, Rec,
    },
    model::Order,
};

use crate::story::Story;

/// Two records: the first is attempted at 10 and answered at 200; the second is attempted at 100.
fn side_by_side(keys: [&str; 2]) -> Story {
    let mut story = Story::default();
    story.event(0, "a-1", keys[0], 0).event(2, "a-2", keys[1], 1);
    let attempt = story.recv(10, "a-1", keys[0], 1, 1);
    story.push(202, Rec::Done { attempt, answer: Success, from: 200_000_000 });
    story.attempt(100, "a-2", 1, 1, Success);
    story
}

#[test]
fn overlap() {
    let mut story = side_by_side(["k", "k"]);
    story.shows(Class::Overlap);
    story.push(1_000_000, Rec::Scanned { producer: crate::story::PRODUCER.into(), partition: 0 });
    let reports = check::all(&History(story.entries), &story.model);
    let texts: Vec<_> = check::anomalies(&reports).iter().map(|anomaly| anomaly.text.clone()).collect();
    assert!(
        texts.iter().any(|text| text.contains("for 5ms, both at epoch 1")),
        "the length is told: {texts:?}"
    );
}

#[test]
fn what_is_a_lane_depends_on_the_order() {
    for (order, keys, overlaps) in [
        (Order::Key, ["j", "k"], false),
        (Order::None, ["k", "k"], false),
        (Order::KeyFirstAttempt, ["k", "k"], true),
        (Order::KeyFirstAttempt, ["j", "k"], false),
        (Order::Partition, ["j", "k"], true),
    ] {
        let mut story = side_by_side(keys);
        story.model.processors[0].order = order;
        assert_eq!(story.classes().contains(&Class::Overlap), overlaps, "{order:?} with {keys:?}");
    }
}

#[test]
fn a_retry_beside_a_first_attempt_is_no_overlap_where_only_those_are_in_order() {
    let mut story = Story::default();
    story.model.processors[0].order = Order::KeyFirstAttempt;
    story.event(0, "a-1", "k", 0).event(2, "a-2", "k", 1);
    story.attempt(10, "a-1", 1, 1, Failure(500));
    let attempt = story.recv(40, "a-1", "k", 2, 1);
    story.push(202, Rec::Done { attempt, answer: Success, from: 200_000_000 });
    story.attempt(100, "a-2", 1, 1, Success);
    story.is_valid();
}

#[test]
fn an_old_owners_last_may_overlap_with_a_new_owners_first() {
    let mut story = Story::default();
    story.event(0, "a-1", "k", 0);
    let attempt = story.recv(10, "a-1", "k", 1, 1);
    story.kill(50).attempt(100, "a-1", 1, 2, Success);
    story.push(302, Rec::Done { attempt, answer: Success, from: 300_000_000 });
    story.is_valid();
}

#[test]
fn the_longest_attempt_counts_and_not_the_last() {
    let mut story = Story::default();
    story.event(0, "a-1", "k", 0).event(2, "a-2", "k", 1).event(4, "a-3", "k", 2);
    let attempt = story.recv(10, "a-1", "k", 1, 1);
    story.push(402, Rec::Done { attempt, answer: Success, from: 400_000_000 });
    story.attempt(100, "a-2", 1, 1, Success).attempt(300, "a-3", 1, 1, Success);
    story.push(1_000_000, Rec::Scanned { producer: crate::story::PRODUCER.into(), partition: 0 });
    let reports = check::all(&History(story.entries), &story.model);
    let overlaps = check::anomalies(&reports).iter().filter(|a| a.class == Class::Overlap).count();
    assert_eq!(overlaps, 2, "both lie within the first");
}

#[test]
fn a_retry_beside_its_own_predecessor() {
    let mut story = Story::default();
    story.event(0, "a-1", "k", 0);
    let attempt = story.recv(10, "a-1", "k", 1, 1);
    story.attempt(100, "a-1", 2, 1, Success);
    story.push(300, Rec::Done { attempt, answer: PeerGone, from: 300_000_000 });
    story.shows(Class::Overlap);
}

#[test]
fn a_retry_after_the_time_out_does_not_overlap() {
    let mut story = Story::default();
    story.event(0, "a-1", "k", 0);
    let attempt = story.recv(10, "a-1", "k", 1, 1);
    story.push(1020, Rec::Done { attempt, answer: PeerGone, from: 1_020_000_000 });
    story.attempt(1100, "a-1", 2, 1, Success);
    story.is_valid();
}
