//! What repeats, between a start and an end. Pure.

use std::time::Duration;

use crate::{
    cron::Cron,
    dialect::{Expression, Rule},
    every::Interval,
    invalid::Span,
    zone::Zone,
};

/// What repeats.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Beat {
    /// By the clock on the wall of a place.
    Cron(Cron, Zone),
    /// So long after each other.
    Every(Interval),
}

/// When it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// With the last instant before this one.
    Time(i64),
    /// After so many firings.
    Count(u64),
}

/// What repeats, between a start and an end. Its instants are *nominal*: what fires late or not at all does not move them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Schedule {
    /// What repeats.
    pub beat: Beat,
    /// No instant is before this one.
    pub start: Option<i64>,
    /// When it ends, if it does.
    pub end: Option<End>,
}

// === impl Beat ===

impl Beat {
    /// What an expression says, in its own zone or else in this one; an interval counts from `anchor`.
    pub fn new(expression: Expression, zone: Zone, anchor: i64) -> Result<Self, Span> {
        match expression.rule {
            Rule::Cron(cron) => Ok(Self::Cron(cron, expression.zone.unwrap_or(zone))),
            Rule::Every(period) => Self::every(anchor, period),
        }
    }

    /// From `anchor` on, every `period`.
    pub fn every(anchor: i64, period: Duration) -> Result<Self, Span> {
        Interval::new(anchor, period).map(Self::Every)
    }

    /// The first instant after this one.
    pub fn next(&self, after: i64) -> Option<i64> {
        match self {
            Self::Cron(cron, zone) => cron.next(zone, after),
            Self::Every(interval) => interval.next(after),
        }
    }
}

// === impl Schedule ===

impl Schedule {
    /// The first instant after this one, when it has fired so often.
    pub fn next(&self, after: i64, fired: u64) -> Option<i64> {
        let after = self.start.map_or(after, |start| after.max(start.saturating_sub(1)));
        let next = self.beat.next(after)?;
        let over = match self.end {
            Some(End::Time(end)) => next >= end,
            Some(End::Count(count)) => fired >= count,
            None => false,
        };
        (!over).then_some(next)
    }

    /// All instants after this one, when it has fired so often and will fire at each.
    pub fn after(&self, after: i64, fired: u64) -> impl Iterator<Item = i64> {
        let mut state = Some((after, fired));
        std::iter::from_fn(move || {
            let (after, fired) = state?;
            let next = self.next(after, fired);
            state = next.map(|next| (next, fired.saturating_add(1)));
            next
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dialect;

    const HOUR: i64 = 3_600_000;

    fn hourly(start: Option<i64>, end: Option<End>) -> Schedule {
        let beat = Beat::new(Dialect::Standard.parse("@hourly").unwrap(), Zone::utc(), 0).unwrap();
        Schedule { beat, start, end }
    }

    fn hours(schedule: &Schedule, after: i64) -> Vec<i64> {
        schedule.after(after, 0).take(4).map(|at| at / HOUR).collect()
    }

    #[test]
    fn the_start_may_fire_and_the_end_may_not() {
        assert_eq!(hours(&hourly(Some(10 * HOUR), Some(End::Time(12 * HOUR))), 0), [10, 11]);
        assert_eq!(hours(&hourly(Some(10 * HOUR + 1), Some(End::Time(12 * HOUR + 1))), 0), [11, 12]);
        assert_eq!(hours(&hourly(Some(10 * HOUR), None), 20 * HOUR), [21, 22, 23, 24]);
    }

    #[test]
    fn a_count_is_of_firings() {
        let schedule = hourly(None, Some(End::Count(3)));
        assert_eq!(hours(&schedule, 0), [1, 2, 3]);
        assert_eq!(schedule.next(0, 2), Some(HOUR));
        assert_eq!(schedule.next(0, 3), None);
    }

    #[test]
    fn an_interval_fires_at_its_anchor_and_never_drifts() {
        let beat = Beat::every(10 * HOUR, Duration::from_secs(7)).unwrap();
        assert_eq!(beat.next(i64::MIN), Some(10 * HOUR));
        assert_eq!(beat.next(10 * HOUR), Some(10 * HOUR + 7000));
        assert_eq!(beat.next(10 * HOUR + 6999), Some(10 * HOUR + 7000));
        assert_eq!(beat.next(i64::MAX), None);
        assert!(Beat::every(0, Duration::ZERO).is_err());
    }
}
