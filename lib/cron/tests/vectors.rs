//! Vectors derived by hand and confirmed by a scan of every minute; what must be refused; and `EvHub`'s own, from running it.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test is no library, and may fail")]

use evhub_cron::{Beat, Dialect, Invalid, Rule, Zone};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
    reject: Vec<String>,
}

#[derive(Deserialize)]
struct Vector {
    id: String,
    expr: String,
    tz: String,
    from: Timestamp_,
    next: Option<Vec<Timestamp_>>,
}

/// An instant as the file writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Timestamp_(Timestamp);

impl<'de> Deserialize<'de> for Timestamp_ {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

fn file() -> File {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

#[test]
fn every_vector_fires_as_derived() {
    let vectors = file().vectors;
    assert_eq!(vectors.len(), 27);
    for Vector { id, expr, tz, from, next } in vectors {
        let Some(next) = next else {
            assert_eq!(Dialect::Standard.parse(&expr), Err(Invalid::NeverFires), "{id} {expr}");
            continue;
        };
        let expression =
            Dialect::Standard.parse(&expr).unwrap_or_else(|error| panic!("{id} {expr}: {error}"));
        let beat = Beat::new(expression, tz.parse().unwrap(), 0).unwrap();
        let mut at = from.0.as_millisecond();
        for expected in next {
            let found = beat.next(at).unwrap();
            let shown = Timestamp::from_millisecond(found).unwrap();
            assert_eq!(
                shown,
                expected.0,
                "{id} {expr} {tz} after {}",
                Timestamp::from_millisecond(at).unwrap()
            );
            at = found;
        }
    }
}

#[test]
fn every_rejection_is_rejected() {
    let reject = file().reject;
    assert_eq!(reject.len(), 11);
    for text in reject {
        assert!(Dialect::Standard.parse(&text).is_err(), "{text}");
    }
}

#[test]
fn evhubs_own_vectors_hold() {
    let from: Timestamp = "2024-01-01T00:00:00.0000005Z".parse().unwrap();
    let from = from.as_millisecond();
    let rows = [
        ("*/5 * * * *", "2024-01-01T00:00:05Z"),
        ("0 */5 * * * *", "2024-01-01T00:05:00Z"),
        ("@every 10ms", "2024-01-01T00:00:01Z"),
        ("@daily", "2024-01-02T00:00:00Z"),
        ("CRON_TZ=Asia/Tokyo 0 0 9 * * *", "2024-01-02T00:00:00Z"),
        ("TZ=Asia/Tokyo 0 0 9 * * *", "2024-01-02T00:00:00Z"),
        ("0 0 0 1 * MON", "2024-01-08T00:00:00Z"),
        ("0 0 0 1-5/2 JAN-MAR MON,FRI", "2024-01-03T00:00:00Z"),
    ];
    for (text, expected) in rows {
        let beat = Beat::new(Dialect::Evhub.parse(text).unwrap(), Zone::utc(), from).unwrap();
        let found = Timestamp::from_millisecond(beat.next(from).unwrap()).unwrap();
        assert_eq!(found.to_string(), expected, "{text}");
    }
    assert_eq!(Dialect::Evhub.parse("0 0 0 30 2 *"), Err(Invalid::NeverFires));
    for text in ["0 0 0 ? * 7", "* * * *", "@reboot", "0 0 0 L * *", "60 * * * * *"] {
        assert!(Dialect::Evhub.parse(text).is_err(), "{text}");
    }
}

#[test]
fn evhub_leaves_out_what_the_clocks_leave_out_and_fires_twice_what_comes_twice() {
    let new_york: Zone = "America/New_York".parse().unwrap();
    let beat = |text: &str| Beat::new(Dialect::Evhub.parse(text).unwrap(), new_york.clone(), 0).unwrap();
    let next = |text: &str, from: &str| {
        let from: Timestamp = from.parse().unwrap();
        Timestamp::from_millisecond(beat(text).next(from.as_millisecond()).unwrap()).unwrap().to_string()
    };
    assert_eq!(next("0 30 2 * * *", "2026-03-07T12:00:00-05:00"), "2026-03-09T06:30:00Z");
    assert_eq!(next("0 30 1 * * *", "2026-10-31T12:00:00-04:00"), "2026-11-01T05:30:00Z");
    assert_eq!(next("0 30 1 * * *", "2026-11-01T01:30:00-04:00"), "2026-11-01T06:30:00Z");
}

#[test]
fn quartz_counts_from_sunday_and_leaves_one_day_field_open() {
    let next = |text: &str, from: &str| {
        let Rule::Cron(cron) = Dialect::Quartz.parse(text).unwrap().rule else { panic!("{text}") };
        let from: Timestamp = from.parse().unwrap();
        cron.next(&Zone::utc(), from.as_millisecond())
            .map(|at| Timestamp::from_millisecond(at).unwrap().to_string())
    };
    let new_year = "2026-01-01T00:00:00Z";
    assert_eq!(next("0 0 12 ? * 1", new_year).unwrap(), "2026-01-04T12:00:00Z");
    assert_eq!(next("0 0 12 ? * SUN", new_year).unwrap(), "2026-01-04T12:00:00Z");
    assert_eq!(next("0 0 12 1/5 * ?", new_year).unwrap(), "2026-01-01T12:00:00Z");
    assert_eq!(next("0 15 10 ? * 6L 2026-2028", new_year).unwrap(), "2026-01-30T10:15:00Z");
    assert_eq!(next("0 15 10 ? * 6#3", new_year).unwrap(), "2026-01-16T10:15:00Z");
    assert_eq!(next("0 0 0 1 1 ? 2025", new_year), None);
    assert_eq!(next("0 0 0 29 2 ? 2099,2096", new_year).unwrap(), "2096-02-29T00:00:00Z");
    assert_eq!(Dialect::Quartz.parse("0 0 0 29 2 ? 2099"), Err(Invalid::NeverFires));
}

#[test]
fn a_plus_before_the_weekday_wants_both_days() {
    let beat = Beat::new(Dialect::Standard.parse("0 0 13 * +FRI").unwrap(), Zone::utc(), 0).unwrap();
    let from: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let found: Vec<String> = std::iter::successors(Some(from.as_millisecond()), |at| beat.next(*at))
        .skip(1)
        .take(3)
        .map(|at| Timestamp::from_millisecond(at).unwrap().strftime("%F").to_string())
        .collect();
    assert_eq!(found, ["2026-02-13", "2026-03-13", "2026-11-13"]);
}

#[test]
fn the_longest_search_takes_less_than_a_millisecond() {
    let zone: Zone = "Africa/Casablanca".parse().unwrap();
    let from: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    for (dialect, text) in [
        (Dialect::Standard, "* * 29 2 +SUN#5"),
        (Dialect::Standard, "0 0 29 2 +SUN#5"),
        (Dialect::Quartz, "* * * 1 1 ? 1970"),
        (Dialect::Quartz, "0 0 0 1 1 ? 1970"),
    ] {
        let beat = Beat::new(dialect.parse(text).unwrap(), zone.clone(), 0).unwrap();
        // The best of many, for a machine that does something else besides.
        let best = (0..50)
            .map(|_| {
                let begun = std::time::Instant::now();
                std::hint::black_box(beat.next(from.as_millisecond()));
                begun.elapsed()
            })
            .min()
            .unwrap();
        println!("{text}: {best:?}");
        assert!(
            SignedDuration::try_from(best).unwrap() < SignedDuration::from_millis(1),
            "{text} took {best:?}"
        );
    }
}
