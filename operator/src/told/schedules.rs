//! When a Producer's schedules fire next, as its status tells it. Pure; the time is handed in.
//!
//! A list stays until it is used up or not true any more, and for five minutes in any case where it is used up: one that fires
//! every second is no reason to write every second. What only the ledger knows, how often one has fired, is not told here.

use evhub_routing::{Producer, Schedule};
use jiff::Timestamp;
use serde_json::{Value, json};

/// How many instants are told.
const TOLD: usize = 10;
/// How long a list stays that is used up, in milliseconds from its first instant on.
const REST: i64 = 300_000;

/// The lists, where these were told before; nothing where there are no schedules.
pub(super) fn next(producer: &Producer, before: Option<&Value>, now: Timestamp) -> Option<Value> {
    let known = |name: &str| {
        let lists = before?.as_array()?;
        lists.iter().find(|list| list["name"] == name)?["next"].as_array()
    };
    let now = now.as_millisecond();
    let list = |schedule: &Schedule| {
        let told: Vec<i64> = known(&schedule.name).into_iter().flatten().filter_map(instant).collect();
        let next = if stays(schedule, &told, now) { told } else { after(schedule, now) };
        let next: Vec<String> = next.into_iter().filter_map(written).collect();
        if next.is_empty() {
            return json!({ "name": schedule.name });
        }
        json!({ "name": schedule.name, "next": next })
    };
    let lists: Vec<Value> = producer.ledger.schedules.iter().map(list).collect();
    (!lists.is_empty()).then_some(Value::Array(lists))
}

/// Whether a list is still true, and not used up or not for long.
fn stays(schedule: &Schedule, told: &[i64], now: i64) -> bool {
    let (Some(first), Some(last)) = (told.first(), told.last()) else { return false };
    let fresh = *last > now || now - first < REST;
    fresh && after(schedule, first - 1) == told
}

/// The first instants after this one.
fn after(schedule: &Schedule, instant: i64) -> Vec<i64> {
    if schedule.suspend || schedule.ends_by_count() {
        return Vec::new();
    }
    let Some(instants) = schedule.instants() else { return Vec::new() };
    std::iter::successors(instants.next(instant, 0), |last| instants.next(*last, 0)).take(TOLD).collect()
}

fn instant(value: &Value) -> Option<i64> {
    Some(value.as_str()?.parse::<Timestamp>().ok()?.as_millisecond())
}

fn written(instant: i64) -> Option<String> {
    Timestamp::from_millisecond(instant).ok().map(|instant| format!("{instant:.3}"))
}

#[cfg(test)]
mod tests;
