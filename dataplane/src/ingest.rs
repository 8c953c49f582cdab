//! Publishing over HTTP: a request becomes an event, the event a record, and the record's position the answer.
//!
//! Two forms of one thing: a CloudEvents sink, which answers in headers because its callers take a body for another
//! event, and `…/events`, which answers in JSON. Everything is refused before the log is asked, or acknowledged after the
//! log has; once an event has come whole, it goes to the log even if its publisher has gone.

mod append;
pub(crate) mod body;
mod door;

use axum::{
    Json, Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::post,
};
use evhub_event::{
    Event,
    http::{Plain, decode},
};
use evhub_journal::{Journal, Position};
use evhub_routing::{Name, Producer};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;

pub use self::door::Door;
use self::{body::Bound, door::Charge};
use crate::{
    Hub,
    meters::Ending,
    problem::{self, Problem, reason},
    request::{Named, Query},
};

/// The methods of both paths.
const ALLOW: HeaderValue = HeaderValue::from_static("POST, OPTIONS");
/// What a header cannot carry as it is, as the CloudEvents HTTP binding has it.
const HEADER: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');
/// The query of a plain event.
const PLAIN: [&str; 3] = ["type", "subject", "key"];

/// Where an event lies, as its publisher is told.
#[derive(Debug, Serialize)]
struct Receipt {
    id: String,
    producer: String,
    partition: u32,
    offset: u64,
}

/// The listener for applications.
pub fn router<J: Journal>(hub: Hub<J>) -> Router {
    routes()
        .method_not_allowed_fallback(problem::method_not_allowed)
        .fallback(problem::not_found)
        .with_state(hub)
}

/// The publishing paths, to be served beside others.
pub(crate) fn routes<J: Journal>() -> Router<Hub<J>> {
    Router::new()
        .route("/namespaces/{namespace}/producers/{name}", post(sink).options(options))
        .route("/namespaces/{namespace}/producers/{name}/events", post(receipt).options(options))
}

async fn sink<J: Journal>(
    State(hub): State<Hub<J>>,
    Named(name): Named,
    request: Request,
) -> Result<Response, Problem> {
    let receipt = publish(&hub, &name, request).await?;
    let id = utf8_percent_encode(&receipt.id, HEADER).to_string();
    let mut headers = HeaderMap::new();
    // Whatever an id may hold is now printable ASCII, so this cannot fail; an answer without it is still true.
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(HeaderName::from_static("evhub-id"), id);
    }
    headers.insert(HeaderName::from_static("evhub-partition"), receipt.partition.into());
    headers.insert(HeaderName::from_static("evhub-offset"), receipt.offset.into());
    Ok((StatusCode::ACCEPTED, headers).into_response())
}

async fn receipt<J: Journal>(
    State(hub): State<Hub<J>>,
    Named(name): Named,
    request: Request,
) -> Result<Response, Problem> {
    let receipt = publish(&hub, &name, request).await?;
    Ok((StatusCode::ACCEPTED, Json(receipt)).into_response())
}

/// The handshake of the CloudEvents web hook: anybody who may publish may publish as fast as they like.
async fn options<J: Journal>(State(hub): State<Hub<J>>, Named(name): Named) -> Result<Response, Problem> {
    find(&hub, &name)?;
    let any = HeaderValue::from_static("*");
    let headers = [
        (header::ALLOW, ALLOW),
        (HeaderName::from_static("webhook-allowed-origin"), any.clone()),
        (HeaderName::from_static("webhook-allowed-rate"), any),
    ];
    Ok((StatusCode::OK, headers).into_response())
}

async fn publish<J: Journal>(hub: &Hub<J>, name: &Name, request: Request) -> Result<Receipt, Problem> {
    let (parts, body) = request.into_parts();
    let producer = match find(hub, name) {
        Ok(producer) => producer,
        Err(problem) => return Err(body::discard(&parts.headers, body, problem).await),
    };
    let mut charge = hub.door.enter();
    let event = take(&producer, &parts, body, &mut charge).await;
    let event = event.inspect_err(|_| hub.meters.published(name, Ending::Rejected))?;
    let Position { partition, offset } = append::append(hub, &producer, &event, charge).await?;
    Ok(Receipt { id: event.id, producer: name.to_string(), partition, offset })
}

fn find<J: Journal>(hub: &Hub<J>, name: &Name) -> Result<std::sync::Arc<Producer>, Problem> {
    // The same words whether the namespace, the Producer, or only the permission is missing.
    let missing = || Problem::new(reason::UNKNOWN_PRODUCER, "no Producer of this name takes events here");
    hub.running().producers.get(name).cloned().ok_or_else(missing)
}

/// Reads the whole event, within the Producer's limit and what the door lets in.
async fn take(
    producer: &Producer,
    parts: &Parts,
    body: axum::body::Body,
    charge: &mut Charge,
) -> Result<Event, Problem> {
    let query = match checked(parts) {
        Ok(query) => query,
        Err(problem) => return Err(body::discard(&parts.headers, body, problem).await),
    };
    let bound = Bound { bytes: producer.event_bytes, reason: reason::EVENT_TOO_LARGE };
    let body = body::read(&parts.headers, body, bound, charge).await?;
    let source = format!("/namespaces/{}/producers/{}", producer.name.namespace, producer.name.name);
    let plain = Plain {
        source: &source,
        kind: query.text("type"),
        subject: query.text("subject"),
        key: query.text("key"),
    };
    let event = decode(&parts.headers, body, &plain)?;
    if event.size() > producer.event_bytes {
        let (size, limit) = (event.size(), producer.event_bytes);
        let detail = format!("the event has {size} bytes, and this Producer takes at most {limit}");
        return Err(Problem::new(reason::EVENT_TOO_LARGE, detail));
    }
    Ok(event)
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
