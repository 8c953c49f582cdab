//! Is it alive, is it ready, what does it count. Read-only. I/O.

use std::sync::Arc;

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use http::{StatusCode, header};
use tokio::{net::TcpListener, sync::watch};

use crate::meters::Meters;

/// What is told.
#[derive(Clone, Debug)]
pub struct Admin {
    /// What is counted.
    pub meters: Arc<Meters>,
    /// Whether the API server was reached, and nothing is in the way of leading or of waiting to.
    pub ready: watch::Receiver<bool>,
}

/// Serves until `ends`.
pub async fn serve(
    listener: TcpListener,
    admin: Admin,
    ends: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(admin);
    axum::serve(listener, router).with_graceful_shutdown(ends).await
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    if *admin.ready.borrow() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the API server has not been reached yet, or this operator stops\n")
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, openmetrics)], admin.meters.page())
}
