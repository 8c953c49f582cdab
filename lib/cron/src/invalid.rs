//! Why a text says no instants: what is wrong, where, and what to write instead. Pure.

use std::fmt;

use crate::{dialect::Dialect, zone};

/// A text longer than this is not looked at: the longest that makes sense lists all seconds.
pub const LONGEST: usize = 512;

/// Why a text says no instants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// There is nothing.
    #[error("is empty: {}", .0.fields())]
    Empty(Dialect),
    /// It is longer than [`LONGEST`].
    #[error("is longer than {LONGEST} characters (got {0} bytes)")]
    TooLong(usize),
    /// It has a character that no crontab has.
    #[error("character {position} is {}, which no crontab has", .found.escape_debug())]
    Character {
        /// Which one, counted from 1.
        position: usize,
        /// What it is.
        found: char,
    },
    /// It has too few fields, or too many.
    #[error("has {got} fields: {}", .dialect.fields())]
    Fields {
        /// How many.
        got: usize,
        /// In which dialect.
        dialect: Dialect,
    },
    /// There is no such macro.
    #[error(
        "{} is no macro: there are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly and @every DURATION",
        quoted(.0)
    )]
    Macro(String),
    /// The time zone stands in the text.
    #[error("a time zone does not stand in the crontab: write it beside it, as timeZone")]
    ZoneInText,
    /// The prefix names no time zone.
    #[error(transparent)]
    Zone(#[from] zone::Unknown),
    /// A field is wrong.
    #[error("{field} (character {position}): {problem}")]
    Field {
        /// Which one.
        field: Field,
        /// Where, counted from 1.
        position: usize,
        /// What is wrong with it.
        problem: Problem,
    },
    /// The interval is wrong.
    #[error("@every {}: {problem}", quoted(.got))]
    Every {
        /// What was written.
        got: String,
        /// What is wrong with it.
        problem: Span,
    },
    /// There is no such day.
    #[error("never fires: no day of any year is like that")]
    NeverFires,
}

/// A field of a crontab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Seconds.
    Second,
    /// Minutes.
    Minute,
    /// Hours.
    Hour,
    /// The day of the month.
    DayOfMonth,
    /// The month.
    Month,
    /// The day of the week.
    DayOfWeek,
    /// The year.
    Year,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A value is missing.
    #[error("a value is missing")]
    Missing,
    /// It is neither a number nor a name.
    #[error("{} is no value (allowed: {allowed})", quoted(.got))]
    NoValue {
        /// What it is.
        got: String,
        /// What may be.
        allowed: String,
    },
    /// It is no value of this field.
    #[error("{got} is out of range (allowed: {min} to {max})")]
    OutOfRange {
        /// What it is.
        got: u32,
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// A range ends before it begins.
    #[error("the range {} ends before it begins: write {instead}", quoted(.got))]
    Reversed {
        /// What it is.
        got: String,
        /// What says the same.
        instead: String,
    },
    /// A step of nothing.
    #[error("a step must be at least 1")]
    NoStep,
    /// A step beyond the end.
    #[error("a step of {step} is larger than the field, which has {values} values{}", instead(.every.as_deref()))]
    LongStep {
        /// How far.
        step: u32,
        /// How many values there are.
        values: u32,
        /// What may have been meant.
        every: Option<String>,
    },
    /// A weekday that no month has so often.
    #[error("{} is none of the first to the fifth: write 5#1 to 5#5", quoted(.0))]
    Nth(String),
    /// Something that stands alone or not at all.
    #[error("{} does not go here: {why}", quoted(.got))]
    Misplaced {
        /// What it is.
        got: String,
        /// Why not.
        why: &'static str,
    },
}

/// What is wrong with an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Span {
    /// It is none.
    #[error("is no duration: write numbers with the units {0}, for example 1h30m")]
    Form(&'static str),
    /// It is nothing.
    #[error("must be longer than nothing")]
    Nothing,
    /// It is too short.
    #[error("must be at least {0}")]
    Short(&'static str),
    /// It is too long.
    #[error("must be at most 36525d, a hundred years")]
    Long,
}

// === impl Field ===

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
            Self::Year => "year",
        })
    }
}

fn instead(every: Option<&str>) -> String {
    every.map(|every| format!(": write @every {every}")).unwrap_or_default()
}

/// The beginning of what somebody wrote, fit for a log.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 64;
    let mut shown = String::new();
    for c in text.chars().flat_map(char::escape_debug) {
        if shown.len() + c.len_utf8() > SHOWN {
            return format!("\"{shown}…\"");
        }
        shown.push(c);
    }
    format!("\"{shown}\"")
}
