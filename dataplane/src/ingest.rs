//! Publishing over HTTP: a request becomes events, each event a record, and the record's position the answer.
//!
//! Two forms of one thing: a CloudEvents sink, which answers in headers because its callers take a body for another
//! event, and `…/events`, which answers in JSON. Everything is refused before the log is asked, or acknowledged after the
//! log has; once the events have come whole, they go to the log even if their publisher has gone.

pub(crate) mod append;
pub(crate) mod body;
pub(crate) mod claim;
mod door;
mod quota;
pub(crate) mod schedule;
pub(crate) mod take;
pub(crate) mod trace;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::post,
};
use evhub_event::{Controls, Event};
use evhub_journal::{Journal, Position};
use evhub_routing::{Name, Producer};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Serialize, Serializer};

pub(crate) use self::door::Charge;
use self::{append::Landed, schedule::Scheduled, take::Taken, trace::Asked};
pub use self::{
    door::Door,
    quota::{Over, Quotas},
};
use crate::{
    Hub,
    api::instant,
    meters::Ending,
    problem::{self, Ended, Outcome, Problem, reason},
    request::Named,
};

/// The methods of both paths.
const ALLOW: HeaderValue = HeaderValue::from_static("POST, OPTIONS");
/// What a header cannot carry as it is, as the CloudEvents HTTP binding has it.
const HEADER: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// Where an event lies, or when it will be published, as its publisher is told.
#[derive(Debug, Serialize)]
struct Receipt {
    id: String,
    #[serde(serialize_with = "name_of")]
    producer: Arc<Producer>,
    /// Nothing of an event that was published once: whoever asks again is told the same.
    #[serde(flatten)]
    landed: Option<Told>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Told {
    At { partition: u32, offset: u64 },
    Later { timer: String, due: String },
}

/// What was published, in the order of the events.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Published {
    One(Receipt),
    Batch(Vec<Receipt>),
}

/// The listener for applications.
pub fn router<J: Journal>(hub: Hub<J>) -> Router {
    routes()
        .method_not_allowed_fallback(problem::method_not_allowed)
        .fallback(problem::not_found)
        .with_state(Arc::new(hub))
}

/// The publishing paths, to be served beside others. Each request gets a copy of the state, and a hub has many parts.
pub(crate) fn routes<J: Journal>() -> Router<Arc<Hub<J>>> {
    Router::new()
        .route("/namespaces/{namespace}/producers/{name}", post(sink).options(options))
        .route("/namespaces/{namespace}/producers/{name}/events", post(receipt).options(options))
        .merge(crate::evhub::routes())
        .merge(crate::timers::http::routes())
        .merge(crate::schedules::http::routes())
        .merge(crate::transactions::http::routes())
}

async fn sink<J: Journal>(
    State(hub): State<Arc<Hub<J>>>,
    Named(name): Named,
    request: Request,
) -> Result<Response, Problem> {
    let headers = match publish(&hub, &name, request).await? {
        Published::One(receipt) => receipt.headers(),
        // One header cannot tell of many.
        Published::Batch(_) => HeaderMap::new(),
    };
    Ok((StatusCode::ACCEPTED, headers).into_response())
}

async fn receipt<J: Journal>(
    State(hub): State<Arc<Hub<J>>>,
    Named(name): Named,
    request: Request,
) -> Result<Response, Problem> {
    let published = publish(&hub, &name, request).await?;
    let mut headers = HeaderMap::new();
    if let Published::One(Receipt { landed: Some(Told::Later { timer, .. }), .. }) = &published {
        let path = format!("/namespaces/{}/producers/{}/timers/{timer}", name.namespace, name.name);
        headers.extend(HeaderValue::try_from(path).ok().map(|path| (header::LOCATION, path)));
    }
    Ok((StatusCode::ACCEPTED, headers, Json(published)).into_response())
}

/// The handshake of the CloudEvents web hook: anybody who may publish may publish as fast as they like.
async fn options<J: Journal>(
    State(hub): State<Arc<Hub<J>>>,
    Named(name): Named,
) -> Result<Response, Problem> {
    find(&hub, &name)?;
    let any = HeaderValue::from_static("*");
    let headers = [
        (header::ALLOW, ALLOW),
        (HeaderName::from_static("webhook-allowed-origin"), any.clone()),
        (HeaderName::from_static("webhook-allowed-rate"), any),
    ];
    Ok((StatusCode::OK, headers).into_response())
}

async fn publish<J: Journal>(hub: &Hub<J>, name: &Name, request: Request) -> Result<Published, Problem> {
    let (parts, body) = request.into_parts();
    let producer = match find(hub, name) {
        Ok(producer) => producer,
        Err(problem) => return Err(body::discard(&parts.headers, body, problem).await),
    };
    let asked = Asked::of(hub, &parts.headers);
    let mut charge = hub.door.enter();
    let taken = take::take(hub, &producer, &parts, body, &mut charge).await;
    match taken.inspect_err(|problem| refused(hub, name, &asked, || problem.words()))? {
        Taken::One(event) => {
            let landed = append::append(hub, &producer, &event, charge, &asked).await?;
            Ok(Published::One(Receipt::new(&event.0, &producer, landed)))
        }
        Taken::Batch(events) => batch(hub, &producer, events, charge, &asked).await.map(Published::Batch),
    }
}

