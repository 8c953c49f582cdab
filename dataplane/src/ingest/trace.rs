//! Where a publish belongs in traces: its span, the log's, and the place that each of its events takes along. No I/O.
//!
//! An event is a part of the trace that it names itself, in the attributes of CloudEvents' distributed tracing; else of the
//! one that its request names. What neither names is a new trace, if spans are exported. What makes no sense is counted and
//! ignored: no event is refused for its trace. The attributes stay what they are; the place lies beside the event as
//! headers of its record, as Kafka's clients have it.

use std::time::SystemTime;

use evhub_event::{Event, Header};
use evhub_journal::{Journal, Position};
use evhub_routing::{Name, Producer};
use evhub_telemetry::{Context, Kind, Span, TRACEPARENT, TRACESTATE, What};
use http::HeaderMap;

use super::append::Landed;
use crate::{Hub, meters::Meters, problem::Problem};

/// What a request says of its trace, and when it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    place: Option<Context>,
    /// Only where somebody is told of spans.
    began: Option<SystemTime>,
}

/// A publish, or its append, under way.
#[derive(Debug)]
pub(crate) struct Publishing(Span);

// === impl Asked ===

impl Asked {
    /// Of a request that has just come, by its headers; metadata of gRPC are headers too.
    pub(crate) fn of<J: Journal>(hub: &Hub<J>, headers: &HeaderMap) -> Self {
        Self { place: read(&hub.meters, |name| joined(headers, name)), began: now(hub) }
    }

    /// Of the next request of the same stream.
    pub(crate) fn again<J: Journal>(&self, hub: &Hub<J>) -> Self {
        Self { place: self.place.clone(), began: now(hub) }
    }

    /// Tells of what was not even offered to the log: a word for why, and a sentence.
    pub(crate) fn refused<J: Journal>(
        &self,
        hub: &Hub<J>,
        producer: &Name,
        why: impl FnOnce() -> (String, String),
    ) {
        hub.tracer.begin(self.place.as_ref(), || publish(producer).since(self.began)).failed(why);
    }
}

fn now<J: Journal>(hub: &Hub<J>) -> Option<SystemTime> {
    hub.tracer.is_on().then(SystemTime::now)
}

fn read(meters: &Meters, text: impl Fn(&'static str) -> Option<String>) -> Option<Context> {
    let context = Context::parse(&text(TRACEPARENT)?).inspect_err(|_| meters.untraced()).ok()?;
    let Some(state) = text(TRACESTATE) else { return Some(context) };
    let stated = context.with_state(&state).inspect_err(|_| meters.untraced());
    Some(stated.unwrap_or(context))
}

/// A header's value; the values of one that comes several times, which a list may and a single place may not.
fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let values: Vec<_> = values.collect();
    (!values.is_empty()).then(|| values.join(","))
}

// === impl Publishing ===

impl Publishing {
    /// Begins publishing these events; says of each where it belongs.
    pub(crate) fn begin<J: Journal>(
        hub: &Hub<J>,
        producer: &Producer,
        events: &[&Event],
        asked: &Asked,
    ) -> (Self, Vec<Option<Context>>) {
        let named = |name, event: &Event| event.extension(name).map(ToOwned::to_owned);
        let own = |event: &&Event| read(&hub.meters, |name| named(name, event));
        let mut places: Vec<Option<Context>> = events.iter().map(own).collect();
        // One event and its request are one thing; the events of a batch may come from anywhere.
        let parent = match places.as_mut_slice() {
            [own] => own.take().or_else(|| asked.place.clone()),
            _ => asked.place.clone(),
        };
        let what = || {
            let what = publish(&producer.name).since(asked.began).linked(places.iter().flatten());
            match events {
                [event] => what.with("messaging.message.id", event.id.clone()).with(
                    "messaging.message.body.size",
                    event.data.as_ref().map_or(0, bytes::Bytes::len) as i64,
                ),
                events => what.with("messaging.batch.message_count", events.len() as i64),
            }
        };
        let span = hub.tracer.begin(parent.as_ref(), what);
        let place = span.context().or(parent);
        for own in &mut places {
            *own = own.take().or_else(|| place.clone());
        }
        (Self(span), places)
    }

    /// Begins the log's part of it.
    pub(super) fn append<J: Journal>(&self, hub: &Hub<J>, producer: &Producer) -> Self {
        let what = || {
            What::new(Kind::Internal, format!("append {}", producer.name))
                .with("messaging.system", "evhub")
                .with("messaging.operation.name", "append")
                .with("messaging.destination.name", producer.name.to_string())
        };
        Self(hub.tracer.begin(self.0.context().as_ref(), what))
    }

    /// Says how it ended.
    pub(crate) fn ended(&mut self, results: &[Result<Landed, Problem>]) {
        if let [Ok(Landed::At(Position { partition, offset }))] = results {
            self.0.set("messaging.destination.partition.id", partition.to_string());
            self.0.set("evhub.offset", i64::try_from(*offset).unwrap_or(i64::MAX));
        }
        if let Some(problem) = results.iter().find_map(|result| result.as_ref().err()) {
            self.0.failed(|| (problem.reason.word, problem.detail.clone()));
        }
    }
}

fn publish(producer: &Name) -> What {
    What::new(Kind::Producer, format!("publish {producer}"))
        .with("messaging.system", "evhub")
        .with("messaging.operation.name", "publish")
        .with("messaging.operation.type", "send")
        .with("messaging.destination.name", producer.to_string())
}

/// The headers that keep an event's place with its record.
pub(crate) fn headers(place: &Context) -> impl Iterator<Item = Header> + use<> {
    let headers = [(TRACEPARENT, Some(place.traceparent())), (TRACESTATE, place.tracestate())];
    headers
        .into_iter()
        .filter_map(|(name, value)| Some(Header { name: name.to_owned(), value: value?.into() }))
}
