//! Attempts on the wire: one request to the target, and what it answered. I/O.
//!
//! - [`evhub`]: EvHub's dispatch request and answer

pub mod evhub;

use std::{fmt::Write, time::Duration};

use bytes::{Bytes, BytesMut};
use evhub_event::Event;
use evhub_routing::{EvhubName, Protocol, Target};
use evhub_telemetry::{Context, TRACEPARENT, TRACESTATE};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    outcome::{Answer, read_retry_after},
    pace::{Endpoint, Endpoints},
};

/// As much of a failing answer as is kept with its cause.
const KEPT: usize = 1 << 10;
/// As much of an answer as is read, so that its connection can be used again.
const READ: usize = 64 << 10;
/// As much as is read of an answer that decides by its body.
const ANSWER: usize = 1 << 20;
/// How long a delivered answer's body may take before its connection is given up: the outcome is known already.
const TAIL: Duration = Duration::from_secs(1);

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
}

/// What came of an attempt.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The answer.
    pub answer: Answer,
    /// What the target wants back with the next attempt.
    pub pass_back: Option<Bytes>,
}

/// Sends attempts over HTTP; clones share their connections.
#[derive(Clone, Debug)]
pub struct Sender {
    client: Client<HttpConnector, Full<Bytes>>,
    endpoints: Endpoints,
}

impl Default for Sender {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Self { client, endpoints: Endpoints::default() }
    }
}

impl Sender {
    /// What is known of a target by everybody who speaks to it.
    pub fn endpoint(&self, target: &Target) -> Endpoint {
        self.endpoints.of(&target.url.to_string(), std::time::Instant::now())
    }

    /// Makes one attempt. The time covers everything, from connecting to the last byte that is read.
    pub async fn attempt(&self, target: &Target, delivery: &Delivery<'_>, timeout: Duration) -> Reply {
        if matches!(target.protocol, Protocol::EvHubGrpc | Protocol::Stream) {
            // Compile accepts no such target; a snapshot that has one all the same must not be delivered in another form.
            return Answer::Failed("this version does not speak the target's protocol".to_owned()).into();
        }
        let deadline = Instant::now() + timeout;
        let late = || Answer::TimedOut(format!("no answer within {timeout:?}"));
        let request = match request(target, delivery) {
            Ok(request) => request,
            Err(error) => return Answer::Failed(format!("cannot build the request: {error}")).into(),
        };
        let response = match timeout_at(deadline, self.client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Answer::Failed(chain(&error)).into(),
            Err(_) => return late().into(),
        };
        if target.protocol == Protocol::EvHubHttp {
            let (status, retry_after) = (response.status().as_u16(), retry_after(response.headers()));
            return match timeout_at(deadline, read(response, ANSWER + 1, ANSWER + 1)).await {
                Ok(body) if body.len() > ANSWER => {
                    Answer::Failed(format!("an answer of more than {ANSWER} bytes")).into()
                }
                Ok(body) => evhub::understand(status, retry_after, &body),
                Err(_) => late().into(),
            };
        }
        judge_by_status(response, deadline, timeout).await.into()
    }
}

/// The status is the outcome; a body is read only to get its connection back, and to tell why.
async fn judge_by_status(response: Response<Incoming>, deadline: Instant, timeout: Duration) -> Answer {
    let (status, retry_after) = (response.status().as_u16(), retry_after(response.headers()));
    if response.status().is_success() {
        let deadline = deadline.min(Instant::now() + TAIL);
        let _ = timeout_at(deadline, read(response, 0, READ)).await;
        return Answer::Status { status, text: String::new(), retry_after };
    }
    let text = match timeout_at(deadline, read(response, KEPT, READ)).await {
        Ok(body) => printable(&body),
        Err(_) => format!("(the answer's body took longer than {timeout:?})"),
    };
    Answer::Status { status, text, retry_after }
}

fn request(target: &Target, delivery: &Delivery<'_>) -> Result<Request<Full<Bytes>>, http::Error> {
    let (mut headers, body) = content(target.protocol, delivery);
    identify(&mut headers, &delivery.identity);
    trace(&mut headers, delivery.trace);
    for (name, value) in &target.headers {
        headers.insert(name, value.clone());
    }
    let mut request =
        Request::builder().method(Method::POST).uri(target.url.clone()).body(Full::new(body))?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// The event as its target wants it.
fn content(protocol: Protocol, delivery: &Delivery<'_>) -> (HeaderMap, Bytes) {
    let event = delivery.event;
    let typed = |content_type: Option<&str>, body: Bytes| {
        let value = content_type.and_then(|value| HeaderValue::from_str(value).ok());
        (value.into_iter().map(|value| (CONTENT_TYPE, value)).collect(), body)
    };
    match protocol {
        Protocol::CloudEventsStructured => {
            let body = Bytes::from(evhub_event::json::to_string(event));
            typed(Some("application/cloudevents+json; charset=utf-8"), body)
        }
        Protocol::Raw => typed(event.datacontenttype.as_deref(), event.data.clone().unwrap_or_default()),
        Protocol::EvHubHttp => typed(Some("application/json"), evhub::request(delivery)),
        Protocol::CloudEvents | Protocol::EvHubGrpc | Protocol::Stream => evhub_event::http::encode(event),
    }
}

fn identify(headers: &mut HeaderMap, identity: &Identity<'_>) {
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    put("evhub-delivery", &identity.delivery);
    put("evhub-attempt", &identity.attempt.to_string());
    put("evhub-epoch", &identity.epoch.to_string());
    put("evhub-processor", identity.processor);
    put("evhub-generation", &identity.generation.to_string());
    put("user-agent", concat!("evhub/", env!("CARGO_PKG_VERSION")));
}

/// The place in a trace as W3C Trace Context has it; metadata of gRPC are headers too.
fn trace(headers: &mut HeaderMap, place: Option<&Context>) {
    let Some(place) = place else { return };
    for (name, value) in [(TRACEPARENT, Some(place.traceparent())), (TRACESTATE, place.tracestate())] {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    read_retry_after(value, jiff::Timestamp::now().as_millisecond())
}

/// Reads an answer's body up to `most` bytes and keeps the first `keep` of them.
async fn read(response: Response<Incoming>, keep: usize, most: usize) -> Bytes {
    let mut body = response.into_body();
    let (mut kept, mut seen) = (BytesMut::new(), 0);
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else { continue };
        seen += data.len();
        kept.extend_from_slice(&data[..data.len().min(keep.saturating_sub(kept.len()))]);
        if seen >= most {
            break;
        }
    }
    kept.freeze()
}

/// A stranger's text made fit for logs, terminals and dead letters.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    // What is no text grows when it is replaced.
    let kept = &text[..text.floor_char_boundary(KEPT)];
    kept.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// An error and its causes, outermost first.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self { answer, pass_back: None }
    }
}

#[cfg(test)]
mod tests;
