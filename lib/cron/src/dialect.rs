//! What a text may say, by dialect, and what it is compiled to. Pure.
//!
//! The dialect is always named by whoever asks and never guessed: of `*/5 * * * *` one fires every five minutes and another
//! every five seconds.

use std::time::Duration;

use crate::{
    cron::{Clock, Cron, FIRST_YEAR, LAST_YEAR, Years},
    days::{Days, Joined},
    every::{self, Writing},
    field::{Kind, Text, Values},
    invalid::{Field, Invalid, LONGEST, Problem, Span},
    search,
    zone::Zone,
};

/// A way to write crontabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Five fields as in POSIX, or six with seconds first.
    Standard,
    /// Quartz': seconds first, Sunday is 1, one of both day fields is `?`, a year may follow.
    Quartz,
    /// `EvHub`'s: seconds first, the day of the week may be left out, a zone may stand before it.
    Evhub,
}

/// What a text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// When.
    pub rule: Rule,
    /// Where, if the text says so itself, which only `EvHub`'s can.
    pub zone: Option<Zone>,
}

/// When something is due again and again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// By the clock on the wall.
    Cron(Cron),
    /// So long after each other.
    Every(Duration),
}

const MACROS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// The shortest interval of a schedule.
const SHORTEST: Duration = Duration::from_secs(1);

const SECONDS: Kind = Kind::plain(Field::Second, 0, 59);
const MINUTES: Kind = Kind::plain(Field::Minute, 0, 59);
const HOURS: Kind = Kind::plain(Field::Hour, 0, 23);
const DATES: Kind = Kind::plain(Field::DayOfMonth, 1, 31);
const MONTHS: Kind = Kind::months();
const YEARS: Kind = Kind::plain(Field::Year, FIRST_YEAR as u32, LAST_YEAR as u32);

/// Seconds, minutes, hours, days of the month, months, days of the week.
const STANDARD: [Kind; 6] = [
    SECONDS,
    MINUTES,
    HOURS,
    DATES.question().specials(),
    MONTHS,
    Kind::weekdays(0, 7).question().specials(),
];
const QUARTZ: [Kind; 6] = [
    SECONDS,
    MINUTES,
    HOURS,
    DATES.question().specials(),
    MONTHS,
    Kind::weekdays(1, 7).question().specials(),
];
const EVHUB: [Kind; 6] = [
    SECONDS.question().any_step(),
    MINUTES.question().any_step(),
    HOURS.question().any_step(),
    DATES.question().any_step(),
    MONTHS.question().any_step(),
    Kind::weekdays(0, 6).question().any_step(),
];

// === impl Dialect ===

impl Dialect {
    /// Reads a text.
    pub fn parse(self, text: &str) -> Result<Expression, Invalid> {
        if text.len() > LONGEST {
            return Err(Invalid::TooLong(text.len()));
        }
        let odd = |c: char| !(c.is_ascii_graphic() || c == ' ' || c == '\t');
        if let Some((at, found)) = text.chars().enumerate().find(|(_, c)| odd(*c)) {
            return Err(Invalid::Character { position: at + 1, found });
        }
        let mut text = Text { text, position: 1 }.trimmed();
        let mut zone = None;
        if let Some(prefix) = ["CRON_TZ=", "TZ="].into_iter().find(|prefix| text.text.starts_with(prefix)) {
            if self != Self::Evhub {
                return Err(Invalid::ZoneInText);
            }
            let (name, rest) = text.after(prefix.len()).word();
            zone = Some(name.text.parse()?);
            text = rest;
        }
        let rule = match text.text {
            "" => return Err(Invalid::Empty(self)),
            name if name.starts_with('@') => self.named(name)?,
            _ => Rule::Cron(self.fields_of(text)?),
        };
        Ok(Expression { rule, zone })
    }

