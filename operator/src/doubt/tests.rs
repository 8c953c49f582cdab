//! What is written at once, and what waits.

use evhub_crds::{Condition, ConditionType};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;

fn told(status: Status, reason: Reason) -> Told {
    let ready = Condition {
        type_: ConditionType::Ready.to_string(),
        status,
        observed_generation: Some(1),
        last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
        reason: reason.to_string(),
        message: String::new(),
    };
    Told { conditions: vec![ready], ..Told::default() }
}

#[expect(clippy::unnecessary_wraps, reason = "that is what is known of one, where something is")]
fn ready() -> Ready {
    Some((Status::True, "Ready".to_owned()))
}

#[test]
fn what_passes_is_not_written_and_what_lasts_is() {
    let mut doubts = Doubts::default();
    let begin = Instant::now();
    let next = told(Status::False, Reason::NoDataplane);
    let mut at = |after: Duration| doubts.is_certain("a", &ready(), &next, false, begin + after);
    assert!(!at(Duration::ZERO));
    assert!(!at(LASTS / 2));
    assert!(at(LASTS));
    doubts.calm(&["a".to_owned()]);
    assert!(!doubts.is_certain("a", &ready(), &next, false, begin + LASTS), "it had passed, and begins anew");
}

#[test]
fn what_follows_from_an_edit_and_what_is_better_is_written_at_once() {
    let mut doubts = Doubts::default();
    let now = Instant::now();
    let (worse, wrong, well) = (
        told(Status::Unknown, Reason::Programming),
        told(Status::False, Reason::NotFound),
        told(Status::True, Reason::Ready),
    );
    assert!(!doubts.is_certain("a", &ready(), &worse, true, now), "it may run in a moment");
    assert!(doubts.is_certain("a", &ready(), &worse, true, now + SOON), "the spec is another one");
    assert!(doubts.is_certain("a", &ready(), &wrong, false, now), "what it names has gone");
    assert!(doubts.is_certain("a", &Some((Status::False, "NoDataplane".to_owned())), &well, false, now));
    let nobody = told(Status::False, Reason::NoDataplane);
    assert!(doubts.is_certain("a", &None, &nobody, false, now), "it never was ready");
}

#[test]
fn what_is_dropped_when_it_is_written_is_not_written_again() {
    let mut doubts = Doubts::default();
    let now = Instant::now();
    let well = told(Status::True, Reason::Ready);
    assert!(doubts.is_certain("a", &None, &well, false, now));
    doubts.settled("a", well.clone(), &Told::default());
    assert!(!doubts.is_certain("a", &None, &well, false, now));
    let suspended = told(Status::True, Reason::Suspended);
    assert!(doubts.is_certain("a", &None, &suspended, false, now), "something else is");
    doubts.settled("a", suspended.clone(), &suspended);
    assert!(doubts.is_certain("a", &None, &well, false, now), "and then that may be, too");
}

#[test]
fn what_failed_waits_longer_each_time() {
    let mut doubts = Doubts::default();
    let now = Instant::now();
    let well = told(Status::True, Reason::Ready);
    assert!(doubts.failed("a", now));
    assert!(!doubts.failed("a", now), "it was told of the first time");
    assert!(!doubts.is_certain("a", &None, &well, false, now + Duration::from_secs(1)));
    assert!(doubts.is_certain("a", &None, &well, false, now + Duration::from_secs(3)));
    doubts.settled("a", well.clone(), &well);
    assert!(doubts.failed("a", now));
}
