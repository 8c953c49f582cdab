//! Which instants are told, and when they are told anew.

use std::time::Duration;

use evhub_routing::{Pace, ScheduledEvent};

use super::{super::tests::producer, *};

/// A schedule that fires every so many seconds.
#[expect(clippy::default_trait_access, reason = "its crate is none of this one's")]
fn every(seconds: u64) -> Schedule {
    Schedule {
        name: "nightly".to_owned(),
        pace: Pace::Every { anchor: 0, period: Duration::from_secs(seconds) },
        start: None,
        end: None,
        missed_runs: Default::default(),
        jitter: Duration::ZERO,
        suspend: false,
        event: ScheduledEvent { kind: "t".to_owned(), data: None, partition_key: None, tags: Vec::new() },
    }
}

fn told(schedule: &Schedule, before: Option<&Value>, seconds: i64) -> Value {
    let mut producer = producer();
    producer.ledger.schedules = vec![schedule.clone()];
    next(&producer, before, Timestamp::from_second(seconds).unwrap()).unwrap()
}

#[test]
fn ten_instants_are_told_and_nothing_of_what_does_not_fire() {
    let all = told(&every(3600), None, 10);
    assert_eq!(all[0]["name"], "nightly");
    let next = all[0]["next"].as_array().unwrap();
    assert_eq!(
        (next.len(), &next[0], &next[9]),
        (10, &json!("1970-01-01T01:00:00.000Z"), &json!("1970-01-01T10:00:00.000Z"))
    );
    let suspended = Schedule { suspend: true, ..every(3600) };
    assert_eq!(told(&suspended, None, 10), json!([{"name": "nightly"}]));
    assert_eq!(super::next(&producer(), None, Timestamp::UNIX_EPOCH), None);
}

#[test]
fn a_list_stays_until_it_is_used_up() {
    let first = told(&every(3600), None, 10);
    for seconds in [20, 3_601, 35_999] {
        assert_eq!(told(&every(3600), Some(&first), seconds), first, "at {seconds}");
    }
    let anew = told(&every(3600), Some(&first), 36_000);
    assert_eq!(anew[0]["next"][0], "1970-01-01T11:00:00.000Z");
}

#[test]
fn one_that_is_used_up_at_once_stays_five_minutes() {
    let first = told(&every(1), None, 100);
    assert_eq!(told(&every(1), Some(&first), 400), first);
    assert_ne!(told(&every(1), Some(&first), 401), first);
}

#[test]
fn an_edit_and_what_others_wrote_there_is_told_anew() {
    let first = told(&every(3600), None, 10);
    let edited = told(&every(1800), Some(&first), 20);
    assert_eq!(edited[0]["next"][0], "1970-01-01T00:30:00.000Z");
    for odd in [json!(1), json!([{"name": "nightly", "next": ["soon"]}]), json!([{"name": "other"}])] {
        assert_eq!(told(&every(3600), Some(&odd), 10), first, "{odd}");
    }
}
