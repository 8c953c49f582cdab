//! What a Producer's schema says of a schedule, for one that no schema has seen: in the words in which `evhub check` says it. Pure.

use std::{fmt, ops::RangeInclusive, time::Duration};

use evhub_cron::{End, missed};
use evhub_event::{duration, invalid::quote};

use super::{Fault, Sort, Written};
use crate::{ScheduledData, ScheduledEvent};

/// How long after each other one may fire, and in words.
const EVERY: Span = Span(Duration::from_secs(1), Duration::from_hours(87_600), "1s and 87600h");
/// How much later than its instant a run may fire.
const JITTER: Span = Span(Duration::ZERO, Duration::from_hours(24), "0s and 24h");
/// How late a run may be and is not missed.
const DEADLINE: Span = Span(Duration::from_secs(1), Duration::from_hours(168), "1s and 168h");
/// How many firings may end it.
const COUNT: RangeInclusive<u64> = 1..=1_000_000_000;
/// The most data that one has, in bytes.
const DATA_BYTES: usize = 256 << 10;
/// The same in base64, in characters.
const BASE64: usize = 350_000;
/// How many tags one has.
const TAGS: usize = 64;

/// From one span of time to another, and both in words.
struct Span(Duration, Duration, &'static str);

/// What a text must be.
struct Form {
    longest: usize,
    is: fn(&str) -> bool,
    words: &'static str,
}

const NAME: Form =
    Form { longest: 63, is: is_label, words: "a name of lower-case letters, digits and '-', such as orders" };
const ANY: fn(&str) -> bool = |_| true;
const CRON: Form = Form { longest: 512, is: ANY, words: "" };
const ZONE: Form = Form { longest: 64, is: ANY, words: "" };
const TYPE: Form = Form { longest: 256, is: is_attribute, words: ATTRIBUTE };
const KEY: Form = Form { longest: 1024, is: is_attribute, words: ATTRIBUTE };
const TAG: Form = Form {
    longest: 128,
    is: is_tag,
    words: "a tag without ',' and without blanks at its ends, such as paid",
};
const ATTRIBUTE: &str = "a text without control characters, such as shop.nightly";

impl Written {
    /// What breaks a rule that a schema says.
    pub(super) fn rules(&self) -> Vec<Fault> {
        let Self { name, cron, every, time_zone, start, end, missed_runs, jitter, suspend: _, event } = self;
        let mut faults = Vec::new();
        faults.extend(NAME.check("name", name));
        faults.extend(cron.as_ref().and_then(|cron| CRON.check("cron", cron)));
        faults.extend(time_zone.as_ref().and_then(|zone| ZONE.check("timeZone", zone)));
        if cron.is_some() == every.is_some() {
            faults.push(rule("", "exactly one of cron and every must be given"));
        }
        if time_zone.is_some() && cron.is_none() {
            faults.push(rule("timeZone", "timeZone goes with cron alone: an interval knows no clocks"));
        }
        if matches!((start, end), (Some(start), Some(End::Time(end))) if end <= start) {
            faults.push(rule("end.time", "end.time must be after start"));
        }
        faults.extend(every.and_then(|every| EVERY.check("every", every)));
        faults.extend(JITTER.check("jitter", *jitter));
        faults.extend(DEADLINE.check("missedRuns.deadline", missed_runs.deadline));
        if let Some(End::Count(count)) = end {
            faults.extend(number("end.count", *count, &COUNT));
        }
        faults.extend(number("missedRuns.max", missed_runs.max.into(), &(0..=missed::MOST.into())));
        event.rules(&mut faults);
        faults
    }
}

impl ScheduledEvent {
    fn rules(&self, faults: &mut Vec<Fault>) {
        let Self { kind, data, partition_key, tags } = self;
        faults.extend(TYPE.check("event.type", kind));
        match data {
            Some(ScheduledData::Json(text)) if text.len() > DATA_BYTES => {
                let message = format!("must have at most {DATA_BYTES} bytes (got {})", text.len());
                faults.push(rule("event.data", message));
            }
            Some(ScheduledData::Binary(bytes)) if bytes.len().div_ceil(3) * 4 > BASE64 => {
                let message =
                    format!("may not be more than {BASE64} chars long (got {})", bytes.len().div_ceil(3) * 4);
                faults.push(rule("event.dataBase64", message));
            }
            _ => {}
        }
        faults.extend(partition_key.as_ref().and_then(|key| KEY.check("event.partitionKey", key)));
        if tags.len() > TAGS {
            let message = format!("should have at most {TAGS} items (got {})", tags.len());
            faults.push(rule("event.tags", message));
            return;
        }
        for (index, tag) in tags.iter().enumerate() {
            let field = format!("event.tags[{index}]");
            faults.extend(TAG.check(&field, tag));
            if tags[..index].contains(tag) {
                faults.push(rule(field, format!("duplicate value: {}", quote(tag))));
            }
        }
    }
}

fn rule(field: impl Into<String>, message: impl fmt::Display) -> Fault {
    Fault::new(Sort::Invalid, field, message)
}

fn number(field: &str, number: u64, within: &RangeInclusive<u64>) -> Option<Fault> {
    let (least, most) = (within.start(), within.end());
    if number < *least {
        return Some(rule(field, format!("should be greater than or equal to {least} (got {number})")));
    }
    (number > *most).then(|| rule(field, format!("should be less than or equal to {most} (got {number})")))
}

impl Span {
    fn check(&self, field: &str, span: Duration) -> Option<Fault> {
        let Self(least, most, words) = self;
        let got = || duration::write(span);
        (!(*least..=*most).contains(&span))
            .then(|| rule(field, format!("must be between {words} (got {})", got())))
    }
}

impl Form {
    fn check(&self, field: &str, text: &str) -> Option<Fault> {
        let (Self { longest, is, words }, length) = (self, text.chars().count());
        match length {
            0 => Some(rule(field, "should be at least 1 chars long (got 0)")),
            length if length > *longest => {
                Some(rule(field, format!("may not be more than {longest} chars long (got {length})")))
            }
            _ if !is(text) => Some(rule(field, format!("must be {words} (got {})", quote(text)))),
            _ => None,
        }
    }
}

fn is_label(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_attribute(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fn is_tag(text: &str) -> bool {
    let blank = |c: Option<char>| c.is_none_or(|c| matches!(c, '\t'..='\r' | ' '));
    !text.contains(',') && !blank(text.chars().next()) && !blank(text.chars().next_back())
}
