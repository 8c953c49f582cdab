//! Which events are this Processor's, and which of them come later. Pure.

use std::time::Duration;

use evhub_event::{Controls, Record, kafka};
use evhub_routing::{Filter, Processor, Start, Unclear};

use crate::{Discard, chains::is_muted};

/// What becomes of a record that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Its delivery begins now.
    Now,
    /// It asked for no delay of this Processor's key; its delivery begins now.
    Undelayed,
    /// Its delivery begins this long after the log took it.
    Later(Duration),
    /// It is not this Processor's.
    Unwanted(Discard),
}

/// Holds a record that the log took then, in milliseconds since the Unix epoch, against a Processor's start, filter and delay
/// key. One that cannot be read as an event is let through: its delivery makes it a dead letter.
pub fn intake(processor: &Processor, taken: i64, record: &Record) -> Intake {
    // Where the log ended before the instant, everything behind its end was still to be read.
    if matches!(processor.start, Start::At(instant) if taken < instant) {
        return Intake::Unwanted(Discard::Early);
    }
    if is_muted(record, &processor.uid) {
        return Intake::Unwanted(Discard::Cancelled);
    }
    if processor.filter.is_none() && processor.delay_key.is_none() {
        return Intake::Now;
    }
    let controls = Controls::of(record);
    if let Some(filter) = &processor.filter
        && let Some(why) = refused(filter, &controls, record)
    {
        return Intake::Unwanted(why);
    }
    let Some(key) = &processor.delay_key else { return Intake::Now };
    match controls.delay_keys.iter().find(|(known, _)| known == key) {
        Some((_, delay)) => Intake::Later(*delay),
        None => Intake::Undelayed,
    }
}

/// When the delay of an event ends that the log took then, unless it has ended. All in milliseconds since the Unix epoch. An
/// event of the future was taken by a clock that was ahead, so its delay counts from now.
pub fn due(taken: i64, delay: Duration, now: i64) -> Option<i64> {
    let delay = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
    Some(taken.min(now).saturating_add(delay)).filter(|due| *due > now)
}

/// Why a filter refuses a record: by the cheapest of its parts that does.
fn refused(filter: &Filter, controls: &Controls, record: &Record) -> Option<Discard> {
    if !filter.tags.is_empty() && !controls.tags.iter().any(|tag| filter.tags.contains(tag)) {
        return kafka::decode(record).is_ok().then_some(Discard::Tags);
    }
    if filter.types.is_empty() && filter.cel.is_none() {
        return None;
    }
    let event = kafka::decode(record).ok()?;
    if !filter.types.is_empty() && !filter.types.iter().any(|pattern| pattern.matches(&event.kind)) {
        return Some(Discard::Type);
    }
    match filter.cel.as_ref().map(|cel| cel.holds(&event)) {
        None | Some(Ok(true)) => None,
        Some(Ok(false)) => Some(Discard::Expression),
        Some(Err(Unclear)) => Some(Discard::Unclear),
    }
}

#[cfg(test)]
mod tests;
