//! What fires, by looking at every instant: from an instant to its wall time only, never back.

use std::collections::HashSet;

use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};

use crate::{DAY, model::Model};

/// All firings after one instant and up to another, looking every `step` seconds.
pub(crate) fn firings(model: &Model, zone: &TimeZone, after: i64, until: i64, step: i64) -> Vec<i64> {
    let matches = |wall: DateTime| model.has_time(wall.time()) && model.has_day(wall.date());
    // Which wall times came once already is known from before, for clocks that are put back by a day at the most.
    let begin = (after - DAY - 3600).div_euclid(step) * step;
    let mut seen = HashSet::new();
    let mut last: Option<DateTime> = None;
    let mut found = Vec::new();
    let mut at = begin;
    while at <= until {
        let wall = zone.to_datetime(Timestamp::from_second(at).unwrap());
        let fires = if model.wall {
            let first_pass = seen.insert(wall);
            let left_out = last.is_some_and(|last| walls_between(last, wall, step).any(matches));
            left_out || (first_pass && matches(wall))
        } else {
            matches(wall)
        };
        if fires && at > after {
            found.push(at);
        }
        last = Some(wall);
        at += step;
    }
    found
}

/// The wall times that the clocks leave out between two looks at them.
fn walls_between(last: DateTime, now: DateTime, step: i64) -> impl Iterator<Item = DateTime> {
    let next = move |wall: &DateTime| wall.checked_add(SignedDuration::from_secs(step)).ok();
    std::iter::successors(next(&last), next).take_while(move |wall| *wall < now)
}

/// All firings at noon.
pub(crate) fn days(model: &Model, zone: &TimeZone, after: i64, until: i64) -> Vec<i64> {
    let first = zone.to_datetime(Timestamp::from_second(after).unwrap()).date();
    let noons = std::iter::successors(Some(first), |date| date.tomorrow().ok())
        .filter(|date| model.has_day(*date))
        .map(|date| noon(zone, date));
    let mut found: Vec<i64> = noons.skip_while(|at| *at <= after).take_while(|at| *at <= until).collect();
    found.dedup();
    found
}

/// Noon of a day; of one that is left out altogether, the beginning of the next.
fn noon(zone: &TimeZone, date: Date) -> i64 {
    let noon = zone.to_timestamp(date.at(12, 0, 0, 0)).unwrap();
    if zone.to_datetime(noon).date() == date {
        return noon.as_second();
    }
    zone.to_timestamp(date.tomorrow().unwrap().at(0, 0, 0, 0)).unwrap().as_second()
}
