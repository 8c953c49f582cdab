//! One connection, and each of its requests answered whatever happens. Does I/O.

use std::{convert::Infallible, panic::AssertUnwindSafe, pin::pin, sync::Arc};

use axum::{Router, body::Body, response::IntoResponse};
use evhub_event::invalid::quote;
use evhub_lifecycle::Drain;
use futures_util::FutureExt as _;
use http::{HeaderMap, Method, Request, Response, Version, header};
use hyper::{body::Incoming, server::conn::http1, service::Service as _};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use uuid::Uuid;

use super::{
    Limits, multiplex,
    pace::Paced,
    phase::{Answer, Phase},
    socket::Socket,
};
use crate::{
    meters::Meters,
    problem::{self, Outcome, Problem, reason},
};

/// What all connections of a listener share.
pub(super) struct Context {
    pub(super) name: &'static str,
    pub(super) router: Router,
    pub(super) limits: Limits,
    /// The room for heads over HTTP/2.
    pub(super) heads: Arc<Semaphore>,
    pub(super) meters: Meters,
    pub(super) drain: Drain,
}

/// Serves one connection to its end, in the protocol that it begins with.
pub(super) async fn serve(context: &Arc<Context>, stream: TcpStream) {
    // An answer is one small write; waiting for more would only delay it.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "could not set TCP_NODELAY");
    }
    let phase = Arc::new(Phase::default());
    let mut socket = Socket::new(stream, Arc::clone(&phase), context.limits);
    let greeted = tokio::select! {
        greeted = socket.greeted() => greeted,
        // It has asked for nothing yet.
        () = context.drain.begun() => return,
    };
    match greeted {
        Ok(true) => multiplex::serve(context, &phase, socket).await,
        Ok(false) => one_by_one(context, &phase, socket).await,
        Err(error) => tracing::debug!(listener = context.name, %error, "a connection broke"),
    }
}

async fn one_by_one(context: &Arc<Context>, phase: &Arc<Phase>, socket: Socket) {
    let service = hyper::service::service_fn(|request| {
        let (context, phase) = (Arc::clone(context), Arc::clone(phase));
        async move { Ok::<_, Infallible>(answer(&context, &phase, request).await) }
    });
    let mut connection = pin!(builder(&context.limits).serve_connection(TokioIo::new(socket), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = context.drain.begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(listener = context.name, %error, "a connection broke");
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // A client that has sent its request may end its side and still wants the answer.
        .half_close(true)
        // The socket keeps these times.
        .header_read_timeout(None)
        // Somewhat beyond our limits a head is read and answered in our words; beyond, hyper answers a bare 431.
        .max_headers(limits.headers * 2)
        .max_buf_size(limits.head_bytes + (16 << 10));
    builder
}

pub(super) async fn answer(
    context: &Context,
    phase: &Arc<Phase>,
    request: Request<Incoming>,
) -> Response<Answer> {
    let serving = phase.begin();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let request = request.map(|body| Body::new(Paced::new(body, Arc::clone(phase), context.limits)));
    let response = match check(&request, &context.limits).and_then(|size| context.room(&request, size)) {
        Ok(_held) => route(context, request).await,
        Err(problem) => problem.into_response(),
    };
    let (response, told) = problem::finish(response, || Uuid::now_v7().simple().to_string());
    if let Some((problem, id)) = told {
        note(context.name, &id, &method, uri.path(), &problem);
    }
    context.meters.answered(context.name, response.status().as_u16());
    response.map(|body| serving.until_sent(body))
}

async fn route(context: &Context, request: Request<Body>) -> Response<Body> {
    let service = TowerToHyperService::new(context.router.clone());
    match AssertUnwindSafe(service.call(request)).catch_unwind().await {
        Ok(Ok(response)) => response,
        Err(_) => {
            context.meters.panicked();
            tracing::error!(listener = context.name, "a handler panicked");
            Problem::new(reason::INTERNAL, "the hub failed in a way it should not; its log says more")
                .unknown()
                .closing()
                .into_response()
        }
    }
}

impl Context {
    /// Room for a head of this size. A connection of HTTP/1.1 has one head at a time, and is bounded by that.
    fn room(&self, request: &Request<Body>, size: usize) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        if request.version() != Version::HTTP_2 {
            return Ok(None);
        }
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let busy = |_| Problem::new(reason::BUSY, "too many bytes of heads are under way").retry_after(1);
        Arc::clone(&self.heads).try_acquire_many_owned(size).map(Some).map_err(busy)
    }
}

/// What every request must hold to, whatever it asks for; says how large its head is.
fn check(request: &Request<Body>, limits: &Limits) -> Result<usize, Problem> {
    let headers = request.headers();
    let size =
        |headers: &HeaderMap| headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 4).sum::<usize>();
    let target = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let size = size(headers) + target;
    if headers.len() > limits.headers || size > limits.head_bytes {
        let Limits { headers, head_bytes, .. } = limits;
        let detail = format!("a head has at most {headers} headers and {head_bytes} bytes");
        return Err(Problem::new(reason::HEADERS_TOO_LARGE, detail));
    }
    let hosts = headers.get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        let detail = format!("an HTTP/1.1 request has one Host header, not {hosts}");
        return Err(Problem::new(reason::INVALID_HEADER, detail).at("host"));
    }
    Ok(size)
}

/// One line per refusal: what went wrong on our side is worth seeing, what a client did is not.
fn note(listener: &str, id: &str, method: &Method, path: &str, problem: &Problem) {
    let Problem { reason, detail, field, outcome, .. } = problem;
    let (reason, path) = (reason.word, quote(path));
    if problem.reason == reason::INTERNAL || *outcome == Outcome::Unknown {
        tracing::warn!(listener, id, %method, path, reason, detail, field, "a request failed");
    } else {
        tracing::debug!(listener, id, %method, path, reason, detail, field, "a request was refused");
    }
}
