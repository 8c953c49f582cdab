//! An interval from an anchor: it does not drift, however late a firing is, and knows no time zones. Pure.

use std::time::Duration;

use crate::invalid::Span;

/// Instants that are a period apart, from an anchor on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interval {
    anchor: i64,
    period: i64,
}

/// The longest period: a hundred years.
const LONGEST: Duration = Duration::from_hours(24 * 36_525);

/// How a dialect writes a duration.
pub(crate) struct Writing {
    units: &'static [(&'static str, u64)],
    named: &'static str,
    fractions: bool,
}

/// As the standard dialect has it: whole numbers, from days to milliseconds.
pub(crate) const WHOLE: Writing = Writing {
    units: &[
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
    ],
    named: "d, h, m, s, ms",
    fractions: false,
};

/// As Go reads it, which `EvHub` is written in.
pub(crate) const GO: Writing = Writing {
    units: &[
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1000),
        ("ns", 1),
    ],
    named: "h, m, s, ms, us, ns",
    fractions: true,
};

// === impl Interval ===

impl Interval {
    /// From `anchor` on, every `period` of whole milliseconds: at least one, at most a hundred years.
    pub fn new(anchor: i64, period: Duration) -> Result<Self, Span> {
        if period > LONGEST {
            return Err(Span::Long);
        }
        match period.as_millis() as i64 {
            0 => Err(Span::Nothing),
            period => Ok(Self { anchor, period }),
        }
    }

    /// Where it begins, which is its first instant.
    pub const fn anchor(self) -> i64 {
        self.anchor
    }

    /// How far its instants are apart.
    pub const fn period(self) -> Duration {
        Duration::from_millis(self.period.unsigned_abs())
    }

    /// The first of its instants after this one; `None` when there is no number for it any more.
    pub fn next(self, after: i64) -> Option<i64> {
        if after < self.anchor {
            return Some(self.anchor);
        }
        let passed = (i128::from(after) - i128::from(self.anchor)) / i128::from(self.period);
        i64::try_from(i128::from(self.anchor) + (passed + 1) * i128::from(self.period)).ok()
    }
}

/// Reads a duration that is written so.
pub(crate) fn span(text: &str, writing: &Writing) -> Result<Duration, Span> {
    let form = || Span::Form(writing.named);
    let mut rest = text;
    let mut nanos = 0_u128;
    if rest.is_empty() {
        return Err(form());
    }
    while !rest.is_empty() {
        let (number, after) = leading(rest, |c| c.is_ascii_digit() || (writing.fractions && c == '.'));
        let (unit, after) = leading(after, |c| c.is_ascii_lowercase());
        let (_, factor) = writing.units.iter().find(|(name, _)| *name == unit).ok_or_else(form)?;
        nanos += amount(number, u128::from(*factor)).ok_or_else(form)?;
        if nanos > LONGEST.as_nanos() {
            return Err(Span::Long);
        }
        rest = after;
    }
    Ok(Duration::from_nanos_u128(nanos))
}

/// So many of a unit; of a fraction as much as is whole.
fn amount(number: &str, factor: u128) -> Option<u128> {
    const DIGITS: usize = 18;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() > DIGITS || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
    Some(digits(whole)? * factor + digits(fraction)? * factor / 10_u128.pow(fraction.len() as u32))
}

fn leading(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !wanted(c)).unwrap_or(text.len()))
}
