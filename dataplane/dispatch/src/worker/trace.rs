//! Where an attempt belongs in traces, and what its span says. No I/O.
//!
//! The place comes with the record: in the headers that its publish left there, or a stranger's Kafka client did, else in
//! the event's own attributes. It stays with the record wherever that goes (parked, dead, redriven), so all attempts of an
//! event are in one trace.

use evhub_event::{Event, Record};
use evhub_routing::{Processor, Target};
use evhub_telemetry::{Context, Kind, Span, TRACEPARENT, TRACESTATE, What};

use crate::{outcome::Answer, sender::Identity};

/// The place of an event, if it has one that makes sense.
pub(super) fn place(record: &Record, event: &Event) -> Option<Context> {
    let text = |name| record.header(name).and_then(|value| std::str::from_utf8(value).ok());
    read(text).or_else(|| read(|name| event.extension(name)))
}

fn read<'a>(text: impl Fn(&'static str) -> Option<&'a str>) -> Option<Context> {
    let context = Context::parse(text(TRACEPARENT)?).ok()?;
    let stated = text(TRACESTATE).and_then(|state| context.with_state(state).ok());
    Some(stated.unwrap_or(context))
}

/// What an attempt's span says from its beginning, in the words of OpenTelemetry's messaging conventions.
pub(super) fn attempt(processor: &Processor, topic: &str, event: &Event, identity: &Identity<'_>) -> What {
    let route = processor.routes.iter().find(|route| route.topic == topic);
    // What came by the inbox is known by that.
    let destination = route.map_or_else(|| topic.to_owned(), |route| route.producer.to_string());
    let what = What::new(Kind::Consumer, format!("attempt {}", identity.processor))
        .with("messaging.system", "evhub")
        .with("messaging.operation.name", "attempt")
        .with("messaging.operation.type", "process")
        .with("messaging.destination.name", destination)
        .with("messaging.consumer.group.name", identity.processor.to_owned())
        .with("messaging.message.id", event.id.clone())
        .with("messaging.message.body.size", event.data.as_ref().map_or(0, bytes::Bytes::len) as i64)
        .with("evhub.delivery", identity.delivery.clone())
        .with("evhub.attempt", i64::from(identity.attempt));
    addressed(what, &processor.target)
}

fn addressed(what: What, target: &Target) -> What {
    let what = match target.url.host() {
        Some(host) => what.with("server.address", host.to_owned()),
        None => what,
    };
    match target.url.port_u16() {
        Some(port) => what.with("server.port", i64::from(port)),
        None => what,
    }
}

/// What came of it.
pub(super) fn tell(span: &mut Span, answer: &Answer) {
    if let Some(status) = answer.status() {
        span.set("http.response.status_code", i64::from(status));
    }
    if !matches!(answer, Answer::Status { status: 200..=299, .. } | Answer::Accepted | Answer::Cancelled) {
        span.failed(|| (word(answer), answer.text()));
    }
}

fn word(answer: &Answer) -> String {
    match answer {
        Answer::Status { status, .. } => status.to_string(),
        Answer::Refused { code, .. } => code.to_string(),
        Answer::Grpc { code, .. } => code.to_string(),
        Answer::TimedOut(_) => "timeout".to_owned(),
        // The conventions' word for what has none.
        _ => "_OTHER".to_owned(),
    }
}
