//! One HTTP/2 connection: many requests at once, each bounded as on any other, and the connection as a whole. Does I/O.
//!
//! What one peer can have is bounded by how many requests it has at once, by the size of their heads, by how often it may
//! make us reset one, and by time: for a connection on which nothing is asked, for an answer that nobody reads, and for the
//! age of the connection itself.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::{interval, sleep, timeout};

use super::{
    connection::{Context, answer},
    phase::Phase,
    readers::{Readers, Watched},
    socket::Socket,
};

/// Requests at once on one connection.
pub(crate) const STREAMS: u32 = 100;
/// How many requests that were reset before they were answered, by either side, a connection may have.
const RESETS: usize = 32;
/// How often a peer is asked whether it is there.
pub(crate) const PING: Duration = Duration::from_secs(30);
/// How long it may take to say so.
pub(crate) const PONG: Duration = Duration::from_secs(20);
/// How old a connection may become, so that load spreads over new replicas.
pub(crate) const AGE: Duration = Duration::from_mins(30);

/// A connection's protocol, within these bounds.
pub(crate) fn builder(
    streams: u32,
    head_bytes: u32,
    ping: Duration,
    pong: Duration,
) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .max_header_list_size(head_bytes)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .keep_alive_interval(ping)
        .keep_alive_timeout(pong);
    builder
}

/// Spread by a tenth, so that connections which began together do not end together.
pub(crate) fn spread(age: Duration) -> Duration {
    age.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// Serves one connection to its end.
pub(super) async fn serve(context: &Arc<Context>, phase: &Arc<Phase>, socket: Socket) {
    let limits = context.limits;
    let readers = Arc::new(Readers::default());
    let service = hyper::service::service_fn(|request| {
        let (context, phase, readers) = (Arc::clone(context), Arc::clone(phase), Arc::clone(&readers));
        async move {
            let response = answer(&context, &phase, request).await;
            Ok::<_, Infallible>(response.map(|body| Watched::new(body, &readers)))
        }
    });
    let head_bytes = u32::try_from(limits.head_bytes.saturating_mul(2)).unwrap_or(u32::MAX);
    let builder = builder(STREAMS, head_bytes, PING, PONG);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    let gracefully = async {
        let within = tokio::select! {
            ended = connection.as_mut() => return ended,
            () = context.drain.begun() => limits.drain,
            () = sleep(spread(AGE)) => limits.drain,
            // Nothing is under way, so it only has to hear of it.
            () = idle(phase, limits.idle) => limits.write,
        };
        connection.as_mut().graceful_shutdown();
        // Whoever has still not ended then is cut off.
        timeout(within, connection.as_mut()).await.unwrap_or(Ok(()))
    };
    tokio::select! {
        ended = gracefully => if let Err(error) = ended {
            tracing::debug!(listener = context.name, %error, "a connection broke");
        },
        () = readers.stalled(limits.write) => {
            tracing::debug!(listener = context.name, "a connection is cut off: it does not read its answers");
        }
    }
}

/// Comes when nothing was asked for so long and nothing is under way, give or take a quarter.
async fn idle(phase: &Phase, longest: Duration) {
    let mut ticks = interval(longest / 4);
    let (mut asked, mut quiet) = (phase.begun(), 0);
    loop {
        ticks.tick().await;
        let now = phase.begun();
        quiet = if now == asked && !phase.is_serving() { quiet + 1 } else { 0 };
        asked = now;
        if quiet > 4 {
            return;
        }
    }
}