    /// Which fields there are, for whoever wrote others.
    pub(crate) const fn fields(self) -> &'static str {
        match self {
            Self::Standard => {
                "a crontab has 5 fields, minute hour day-of-month month day-of-week, or 6 with seconds before them"
            }
            Self::Quartz => {
                "a Quartz crontab has 6 fields, second minute hour day-of-month month day-of-week, or 7 with a year \
                 behind them"
            }
            Self::Evhub => {
                "an EvHub crontab has 5 fields, second minute hour day-of-month month, or 6 with the day of the week \
                 behind them"
            }
        }
    }

    fn named(self, name: &str) -> Result<Rule, Invalid> {
        if let Some(span) =
            name.strip_prefix("@every").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
        {
            let span = span.trim();
            return self.every(span).map_err(|problem| Invalid::Every { got: span.to_owned(), problem });
        }
        let known = MACROS.iter().find(|(known, _)| *known == name);
        let (_, text) = known.ok_or_else(|| Invalid::Macro(name.to_owned()))?;
        let mut cron = Self::Standard.fields_of(Text { text, position: 1 })?;
        if self == Self::Evhub {
            cron.clock = Clock::Instant;
        }
        Ok(Rule::Cron(cron))
    }

    fn every(self, text: &str) -> Result<Rule, Span> {
        let writing: &Writing = if self == Self::Evhub { &every::GO } else { &every::WHOLE };
        let span = every::span(text, writing)?;
        match self {
            Self::Evhub if span.is_zero() => Err(Span::Nothing),
            // As EvHub does: whole seconds, and at least one.
            Self::Evhub => Ok(Rule::Every(Duration::from_secs(span.as_secs().max(1)))),
            _ if span < SHORTEST => Err(Span::Short("1s")),
            _ => Ok(Rule::Every(span)),
        }
    }

    fn fields_of(self, text: Text<'_>) -> Result<Cron, Invalid> {
        let fields: Vec<Text<'_>> = text.words().take(LONGEST).collect();
        let (kinds, zeroth, weekday, year) = match (self, fields.len()) {
            (Self::Standard, 5) => (&STANDARD, false, true, false),
            (Self::Standard, 6) => (&STANDARD, true, true, false),
            (Self::Quartz, 6) => (&QUARTZ, true, true, false),
            (Self::Quartz, 7) => (&QUARTZ, true, true, true),
            (Self::Evhub, 5) => (&EVHUB, true, false, false),
            (Self::Evhub, 6) => (&EVHUB, true, true, false),
            (dialect, got) => return Err(Invalid::Fields { got, dialect }),
        };
        let mut fields = fields.into_iter();
        let mut read = |kind: &Kind, there: bool, absent: &'static str| {
            let absent = Text { text: absent, position: 1 };
            kind.read(if there { fields.next().unwrap_or(absent) } else { absent })
        };
        let [seconds, minutes, hours, dates, months, weekdays] = kinds;
        let seconds = read(seconds, zeroth, "0")?;
        let minutes = read(minutes, true, "*")?;
        let hours = read(hours, true, "*")?;
        let dates = read(dates, true, "*")?;
        let months = read(months, true, "*")?;
        let weekdays = read(weekdays, weekday, "*")?;
        let years = read(&YEARS, year, "*")?;
        if self == Self::Quartz && dates.question == weekdays.question {
            let why = "exactly one of day of month and day of week must be ?";
            return Err(Invalid::Field {
                field: Field::DayOfWeek,
                position: 1 + text.words().nth(5).map_or(0, |field| field.position - 1),
                problem: Problem::Misplaced { got: if dates.question { "?" } else { "*" }.into(), why },
            });
        }
        let starred = [&seconds, &minutes, &hours].into_iter().any(|values| values.starred);
        let cron = Cron {
            seconds: seconds.mask[0],
            minutes: minutes.mask[0],
            hours: hours.mask[0] as u32,
            months: months.mask[0] as u16,
            // EvHub counts instants, whatever is written: see `docs/schedules.md`.
            clock: if starred || self == Self::Evhub { Clock::Instant } else { Clock::Wall },
            days: self.days(&dates, &weekdays),
            years: (!years.free).then(|| Box::new(Years(years.mask))),
        };
        if search::ever(&cron) { Ok(cron) } else { Err(Invalid::NeverFires) }
    }

    fn days(self, dates: &Values, weekdays: &Values) -> Days {
        // EvHub takes `*/1`, and a list with a `*` in it, for a `*`.
        let free = |values: &Values| values.free || (self == Self::Evhub && values.partly_free);
        let joined = match (free(dates), free(weekdays)) {
            (true, true) => Joined::Every,
            (false, true) => Joined::Date,
            (true, false) => Joined::Weekday,
            (false, false) if weekdays.special.both => Joined::Both,
            (false, false) => Joined::Either,
        };
        Days {
            dates: dates.mask[0] as u32,
            nearest: dates.special.nearest,
            last: dates.special.last,
            last_workday: dates.special.last_workday,
            weekdays: weekdays.mask[0] as u8,
            last_weekdays: weekdays.special.last_weekdays,
            nth: weekdays.special.nth,
            joined,
        }
    }
}

// === impl Text ===

const BLANKS: [char; 2] = [' ', '\t'];

impl Text<'_> {
    fn trimmed(self) -> Self {
        let start = self.text.find(|c| !BLANKS.contains(&c)).unwrap_or(self.text.len());
        let rest = self.after(start);
        Self { text: rest.text.trim_end_matches(BLANKS), ..rest }
    }

    /// The first word, and what follows.
    fn word(self) -> (Self, Self) {
        let end = self.text.find(BLANKS).unwrap_or(self.text.len());
        (Self { text: &self.text[..end], ..self }, self.after(end).trimmed())
    }

    fn words(self) -> impl Iterator<Item = Self> {
        let mut rest = self.trimmed();
        std::iter::from_fn(move || {
            let (word, after) = rest.word();
            rest = after;
            (!word.text.is_empty()).then_some(word)
        })
    }
}
