//! Attempts on the wire: one delivery to the target, and what it answered. I/O.
//!
//! - `connect`: connections, and how a target proves who it is; `pool`: those of HTTP/1.1 without TLS
//! - `http`: the protocols that are one HTTP request; `grpc`: the one that is one call; `stream`: the one that is a stream
//! - [`check`]: questions to publishers of half messages
//! - [`evhub`]: EvHub's dispatch request and answer; [`cloudevent`]: an event as protobuf
//! - `text`: what strangers say, fit to be kept

pub mod check;
pub mod cloudevent;
mod connect;
pub mod evhub;
mod grpc;
mod http;
mod pool;
mod resolve;
mod stream;
mod text;

use std::{sync::Arc, time::Duration};

use ::http::{HeaderMap, HeaderName, HeaderValue, header::USER_AGENT};
use bytes::Bytes;
use evhub_event::Event;
use evhub_routing::{EvhubName, Protocol, Target};
use evhub_telemetry::{Context, TRACEPARENT, TRACESTATE};
use futures_util::TryFutureExt as _;
use tokio::time::{Instant, timeout_at};

pub use self::grpc::answer as understand_status;
use self::{connect::Roots, stream::Stream};
use crate::{
    outcome::Answer,
    pace::{Endpoint, Endpoints},
};

/// As much as is read of an answer that decides by its body.
const ANSWER: usize = 1 << 20;

/// What an attempt says of itself, beside the event.
#[derive(Clone, Debug)]
pub struct Identity<'a> {
    /// The stable idempotency key of this delivery.
    pub delivery: String,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The epoch of the claim under which it is made.
    pub epoch: u64,
    /// The Processor, as `namespace/name`.
    pub processor: &'a str,
    /// The generation of the Processor's resource.
    pub generation: i64,
}

/// What is delivered.
#[derive(Clone, Debug)]
pub struct Delivery<'a> {
    /// The event.
    pub event: &'a Event,
    /// Its tags.
    pub tags: &'a [String],
    /// The Producer it came from.
    pub producer: &'a EvhubName,
    /// What the target gave back with its latest failing answer.
    pub pass_back: Option<&'a Bytes>,
    /// What the attempt says of itself.
    pub identity: Identity<'a>,
    /// The place in a trace that the target's work belongs to.
    pub trace: Option<&'a Context>,
    /// When it was due that the ledger published, in milliseconds since the Unix epoch.
    pub due: Option<i64>,
    /// Which run of a schedule it is, counted from 1.
    pub occurrence: Option<u64>,
}

/// What came of an attempt.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The answer.
    pub answer: Answer,
    /// What the target wants back with the next attempt, where it said so: nothing, if it is empty. Without a word of it,
    /// what it said before holds.
    pub pass_back: Option<Bytes>,
}

/// Makes senders. Clones share what is known of targets, and nothing else: no Processor's connections are another's.
#[derive(Clone, Debug, Default)]
pub struct Senders {
    endpoints: Endpoints,
    roots: Roots,
}

/// Sends attempts to one target; clones share their connections.
#[derive(Clone, Debug)]
pub struct Sender {
    endpoint: Endpoint,
    way: Way,
}

/// How attempts get there.
#[derive(Clone, Debug)]
enum Way {
    Http(http::Client),
    Grpc(Box<connect::Client<tonic::body::Body>>),
    Stream(Arc<Stream>),
    /// There is none: why.
    Barred(String),
}

/// How long an attempt may take, and when that is over.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    timeout: Duration,
    at: Instant,
}

impl Senders {
    /// A sender to a target.
    pub fn to(&self, target: &Target) -> Sender {
        let endpoint = self.endpoints.of(target, std::time::Instant::now());
        let way = match target.protocol {
            Protocol::EvHubGrpc => {
                connect::client(target, &self.roots).map(|client| Way::Grpc(Box::new(client)))
            }
            Protocol::Stream => connect::client(target, &self.roots)
                .map(|client| Way::Stream(Arc::new(Stream::new(client, target)))),
            Protocol::CloudEvents | Protocol::CloudEventsStructured | Protocol::Raw | Protocol::EvHubHttp => {
                http::Client::new(target, &self.roots).map(Way::Http)
            }
        };
        Sender { endpoint, way: way.unwrap_or_else(Way::Barred) }
    }
}

