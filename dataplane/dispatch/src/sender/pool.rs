//! Connections of HTTP/1.1 without TLS, on each of which one request is under way at a time. I/O.
//!
//! Who waits for an answer also drives the connection that it comes by. So an answer wakes the worker and nobody else, where
//! a task for each connection would have to be woken first, and would then wake the worker.

use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header::HOST, uri::PathAndQuery};
use http_body::{Body as _, Frame, SizeHint};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{self, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    select,
    sync::Notify,
    task::unconstrained,
    time::{sleep, timeout},
};
use tower_service::Service as _;

use super::{
    connect::HttpConnector,
    connect::{CONNECT, HEAD, IDLE},
    http::Body,
};

/// How often connections that nobody uses are looked after.
const ROUND: Duration = Duration::from_secs(5);

/// The connections to one target; clones share them.
#[derive(Clone)]
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    connector: HttpConnector,
    url: Uri,
    /// What a request says of where it goes: its `Host`, and the rest of the URL.
    host: HeaderValue,
    path: Uri,
    idle: Mutex<Idle>,
    /// Tells who is about to connect that a connection has become free.
    freed: Notify,
}

/// The connections that nobody uses; the one that was used last lies last, and is used first.
#[derive(Default)]
struct Idle {
    connections: Vec<(Instant, Box<Connection>)>,
    /// Whether a task looks after them.
    kept: bool,
}

struct Connection {
    requests: SendRequest<Body>,
    /// There is none any more when the connection has ended.
    driver: Option<http1::Connection<TokioIo<TcpStream>, Body>>,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("could not connect")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// The body of an answer. Read to its end, it gives its connection back; dropped before, it closes it.
pub(super) struct Answered {
    body: Incoming,
    /// Until it is given back.
    connection: Option<Box<Connection>>,
    pool: Pool,
}

impl Pool {
    /// Connections to where this URL points, made by this connector.
    pub(super) fn new(connector: HttpConnector, url: &Uri) -> Result<Self, String> {
        let authority = url.authority().ok_or("the target's URL names no host")?;
        // Credentials in a URL are not sent, as they never were, and the port is only where it is not the usual one.
        let host = match authority.port_u16() {
            Some(port) if port != 80 => format!("{}:{port}", authority.host()),
            _ => authority.host().to_owned(),
        };
        let host = HeaderValue::try_from(host).map_err(|error| error.to_string())?;
        let path = url.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let (url, path) = (url.clone(), Uri::from(path));
        Ok(Self(Arc::new(Inner { connector, url, host, path, idle: Mutex::default(), freed: Notify::new() })))
    }

    /// Sends a request and waits for the head of its answer. Dropped before, it closes the connection.
    pub(super) async fn send(&self, mut request: Request<Body>) -> Result<Response<Answered>, Error> {
        request.headers_mut().entry(HOST).or_insert_with(|| self.0.host.clone());
        *request.uri_mut() = self.0.path.clone();
        loop {
            let (mut connection, was_used) = self.connection().await?;
            request = match connection.exchange(request).await {
                Ok(response) => return Ok(response.map(|body| self.answered(body, connection))),
                Err(mut error) => match error.take_message() {
                    // The target closed it while nobody used it, and has seen nothing of the request.
                    Some(unsent) if was_used => unsent,
                    _ => return Err(error.into_error().into()),
                },
            };
        }
    }

    /// A connection that nobody uses, and whether somebody did before.
    async fn connection(&self) -> Result<(Box<Connection>, bool), Error> {
        if let Some(idle) = self.idle() {
            return Ok((idle, true));
        }
        let mut connecting = Box::pin(connect(self.0.connector.clone(), self.0.url.clone()));
        loop {
            select! {
                made = &mut connecting => return Ok((made?, false)),
                () = self.0.freed.notified() => if let Some(idle) = self.idle() {
                    // Another will be glad of the one that is begun.
                    let pool = self.clone();
                    tokio::spawn(async move {
                        if let Ok(made) = connecting.await {
                            pool.put(made);
                        }
                    });
                    return Ok((idle, true));
                }
            }
        }
    }

    fn idle(&self) -> Option<Box<Connection>> {
        let mut idle = self.lock();
        loop {
            let (_, mut connection) = idle.connections.pop()?;
            if connection.is_open() {
                return Some(connection);
            }
        }
    }

    fn answered(&self, body: Incoming, connection: Box<Connection>) -> Answered {
        let mut answered = Answered { body, connection: Some(connection), pool: self.clone() };
        if answered.body.is_end_stream() {
            answered.give_back();
        }
        answered
    }

    fn put(&self, connection: Box<Connection>) {
        let mut idle = self.lock();
        if idle.connections.len() < IDLE.1 {
            idle.connections.push((Instant::now(), connection));
        }
        if !std::mem::replace(&mut idle.kept, true) {
            tokio::spawn(keep(Arc::downgrade(&self.0)));
        }
        drop(idle);
        self.0.freed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(mut connector: HttpConnector, url: Uri) -> Result<Box<Connection>, Error> {
    let stream = connector.call(url).await.map_err(|error| Error::Connect(error.into()))?;
    let (requests, driver) = http1::Builder::new().max_buf_size(HEAD).handshake(stream).await?;
    Ok(Box::new(Connection { requests, driver: Some(driver) }))
}

/// Closes connections that nobody has used for long, and those that the target closed; ends when there are none.
async fn keep(pool: Weak<Inner>) {
    loop {
        sleep(ROUND).await;
        let Some(pool) = pool.upgrade().map(Pool) else { return };
        let mut idle = pool.lock();
        idle.connections.retain_mut(|(since, connection)| since.elapsed() < IDLE.0 && connection.is_open());
        if idle.connections.is_empty() {
            idle.kept = false;
            return;
        }
    }
}

// === impl Connection ===

impl Connection {
    async fn exchange(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        // Without tokio's budget, which would have it woken when it has waited for nothing.
        let mut answer = pin!(unconstrained(self.requests.try_send_request(request)));
        poll_fn(|cx| {
            self.drive(cx);
            // It comes while the connection is driven, so that nobody need be woken for it.
            answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
    }

    /// Reads and writes what can be; whoever asks is woken when there is more.
    fn drive(&mut self, cx: &mut Context<'_>) {
        let ended = self.driver.as_mut().is_some_and(|driver| Pin::new(driver).poll(cx).is_ready());
        if ended {
            // Whoever still waits for something of it is told so by its end.
            self.driver = None;
        }
    }

    /// Whether it can take a request, as far as is known.
    fn is_open(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.is_ready()
    }

    fn is_ready(&self) -> bool {
        self.driver.is_some() && self.requests.is_ready()
    }
}

// === impl Answered ===

impl Answered {
    /// Nothing more of the answer is to come.
    fn give_back(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let pool = self.pool.clone();
        if connection.is_ready() {
            pool.put(connection);
        } else if connection.driver.is_some() {
            // An answer that came before its request was sent whole: the target may still read it.
            let sent = async move {
                poll_fn(|cx| {
                    connection.drive(cx);
                    let done = connection.driver.is_none() || connection.requests.is_ready();
                    if done { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                if connection.is_ready() {
                    pool.put(connection);
                }
            };
            tokio::spawn(timeout(CONNECT, sent));
        }
    }
}

impl http_body::Body for Answered {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        if let Some(connection) = &mut this.connection {
            connection.drive(cx);
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || this.body.is_end_stream() {
            this.give_back();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("url", &self.0.url).finish_non_exhaustive()
    }
}
