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

use crate::{Hub, problem};

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
    Readiness { ready: configured && !draining && waiting.is_empty(), draining, configured, waiting }
}

async fn metrics<J: Journal>(State(admin): State<Admin<J>>) -> Response {
    let text = metrics::render(&admin.hub).await;
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, openmetrics)], text).into_response()
}

async fn snapshot<J: Journal>(State(admin): State<Admin<J>>) -> Json<Arc<Snapshot>> {
    Json(admin.hub.running())
}
