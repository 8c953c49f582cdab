//! EvHub's HTTP form: JSON whatever the content type says, and always 200.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use evhub_journal::Journal;
use http::{HeaderValue, header};

use super::{
    Fault, json, report,
    transaction::{commit_half, prepare, roll_back, unprepared},
    unreported,
};
use crate::{
    Hub,
    ingest::{
        Charge,
        body::{self, Bound},
        trace::Asked,
    },
    problem::reason,
};

/// The longest body: a message of 4 MiB with its data in base64.
const BOUND: Bound = Bound { bytes: 6 << 20, reason: reason::EVENT_TOO_LARGE };

/// The four paths, to be served beside others.
pub(crate) fn routes<J: Journal>() -> Router<Arc<Hub<J>>> {
    Router::new()
        .route("/v1/report", post(post_report))
        .route("/v1/prepare", post(post_prepare))
        .route("/v1/commit", post(post_commit))
        .route("/v1/rollback", post(post_rollback))
}

async fn post_report<J: Journal>(State(hub): State<Arc<Hub<J>>>, request: Request) -> Response {
    let asked = Asked::of(&hub, request.headers());
    let (body, charge) = match read(&hub, request).await {
        Ok(read) => read,
        Err(Unread { fault, close }) => return ended(answer(unreported(fault)), close),
    };
    match json::report(&body) {
        Ok(request) => answer(report(&hub, request, charge, &asked).await),
        Err(fault) => answer(unreported(fault)),
    }
}

async fn post_prepare<J: Journal>(State(hub): State<Arc<Hub<J>>>, request: Request) -> Response {
    let asked = Asked::of(&hub, request.headers());
    match read(&hub, request).await {
        Ok((body, charge)) => match json::prepare(&body) {
            Ok(request) => answer(prepare(&hub, request, charge, &asked).await),
            Err(fault) => answer(fault),
        },
        Err(Unread { fault, close }) => ended(answer(unprepared(fault)), close),
    }
}

async fn post_commit<J: Journal>(State(hub): State<Arc<Hub<J>>>, request: Request) -> Response {
    match read(&hub, request).await {
        Ok((body, _)) => match json::commit(&body) {
            Ok(request) => answer(commit_half(&hub, request).await),
            Err(fault) => answer(fault),
        },
        Err(Unread { fault, close }) => ended(answer(fault), close),
    }
}

async fn post_rollback<J: Journal>(State(hub): State<Arc<Hub<J>>>, request: Request) -> Response {
    match read(&hub, request).await {
        Ok((body, _)) => match json::rollback(&body) {
            Ok(request) => answer(roll_back(&hub, request).await),
            Err(fault) => answer(fault),
        },
        Err(Unread { fault, close }) => ended(answer(fault), close),
    }
}

/// What could not be read, and whether the connection ends with it.
struct Unread {
    fault: Fault,
    close: bool,
}

async fn read<J: Journal>(hub: &Hub<J>, request: Request) -> Result<(Bytes, Charge), Unread> {
    let (parts, body) = request.into_parts();
    let mut charge = hub.door.enter();
    let whole = match body::check_encoding(&parts.headers) {
        Ok(()) => body::read(&parts.headers, body, BOUND, &mut charge).await,
        Err(problem) => Err(body::discard(&parts.headers, body, problem).await),
    };
    match whole {
        Ok(whole) => Ok((whole, charge)),
        Err(problem) => Err(Unread { close: problem.close, fault: problem.into() }),
    }
}

fn answer(answer: impl Into<json::Answer>) -> Response {
    Json(answer.into()).into_response()
}

/// The answer, with which the connection ends or not.
fn ended(mut response: Response, close: bool) -> Response {
    if close {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
