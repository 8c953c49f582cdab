//! The protocols that are one HTTP request. I/O.

use std::{error::Error, time::Duration};

use bytes::{Bytes, BytesMut};
use evhub_routing::{Protocol, Target};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response,
    header::{CONTENT_TYPE, RETRY_AFTER},
    uri::Scheme,
};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, timeout_at};

use super::{
    ANSWER, Deadline, Delivery, Reply, always,
    connect::{self, Roots},
    evhub, identify,
    pool::Pool,
    text::{KEPT, failure, printable},
};
use crate::outcome::{Answer, read_retry_after};

pub(super) type Body = Full<Bytes>;

/// As much of an answer as is read, so that its connection can be used again.
const READ: usize = 64 << 10;
/// How long a delivered answer's body may take before its connection is given up: the outcome is known already.
const TAIL: Duration = Duration::from_secs(1);

/// Who speaks to a target over HTTP.
#[derive(Clone, Debug)]
pub(super) enum Client {
    Plain(Pool),
    /// Over TLS, where both sides may prefer HTTP/2.
    Tls(Box<connect::Client<Body>>),
}

impl Client {
    /// A client for one target, or why there can be none.
    pub(super) fn new(target: &Target, roots: &Roots) -> Result<Self, String> {
        if target.url.scheme() == Some(&Scheme::HTTP) {
            Pool::new(connect::tcp(), &target.url).map(Self::Plain)
        } else {
            connect::client(target, roots).map(|client| Self::Tls(Box::new(client)))
        }
    }
}

pub(super) async fn attempt(
    client: &Client,
    target: &Target,
    delivery: &Delivery<'_>,
    deadline: Deadline,
) -> Reply {
    let request = request(target, delivery);
    match client {
        Client::Plain(pool) => {
            let sent = deadline.until(pool.send(request)).await;
            understand(sent, target, deadline).await
        }
        Client::Tls(client) => {
            let sent = deadline.until(client.request(request)).await;
            understand(sent, target, deadline).await
        }
    }
}

/// What came of a request that was sent.
async fn understand<B, E>(
    sent: Result<Result<Response<B>, E>, Answer>,
    target: &Target,
    deadline: Deadline,
) -> Reply
where
    B: HttpBody<Data = Bytes, Error = hyper::Error> + Unpin,
    E: Error + 'static,
{
    let response = match sent {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Answer::Failed(failure(&error)).into(),
        Err(late) => return late.into(),
    };
    if target.protocol == Protocol::EvHubHttp {
        let (status, retry_after) = (response.status().as_u16(), retry_after(response.headers()));
        return match deadline.until(read(response, ANSWER + 1, ANSWER + 1)).await {
            Ok((body, _)) if body.len() > ANSWER => {
                Answer::Failed(format!("an answer of more than {ANSWER} bytes")).into()
            }
            // What is missing may be the code that says no.
            Ok((_, Some(error))) => Answer::Failed(failure(&error)).into(),
            Ok((body, None)) => evhub::understand(status, retry_after, &body),
            Err(late) => late.into(),
        };
    }
    judge_by_status(response, deadline).await.into()
}

/// The status is the outcome; a body is read only to get its connection back, and to tell why.
async fn judge_by_status<B>(response: Response<B>, deadline: Deadline) -> Answer
where
    B: HttpBody<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let (status, retry_after) = (response.status().as_u16(), retry_after(response.headers()));
    if response.status().is_success() {
        if !response.body().is_end_stream() {
            let until = deadline.at.min(Instant::now() + TAIL);
            let _ = timeout_at(until, read(response, 0, READ)).await;
        }
        return Answer::Status { status, text: String::new(), retry_after };
    }
    let text = match timeout_at(deadline.at, read(response, KEPT, READ)).await {
        Ok((body, _)) => printable(&body),
        Err(_) => format!("(the answer's body took longer than {:?})", deadline.timeout),
    };
    Answer::Status { status, text, retry_after }
}

fn request(target: &Target, delivery: &Delivery<'_>) -> Request<Body> {
    let (mut headers, body) = content(target.protocol, delivery);
    identify(&mut headers, delivery);
    always(target, &mut headers);
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.url.clone();
    *request.headers_mut() = headers;
    request
}

/// The event as its target wants it.
pub(super) fn content(protocol: Protocol, delivery: &Delivery<'_>) -> (HeaderMap, Bytes) {
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
        Protocol::EvHubHttp => typed(Some("application/json"), evhub::json(&evhub::request(delivery))),
        Protocol::CloudEvents | Protocol::EvHubGrpc | Protocol::Stream => evhub_event::http::encode(event),
    }
}

pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    read_retry_after(value, jiff::Timestamp::now().as_millisecond())
}

/// Reads an answer's body up to `most` bytes and keeps the first `keep` of them. Says why it broke off, if it did.
pub(super) async fn read<B>(response: Response<B>, keep: usize, most: usize) -> (Bytes, Option<hyper::Error>)
where
    B: HttpBody<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let mut body = response.into_body();
    let (mut kept, mut seen) = (BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return (kept.freeze(), Some(error)),
        };
        let Some(data) = frame.data_ref() else { continue };
        seen += data.len();
        kept.extend_from_slice(&data[..data.len().min(keep.saturating_sub(kept.len()))]);
        if seen >= most {
            break;
        }
    }
    (kept.freeze(), None)
}
