//! A crontab as a value, its text, and what it means by looking at it: nothing of the engine's.

use std::{collections::BTreeSet, fmt::Write as _};

use jiff::civil::{Date, Weekday};
use proptest::prelude::*;

/// A crontab with its seconds.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub second: Option<Field>,
    pub minute: Field,
    pub hour: Field,
    pub date: Field,
    pub month: Field,
    pub weekday: Field,
    /// Whether it counts wall times rather than instants.
    pub wall: bool,
    /// Whether a `*` or `*/1` anywhere in a day field leaves it open.
    pub loose: bool,
}

/// A field: its text and what it means.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub text: String,
    pub values: BTreeSet<u32>,
    pub special: Option<Special>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    Last,
    LastWorkday,
    Nearest(i8),
    LastOf(i8),
    Nth(i8, i8),
}

// === impl Model ===

impl Model {
    pub(crate) fn text(&self) -> String {
        let Self { second, minute, hour, date, month, weekday, wall: _, loose: _ } = self;
        let second = second.as_ref().map(|second| format!("{} ", second.text)).unwrap_or_default();
        format!("{second}{} {} {} {} {}", minute.text, hour.text, date.text, month.text, weekday.text)
    }

    pub(crate) fn has_time(&self, time: jiff::civil::Time) -> bool {
        let second = self.second.as_ref().map_or(time.second() == 0, |field| field.has(time.second()));
        second && self.minute.has(time.minute()) && self.hour.has(time.hour())
    }

    pub(crate) fn has_day(&self, date: Date) -> bool {
        if !self.month.has(date.month()) {
            return false;
        }
        let by_date = self.date.has(date.day()) || self.date.special.is_some_and(|special| special.has(date));
        let weekday = date.weekday().to_sunday_zero_offset();
        let by_weekday =
            self.weekday.has(weekday) || self.weekday.special.is_some_and(|special| special.has(date));
        match (self.date.is_free(self.loose), self.weekday.is_free(self.loose)) {
            (true, true) => true,
            (false, true) => by_date,
            (true, false) => by_weekday,
            (false, false) => by_date || by_weekday,
        }
    }
}

impl Field {
    fn has(&self, value: i8) -> bool {
        self.values.contains(&u32::from(value.unsigned_abs()))
    }

    fn is_free(&self, loose: bool) -> bool {
        self.text == "*" || (loose && self.text.split(',').any(|part| part == "*" || part == "*/1"))
    }
}

impl Special {
    /// From the words of the documentation, a day at a time.
    fn has(self, date: Date) -> bool {
        let workday = |date: Date| !matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday);
        let last = date.last_of_month();
        let weekday = date.weekday().to_sunday_zero_offset();
        let nearest = |to: Date| {
            let days = [0, -1, 1, -2, 2]
                .into_iter()
                .filter_map(|shift| to.checked_add(jiff::Span::new().days(shift)).ok());
            days.filter(|day| day.month() == to.month()).find(|day| workday(*day))
        };
        match self {
            Self::Last => date == last,
            Self::LastWorkday => nearest(last) == Some(date),
            Self::Nearest(day) => {
                Date::new(date.year(), date.month(), day).is_ok_and(|day| nearest(day) == Some(date))
            }
            Self::LastOf(of) => of == weekday && date.day() + 7 > last.day(),
            Self::Nth(of, nth) => of == weekday && (date.day() - 1) / 7 + 1 == nth,
        }
    }
}

// === random ones ===

