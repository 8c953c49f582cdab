//! Short texts that mean something: each is read or refused, and what is read is written so that it reads the same.

use std::{fmt::Display, str::FromStr};

use evhub_crds::{Duration, Quantity, StartFrom};
use evhub_dispatch::outcome::read_retry_after;
use evhub_event::{Controls, Event};
use evhub_routing::TypePattern;

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    same::<Duration>(text);
    same::<Quantity>(text);
    same::<StartFrom>(text);
    same::<TypePattern>(text);
    let _ = read_retry_after(text, 1_700_000_000_000);
    for name in ["evhubtags", "evhubdelaykeys", "evhubmaxattempts", "evhubtimeout"] {
        control(name, text);
    }
}

fn same<T: FromStr + Display + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let again = value.to_string().parse::<T>();
        assert!(again.is_ok_and(|again| again == value), "{text:?} reads as {value}");
    }
}

fn control(name: &str, text: &str) {
    let mut event = Event {
        id: "1".to_owned(),
        source: "/s".to_owned(),
        kind: "t".to_owned(),
        subject: None,
        time: None,
        datacontenttype: None,
        dataschema: None,
        extensions: vec![(name.to_owned(), text.to_owned())],
        data: None,
    };
    if let Ok(controls) = Controls::take(&mut event) {
        assert!(event.extensions.is_empty(), "a control is no part of the event");
        let record = evhub_event::Record { headers: controls.headers().collect(), ..Default::default() };
        assert_eq!(Controls::of(&record), controls);
    }
}
