//! Which Processors would receive an event, and why or why not. Reads the event's file; the rest is pure.

use std::path::Path;

use anyhow::Context as _;
use evhub_dispatch::{
    Discard,
    wanted::{Intake, intake},
};
use evhub_event::{Controls, Record, json, kafka};
use evhub_routing::{Processor, Snapshot};
use serde::Serialize;

use crate::{
    exit::Configuration,
    output::Table,
    style::{Style, Tone},
};

/// What becomes of the event at one Processor.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Match {
    processor: String,
    producers: Vec<String>,
    matches: bool,
    why: String,
}

/// Reads an event in the CloudEvents JSON format, with its controls, as a hub would store it.
pub(super) fn read(file: &Path) -> anyhow::Result<Record> {
    let bytes = std::fs::read(file)
        .map_err(|error| Configuration(vec![format!("{}: cannot be read ({error})", file.display())]))?;
    let stored = json::decode(&bytes.into()).and_then(|mut event| {
        let controls = Controls::take(&mut event)?;
        let mut record = kafka::encode(&event);
        record.headers.extend(controls.headers());
        Ok(record)
    });
    stored.with_context(|| format!("{} is not an event in the CloudEvents JSON format", file.display()))
}

/// Holds the event against every Processor that runs.
pub(super) fn find(snapshot: &Snapshot, record: &Record) -> Vec<Match> {
    let one = |processor: &Processor| {
        let (matches, why) = why(processor, record);
        let producers = processor.routes.iter().map(|route| route.producer.to_string()).collect();
        Match { processor: processor.name.to_string(), producers, matches, why }
    };
    snapshot.processors.values().map(|processor| one(processor)).collect()
}

fn why(processor: &Processor, record: &Record) -> (bool, String) {
    let key = processor.delay_key.as_deref().unwrap_or_default();
    // Whatever the instant from which on it wants events, the question is of its filter.
    match intake(processor, i64::MAX, record) {
        Intake::Now if processor.filter.is_none() => {
            (true, "it receives every event of its Producers".into())
        }
        Intake::Now => (true, "every part of its filter holds".into()),
        Intake::Undelayed => (true, format!("at once: the event has no delay for its key {key}")),
        Intake::Later(delay) => (true, format!("after {delay:?}: the event's delay for its key {key}")),
        Intake::Unwanted(discard) => (false, refused(discard).into()),
    }
}

const fn refused(discard: Discard) -> &'static str {
    match discard {
        Discard::Tags => "the event has none of the tags that filter.tags wants",
        Discard::Type => "the event's type is none that filter.types wants",
        Discard::Expression => "filter.cel is not true of the event",
        Discard::Unclear => "filter.cel cannot be evaluated: a field is missing, or is not what it should be",
        // Only a delivery comes to these.
        _ => "it is discarded",
    }
}

/// For people.
pub(super) fn table(matches: &[Match], style: Style) -> String {
    if matches.is_empty() {
        return "no Processor runs, so nobody receives the event\n".into();
    }
    let mut table = Table::new(["PROCESSOR", "RECEIVES", "WHY", "PRODUCERS"]);
    for Match { processor, producers, matches, why } in matches {
        let (tone, word) = if *matches { (Tone::Good, "yes") } else { (Tone::Plain, "no") };
        table.row(tone, [processor.clone(), word.into(), why.clone(), producers.join(", ")]);
    }
    table.render(style)
}