/// Every form of a field from `min` to `max`.
fn field(min: u32, max: u32) -> impl Strategy<Value = Field> {
    let one = (min..=max).prop_map(|value| (value.to_string(), BTreeSet::from([value])));
    let range = (min..=max, min..=max).prop_map(|(a, b)| {
        let (low, high) = (a.min(b), a.max(b));
        (format!("{low}-{high}"), (low..=high).collect())
    });
    let stepped = (min..=max, min..=max, 1..=max - min + 1).prop_map(|(a, b, step)| {
        let (low, high) = (a.min(b), a.max(b));
        (format!("{low}-{high}/{step}"), (low..=high).step_by(step as usize).collect())
    });
    let open = (min..=max, 1..=max - min + 1).prop_map(move |(low, step)| {
        (format!("{low}/{step}"), (low..=max).step_by(step as usize).collect::<BTreeSet<_>>())
    });
    let star = (1..=max - min + 1).prop_map(move |step| {
        (format!("*/{step}"), (min..=max).step_by(step as usize).collect::<BTreeSet<_>>())
    });
    let part = prop_oneof![4 => one, 2 => range, 2 => stepped, 1 => open, 1 => star];
    prop::collection::vec(part, 1..4).prop_map(|parts| {
        let mut text = String::new();
        let mut values = BTreeSet::new();
        for (part, of_it) in parts {
            let comma = if text.is_empty() { "" } else { "," };
            let _ = write!(text, "{comma}{part}");
            values.extend(of_it);
        }
        Field { text, values, special: None }
    })
}

pub(crate) fn free(min: u32, max: u32) -> Field {
    Field { text: "*".into(), values: (min..=max).collect(), special: None }
}

pub(crate) fn any_of(min: u32, max: u32) -> impl Strategy<Value = Field> {
    prop_oneof![1 => Just(free(min, max)), 3 => field(min, max)]
}

fn special(text: String, special: Special) -> Field {
    Field { text, values: BTreeSet::new(), special: Some(special) }
}

pub(crate) fn dates() -> impl Strategy<Value = Field> {
    let odd = prop_oneof![
        Just(special("L".into(), Special::Last)),
        Just(special("LW".into(), Special::LastWorkday)),
        (1..=31_i8).prop_map(|day| special(format!("{day}W"), Special::Nearest(day))),
    ];
    prop_oneof![2 => Just(free(1, 31)), 2 => field(1, 31), 1 => odd]
}

pub(crate) fn weekdays() -> impl Strategy<Value = Field> {
    let odd = prop_oneof![
        (0..=6_i8).prop_map(|day| special(format!("{day}L"), Special::LastOf(day))),
        (0..=6_i8, 1..=5_i8).prop_map(|(day, nth)| special(format!("{day}#{nth}"), Special::Nth(day, nth))),
    ];
    prop_oneof![3 => Just(free(0, 6)), 2 => field(0, 6), 1 => odd]
}

/// One with what its time fields say: `*` in any of them makes it count instants.
pub(crate) fn model(
    second: Option<Field>,
    minute: Field,
    hour: Field,
    date: Field,
    month: Field,
    weekday: Field,
) -> Model {
    let starred = |field: &Field| field.text.contains('*');
    let wall = !second.as_ref().is_some_and(starred) && !starred(&minute) && !starred(&hour);
    Model { second, minute, hour, date, month, weekday, wall, loose: false }
}

/// With five fields, mostly on days that come soon.
pub(crate) fn minutely() -> impl Strategy<Value = Model> {
    let months = prop_oneof![6 => Just(free(1, 12)), 1 => field(1, 12)];
    let dates = prop_oneof![3 => Just(free(1, 31)), 1 => dates()];
    let weekdays = prop_oneof![3 => Just(free(0, 6)), 1 => weekdays()];
    // The hours around which clocks change.
    let early = prop::collection::btree_set(0..=4_u32, 1..4).prop_map(|values| {
        let text = values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        Field { text, values, special: None }
    });
    let hours = prop_oneof![2 => early, 2 => any_of(0, 23)];
    (any_of(0, 59), hours, dates, months, weekdays)
        .prop_map(|(minute, hour, date, month, weekday)| model(None, minute, hour, date, month, weekday))
}

/// With six fields.
pub(crate) fn secondly() -> impl Strategy<Value = Model> {
    (any_of(0, 59), minutely()).prop_map(|(second, model)| {
        let wall = model.wall && !second.text.contains('*');
        Model { second: Some(second), wall, ..model }
    })
}

/// At noon, when no clock changes.
pub(crate) fn daily() -> impl Strategy<Value = Model> {
    let noon = Field { text: "12".into(), values: BTreeSet::from([12]), special: None };
    let zero = Field { text: "0".into(), values: BTreeSet::from([0]), special: None };
    (dates(), any_of(1, 12), weekdays())
        .prop_map(move |(date, month, weekday)| model(None, zero.clone(), noon.clone(), date, month, weekday))
}