impl Sender {
    /// What is known of the target by everybody who speaks to it.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Makes one attempt at the target that this was made for. The time covers everything, from connecting to the last
    /// byte that is read.
    pub async fn attempt(&self, target: &Target, delivery: &Delivery<'_>, timeout: Duration) -> Reply {
        let deadline = Deadline { timeout, at: Instant::now() + timeout };
        let mut reply = match &self.way {
            Way::Http(client) => http::attempt(client, target, delivery, deadline).await,
            // What it keeps meanwhile is several times what the others do, who would have to make room for it.
            Way::Grpc(client) => Box::pin(grpc::attempt(client, target, delivery, deadline)).await,
            Way::Stream(stream) => stream.attempt(delivery, deadline, target.timeout).await.into(),
            Way::Barred(why) => Answer::Failed(why.clone()).into(),
        };
        if let Some(said) = reply.answer.said_mut() {
            *said = text::without(said, &target.headers);
        }
        reply
    }
}

impl Deadline {
    /// When what it ends began.
    fn began(self) -> Instant {
        self.at - self.timeout
    }

    /// Waits for something as long as there is time. Not an `async fn`: that would have room for it twice.
    fn until<T>(self, doing: impl Future<Output = T>) -> impl Future<Output = Result<T, Answer>> {
        let timeout = self.timeout;
        timeout_at(self.at, doing).map_err(move |_| Answer::TimedOut(format!("no answer within {timeout:?}")))
    }
}

const DELIVERY: HeaderName = HeaderName::from_static("evhub-delivery");
const PROCESSOR: HeaderName = HeaderName::from_static("evhub-processor");
const ATTEMPT: HeaderName = HeaderName::from_static("evhub-attempt");
const EPOCH: HeaderName = HeaderName::from_static("evhub-epoch");
const GENERATION: HeaderName = HeaderName::from_static("evhub-generation");
const DUE: HeaderName = HeaderName::from_static("evhub-due");
const OCCURRENCE: HeaderName = HeaderName::from_static("evhub-occurrence");

/// The headers, or gRPC's metadata, by which an attempt says what it is.
fn identify(headers: &mut HeaderMap, delivery: &Delivery<'_>) {
    let Identity { delivery: key, attempt, epoch, processor, generation } = &delivery.identity;
    for (name, text) in [(DELIVERY, key.as_str()), (PROCESSOR, processor)] {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    }
    headers.insert(ATTEMPT, (*attempt).into());
    headers.insert(EPOCH, (*epoch).into());
    headers.insert(GENERATION, (*generation).into());
    let due = delivery.due.and_then(|due| jiff::Timestamp::from_millisecond(due).ok());
    if let Some(value) = due.and_then(|due| HeaderValue::try_from(format!("{due:.3}")).ok()) {
        headers.insert(DUE, value);
    }
    if let Some(occurrence) = delivery.occurrence {
        headers.insert(OCCURRENCE, occurrence.into());
    }
    let Some(place) = delivery.trace else { return };
    // W3C Trace Context; metadata of gRPC are headers too.
    for (name, value) in [(TRACEPARENT, Some(place.traceparent())), (TRACESTATE, place.tracestate())] {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Headers that go with every attempt, whatever it delivers; each takes the place of what is there under its name.
fn always(target: &Target, headers: &mut HeaderMap) {
    headers.insert(USER_AGENT, AGENT);
    headers.extend(target.headers.iter().map(|(name, value)| (Some(name.clone()), value.clone())));
}

const AGENT: HeaderValue = HeaderValue::from_static(concat!("evhub/", env!("CARGO_PKG_VERSION")));

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self { answer, pass_back: None }
    }
}

#[cfg(test)]
mod tests;