/// The Producer of this name, if it takes events here.
pub(crate) fn find<J: Journal>(hub: &Hub<J>, name: &Name) -> Result<Arc<Producer>, Problem> {
    // The same words whether the namespace, the Producer, or only the permission is missing.
    let missing = || Problem::new(reason::UNKNOWN_PRODUCER, "no Producer of this name takes events here");
    hub.running().producers.get(name).cloned().ok_or_else(missing)
}

/// Takes note of what a Producer was sent and is not published.
pub(crate) fn refused<J: Journal>(
    hub: &Hub<J>,
    producer: &Name,
    asked: &Asked,
    why: impl FnOnce() -> (String, String),
) {
    hub.meters.published(producer, Ending::Rejected);
    asked.refused(hub, producer, why);
}

/// Publishes a batch: receipts of all events, or a refusal that tells of each. Never a failure inside a success.
async fn batch<J: Journal>(
    hub: &Hub<J>,
    producer: &Arc<Producer>,
    events: Vec<(Event, Controls)>,
    charge: Charge,
    asked: &Asked,
) -> Result<Vec<Receipt>, Problem> {
    let events: Arc<[_]> = events.into();
    let results = append::append_all(hub, producer, Arc::clone(&events), charge, asked).await;
    if results.iter().all(Result::is_ok) {
        let receipt = |(event, landed): (&(Event, Controls), _)| Receipt::new(&event.0, producer, landed);
        return Ok(events.iter().zip(results.into_iter().flatten()).map(receipt).collect());
    }
    let each = events.iter().zip(&results).enumerate();
    let outcomes = each.map(|(index, ((event, _), result))| ended(index, event, result)).collect();
    Err(refusal(results).with_outcomes(outcomes))
}

/// What became of one event of a batch.
fn ended(index: usize, event: &Event, result: &Result<Landed, Problem>) -> Ended {
    let (outcome, position, reason) = match result {
        Ok(Landed::At(position)) => ("accepted", Some(position), None),
        Ok(Landed::Later(_) | Landed::Once(_)) => ("accepted", None, None),
        Err(problem) => (problem.outcome.word(), None, Some(problem.reason.word)),
    };
    let (partition, offset) = (position.map(|at| at.partition), position.map(|at| at.offset));
    let id = match result {
        Ok(Landed::Once(receipt)) => receipt.event_id.clone(),
        _ => event.id.clone(),
    };
    Ended { index, outcome, id, partition, offset, reason }
}

/// What is said of a batch that was not accepted whole.
fn refusal(results: Vec<Result<Landed, Problem>>) -> Problem {
    let nothing = results.iter().all(|result| matches!(result, Err(p) if p.outcome == Outcome::Rejected));
    if nothing && let Some(Err(first)) = results.into_iter().next() {
        return first;
    }
    let detail = "not all events of the batch were accepted; outcomes says what became of each";
    Problem::new(reason::BATCH_MIXED, detail).unknown().retry_after(1)
}

fn name_of<S: Serializer>(producer: &Arc<Producer>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&producer.name)
}

// === impl Receipt ===

impl Receipt {
    fn new(event: &Event, producer: &Arc<Producer>, landed: Landed) -> Self {
        let later = |Scheduled { timer, due }: Scheduled| {
            let (timer, due) = (timer.to_string(), instant(due).unwrap_or_default());
            Told::Later { timer, due }
        };
        let (id, landed) = match landed {
            Landed::At(Position { partition, offset }) => {
                (event.id.clone(), Some(Told::At { partition, offset }))
            }
            Landed::Later(scheduled) => (event.id.clone(), Some(later(scheduled))),
            Landed::Once(receipt) => {
                let timer = claim::timer_of(&receipt).map(later);
                (receipt.event_id, timer)
            }
        };
        Self { id, producer: Arc::clone(producer), landed }
    }

    fn headers(&self) -> HeaderMap {
        let id = utf8_percent_encode(&self.id, HEADER).to_string();
        let mut headers = HeaderMap::new();
        // Whatever an id may hold is now printable ASCII, so this cannot fail; an answer without it is still true.
        if let Ok(id) = HeaderValue::try_from(id) {
            headers.insert(HeaderName::from_static("evhub-id"), id);
        }
        let Some(landed) = &self.landed else { return headers };
        let pairs = match landed {
            Told::At { partition, offset } => {
                [("evhub-partition", Some((*partition).into())), ("evhub-offset", Some((*offset).into()))]
            }
            Told::Later { timer, due } => [
                ("evhub-timer", HeaderValue::try_from(timer).ok()),
                ("evhub-due", HeaderValue::try_from(due).ok()),
            ],
        };
        headers.extend(
            pairs.into_iter().filter_map(|(name, value)| Some((HeaderName::from_static(name), value?))),
        );
        headers
    }
}
