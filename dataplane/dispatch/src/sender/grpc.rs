//! EvHub's dispatch as a gRPC call, and what a gRPC status means. I/O.
//!
//! The library makes a status of whatever goes wrong, and so of answers that are none: a proxy's page, a message that cannot
//! be read. What counts as the target's word is what it said on the wire.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use evhub_proto::evhub_processor::evhub_processor_client::EvhubProcessorClient;
use evhub_routing::{GrpcCode, Target};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper_util::client::legacy;
use tonic::{Code, Extensions, Request, Status, body::Body, metadata::MetadataMap};
use tonic_types::StatusExt as _;

use super::{
    ANSWER, Deadline, Delivery, Reply, always,
    connect::Client,
    evhub,
    http::retry_after as told,
    identify,
    text::{KEPT, failure, printable},
};
use crate::outcome::Answer;

pub(super) async fn attempt(
    client: &Client<Body>,
    target: &Target,
    delivery: &Delivery<'_>,
    deadline: Deadline,
) -> Reply {
    let mut metadata = HeaderMap::new();
    always(target, &mut metadata);
    identify(&mut metadata, delivery);
    let metadata = MetadataMap::from_headers(metadata);
    let mut request = Request::from_parts(metadata, Extensions::default(), evhub::request(delivery));
    request.set_timeout(deadline.timeout);
    let heard = Arc::<Mutex<Heard>>::default();
    let listening = Listening { client: client.clone(), heard: Arc::clone(&heard) };
    let mut client =
        EvhubProcessorClient::with_origin(listening, target.url.clone()).max_decoding_message_size(ANSWER);
    match deadline.until(client.dispatch(request)).await {
        Ok(Ok(response)) => evhub::understand_message(response.into_inner()),
        Ok(Err(status)) => lock(&heard).judge(&status).into(),
        Err(late) => late.into(),
    }
}

/// What a failing status says. One with a source was made here: there was no answer.
pub fn answer(status: &Status) -> Answer {
    if let Some(error) = std::error::Error::source(status) {
        return Answer::Failed(failure(error));
    }
    let text = printable(status.message().as_bytes());
    Answer::Grpc { code: GrpcCode::of(status.code().into()), text, retry_after: retry_after(status) }
}

/// How long the target asked to be left alone: gRPC's form of `Retry-After`, in the status' details.
fn retry_after(status: &Status) -> Option<Duration> {
    let may_say = matches!(status.code(), Code::ResourceExhausted | Code::Unavailable);
    may_say.then(|| status.get_details_retry_info()?.retry_delay).flatten()
}

/// What came over the wire in answer to a call.
#[derive(Debug, Default)]
struct Heard {
    http: StatusCode,
    retry_after: Option<Duration>,
    /// A failing status of gRPC, in the head or in the trailers: the target's own word.
    failure: bool,
    /// The beginning of a page that came instead.
    page: Vec<u8>,
}

/// A client that notes what it hears.
#[derive(Clone, Debug)]
struct Listening {
    client: Client<Body>,
    heard: Arc<Mutex<Heard>>,
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Heard ===

impl Heard {
    fn head(&mut self, response: &Response<Incoming>) {
        self.http = response.status();
        self.retry_after = told(response.headers());
        self.headers(response.headers());
    }

    fn frame(&mut self, frame: &Frame<Bytes>) {
        match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) if !self.http.is_success() => {
                let room = KEPT.saturating_sub(self.page.len());
                self.page.extend_from_slice(&data[..data.len().min(room)]);
            }
            (_, Some(trailers)) => self.headers(trailers),
            _ => {}
        }
    }

    fn headers(&mut self, headers: &HeaderMap) {
        self.failure |= Status::from_header_map(headers).is_some_and(|status| status.code() != Code::Ok);
    }

    /// What a call that failed means. What a proxy's status says is not for ever, and what was not understood was not said.
    fn judge(&self, status: &Status) -> Answer {
        let (http, retry_after) = (self.http.as_u16(), self.retry_after);
        match answer(status) {
            Answer::Grpc { .. } if !self.failure && !self.http.is_success() => {
                Answer::Status { status: http, text: printable(&self.page), retry_after }
            }
            Answer::Grpc { text, .. } if !self.failure => {
                Answer::Failed(format!("no answer of gRPC: {text}"))
            }
            answer => answer,
        }
    }
}

// === impl Listening ===

impl tonic::codegen::Service<http::Request<Body>> for Listening {
    type Response = Response<Body>;
    type Error = legacy::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (answering, heard) = (self.client.request(request), Arc::clone(&self.heard));
        Box::pin(async move {
            let response = answering.await?;
            lock(&heard).head(&response);
            let listened = move |frame: Frame<Bytes>| {
                lock(&heard).frame(&frame);
                frame
            };
            Ok(response.map(|body| Body::new(body.map_frame(listened))))
        })
    }
}
