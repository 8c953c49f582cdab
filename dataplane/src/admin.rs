//! Is it alive, is it ready, what does it count, what does it run. Read-only; reads the log's ends and commits.

mod metrics;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use evhub_journal::Journal;
use evhub_lifecycle::Drain;
use evhub_routing::{Generation, Snapshot};
use http::{StatusCode, header};
use serde::Serialize;

use crate::{Hub, follow::Status, problem};

#[derive(Clone)]
struct Admin<J: Journal> {
    hub: Hub<J>,
    drain: Drain,
}

/// Whether events published now will be delivered from here, and if not, what is in the way.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Readiness {
    ready: bool,
    /// Stopping: nothing new should come here.
    draining: bool,
    /// Whether there is anything to run yet.
    configured: bool,
    /// The accepted Processors that do not listen yet.
    waiting: Vec<String>,
    /// How it follows whoever says what to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    control: Option<Status>,
}

/// What runs, and who said so.
#[derive(Debug, Serialize)]
struct Running {
    #[serde(flatten)]
    snapshot: Arc<Snapshot>,
    #[serde(skip_serializing_if = "Option::is_none")]
    control: Option<Status>,
}

/// The listener for those who watch over this process.
pub fn router<J: Journal>(hub: Hub<J>, drain: Drain) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz::<J>))
        .route("/metrics", get(metrics::<J>))
        .route("/snapshot", get(snapshot::<J>))
        .method_not_allowed_fallback(problem::method_not_allowed)
        .fallback(problem::not_found)
        .with_state(Admin { hub, drain })
}

/// Alive is who answers.
async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz<J: Journal>(State(admin): State<Admin<J>>) -> Response {
    let readiness = readiness(&admin);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

fn readiness<J: Journal>(admin: &Admin<J>) -> Readiness {
    let snapshot = admin.hub.running();
    let waiting: Vec<_> = admin.hub.waiting().iter().map(ToString::to_string).collect();
    let draining = admin.drain.has_begun();
    // Having been told nothing is not the same as having been told that there is nothing.
    let configured = snapshot.generation != Generation::default();
    let control = status(&admin.hub);
    let settled = match &control {
        None => waiting.is_empty(),
        // Many run the same: a Processor that cannot listen anywhere must not turn publishers away everywhere. What does not
        // listen after a while is told to whoever serves control.
        Some(status) => status.applied.is_some(),
    };
    Readiness { ready: configured && !draining && settled, draining, configured, waiting, control }
}

fn status<J: Journal>(hub: &Hub<J>) -> Option<Status> {
    hub.following.as_ref().map(|following| following.borrow().clone())
}

async fn metrics<J: Journal>(State(admin): State<Admin<J>>) -> Response {
    let text = metrics::render(&admin.hub).await;
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, openmetrics)], text).into_response()
}

async fn snapshot<J: Journal>(State(admin): State<Admin<J>>) -> Json<Running> {
    Json(Running { snapshot: admin.hub.running(), control: status(&admin.hub) })
}
