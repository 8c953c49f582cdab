//! Reading what a request publishes: whole, within the Producer's limits, and nothing of it if any of it is bad. Reads
//! from the connection.

use axum::body::Body;
use evhub_event::{
    Controls, Event, Invalid,
    http::{Plain, decode, decode_batch, is_batch},
};
use evhub_journal::Journal;
use evhub_routing::Producer;
use http::{HeaderMap, HeaderValue, header, request::Parts};
use jiff::Timestamp;

use super::{
    body::{self, Bound},
    door::Charge,
    quota::Over,
};
use crate::{
    Hub,
    problem::{Problem, reason},
    request::Query,
};

/// The query of a plain event.
const PLAIN: [&str; 3] = ["type", "subject", "key"];

/// What a request publishes.
pub(crate) enum Taken {
    One(Box<(Event, Controls)>),
    Batch(Vec<(Event, Controls)>),
}

/// Reads all of it, as far as the Producer and the door let it in.
pub(crate) async fn take<J: Journal>(
    hub: &Hub<J>,
    producer: &Producer,
    parts: &Parts,
    body: Body,
    charge: &mut Charge,
) -> Result<Taken, Problem> {
    let checked = checked(parts).and_then(|query| admit(hub, producer, 0).map(|()| query));
    let query = match checked {
        Ok(query) => query,
        Err(problem) => return Err(body::discard(&parts.headers, body, problem).await),
    };
    let batch = is_batch(&parts.headers);
    let bound = if batch {
        Bound { bytes: producer.batch_bytes, reason: reason::BATCH_TOO_LARGE }
    } else {
        Bound { bytes: producer.event_bytes, reason: reason::EVENT_TOO_LARGE }
    };
    let body = body::read(&parts.headers, body, bound, charge).await?;
    let (taken, count) = if batch {
        let events = decode_batch(&parts.headers, &body, producer.batch_events)?;
        for (index, event) in events.iter().enumerate() {
            fits(producer, event).map_err(|problem| {
                let detail = format!("event {index} of the batch: {}", problem.detail);
                let field = problem.field.as_ref().map_or_else(String::new, |field| format!(".{field}"));
                Problem { detail, ..problem.at(format!("[{index}]{field}")) }
            })?;
        }
        let count = events.len();
        (Taken::Batch(events), count)
    } else {
        let event = single(producer, parts, body, &query)?;
        fits(producer, &event)?;
        (Taken::One(Box::new(event)), 1)
    };
    admit(hub, producer, count)?;
    Ok(taken)
}

fn single(
    producer: &Producer,
    parts: &Parts,
    body: bytes::Bytes,
    query: &Query,
) -> Result<(Event, Controls), Invalid> {
    let source = format!("/namespaces/{}/producers/{}", producer.name.namespace, producer.name.name);
    let plain = Plain {
        source: &source,
        kind: query.text("type"),
        subject: query.text("subject"),
        key: query.text("key"),
    };
    decode(&parts.headers, body, &plain)
}

/// Lets so many events in, unless they come faster than the Producer says.
pub(crate) fn admit<J: Journal>(hub: &Hub<J>, producer: &Producer, events: usize) -> Result<(), Problem> {
    hub.quotas.admit(producer, events).map_err(|Over(seconds)| {
        let rate = producer.events_per_second.unwrap_or_default();
        let detail = format!("this Producer takes {rate} events a second, and more have come");
        Problem::new(reason::QUOTA, detail).retry_after(seconds)
    })
}

/// Whether the Producer takes an event of this size, and with these delays.
pub(crate) fn fits(producer: &Producer, (event, controls): &(Event, Controls)) -> Result<(), Problem> {
    let (size, limit) = (event.size(), producer.event_bytes);
    if size <= limit {
        return Ok(controls.check_delays(producer.max_delay, Timestamp::now().as_millisecond())?);
    }
    let detail = format!("the event has {size} bytes, and this Producer takes at most {limit}");
    Err(Problem::new(reason::EVENT_TOO_LARGE, detail))
}

/// What can be refused before the body is read.
fn checked(parts: &Parts) -> Result<Query, Problem> {
    body::check_encoding(&parts.headers)?;
    let query = Query::read(&parts.uri, &PLAIN)?;
    if !query.is_empty() && !is_plain(&parts.headers) {
        let detail = "type, subject and key belong to a plain event; this one has its attributes with it";
        return Err(Problem::new(reason::INVALID_QUERY, detail));
    }
    Ok(query)
}

fn is_plain(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let formats = b"application/cloudevents";
    let format = content_type.get(..formats.len()).is_some_and(|start| start.eq_ignore_ascii_case(formats));
    !format && !headers.keys().any(|name| name.as_str().starts_with("ce-"))
}
