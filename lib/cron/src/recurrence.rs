//! `EvHub`'s repeated event: one chain of firings, at a fixed rate from where it begins, whatever becomes of each. Pure.
//!
//! The first firing is where the chain begins, or at once if that is past or not said: a crontab does not wait for its first
//! tick either. Ticks that nobody was there for are passed over. `repeat_times` counts firings from 0.

use std::time::Duration;

use crate::{
    dialect::{Expression, Rule},
    invalid::Span,
    schedule::Beat,
    zone::Zone,
};

/// A chain of firings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recurrence {
    first: i64,
    beat: Beat,
    ends: Ends,
}

/// When a chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ends {
    /// With its first firing: what `EvHub` makes of an end that is not given.
    Once,
    /// After so many firings; after 0 never.
    Count(u32),
    /// With the last firing before this instant, or never.
    Time(Option<i64>),
}

/// One firing of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Firing {
    /// When it is due.
    pub due: i64,
    /// How many came before it.
    pub repeat: u32,
}

/// Why there can be no such chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It ends before it begins.
    #[error("the end must be after the beginning (begins {begins}, ends {ends}, in milliseconds since 1970)")]
    EndsFirst {
        /// Where it begins.
        begins: i64,
        /// Where it ends.
        ends: i64,
    },
    /// It is too fast, or too slow.
    #[error("the interval {0}")]
    Interval(Span),
}

/// The shortest interval.
pub const SHORTEST: Duration = Duration::from_millis(100);

// === impl Recurrence ===

impl Recurrence {
    /// A chain that was asked for at `accepted`. `begin` may be before that, and then it begins at once. An expression without
    /// a zone of its own means the clocks of `zone`.
    pub fn new(
        accepted: i64,
        begin: Option<i64>,
        expression: Expression,
        zone: Zone,
        ends: Ends,
    ) -> Result<Self, Invalid> {
        let first = begin.map_or(accepted, |begin| begin.max(accepted));
        if let Ends::Time(Some(end)) = ends
            && end <= first
        {
            return Err(Invalid::EndsFirst { begins: first, ends: end });
        }
        // A crontab's interval counts whole seconds, as EvHub's does.
        let anchor = first - first.rem_euclid(1000);
        let beat = Beat::new(expression, zone, anchor).map_err(Invalid::Interval)?;
        Ok(Self { first, beat, ends })
    }

    /// A chain with an interval.
    pub fn every(accepted: i64, begin: Option<i64>, period: Duration, ends: Ends) -> Result<Self, Invalid> {
        if period < SHORTEST {
            return Err(Invalid::Interval(Span::Short("100ms")));
        }
        let expression = Expression { rule: Rule::Every(period), zone: None };
        let chain = Self::new(accepted, begin, expression, Zone::utc(), ends)?;
        let beat = Beat::every(chain.first, period).map_err(Invalid::Interval)?;
        Ok(Self { beat, ..chain })
    }

    /// The first firing.
    pub const fn first(&self) -> Firing {
        Firing { due: self.first, repeat: 0 }
    }

    /// The firing after this one, which fired at `now`; `None` when the chain has ended.
    pub fn after(&self, fired: Firing, now: i64) -> Option<Firing> {
        let next = Firing { due: self.beat.next(fired.due.max(now))?, repeat: fired.repeat.checked_add(1)? };
        let over = match self.ends {
            Ends::Once => true,
            Ends::Count(0) | Ends::Time(None) => false,
            Ends::Count(count) => next.repeat >= count,
            Ends::Time(Some(end)) => next.due >= end,
        };
        (!over).then_some(next)
    }

    /// All firings, each on time.
    pub fn firings(&self) -> impl Iterator<Item = Firing> {
        std::iter::successors(Some(self.first()), |fired| self.after(*fired, fired.due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dialect;

    /// 2024-01-01T00:00:00Z.
    const NEW_YEAR: i64 = 1_704_067_200_000;

    #[track_caller]
    fn crontab(text: &str, ends: Ends) -> Recurrence {
        let expression = Dialect::Evhub.parse(text).unwrap();
        Recurrence::new(NEW_YEAR + 500, None, expression, Zone::utc(), ends).unwrap()
    }

    fn every(seconds: u64, begin: Option<i64>, ends: Ends) -> Result<Recurrence, Invalid> {
        Recurrence::every(NEW_YEAR, begin, Duration::from_secs(seconds), ends)
    }

    fn seconds(chain: &Recurrence, most: usize) -> Vec<i64> {
        chain.firings().take(most).map(|firing| (firing.due - NEW_YEAR) / 1000).collect()
    }

    #[test]
    fn an_interval_begins_at_once_and_keeps_its_rate() {
        let chain = every(10, None, Ends::Count(0)).unwrap();
        assert_eq!(seconds(&chain, 4), [0, 10, 20, 30]);
        let late = chain.after(chain.first(), NEW_YEAR + 3_000).unwrap();
        assert_eq!(late, Firing { due: NEW_YEAR + 10_000, repeat: 1 });
    }

    #[test]
    fn ticks_that_nobody_was_there_for_are_passed_over_and_not_counted() {
        let chain = every(10, None, Ends::Count(3)).unwrap();
        let late = chain.after(chain.first(), NEW_YEAR + 95_000).unwrap();
        assert_eq!(late, Firing { due: NEW_YEAR + 100_000, repeat: 1 });
    }

    #[test]
    fn it_begins_where_it_is_told_unless_that_is_past() {
        assert_eq!(seconds(&every(10, Some(NEW_YEAR + 60_000), Ends::Count(2)).unwrap(), 9), [60, 70]);
        assert_eq!(seconds(&every(10, Some(NEW_YEAR - 5_000), Ends::Count(2)).unwrap(), 9), [0, 10]);
    }

    #[test]
    fn a_crontab_fires_at_once_and_then_by_its_ticks() {
        let chain = crontab("*/5 * * * *", Ends::Count(3));
        let firings: Vec<_> = chain.firings().map(|firing| firing.due - NEW_YEAR).collect();
        assert_eq!(firings, [500, 5_000, 10_000]);
        assert_eq!(seconds(&crontab("@every 2s", Ends::Count(3)), 9), [0, 2, 4]);
    }

    #[test]
    fn a_chain_ends_by_count_by_time_or_with_its_first_firing() {
        assert_eq!(seconds(&every(10, None, Ends::Once).unwrap(), 9), [0]);
        assert_eq!(seconds(&every(10, None, Ends::Count(1)).unwrap(), 9), [0]);
        assert_eq!(seconds(&every(10, None, Ends::Time(Some(NEW_YEAR + 20_000))).unwrap(), 9), [0, 10]);
        assert_eq!(every(10, None, Ends::Time(None)).unwrap().firings().take(1000).count(), 1000);
        let last = Firing { due: NEW_YEAR, repeat: u32::MAX };
        assert_eq!(every(10, None, Ends::Count(0)).unwrap().after(last, NEW_YEAR), None);
    }

    #[test]
    fn what_can_be_no_chain_is_refused() {
        let begins = Some(NEW_YEAR + 60_000);
        let ends = NEW_YEAR + 60_000;
        assert_eq!(every(10, begins, Ends::Time(Some(ends))), Err(Invalid::EndsFirst { begins: ends, ends }));
        for short in [0, 99] {
            let refused = Recurrence::every(NEW_YEAR, None, Duration::from_millis(short), Ends::Count(0));
            assert_eq!(refused, Err(Invalid::Interval(Span::Short("100ms"))));
        }
        assert_eq!(every(u64::MAX / 1_000_000, None, Ends::Count(0)), Err(Invalid::Interval(Span::Long)));
    }
}
