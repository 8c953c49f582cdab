//! EvHub's `REPEAT`: when it begins, how fast it comes again, and until when. Pure but for the clock that says what is past.

use std::time::Duration;

use evhub_event::controls::{Pace, Repeat, Until, When};
use evhub_ledger::chain::Chain;
use evhub_proto::evhub_comm::{
    EventPulserType, EventRepeatEndType, EventRepeatTrigger, EventTrigger, RepeatEnd,
};
use jiff::Timestamp;

use super::{Fault, event::span};

/// When a repeated event comes first, and how it comes again.
pub(super) fn read(trigger: EventTrigger) -> Result<(When, Repeat), Fault> {
    let trigger = trigger.repeat_trigger.ok_or_else(|| Fault::parameter("repeat_trigger is missing"))?;
    let begin = trigger.begin_time.map(|time| millis("begin_time", time)).transpose()?;
    let repeat = Repeat { pace: pace(&trigger)?, until: until(&trigger)? };
    let now = Timestamp::now().as_millisecond();
    let first = begin.map_or(now, |begin| begin.max(now));
    if let Err(wrong) = Chain::begun(repeat.clone(), first) {
        return Err(Fault::parameter(format!("repeat_trigger: {wrong}")));
    }
    Ok((begin.map_or(When::After(Duration::ZERO), When::At), repeat))
}

fn pace(trigger: &EventRepeatTrigger) -> Result<Pace, Fault> {
    match EventPulserType::try_from(trigger.pulser_type) {
        Ok(EventPulserType::ByInterval) => {
            let interval = trigger.regular_pulser.as_ref().and_then(|pulser| pulser.interval);
            let interval = interval.ok_or_else(|| Fault::parameter("regular_pulser.interval is missing"))?;
            Ok(Pace::Every(span(interval)?))
        }
        Ok(EventPulserType::ByCrontab) => {
            let text = trigger.crontab_pulser.as_ref().map(|pulser| pulser.crontab.clone());
            let text = text.filter(|text| !text.is_empty());
            text.map(Pace::Crontab).ok_or_else(|| Fault::parameter("crontab_pulser.crontab is missing"))
        }
        Ok(EventPulserType::Invalid) => {
            Err(Fault::parameter("pulser_type is missing: 1 is by interval, 2 by crontab"))
        }
        Err(_) => Err(Fault::parameter(format!("there is no pulser_type {}", trigger.pulser_type))),
    }
}

fn until(trigger: &EventRepeatTrigger) -> Result<Until, Fault> {
    let RepeatEnd { repeat_times, end_time } = trigger.repeat_end.unwrap_or_default();
    match EventRepeatEndType::try_from(trigger.end_type) {
        // What EvHub makes of an end that is not said.
        Ok(EventRepeatEndType::Invalid) => Ok(Until::First),
        Ok(EventRepeatEndType::EndByCount) => Ok(Until::Count(repeat_times)),
        Ok(EventRepeatEndType::EndByTimestamp) => {
            Ok(Until::Time(end_time.map(|time| millis("end_time", time)).transpose()?))
        }
        Err(_) => Err(Fault::parameter(format!("there is no end_type {}", trigger.end_type))),
    }
}

/// The first whole millisecond at or after an instant.
fn millis(name: &str, time: prost_types::Timestamp) -> Result<i64, Fault> {
    let at =
        Timestamp::new(time.seconds, time.nanos).ok().filter(|_| (0..1_000_000_000).contains(&time.nanos));
    let at =
        at.ok_or_else(|| Fault::parameter(format!("{name} is no instant between the years 1 and 9999")))?;
    let over = at.as_nanosecond().rem_euclid(1_000_000) > 0;
    Ok(at.as_nanosecond().div_euclid(1_000_000) as i64 + i64::from(over))
}

#[cfg(test)]
mod tests;
