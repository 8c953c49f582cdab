//! Against `croner`, where the two mean the same: times of day of one value or of all. Of a list it says that each of its
//! values is an interval, so that a day on which the clocks are put forward goes without; we say that a list is as fixed as its
//! values are.

use croner::parser::{CronParser, Seconds};
use jiff::{Timestamp, Zoned};
use proptest::prelude::*;

use crate::{
    Place, compiled,
    model::{self, Field, Model},
    places,
};
use evhub_cron::Dialect;

/// One value, or all, or every so many.
fn plain(min: u32, max: u32) -> impl Strategy<Value = Field> {
    let one = move |value: u32| Field { text: value.to_string(), values: [value].into(), special: None };
    let stepped = move |step: u32| Field {
        text: format!("*/{step}"),
        values: (min..=max).step_by(step as usize).collect(),
        special: None,
    };
    prop_oneof![
        4 => (min..=max).prop_map(one),
        2 => Just(model::free(min, max)),
        1 => (2..=max / 2).prop_map(stepped),
    ]
}

/// Of days anything that both can read: a step has no open end there.
fn shared() -> impl Strategy<Value = Model> {
    let readable = |field: &Field| {
        field.text.split(',').all(|part| part.starts_with('*') || part.contains('-') || !part.contains('/'))
    };
    let days = (
        model::dates().prop_filter("an open step", readable),
        model::any_of(1, 12).prop_filter("an open step", readable),
        model::weekdays().prop_filter("an open step", readable),
    );
    let early = prop_oneof![
        (0..=4_u32).prop_map(|hour| Field { text: hour.to_string(), values: [hour].into(), special: None }),
        plain(0, 23)
    ];
    (plain(0, 59), early, days).prop_map(|(minute, hour, (date, month, weekday))| {
        model::model(None, minute, hour, date, month, weekday)
    })
}

fn theirs(text: &str, place: &Place, after: i64, most: usize) -> Option<Vec<i64>> {
    let cron = CronParser::builder().seconds(Seconds::Optional).build().parse(text).ok()?;
    let mut at = Zoned::new(Timestamp::from_second(after).ok()?, place.rules.clone());
    let mut found = Vec::new();
    while found.len() < most {
        at = cron.find_next_occurrence(&at, false).ok()?;
        found.push(at.timestamp().as_second());
    }
    Some(found)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn five_firings_are_those_of_another_implementation(model in shared(), (place, from) in places()) {
        let text = model.text();
        let beat = compiled(Dialect::Standard, &text, place);
        prop_assume!(beat.is_some());
        let beat = beat.unwrap();
        // It steps over a gap of two hours at the most, and Apia's is a day.
        prop_assume!(place.zone.name() != "Pacific/Apia");
        let expected = theirs(&text, place, from, 5);
        prop_assume!(expected.is_some());
        let found: Vec<i64> = std::iter::successors(beat.next(from * 1000), |at| beat.next(*at)).take(5).map(|at| at / 1000).collect();
        prop_assert_eq!(found, expected.unwrap(), "{} {} {}", text, place.zone, Timestamp::from_second(from).unwrap());
    }
}
