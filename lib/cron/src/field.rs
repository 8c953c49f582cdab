//! One field of a crontab: lists of values, ranges and steps, and what only days have. Pure.

use crate::invalid::{Field, Invalid, Problem};

/// What a field may hold in a dialect.
pub(crate) struct Kind {
    pub field: Field,
    pub min: u32,
    pub max: u32,
    /// How far `*` and a step without an end go: the day of the week ends with Saturday, though 7 is Sunday.
    pub end: u32,
    pub names: &'static [&'static str],
    /// What the first name stands for.
    pub first_name: u32,
    pub question: Question,
    /// `L`, `W`, `#` and `+`.
    pub specials: bool,
    /// Whether a step beyond the end is refused.
    pub short_steps: bool,
}

/// What `?` is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// Nothing.
    Refused,
    /// The same as `*`.
    Star,
}

/// What a field says, part by part.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts of a text that have nothing to do with one another")]
pub(crate) struct Values {
    /// A bit each, counted from 0 for years from the first that can be named.
    pub mask: [u64; 3],
    /// Whether `*` stands anywhere in it.
    pub starred: bool,
    /// Whether it says nothing: `*` or `?`, and nothing else.
    pub free: bool,
    /// Whether that is `?`.
    pub question: bool,
    /// Whether any of its parts says nothing, a step of 1 included.
    pub partly_free: bool,
    pub special: Special,
}

/// What only days have.
#[derive(Debug, Default)]
pub(crate) struct Special {
    pub last: bool,
    pub last_workday: bool,
    pub nearest: u32,
    pub last_weekdays: u8,
    pub nth: u64,
    /// `+`: both day fields must hold.
    pub both: bool,
}

/// A field's text, and where it stands.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    pub text: &'a str,
    /// Counted from 1.
    pub position: usize,
}

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

// === impl Kind ===

impl Kind {
    pub(crate) const fn plain(field: Field, min: u32, max: u32) -> Self {
        Self {
            field,
            min,
            max,
            end: max,
            names: &[],
            first_name: 0,
            question: Question::Refused,
            specials: false,
            short_steps: true,
        }
    }

    pub(crate) const fn months() -> Self {
        Self { names: MONTHS, first_name: 1, ..Self::plain(Field::Month, 1, 12) }
    }

    /// Days of the week of which `first` is Sunday, up to `max`.
    pub(crate) const fn weekdays(first: u32, max: u32) -> Self {
        Self {
            names: WEEKDAYS,
            first_name: first,
            end: first + 6,
            ..Self::plain(Field::DayOfWeek, first, max)
        }
    }

    pub(crate) const fn question(self) -> Self {
        Self { question: Question::Star, ..self }
    }

    pub(crate) const fn specials(self) -> Self {
        Self { specials: true, ..self }
    }

    pub(crate) const fn any_step(self) -> Self {
        Self { short_steps: false, ..self }
    }

    pub(crate) fn read(&self, whole: Text<'_>) -> Result<Values, Invalid> {
        let mut values = Values {
            starred: whole.text.contains('*'),
            free: whole.text == "*" || whole.text == "?",
            question: whole.text == "?",
            ..Values::default()
        };
        let mut text = whole;
        if self.specials && self.field == Field::DayOfWeek && text.text.starts_with('+') {
            values.special.both = true;
            text = text.after(1);
        }
        for part in text.split(',') {
            self.part(part, &mut values)?;
        }
        Ok(values)
    }

    fn part(&self, part: Text<'_>, values: &mut Values) -> Result<(), Invalid> {
        if part.text.is_empty() {
            return Err(self.wrong(part, Problem::Missing));
        }
        if self.specials && self.special(part, &mut values.special)? {
            return Ok(());
        }
        let (range, step) = part.cut('/');
        let (low, high) = self.range(range, step.is_some())?;
        let step = step.map(|step| self.step(step)).transpose()?.unwrap_or(1);
        values.partly_free |= step == 1 && ["*", "?"].contains(&range.text);
        for value in (low..=high).step_by(step as usize) {
            let bit = self.bit(value);
            values.mask[bit / 64] |= 1 << (bit % 64);
        }
        Ok(())
    }

    /// Where a value's bit is. Sunday is 0, whatever a dialect calls it.
    fn bit(&self, value: u32) -> usize {
        match self.field {
            Field::DayOfWeek => ((value - self.first_name) % 7) as usize,
            Field::Year => (value - self.min) as usize,
            _ => value as usize,
        }
    }

    fn range(&self, text: Text<'_>, stepped: bool) -> Result<(u32, u32), Invalid> {
        if text.text == "*" || (text.text == "?" && self.question == Question::Star) {
            return Ok((self.min, self.end));
        }
        if text.text == "?" {
            let why = "only a day of the month or of the week is left open by it; write *";
            return Err(self.wrong(text, Problem::Misplaced { got: "?".into(), why }));
        }
        let (low_text, high_text) = text.cut('-');
        let low = self.value(low_text)?;
        let high = match high_text {
            Some(high) => self.value(high)?,
            None if stepped => self.end.max(low),
            None => low,
        };
        if low > high {
            let got = text.text.to_owned();
            let instead = self.around(low_text.text, high_text.map_or("", |high| high.text), low, high);
            return Err(self.wrong(text, Problem::Reversed { got, instead }));
        }
        Ok((low, high))
    }

