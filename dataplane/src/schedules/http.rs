//! Schedules over HTTP, on every listener that takes events.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Request, State},
    routing::{get, post},
};
use evhub_journal::Journal;
use http::{StatusCode, Uri};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    ask::{Schedules, Shown, Upcoming},
    json as written,
};
use crate::{
    Hub,
    api::Page,
    ingest::body::{self, Bound, check_json},
    problem::{Problem, reason},
    request::{Identified, Named, Query},
};

/// How long a schedule may be as JSON: its data have a limit of their own, which leaves room for other ways to write them.
const SCHEDULE: Bound = Bound { bytes: 1 << 20, reason: reason::BODY_TOO_LARGE };

/// A schedule, and what it has in store.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    declared: bool,
    next: Vec<String>,
    fired: u64,
    skipped: u64,
    suspended: bool,
}

/// What fired.
#[derive(Debug, Serialize)]
struct Fired {
    id: String,
    producer: String,
}

/// A schedule as it can be put, and what the hub says of it.
type Document = Json<Map<String, Value>>;

pub(crate) fn routes<J: Journal>() -> Router<Arc<Hub<J>>> {
    Router::new()
        .route("/namespaces/{namespace}/producers/{name}/schedules", get(list::<J>))
        .route(
            "/namespaces/{namespace}/producers/{name}/schedules/{id}",
            get(show::<J>).put(put::<J>).delete(delete::<J>),
        )
        .route("/namespaces/{namespace}/producers/{name}/schedules/{id}/fire", post(fire::<J>))
}

async fn list<J: Journal>(
    State(hub): State<Arc<Hub<J>>>,
    Named(name): Named,
    uri: Uri,
) -> Result<Json<Page<Listed>>, Problem> {
    Query::read(&uri, &[])?;
    let listed = Schedules::of(&hub, &name)?.list().await?;
    Ok(Json(Page { items: listed.into_iter().map(Listed::of).collect(), next: None }))
}

async fn show<J: Journal>(
    State(hub): State<Arc<Hub<J>>>,
    Identified(name, id): Identified,
    uri: Uri,
) -> Result<Document, Problem> {
    Query::read(&uri, &[])?;
    Ok(document(Schedules::of(&hub, &name)?.look(&id).await?))
}

async fn put<J: Journal>(
    State(hub): State<Arc<Hub<J>>>,
    Identified(name, id): Identified,
    request: Request,
) -> Result<(StatusCode, Document), Problem> {
    let (parts, body) = request.into_parts();
    let checked = Query::read(&parts.uri, &[]).and_then(|_| check_json(&parts.headers));
    let schedules = match checked.and_then(|()| Schedules::of(&hub, &name)) {
        Ok(schedules) => schedules,
        Err(problem) => return Err(body::discard(&parts.headers, body, problem).await),
    };
    let mut charge = hub.door.enter();
    let body = body::read(&parts.headers, body, SCHEDULE, &mut charge).await?;
    let (shown, is_new) = schedules.put(written::read(&id, &body)?).await?;
    Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, document(shown)))
}

async fn delete<J: Journal>(
    State(hub): State<Arc<Hub<J>>>,
    Identified(name, id): Identified,
    uri: Uri,
) -> Result<StatusCode, Problem> {
    Query::read(&uri, &[])?;
    Schedules::of(&hub, &name)?.delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn fire<J: Journal>(
    State(hub): State<Arc<Hub<J>>>,
    Identified(name, id): Identified,
    uri: Uri,
) -> Result<(StatusCode, Json<Fired>), Problem> {
    Query::read(&uri, &[])?;
    let event = Schedules::of(&hub, &name)?.fire(&id).await?;
    Ok((StatusCode::ACCEPTED, Json(Fired { id: event, producer: name.to_string() })))
}

fn document(Shown { written, upcoming }: Shown) -> Document {
    let mut document = written::show(&written);
    let next = upcoming.instants();
    let Upcoming { name: _, declared, next: _, fired, skipped, suspended: _ } = upcoming;
    let status = json!({ "declared": declared, "next": next, "fired": fired, "skipped": skipped });
    document.insert("status".to_owned(), status);
    Json(document)
}

impl Listed {
    fn of(upcoming: Upcoming) -> Self {
        let next = upcoming.instants();
        let Upcoming { name, declared, next: _, fired, skipped, suspended } = upcoming;
        Self { name, declared, next, fired, skipped, suspended }
    }
}
