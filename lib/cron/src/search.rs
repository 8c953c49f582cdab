//! The next firing of a crontab: by month, by day, by time of day, and then from wall times to instants. Pure.

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time},
    tz::{AmbiguousOffset, Offset, TimeZone},
};

use crate::{
    cron::{Clock, Cron, HORIZON},
    zone::Zone,
};

/// The first instant after this one at which it fires.
pub(crate) fn next(cron: &Cron, zone: &Zone, after: i64) -> Option<i64> {
    let after = Timestamp::from_second(after.div_euclid(1000)).ok()?;
    let zone = zone.rules();
    let last_year = zone.to_datetime(after).year().checked_add(HORIZON)?;
    let search = Search { cron, zone, last_year };
    let found = match cron.clock {
        Clock::Wall => search.by_wall(after),
        Clock::Instant => search.by_instant(after),
    }?;
    found.as_second().checked_mul(1000)
}

/// Whether there is any day at all on which it fires.
pub(crate) fn ever(cron: &Cron) -> bool {
    // The calendar repeats itself after 400 years, weekdays included.
    let years = if cron.years.is_some() { 1970..=2099 } else { 2000..=2399 };
    Days { cron, last_year: *years.end() }.from(*years.start(), 1, 0).is_some()
}

struct Search<'a> {
    cron: &'a Cron,
    zone: &'a TimeZone,
    last_year: i16,
}

impl Search<'_> {
    /// Every wall time once. From wall time to instant never falls: what lies in a gap is the instant at its end, what comes
    /// twice is the first of both. So the first wall time that comes to an instant after the given one is the next.
    fn by_wall(&self, after: Timestamp) -> Option<Timestamp> {
        let mut wall = plus_second(self.zone.to_datetime(after))?;
        loop {
            wall = self.at_or_after(wall)?;
            let (instant, resume) = match self.zone.to_ambiguous_timestamp(wall).offset() {
                AmbiguousOffset::Unambiguous { offset } => (offset.to_timestamp(wall).ok()?, None),
                AmbiguousOffset::Gap { before: _, after } => (self.end_of_gap(wall, after)?, None),
                AmbiguousOffset::Fold { before, after: _ } => {
                    let first = before.to_timestamp(wall).ok()?;
                    (first, self.end_of_fold(first, before))
                }
            };
            if instant > after {
                return Some(instant);
            }
            // Only the second pass of a fold comes here: its wall times have fired. They may be many, so they are passed over.
            wall = match resume {
                Some(resume) if resume > wall => resume,
                _ => plus_second(wall)?,
            };
        }
    }

    /// The instant at which the clocks are put forward over this wall time.
    fn end_of_gap(&self, wall: DateTime, after: Offset) -> Option<Timestamp> {
        // Read with what counts after the gap, a wall time inside of it is an instant before the gap.
        let before = after.to_timestamp(wall).ok()?;
        self.zone.following(before).find(|to| to.offset() == after).map(|to| to.timestamp())
    }

    /// The first wall time behind those that come twice.
    fn end_of_fold(&self, first: Timestamp, before: Offset) -> Option<DateTime> {
        let back = self.zone.following(first).find(|to| to.offset() != before)?;
        Some(before.to_datetime(back.timestamp()))
    }

    /// Every instant whose wall time matches: one stretch of constant offset after the other.
    fn by_instant(&self, after: Timestamp) -> Option<Timestamp> {
        let mut at = Timestamp::from_second(after.as_second().checked_add(1)?).ok()?;
        let mut known: Option<(DateTime, DateTime)> = None;
        loop {
            let offset = self.zone.to_offset(at);
            let from = offset.to_datetime(at);
            let wall = match known {
                Some((since, wall)) if since <= from && from <= wall => wall,
                _ => self.at_or_after(from)?,
            };
            known = Some((from, wall));
            let instant = offset.to_timestamp(wall).ok()?;
            match self.zone.following(at).next() {
                Some(change) if change.timestamp() <= instant => at = change.timestamp(),
                _ => return Some(instant),
            }
        }
    }

    /// The first wall time that matches, this one included.
    fn at_or_after(&self, from: DateTime) -> Option<DateTime> {
        let days = Days { cron: self.cron, last_year: self.last_year };
        let date = from.date();
        if days.from(date.year(), date.month(), date.day() - 1)? == date
            && let Some(time) = time_at_or_after(self.cron, from.time())
        {
            return Some(date.to_datetime(time));
        }
        let date = days.from(date.year(), date.month(), date.day())?;
        Some(date.to_datetime(time_at_or_after(self.cron, Time::midnight())?))
    }
}

struct Days<'a> {
    cron: &'a Cron,
    last_year: i16,
}

impl Days<'_> {
    /// The first day that matches, of this month those after `day`.
    fn from(&self, year: i16, month: i8, day: i8) -> Option<Date> {
        let (mut year, mut month, mut passed) = (year, month, (2_u64 << day) - 1);
        while year <= self.last_year {
            if !self.cron.has_year(year) {
                (year, month, passed) = (year + 1, 1, 0);
                continue;
            }
            if self.cron.months & (1 << month) != 0 {
                let days = u64::from(self.cron.days.of(year, month)) & !passed;
                if days != 0 {
                    return Date::new(year, month, days.trailing_zeros() as i8).ok();
                }
            }
            passed = 0;
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        }
        None
    }
}

/// The first time of day that matches, this one included.
fn time_at_or_after(cron: &Cron, from: Time) -> Option<Time> {
    let (hour, minute, second) = (from.hour(), from.minute(), from.second());
    let first = |hour, minute| {
        let minute = bit_from(cron.minutes, minute)?;
        Some((hour, minute, bit_from(cron.seconds, 0)?))
    };
    let hours = u64::from(cron.hours);
    let found = if bit_from(hours, hour) == Some(hour) {
        let within = if bit_from(cron.minutes, minute) == Some(minute) {
            bit_from(cron.seconds, second).map(|second| (hour, minute, second))
        } else {
            None
        };
        within.or_else(|| first(hour, minute + 1)).or_else(|| first(bit_from(hours, hour + 1)?, 0))
    } else {
        first(bit_from(hours, hour)?, 0)
    };
    found.and_then(|(hour, minute, second)| Time::new(hour, minute, second, 0).ok())
}

/// The lowest bit that is set, from this one on.
fn bit_from(mask: u64, from: i8) -> Option<i8> {
    let rest = mask.checked_shr(u32::from(from.unsigned_abs()))?;
    (rest != 0).then(|| from + rest.trailing_zeros() as i8)
}

fn plus_second(wall: DateTime) -> Option<DateTime> {
    wall.checked_add(jiff::SignedDuration::from_secs(1)).ok()
}
