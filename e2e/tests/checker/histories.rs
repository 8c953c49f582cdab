//! C-01, C-02, C-04, C-06, C-07: each class, and its near miss.

use evhub_e2e::{
    check::{self, Class, Verdict},
    history::{
        Answer::{Ambiguous, Cut, Failure, PeerGone, Success},
        Entry, History, Outcome, Rec,
    },
};

use crate::story::{PROCESSOR, Story, hash, model};

fn acked(offset: u64) -> Outcome {
    Outcome::Acked { partition: 0, offset }
}

fn delivered() -> Story {
    let mut story = Story::default();
    story.event(0, "a-1", "k", 0).attempt(10, "a-1", 1, 1, Success);
    story
}

#[test]
fn a_plain_delivery_is_valid() {
    delivered().is_valid();
}

#[test]
fn without_the_log_nothing_is_known() {
    let history = History(delivered().entries);
    let reports = check::all(&history, &model());
    let unknown: Vec<_> =
        reports.iter().filter(|r| matches!(r.verdict, Verdict::Unknown(_))).map(|r| &r.name[..4]).collect();
    assert_eq!(unknown, ["C-01", "C-02", "C-07", "C-08"], "the others need no log");
}

#[test]
fn lost_ack() {
    let mut story = delivered();
    story.publish(20, "c", "a-2", "k", acked(1));
    story.shows_only(Class::LostAck);
}

#[test]
fn an_unknown_publish_may_be_absent_or_present() {
    let mut story = delivered();
    story.publish(20, "c", "a-2", "k", Outcome::Unknown("reset".into()));
    story.is_valid();
    story.log(0, 1, "a-2", "k").attempt(40, "a-2", 1, 1, Success);
    story.is_valid();
}

#[test]
fn wrong_record() {
    let mut story = delivered();
    story.publish(20, "c", "a-2", "k", acked(2)).log(0, 1, "a-2", "k").attempt(30, "a-2", 1, 1, Success);
    story.publish(40, "c", "a-3", "k", acked(1)).log(0, 2, "a-3", "k").attempt(50, "a-3", 1, 1, Success);
    story.shows(Class::WrongRecord);
}

#[test]
fn inconsistent_offset_between_receipts() {
    let mut story = delivered();
    story.publish(20, "d", "a-2", "j", acked(0)).log(0, 1, "a-2", "j").attempt(30, "a-2", 1, 1, Success);
    story.shows(Class::InconsistentOffset);
}

#[test]
fn inconsistent_offset_between_reads() {
    let mut story = delivered();
    story.publish(20, "d", "a-2", "k", Outcome::Unknown("reset".into())).log(0, 0, "a-2", "k");
    story.shows(Class::InconsistentOffset);
}

#[test]
fn copied() {
    let mut story = delivered();
    story.log(0, 1, "a-1", "k");
    story.shows(Class::Copied);
}

#[test]
fn reading_a_record_twice_is_no_copy() {
    let mut story = delivered();
    story.log(0, 0, "a-1", "k");
    story.is_valid();
}

#[test]
fn aborted_write_in_the_log() {
    let mut story = delivered();
    story.publish(20, "c", "a-2", "k", Outcome::Rejected("LOG_FULL".into()));
    story.is_valid();
    story.log(0, 1, "a-2", "k").attempt(40, "a-2", 1, 1, Success);
    story.shows_only(Class::AbortedWrite);
}

#[test]
fn corrupt() {
    let mut story = delivered();
    for entry in &mut story.entries {
        if let Rec::Recv { hash, .. } = &mut entry.rec {
            *hash += 1;
        }
    }
    story.shows_only(Class::Corrupt);
}

#[test]
fn corrupt_key() {
    let mut story = delivered();
    for entry in &mut story.entries {
        if let Rec::Recv { key, .. } = &mut entry.rec {
            *key = None;
        }
    }
    story.shows_only(Class::Corrupt);
}

#[test]
fn invented() {
    let mut story = delivered();
    story.log(0, 1, "x-1", "k").attempt(30, "x-1", 1, 1, Success);
    story.shows_only(Class::Invented);
}

#[test]
fn ingest_reorder() {
    let mut story = Story::default();
    story.event(0, "a-1", "k", 1).event(10, "a-2", "k", 0);
    story.attempt(20, "a-2", 1, 1, Success).attempt(30, "a-1", 1, 1, Success);
    story.shows_only(Class::IngestReorder);
}

#[test]
fn concurrent_publishes_have_no_order() {
    let mut story = Story::default();
    story.publish(0, "c", "a-1", "k", acked(1)).log(0, 1, "a-1", "k");
    story.publish(0, "d", "a-2", "k", acked(0)).log(0, 0, "a-2", "k");
    story.attempt(20, "a-2", 1, 1, Success).attempt(30, "a-1", 1, 1, Success);
    story.is_valid();
}

#[test]
fn ingest_split() {
    let mut story = delivered();
    story.publish(20, "c", "a-2", "k", Outcome::Acked { partition: 1, offset: 0 });
    story.log(1, 0, "a-2", "k").attempt(30, "a-2", 1, 1, Success);
    story.shows_only(Class::IngestSplit);
}

