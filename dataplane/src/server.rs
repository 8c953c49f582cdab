//! HTTP connections, bounded in every phase. One accept loop serves every listener.
//!
//! HTTP/1.1, and HTTP/2 of clients that know we speak it. hyper parses; everything that can last has a bound of ours: how
//! many connections, how long one may be silent, how long a head may take, how slowly a body may come, how long an answer
//! may wait for its reader, and how long a drain may wait for requests. A panic ends one request, never the listener.

mod connection;
mod deadline;
pub(crate) mod multiplex;
mod pace;
pub(crate) mod phase;
pub(crate) mod readers;
mod seats;
pub(crate) mod socket;

use std::{io, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use evhub_lifecycle::Drain;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

pub(crate) use self::pace::TooSlow;
use self::{connection::Context, seats::Seats};
use crate::meters::Meters;

/// Answers a connection beyond the limit, which is not even read from.
const TURNED_AWAY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\nRetry-After: 1\r\n\r\n";
/// How long accepting pauses after an error such as too many open files, which only time mends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at once; more are answered 503 and closed.
    pub connections: usize,
    /// Connections of one address, or of one network of IPv6, open at once; more are turned away likewise.
    pub per_address: usize,
    /// From the first byte of a request (or the connection's beginning) to the end of its head.
    pub head: Duration,
    /// Between two requests of a connection.
    pub idle: Duration,
    /// A head's size in bytes.
    pub head_bytes: usize,
    /// How many headers a head may have.
    pub headers: usize,
    /// Over HTTP/2, the bytes of all heads whose requests are under way; more requests are answered 429.
    pub heads: usize,
    /// How long a body may come as slowly as it likes.
    pub body_grace: Duration,
    /// After that, how many bytes a second at the least, on average.
    pub body_rate: u32,
    /// How long a body may take in all.
    pub body: Duration,
    /// How long an answer may wait for its reader to take any of it.
    pub write: Duration,
    /// How long a drain waits for requests under way.
    pub drain: Duration,
}

/// A listener that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("could not listen on {address} ({flag})")]
pub struct BindError {
    /// The address asked for.
    pub address: String,
    /// The flag that names it.
    pub flag: &'static str,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Opens a listener on `HOST:PORT`, as the flag says.
pub async fn bind(flag: &'static str, address: &str) -> Result<TcpListener, BindError> {
    let failed = |source| BindError { address: address.to_owned(), flag, source };
    TcpListener::bind(address).await.map_err(failed)
}

/// The bounds of accepting, whatever is then spoken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Labels the listener in metrics and logs.
    pub(crate) name: &'static str,
    /// Connections open at once.
    pub(crate) connections: usize,
    /// Connections of one peer open at once.
    pub(crate) per_address: usize,
    /// What is said to those beyond before they are closed.
    pub(crate) turned_away: &'static [u8],
    /// How long a drain waits for connections to end.
    pub(crate) drain: Duration,
}

/// Serves until the drain begins; then takes no more connections, lets requests under way finish within
/// [`Limits::drain`], and cuts off what is left. `name` labels the listener in metrics and logs.
pub async fn serve(
    name: &'static str,
    listener: TcpListener,
    router: Router,
    limits: Limits,
    meters: Meters,
    drain: Drain,
) {
    let heads = Arc::new(Semaphore::new(limits.heads));
    let context = Context { name, router, limits, heads, meters: meters.clone(), drain: drain.clone() };
    let context = Arc::new(context);
    let bounds = Bounds {
        name,
        connections: limits.connections,
        per_address: limits.per_address,
        turned_away: TURNED_AWAY,
        drain: limits.drain,
    };
    accept(bounds, listener, &meters, &drain, move |stream| {
        let context = Arc::clone(&context);
        async move { connection::serve(&context, stream).await }
    })
    .await;
}

/// Accepts connections until the drain begins, and hands each to its own task; then waits for those, as long as the
/// bounds say.
pub(crate) async fn accept<F: Future<Output = ()> + Send + 'static>(
    bounds: Bounds,
    listener: TcpListener,
    meters: &Meters,
    drain: &Drain,
    serve: impl Fn(TcpStream) -> F,
) {
    let name = bounds.name;
    let seats = Seats::new(bounds.connections, bounds.per_address);
    let (open, turned_away) = (meters.connections(name), meters.turned_away(name));
    let mut connections = JoinSet::new();
    let mut begun = pin!(drain.begun());
    loop {
        tokio::select! {
            () = &mut begun => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let Some(seat) = seats.take(peer.ip()) else {
                        turned_away.inc();
                        // A new socket has room for so little; if not, closing says enough.
                        let _ = stream.try_write(bounds.turned_away);
                        continue;
                    };
                    let (connection, open) = (serve(stream), open.clone());
                    connections.spawn(async move {
                        open.inc();
                        connection.await;
                        open.dec();
                        drop(seat);
                    });
                }
                Err(error) => {
                    tracing::warn!(listener = name, %error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    finish(name, connections, bounds.drain).await;
}

async fn finish(name: &'static str, mut connections: JoinSet<()>, within: Duration) {
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(within, all).await.is_err() {
        tracing::warn!(
            listener = name,
            left = connections.len(),
            "connections outlasted the drain and are cut off"
        );
        connections.shutdown().await;
    }
}

impl Limits {
    /// The same for a process that may have so many files open.
    #[must_use]
    pub fn within(self, files: u64) -> Self {
        let (connections, per_address) = within(files, self.connections, self.per_address);
        Self { connections, per_address, ..self }
    }
}

/// Connections of one listener, and of one peer, where so many files may be open: four listeners get half of them, so that
/// no flood of peers takes what the log and deliveries need.
pub(crate) fn within(files: u64, connections: usize, per_address: usize) -> (usize, usize) {
    let share = usize::try_from(files / 8).unwrap_or(usize::MAX);
    (connections.min(share), per_address.min(share / 4 * 3))
}

impl Default for Limits {
    /// Safe against slow and silent peers, and out of the way of honest ones.
    fn default() -> Self {
        Self {
            connections: 1536,
            per_address: 1152,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            head_bytes: 64 << 10,
            headers: 100,
            heads: 16 << 20,
            body_grace: Duration::from_secs(10),
            body_rate: 1 << 10,
            body: Duration::from_mins(1),
            write: Duration::from_secs(30),
            drain: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_to_the_rest() {
        let of = |files| {
            let Limits { connections, per_address, .. } = Limits::default().within(files);
            (connections, per_address)
        };
        let usual = (Limits::default().connections, Limits::default().per_address);
        assert_eq!((of(u64::MAX), of(12_288)), (usual, usual));
        assert_eq!((of(4_096), of(1_024)), ((512, 384), (128, 96)));
    }
}
