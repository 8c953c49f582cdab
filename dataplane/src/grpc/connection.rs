//! One HTTP/2 connection: many calls at once, for as long as a connection may live. Does I/O.

use std::{pin::pin, sync::Arc, time::Duration};

use evhub_lifecycle::{Drain, channel};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{
    Limits,
    call::{self, Answered, Context},
    greeting::Greeting,
};

/// How many calls that were reset before they were answered a connection may have waiting.
const RESETS: usize = 32;

/// Serves one connection to its end: its peer's, its age's, or the drain's.
pub(super) async fn serve(context: Arc<Context>, limits: Limits, drain: Drain, stream: TcpStream) {
    // An answer is one small write; waiting for more would only delay it.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "could not set TCP_NODELAY");
    }
    let name = context.name;
    let (trigger, ending) = channel();
    let io = TokioIo::new(Greeting::new(stream, limits.greeting));
    let service = hyper::service::service_fn(move |request| {
        let (context, ending) = (Arc::clone(&context), ending.clone());
        async move { Answered::Ok(call::answer(&context, &ending, request).await) }
    });
    let mut connection = pin!(builder(&limits).serve_connection(io, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = drain.begun() => None,
        () = sleep(age(&limits)) => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        trigger.begin();
        connection.as_mut().graceful_shutdown();
        match timeout(limits.grace, connection).await {
            Ok(ended) => ended,
            Err(_) => return tracing::debug!(listener = name, "calls outlasted their connection"),
        }
    };
    if let Err(error) = ended {
        tracing::debug!(listener = name, %error, "a connection broke");
    }
}

/// Spread, so that connections which began together do not end together.
fn age(limits: &Limits) -> Duration {
    limits.age.mul_f64(0.9 + 0.2 * fastrand::f64())
}

fn builder(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.head_bytes)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .keep_alive_interval(limits.ping)
        .keep_alive_timeout(limits.pong);
    builder
}
