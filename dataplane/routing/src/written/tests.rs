//! What is a schedule and what is none; that a Producer's schema says the same is tested where both are known.

use super::*;

const MINUTE: Duration = Duration::from_mins(1);

fn every(period: Duration) -> Written {
    let (data, partition_key) = (None, None);
    Written {
        name: "nightly".to_owned(),
        cron: None,
        every: Some(period),
        time_zone: None,
        start: None,
        end: None,
        missed_runs: MissedRuns::default(),
        jitter: Duration::ZERO,
        suspend: false,
        event: ScheduledEvent { kind: "a".to_owned(), data, partition_key, tags: Vec::new() },
    }
}

fn cron(text: &str) -> Written {
    Written { cron: Some(text.to_owned()), every: None, ..every(MINUTE) }
}

fn event(change: impl FnOnce(&mut ScheduledEvent)) -> Written {
    let mut written = every(MINUTE);
    change(&mut written.event);
    written
}

#[track_caller]
fn check(written: &Written, expected: &[(Sort, &str)]) {
    let faults = written.clone().schedule(0, 8 << 20).err().unwrap_or_default();
    let found: Vec<_> = faults.iter().map(|fault| (fault.sort, fault.field.as_str())).collect();
    assert_eq!(found, expected, "{written:?}: {faults:?}");
}

#[test]
fn a_schedule_may_go_to_its_bounds() {
    for written in [
        every(Duration::from_secs(1)),
        every(Duration::from_hours(87_600)),
        Written { jitter: Duration::from_hours(24), end: Some(End::Count(1_000_000_000)), ..every(MINUTE) },
        Written { start: Some(5), end: Some(End::Time(6)), cron: None, ..every(MINUTE) },
        Written { time_zone: Some("Europe/Berlin".to_owned()), ..cron("0 2 * * *") },
        cron("@every 90m"),
        event(|event| event.data = Some(ScheduledData::Json("1".repeat(256 << 10)))),
        event(|event| event.data = Some(ScheduledData::Binary(vec![0; 262_500]))),
        event(|event| event.partition_key = Some("ö".repeat(1024))),
        event(|event| event.tags = (0..64).map(|n| format!("t {n}")).collect()),
    ] {
        check(&written, &[]);
    }
}

#[test]
fn what_is_beyond_them_or_does_not_fit_together_is_none() {
    let rules = |field| [(Sort::Invalid, field)];
    check(&Written { name: "A".to_owned(), ..every(MINUTE) }, &rules("name"));
    check(&Written { name: "a".repeat(64), ..every(MINUTE) }, &rules("name"));
    check(&Written { every: None, ..every(MINUTE) }, &rules(""));
    check(&Written { every: Some(MINUTE), ..cron("0 2 * * *") }, &rules(""));
    check(&Written { time_zone: Some("UTC".to_owned()), ..every(MINUTE) }, &rules("timeZone"));
    check(&every(Duration::from_millis(999)), &rules("every"));
    check(&every(Duration::from_hours(87_600) + Duration::from_millis(1)), &rules("every"));
    check(&Written { jitter: Duration::from_hours(24) + MINUTE, ..every(MINUTE) }, &rules("jitter"));
    check(&Written { start: Some(6), end: Some(End::Time(6)), ..every(MINUTE) }, &rules("end.time"));
    check(&Written { end: Some(End::Count(0)), ..every(MINUTE) }, &rules("end.count"));
    let missed = MissedRuns { max: 10_001, deadline: Duration::from_millis(999), ..MissedRuns::default() };
    let both = [(Sort::Invalid, "missedRuns.deadline"), (Sort::Invalid, "missedRuns.max")];
    check(&Written { missed_runs: missed, ..every(MINUTE) }, &both);
    check(&event(|event| event.kind.clear()), &rules("event.type"));
    check(&event(|event| event.kind = "a\u{85}".to_owned()), &rules("event.type"));
    check(&event(|event| event.partition_key = Some(String::new())), &rules("event.partitionKey"));
    check(
        &event(|event| event.data = Some(ScheduledData::Json("1".repeat((256 << 10) + 1)))),
        &rules("event.data"),
    );
    check(
        &event(|event| event.data = Some(ScheduledData::Binary(vec![0; 262_501]))),
        &rules("event.dataBase64"),
    );
    check(&event(|event| event.tags = vec!["a".to_owned(); 65]), &rules("event.tags"));
    check(&event(|event| event.tags = vec!["a".to_owned(), " a".to_owned()]), &rules("event.tags[1]"));
    check(&event(|event| event.tags = vec!["a".to_owned(); 2]), &rules("event.tags[1]"));
    check(&cron("* 24 * * *"), &[(Sort::Cron, "cron")]);
    check(&cron("0 0 31 2 *"), &[(Sort::NeverFires, "cron")]);
    check(&Written { time_zone: Some("Mars".to_owned()), ..cron("@daily") }, &[(Sort::TimeZone, "timeZone")]);
    check(&Written { time_zone: Some("UTC".to_owned()), ..cron("@every 1h") }, &rules("timeZone"));
    check(&Written { end: Some(End::Time(1)), ..cron("@daily") }, &[(Sort::NeverFires, "")]);
}

#[test]
fn what_comes_of_one_is_written_as_it_was() {
    for written in [
        every(MINUTE),
        Written { time_zone: Some("Europe/Berlin".to_owned()), suspend: true, ..cron("0 2 * * *") },
    ] {
        let schedule = written.clone().schedule(7, 1 << 20).unwrap();
        assert_eq!(Written::from(&schedule), written);
    }
}
