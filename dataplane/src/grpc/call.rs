//! One call, whatever it asks for: refused, answered in time, or given up. No I/O of its own.

use std::{convert::Infallible, panic::AssertUnwindSafe, time::Duration};

use evhub_lifecycle::Drain;
use futures_util::FutureExt as _;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};
use tonic::{Status, body::Body, service::Routes};
use tower_service::Service as _;

use super::{
    Ending, deadline,
    intake::{Intake, Taken},
    status,
};
use crate::{
    evhub,
    ingest::Door,
    meters::Meters,
    problem::{Outcome, Problem, reason},
    server::readers::Watched,
};

/// What all calls of a listener share.
pub(super) struct Context {
    pub(super) name: &'static str,
    pub(super) routes: Routes,
    pub(super) door: Door,
    pub(super) meters: Meters,
    /// The longest that an answer may take to begin, whatever its caller says.
    pub(super) longest: Duration,
}

/// When a call must have ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until(pub(super) Option<Instant>);

/// Answers a call.
pub(super) async fn answer(context: &Context, ending: &Drain, request: Request<Incoming>) -> Response<Body> {
    let response = match refused(&request) {
        Some(status) => plain(status),
        None => told(context, ending, request).await,
    };
    context.meters.answered(context.name, response.status().as_u16());
    response
}

/// The answer to what is one, as its service says things.
async fn told(context: &Context, ending: &Drain, request: Request<Incoming>) -> Response<Body> {
    let evhub = evhub::Method::of(request.uri().path());
    let refusal = |problem| {
        note(context.name, &problem);
        status::of(&problem).into_http()
    };
    let response = called(context, ending, request).await.map_or_else(refusal, ours);
    match evhub {
        Some(method) => method.tell(response).await,
        None => response,
    }
}

/// The status of what is not even a call.
fn refused(request: &Request<Incoming>) -> Option<StatusCode> {
    let content_type = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let grpc = [&b"application/grpc"[..], b"application/grpc+proto"];
    let bare = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if !grpc.iter().any(|known| bare.eq_ignore_ascii_case(known)) {
        return Some(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    (request.method() != Method::POST).then_some(StatusCode::METHOD_NOT_ALLOWED)
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

async fn called(
    context: &Context,
    ending: &Drain,
    request: Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    let began = Instant::now();
    let asked = deadline::asked(request.headers())?;
    let within = asked.unwrap_or(context.longest).min(context.longest);
    if within <= Duration::from_micros(1) {
        return Err(expired());
    }
    let taken = Taken::new(&context.door);
    // Many calls of one connection hold their heads at once.
    if !taken.grow(head_bytes(&request)) {
        return Err(Problem::new(reason::BUSY, "too many bytes are on their way to the log").retry_after(1));
    }
    // A reflection client may keep its stream for ever; it has nothing to lose when it ends.
    let reflection = request.uri().path().starts_with("/grpc.reflection.");
    let end = reflection.then(|| Box::pin(ending.begun()) as super::intake::End);
    let mut request = request.map(|body| Intake::new(body, taken.clone(), end));
    request.extensions_mut().insert(taken);
    request.extensions_mut().insert(Ending(ending.clone()));
    // A stream may outlast our longest time: it is bounded by its connection's age.
    request.extensions_mut().insert(Until(asked.and_then(|asked| began.checked_add(asked))));
    let routed = AssertUnwindSafe(context.routes.clone().call(request)).catch_unwind();
    match timeout_at(began + within, routed).await {
        Ok(Ok(Ok(response))) => Ok(response),
        Ok(Ok(Err(never))) => match never {},
        Ok(Err(_)) => {
            context.meters.panicked();
            tracing::error!(listener = context.name, "a handler panicked");
            let detail = "the hub failed in a way it should not; its log says more";
            Err(Problem::new(reason::INTERNAL, detail).unknown())
        }
        Err(_) => Err(expired().unknown()),
    }
}

fn head_bytes(request: &Request<Incoming>) -> usize {
    let headers: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    headers + request.uri().path().len()
}

/// The answer, its refusal in our words.
fn ours(response: Response<Body>) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != tonic::Code::Ok && status.details().is_empty() => {
            status::translate(status).into_http()
        }
        _ => response,
    }
}

fn expired() -> Problem {
    Problem::new(reason::DEADLINE_EXCEEDED, "the call's time was up before it was answered")
}

fn note(listener: &str, Problem { reason, detail, outcome, .. }: &Problem) {
    let reason = reason.word;
    if *outcome == Outcome::Unknown {
        tracing::warn!(listener, reason, detail, "a call failed");
    } else {
        tracing::debug!(listener, reason, detail, "a call was refused");
    }
}

/// No answer is an error of the transport's.
pub(super) type Answered = Result<Response<Watched<Body>>, Infallible>;