    /// The same as two ranges.
    fn around(&self, low_text: &str, high_text: &str, low: u32, high: u32) -> String {
        let name = |value: u32| match self.names.get((value - self.first_name.min(value)) as usize) {
            Some(name) if low_text.starts_with(|c: char| c.is_ascii_alphabetic()) => (*name).to_owned(),
            _ => value.to_string(),
        };
        let span = |from: String, to: String| if from == to { from } else { format!("{from}-{to}") };
        let upper = if low == self.end { low_text.to_owned() } else { span(low_text.into(), name(self.end)) };
        let lower =
            if high == self.min { high_text.to_owned() } else { span(name(self.min), high_text.into()) };
        format!("{upper},{lower}")
    }

    fn step(&self, text: Text<'_>) -> Result<u32, Invalid> {
        let values = self.end - self.min + 1;
        match self.number(text)? {
            0 => Err(self.wrong(text, Problem::NoStep)),
            step if step > values && self.short_steps => {
                let unit = match self.field {
                    Field::Second => Some("s"),
                    Field::Minute => Some("m"),
                    Field::Hour => Some("h"),
                    Field::DayOfMonth => Some("d"),
                    _ => None,
                };
                let every = unit.map(|unit| format!("{step}{unit}"));
                Err(self.wrong(text, Problem::LongStep { step, values, every }))
            }
            step => Ok(step),
        }
    }

    /// A number or a name.
    fn value(&self, text: Text<'_>) -> Result<u32, Invalid> {
        if let Some(at) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text.text)) {
            return Ok(self.first_name + at as u32);
        }
        let got = self.number(text)?;
        if got < self.min || got > self.max {
            return Err(self.wrong(text, Problem::OutOfRange { got, min: self.min, max: self.max }));
        }
        Ok(got)
    }

    fn number(&self, text: Text<'_>) -> Result<u32, Invalid> {
        if text.text.is_empty() {
            return Err(self.wrong(text, Problem::Missing));
        }
        // More digits than a value can have are no number either, so nothing overflows.
        let digits = text.text.len() <= 9 && text.text.bytes().all(|b| b.is_ascii_digit());
        let number = digits.then(|| text.text.parse().ok()).flatten();
        number.ok_or_else(|| {
            let got = text.text.to_owned();
            self.wrong(text, Problem::NoValue { got, allowed: self.allowed() })
        })
    }

    fn allowed(&self) -> String {
        let names = match self.names {
            [first, .., last] => format!(", {first} to {last}"),
            _ => String::new(),
        };
        format!("{} to {}{names}", self.min, self.max)
    }

    fn wrong(&self, text: Text<'_>, problem: Problem) -> Invalid {
        Invalid::Field { field: self.field, position: text.position, problem }
    }

    // === what only days have ===

    /// Whether this is one of them, which is then noted.
    fn special(&self, part: Text<'_>, special: &mut Special) -> Result<bool, Invalid> {
        match self.field {
            Field::DayOfMonth => self.special_date(part, special),
            Field::DayOfWeek => self.special_weekday(part, special),
            _ => Ok(false),
        }
    }

    fn special_date(&self, part: Text<'_>, special: &mut Special) -> Result<bool, Invalid> {
        let upper = part.text.to_ascii_uppercase();
        match upper.as_str() {
            "L" => special.last = true,
            "LW" | "WL" => special.last_workday = true,
            _ if upper.starts_with("L-") => {
                let why = "days are not counted from the end of the month; L alone is its last day";
                return Err(self.wrong(part, Problem::Misplaced { got: part.text.into(), why }));
            }
            _ => match upper.strip_suffix('W') {
                Some(_) => {
                    let day = self.value(Text { text: &part.text[..part.text.len() - 1], ..part })?;
                    special.nearest |= 1 << day;
                }
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    fn special_weekday(&self, part: Text<'_>, special: &mut Special) -> Result<bool, Invalid> {
        if let (day, Some(nth)) = part.cut('#') {
            let weekday = self.bit(self.value(day)?);
            let count = nth.text.parse::<usize>().ok().filter(|count| (1..=5).contains(count));
            let count =
                count.ok_or_else(|| self.wrong(nth, Problem::Nth(nth.text.chars().take(16).collect())))?;
            special.nth |= 1 << (7 * (count - 1) + weekday);
            return Ok(true);
        }
        let Some(day) = part.text.strip_suffix(['L', 'l']) else { return Ok(false) };
        if day.is_empty() {
            let why = "which weekday is the last of the month? Write 5L or FRIL";
            return Err(self.wrong(part, Problem::Misplaced { got: part.text.into(), why }));
        }
        let weekday = self.bit(self.value(Text { text: day, ..part })?);
        special.last_weekdays |= 1 << weekday;
        Ok(true)
    }
}

// === impl Text ===

impl Text<'_> {
    pub(crate) fn after(self, at: usize) -> Self {
        Self { text: &self.text[at..], position: self.position + at }
    }

    /// Both sides of the first such character.
    fn cut(self, at: char) -> (Self, Option<Self>) {
        match self.text.find(at) {
            Some(index) => (Self { text: &self.text[..index], ..self }, Some(self.after(index + 1))),
            None => (self, None),
        }
    }

    fn split(self, at: char) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let (part, after) = rest?.cut(at);
            rest = after;
            Some(part)
        })
    }
}
