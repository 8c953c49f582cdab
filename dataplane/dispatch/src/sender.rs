//! Attempts on the wire: one request to the target, and what it answered. I/O.

use std::{fmt::Write, time::Duration};

use bytes::{Bytes, BytesMut};
use evhub_event::Event;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::{Instant, timeout_at};

use crate::outcome::Answer;

/// As much of a failing answer as is kept with its cause.
const KEPT: usize = 1 << 10;
/// As much of an answer as is read, so that its connection can be used again.
const READ: usize = 64 << 10;
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

/// Sends attempts over HTTP; clones share their connections.
#[derive(Clone, Debug)]
pub struct Sender {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Default for Sender {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Self { client }
    }
}

impl Sender {
    /// Makes one attempt. Never takes longer than `timeout`, and whatever the target does is an answer.
    pub async fn attempt(
        &self,
        url: &http::Uri,
        event: &Event,
        identity: &Identity<'_>,
        timeout: Duration,
    ) -> Answer {
        let deadline = Instant::now() + timeout;
        let request = match request(url, event, identity) {
            Ok(request) => request,
            Err(error) => return Answer::Failed(format!("cannot build the request: {error}")),
        };
        let response = match timeout_at(deadline, self.client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Answer::Failed(chain(&error)),
            Err(_) => return Answer::Failed(format!("no answer within {timeout:?}")),
        };
        let status = response.status().as_u16();
        if response.status().is_success() {
            let deadline = deadline.min(Instant::now() + TAIL);
            // The status is the outcome; the body is read only to get its connection back.
            let _ = timeout_at(deadline, read(response, 0)).await;
            return Answer::Status(status, String::new());
        }
        match timeout_at(deadline, read(response, KEPT)).await {
            Ok(text) => Answer::Status(status, text),
            Err(_) => Answer::Status(status, format!("(the answer's body took longer than {timeout:?})")),
        }
    }
}

fn request(
    url: &http::Uri,
    event: &Event,
    identity: &Identity<'_>,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let (mut headers, body) = evhub_event::http::encode(event);
    identify(&mut headers, identity);
    trace(&mut headers, event);
    let mut request = Request::builder().method(Method::POST).uri(url.clone()).body(Full::new(body))?;
    *request.headers_mut() = headers;
    Ok(request)
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

/// A target that knows W3C Trace Context and nothing of CloudEvents finds the event's trace as well.
fn trace(headers: &mut HeaderMap, event: &Event) {
    for name in ["traceparent", "tracestate"] {
        if let Some(value) = event.extension(name).and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Reads an answer's body up to [`READ`] and keeps the first bytes of it as text.
async fn read(response: Response<Incoming>, keep: usize) -> String {
    let mut body = response.into_body();
    let (mut kept, mut seen) = (BytesMut::new(), 0);
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else { continue };
        seen += data.len();
        kept.extend_from_slice(&data[..data.len().min(keep.saturating_sub(kept.len()))]);
        if seen >= READ {
            break;
        }
    }
    printable(&kept)
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
