//! Schedules over HTTP, on every listener that takes events.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use evhub_journal::Journal;
use http::{StatusCode, Uri};
use serde::Serialize;

use super::ask::{Schedules, Upcoming};
use crate::{
    Hub,
    api::Page,
    problem::Problem,
    request::{Identified, Named, Query},
};

/// A schedule, and what it has in store.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
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

pub(crate) fn routes<J: Journal>() -> Router<Arc<Hub<J>>> {
    Router::new()
        .route("/namespaces/{namespace}/producers/{name}/schedules", get(list::<J>))
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

async fn fire<J: Journal>(
    State(hub): State<Arc<Hub<J>>>,
    Identified(name, id): Identified,
    uri: Uri,
) -> Result<(StatusCode, Json<Fired>), Problem> {
    Query::read(&uri, &[])?;
    let event = Schedules::of(&hub, &name)?.fire(&id).await?;
    Ok((StatusCode::ACCEPTED, Json(Fired { id: event, producer: name.to_string() })))
}

impl Listed {
    fn of(upcoming: Upcoming) -> Self {
        let next = upcoming.instants();
        let Upcoming { name, next: _, fired, skipped, suspended } = upcoming;
        Self { name, next, fired, skipped, suspended }
    }
}
