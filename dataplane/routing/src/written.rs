//! What a schedule comes to as somebody wrote it: in a Producer, which `compile` reads, or in a request, which a dataplane does.
//! Pure.

mod rules;

use std::{fmt, time::Duration};

use evhub_cron::{Dialect, End, Invalid, MissedRuns, Rule, Zone, zone::Unknown};

use crate::{Crontab, Pace, Schedule, ScheduledData, ScheduledEvent};

/// A schedule as it is written, read word by word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its name.
    pub name: String,
    /// A crontab; this or `every`.
    pub cron: Option<String>,
    /// An interval.
    pub every: Option<Duration>,
    /// The clocks that the crontab means.
    pub time_zone: Option<String>,
    /// No run is before this instant, in milliseconds since the Unix epoch.
    pub start: Option<i64>,
    /// When it ends.
    pub end: Option<End>,
    /// What becomes of runs that nobody was there for.
    pub missed_runs: MissedRuns,
    /// How much later than its instant a run may be.
    pub jitter: Duration,
    /// Whether nothing fires for now.
    pub suspend: bool,
    /// What is published.
    pub event: ScheduledEvent,
}

/// What stands in a schedule's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Of what sort it is.
    pub sort: Sort,
    /// The field; empty for all of it.
    pub field: String,
    /// What is wrong, in a sentence that a person can act on.
    pub message: String,
}

/// Of what sort something is that stands in a schedule's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A value is missing, out of range, or does not go with another.
    Invalid,
    /// The crontab cannot be read.
    Cron,
    /// There are no such clocks.
    TimeZone,
    /// It never fires.
    NeverFires,
}

/// What is left for an event's attributes: of the smallest limit that there is, a quarter.
const ATTRIBUTES: usize = 4 << 10;

impl Written {
    /// The schedule that it comes to, or what stands in its way. An interval without a start is counted from `since`, and one that
    /// has no instant after that never fires. An event has so many bytes at the most.
    pub fn schedule(self, since: i64, event_bytes: usize) -> Result<Schedule, Vec<Fault>> {
        let mut faults = self.rules();
        let pace = self.pace(self.start.unwrap_or(since)).map_err(|fault| faults.push(fault)).ok().flatten();
        faults.extend(self.event.fits(event_bytes).err());
        let Some(pace) = pace.filter(|_| faults.is_empty()) else { return Err(faults) };
        let Self { name, start, end, missed_runs, jitter, suspend, event, .. } = self;
        let schedule = Schedule { name, pace, start, end, missed_runs, jitter, suspend, event };
        if schedule.instants().is_some_and(|instants| instants.next(since, 0).is_some()) {
            return Ok(schedule);
        }
        let message = "has no instant at which it fires, for a hundred years or until its end";
        Err(vec![Fault::new(Sort::NeverFires, "", message)])
    }

    /// What repeats; `None` if that breaks a rule.
    fn pace(&self, anchor: i64) -> Result<Option<Pace>, Fault> {
        let text = match (&self.cron, self.every) {
            (Some(text), None) => text,
            (None, Some(period)) if !period.is_zero() => return Ok(Some(Pace::Every { anchor, period })),
            _ => return Ok(None),
        };
        let zone = match &self.time_zone {
            None => Zone::utc(),
            Some(name) => {
                name.parse().map_err(|error: Unknown| Fault::new(Sort::TimeZone, "timeZone", error))?
            }
        };
        let expression = Dialect::Standard.parse(text).map_err(|error| {
            let sort = if error == Invalid::NeverFires { Sort::NeverFires } else { Sort::Cron };
            Fault::new(sort, "cron", error)
        })?;
        match expression.rule {
            Rule::Cron(cron) => Ok(Some(Pace::Cron(Crontab::new(text.clone(), cron, zone)))),
            Rule::Every(_) if self.time_zone.is_some() => {
                let message = "goes with a crontab alone: @every knows no clocks";
                Err(Fault::new(Sort::Invalid, "timeZone", message))
            }
            Rule::Every(period) => Ok(Some(Pace::Every { anchor, period })),
        }
    }
}

impl From<&Schedule> for Written {
    fn from(schedule: &Schedule) -> Self {
        let Schedule { name, pace, start, end, missed_runs, jitter, suspend, event } = schedule.clone();
        let (cron, every, time_zone) = match pace {
            Pace::Cron(crontab) => (Some(crontab.text().to_owned()), None, Some(crontab.zone().to_string())),
            Pace::Every { anchor: _, period } => (None, Some(period), None),
        };
        Self { name, cron, every, time_zone, start, end, missed_runs, jitter, suspend, event }
    }
}

impl Fault {
    fn new(sort: Sort, field: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { sort, field: field.into(), message: message.to_string() }
    }
}

impl ScheduledEvent {
    /// Whether one of so many bytes at the most has room for it.
    fn fits(&self, most: usize) -> Result<(), Fault> {
        let bytes = match &self.data {
            Some(ScheduledData::Json(text)) => text.len(),
            Some(ScheduledData::Binary(bytes)) => bytes.len(),
            None => 0,
        };
        if bytes + ATTRIBUTES.min(most / 4) <= most {
            return Ok(());
        }
        let message = format!("{bytes} bytes of data are more than limits.eventBytes ({most}) has room for");
        Err(Fault::new(Sort::Invalid, "event", message))
    }
}

#[cfg(test)]
mod tests;