#[test]
fn lost() {
    let mut story = delivered();
    story.event(20, "a-2", "j", 1);
    story.shows_only(Class::Lost);
}

#[test]
fn a_failed_attempt_is_no_delivery() {
    for answer in [Failure(500), Cut, PeerGone] {
        let mut story = delivered();
        story.event(20, "a-2", "j", 1).attempt(30, "a-2", 1, 1, answer);
        story.shows_only(Class::Lost);
    }
}

#[test]
fn a_success_that_was_torn_down_may_be_a_delivery() {
    let mut story = delivered();
    story.event(20, "a-2", "j", 1).attempt(30, "a-2", 1, 1, Ambiguous);
    story.is_valid();
}

#[test]
fn pending() {
    let mut story = delivered();
    story.event(20, "a-2", "j", 1).push(99, Rec::Left { processor: PROCESSOR.into(), pending: 1 });
    story.shows_only(Class::Pending);
}

#[test]
fn dead_letters_with_a_true_story_are_valid() {
    let mut story = Story::default();
    story.event(0, "a-1", "k", 0);
    story
        .attempt(10, "a-1", 1, 1, Failure(503))
        .attempt(100, "a-1", 2, 1, Cut)
        .attempt(300, "a-1", 3, 1, PeerGone);
    story.dead(0, "a-1", 3, "MAX_ATTEMPTS");
    story.event(400, "a-2", "k", 1).attempt(2000, "a-2", 1, 1, Failure(400)).dead(
        1,
        "a-2",
        1,
        "NOT_RETRYABLE",
    );
    story.is_valid();
}

#[test]
fn spurious_dead_letter_of_a_delivered_event() {
    let mut story = delivered();
    story.dead(0, "a-1", 1, "NOT_RETRYABLE");
    story.shows_only(Class::SpuriousDead);
}

#[test]
fn a_success_that_nobody_remembers_may_be_followed_by_a_letter_for_its_age() {
    let told = |killed: u64| {
        let mut story = Story::default();
        story.event(0, "a-1", "k", 0);
        story.attempt(10, "a-1", 1, 1, Failure(503)).attempt(1000, "a-1", 2, 1, Success);
        story.kill(killed);
        story.dead(0, "a-1", 1, "MAX_AGE");
        story
    };
    told(1050).is_valid();
    told(60_000).shows(Class::SpuriousDead);
}

#[test]
fn spurious_dead_letter_without_an_attempt() {
    let mut story = delivered();
    story.event(20, "a-2", "j", 1).dead(1, "a-2", 1, "NOT_RETRYABLE");
    story.shows_only(Class::SpuriousDead);
}

#[test]
fn spurious_dead_letter_that_points_elsewhere() {
    let mut story = delivered();
    story.event(20, "a-2", "j", 1).attempt(30, "a-2", 1, 1, Failure(400)).dead(7, "a-2", 1, "NOT_RETRYABLE");
    story.shows(Class::SpuriousDead);
}

#[test]
fn a_letter_whose_owner_died_with_it_may_be_followed_by_a_delivery() {
    let mut story = Story::default();
    story.event(0, "a-1", "k", 0).attempt(10, "a-1", 1, 1, Failure(400)).dead(0, "a-1", 1, "NOT_RETRYABLE");
    story.kill(30).attempt(100, "a-1", 1, 2, Success);
    story.is_valid();
}

#[test]
fn wrong_dead_reason() {
    let mut story = delivered();
    story.event(20, "a-2", "j", 1).attempt(30, "a-2", 1, 1, Failure(503)).dead(1, "a-2", 1, "NOT_RETRYABLE");
    story.shows_only(Class::WrongDead);
}

#[test]
fn wrong_dead_too_early() {
    let mut story = delivered();
    story.event(20, "a-2", "j", 1).attempt(30, "a-2", 1, 1, Failure(503)).dead(1, "a-2", 1, "MAX_ATTEMPTS");
    story.shows_only(Class::WrongDead);
}

#[test]
fn phantom() {
    let mut story = delivered();
    story.publish(20, "c", "a-2", "k", Outcome::Unknown("reset".into())).attempt(30, "a-2", 1, 1, Success);
    story.shows_only(Class::Phantom);
}

#[test]
fn unmatched() {
    let mut model = model();
    model.processors[0].kinds = vec!["b".to_owned()];
    let mut story = delivered();
    story.push(2_000, Rec::Scanned { producer: crate::story::PRODUCER.into(), partition: 0 });
    assert_eq!(crate::story::classes(&History(story.entries), &model), [Class::Unmatched]);
}

#[test]
fn an_anomaly_shows_the_smallest_slice() {
    let mut story = delivered();
    story.event(20, "a-2", "j", 1);
    story.push(2_000, Rec::Scanned { producer: crate::story::PRODUCER.into(), partition: 0 });
    let reports = check::all(&History(story.entries), &model());
    let found = check::anomalies(&reports);
    assert!(
        matches!(&found[0].slice[..], [Entry { rec: Rec::Log { id, hash: seen, .. }, .. }] if id == "a-2" && *seen == hash("a-2"))
    );
}
