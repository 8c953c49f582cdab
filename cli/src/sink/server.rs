//! A receiver of deliveries over HTTP and gRPC, on one listener, answering as its owner decides. Does I/O; prints nothing.

use std::{borrow::Cow, convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use evhub_lifecycle::Drain;
use http::{HeaderMap, Request, Response, StatusCode, header, request};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tonic::{body::Body, service::Routes};
use tower_service::Service as _;

use super::grpc;

/// The largest body taken; far above what any Producer lets in.
const LARGEST: usize = 64 << 20;
/// How many connections may be open; more wait to be accepted.
const CONNECTIONS: usize = 1024;
/// How long a client may take to send a request's head.
const HEAD: Duration = Duration::from_secs(10);

/// A bound listener and the decision it follows.
pub(crate) struct Sink<D> {
    listener: TcpListener,
    decide: Arc<D>,
}

/// One request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// When it was here, whole.
    pub(crate) time: Timestamp,
    /// The path and query it was sent to.
    pub(crate) path: String,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Bytes,
}

/// What to answer, and how long to take for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// How long to wait with it.
    pub(crate) delay: Duration,
}

impl<D: Fn(&Attempt) -> Answer + Send + Sync + 'static> Sink<D> {
    /// Listens at once; `decide` is asked once for each request, before it is answered.
    pub(crate) async fn bind(address: &str, decide: D) -> std::io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, decide: Arc::new(decide) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the drain begins, then finishes what it has, without delays.
    pub(crate) async fn serve(self, drain: Drain) {
        let graceful = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let routes = grpc::routes(&self.decide, &drain);
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
        loop {
            let accepted = tokio::select! {
                () = drain.begun() => break,
                accepted = accept(&self.listener, &room) => accepted,
            };
            let Some((stream, permit)) = accepted else { continue };
            let (decide, drain, routes) = (Arc::clone(&self.decide), drain.clone(), routes.clone());
            let service = service_fn(move |request| {
                let (decide, drain, routes) = (Arc::clone(&decide), drain.clone(), routes.clone());
                async move { served(decide, drain, routes, request).await }
            });
            let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection broke");
                }
                drop(permit);
            });
        }
        graceful.shutdown().await;
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            // Out of file descriptors, most likely: asking again at once would only spin.
            tracing::warn!(%error, "could not accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// A call of gRPC, or any other request.
async fn served<D: Fn(&Attempt) -> Answer>(
    decide: Arc<D>,
    drain: Drain,
    mut routes: Routes,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    if content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
        return routes.call(request).await;
    }
    answer(decide, drain, request).await
}

/// Takes as long as was asked for, unless all is to end.
pub(super) async fn take_time(delay: Duration, drain: &Drain) {
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        () = drain.begun() => {}
    }
}

async fn answer<D: Fn(&Attempt) -> Answer>(
    decide: Arc<D>,
    drain: Drain,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let status = match Limited::new(body, LARGEST).collect().await {
        Err(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Ok(body) => {
            let answer = decide(&Attempt::new(head, body.to_bytes()));
            take_time(answer.delay, &drain).await;
            answer.status
        }
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    Ok(response)
}

// === impl Attempt ===

impl Attempt {
    fn new(head: request::Parts, body: Bytes) -> Self {
        let path = head.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        Self { time: Timestamp::now(), path, headers: head.headers, body }
    }

    /// The Processor that sent it.
    pub(crate) fn processor(&self) -> Option<Cow<'_, str>> {
        self.header("evhub-processor")
    }

    /// Its event's id.
    pub(crate) fn event_id(&self) -> Option<Cow<'_, str>> {
        self.header("ce-id")
    }

    /// Its event's key.
    pub(crate) fn key(&self) -> Option<Cow<'_, str>> {
        self.header("ce-partitionkey")
    }

    /// Which attempt this is, from 1.
    pub(crate) fn number(&self) -> Option<u32> {
        self.header("evhub-attempt")?.parse().ok()
    }

    /// A header's value as CloudEvents writes it: percent-encoded where it must be.
    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let value = self.headers.get(name)?.to_str().ok()?;
        Some(percent_decode_str(value).decode_utf8_lossy())
    }
}

impl Answer {
    /// An answer without delay.
    pub(crate) fn now(status: StatusCode) -> Self {
        Self { status, delay: Duration::ZERO }
    }
}
