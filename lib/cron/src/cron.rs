//! A crontab, compiled to bit masks. Pure.

use crate::{days::Days, search, zone::Zone};

/// When a crontab fires: 64 bytes at the most, so that a hundred thousand of them are no burden.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cron {
    pub(crate) seconds: u64,
    pub(crate) minutes: u64,
    pub(crate) hours: u32,
    /// Bit 1 is January.
    pub(crate) months: u16,
    pub(crate) clock: Clock,
    pub(crate) days: Days,
    /// Only Quartz has them, and seldom: apart, so that all others are small.
    pub(crate) years: Option<Box<Years>>,
}

/// What becomes of wall times that a day does not have, or has twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Clock {
    /// Each wall time counts once: one that is left out fires at the first instant after the gap, one that comes twice fires
    /// the first time.
    Wall,
    /// Each instant counts whose wall time matches: none inside of a gap, and both of those that come twice.
    Instant,
}

/// Years from [`FIRST_YEAR`] to [`LAST_YEAR`], a bit each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Years(pub(crate) [u64; 3]);

/// The first year that a crontab can name.
pub(crate) const FIRST_YEAR: i16 = 1970;
/// The last year that a crontab can name.
pub(crate) const LAST_YEAR: i16 = 2099;

/// How far ahead a firing is looked for, in years. The rarest that there is, a certain weekday on 29 February, comes back
/// within 40.
pub const HORIZON: i16 = 100;

// === impl Cron ===

impl Cron {
    /// The first instant after this one at which it fires there; `None` if there is none within [`HORIZON`].
    pub fn next(&self, zone: &Zone, after: i64) -> Option<i64> {
        search::next(self, zone, after)
    }

    pub(crate) fn has_year(&self, year: i16) -> bool {
        self.years.as_deref().is_none_or(|years| years.has(year))
    }
}

// === impl Years ===

impl Years {
    pub(crate) fn has(&self, year: i16) -> bool {
        let Ok(bit) = usize::try_from(year - FIRST_YEAR) else { return false };
        self.0.get(bit / 64).is_some_and(|word| word & (1 << (bit % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dialect, Rule};

    #[test]
    fn a_hundred_thousand_are_no_burden() {
        assert!(size_of::<Cron>() <= 64, "{}", size_of::<Cron>());
    }

    #[test]
    fn instants_at_the_ends_of_time_are_no_trouble() {
        let Rule::Cron(cron) = Dialect::Standard.parse("0 0 * * *").unwrap().rule else { panic!() };
        let berlin = "Europe/Berlin".parse().unwrap();
        for at in [i64::MIN, -400_000_000_000_000, 253_402_207_200_000, 300_000_000_000_000, i64::MAX] {
            assert_eq!(cron.next(&berlin, at), None, "{at}");
        }
        assert_eq!(cron.next(&berlin, -1), Some(23 * 3_600_000));
    }
}
