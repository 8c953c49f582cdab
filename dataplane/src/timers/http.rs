//! Timers over HTTP, on every listener that takes events.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Request, State},
    routing::get,
};
use evhub_event::controls::{When, delay, instant as parse_instant};
use evhub_journal::Journal;
use evhub_ledger::Listed;
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};

use super::ask::Timers;
use crate::{
    Hub,
    api::{PAGE, Page, instant, text_or_base64},
    ingest::body::{self, Bound, check_json},
    problem::{Problem, reason},
    request::{Identified, Named, Query},
};

/// How long an order to reschedule may be.
const ORDER: Bound = Bound { bytes: 4096, reason: reason::BODY_TOO_LARGE };

/// A pending timer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Pending {
    timer: String,
    event_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
}

/// When it is to fire instead.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    due: Option<String>,
    delay: Option<String>,
}

pub(crate) fn routes<J: Journal>() -> Router<Arc<Hub<J>>> {
    Router::new().route("/namespaces/{namespace}/producers/{name}/timers", get(list::<J>)).route(
        "/namespaces/{namespace}/producers/{name}/timers/{id}",
        get(show::<J>).delete(cancel::<J>).patch(reschedule::<J>),
    )
}

async fn list<J: Journal>(
    State(hub): State<Arc<Hub<J>>>,
    Named(name): Named,
    uri: Uri,
) -> Result<Json<Page<Pending>>, Problem> {
    let query = Query::read(&uri, &["limit", "after"])?;
    let limit = query.limit(PAGE.0, PAGE.1)?;
    let (listed, next) = Timers::of(&hub, &name)?.list(query.text("after"), limit).await?;
    Ok(Json(Page { items: listed.into_iter().map(Pending::of).collect(), next }))
}

async fn show<J: Journal>(
    State(hub): State<Arc<Hub<J>>>,
    Identified(name, id): Identified,
    uri: Uri,
) -> Result<Json<Pending>, Problem> {
    Query::read(&uri, &[])?;
    Ok(Json(Pending::of(Timers::of(&hub, &name)?.look(&id).await?)))
}

async fn cancel<J: Journal>(
    State(hub): State<Arc<Hub<J>>>,
    Identified(name, id): Identified,
    uri: Uri,
) -> Result<StatusCode, Problem> {
    Query::read(&uri, &[])?;
    Timers::of(&hub, &name)?.cancel(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn reschedule<J: Journal>(
    State(hub): State<Arc<Hub<J>>>,
    Identified(name, id): Identified,
    request: Request,
) -> Result<Json<Pending>, Problem> {
    let (parts, body) = request.into_parts();
    let checked = Query::read(&parts.uri, &[]).and_then(|_| check_json(&parts.headers));
    let timers = match checked.and_then(|()| Timers::of(&hub, &name)) {
        Ok(timers) => timers,
        Err(problem) => return Err(body::discard(&parts.headers, body, problem).await),
    };
    let body = body::read(&parts.headers, body, ORDER, &mut hub.door.enter()).await?;
    let when = when(&body)?;
    Ok(Json(Pending::of(timers.reschedule(&id, when).await?)))
}

fn when(body: &[u8]) -> Result<When, Problem> {
    let form = || {
        let detail = r#"the body says when, as {"due":"2026-01-01T09:00:00Z"} or {"delay":"1h30m"}"#;
        Problem::new(reason::INVALID_JSON, detail)
    };
    match serde_json::from_slice(body).map_err(|_| form())? {
        Order { due: Some(due), delay: None } => Ok(When::At(parse_instant(&due)?)),
        Order { due: None, delay: Some(text) } => Ok(When::After(delay(&text)?)),
        Order { .. } => Err(form()),
    }
}

impl Pending {
    fn of(listed: Listed) -> Self {
        let Listed { id, producer: _, event_id, due, key } = listed;
        let (key, key_base64) = text_or_base64(key.as_ref());
        Self { timer: id.to_string(), event_id, due: instant(due), key, key_base64 }
    }
}
