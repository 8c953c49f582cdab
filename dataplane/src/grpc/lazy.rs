//! Serves `evhub.ingest.v1.Ingest` as the generated server would if it did not take messages apart: a request's events are
//! bytes until it is known that they are not too many.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use evhub_event::{Invalid, Reason, attributes::MAX_ATTRIBUTES};
use evhub_journal::Journal;
use evhub_proto::ingest::{PublishRequest, PublishResponse};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codegen::BoxFuture,
    server::{NamedService, StreamingService},
};

use super::{
    bare::{self, Message, fields},
    ingest::{Answers, Service},
};
use crate::problem::{Problem, reason};

/// The field of a request that holds an event, and that of an event that holds an attribute.
const EVENT: u32 = 3;
const ATTRIBUTE: u32 = 5;

/// What a request says beside its events.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Head {
    #[prost(string, tag = "1")]
    pub(super) namespace: String,
    #[prost(string, tag = "2")]
    pub(super) producer: String,
    #[prost(uint64, tag = "4")]
    pub(super) correlation: u64,
}

/// The server.
#[derive(Clone)]
pub(super) struct Server<J: Journal>(pub(super) Service<J>);

/// All of a request, if it has at most so many events and none of them more attributes than any may have.
pub(super) fn open(message: &Message, most: usize) -> Result<PublishRequest, Problem> {
    if message.exceeds(&[EVENT], most) {
        let detail =
            format!("the request has more than {most} events, which is all that this Producer takes");
        return Err(Problem::new(reason::BATCH_TOO_LARGE, detail).at("events"));
    }
    let crowded = |event| fields(event, ATTRIBUTE).nth(MAX_ATTRIBUTES).is_some();
    if let Some(index) = message.fields(EVENT).position(crowded) {
        let detail = format!("the event has more than {MAX_ATTRIBUTES} attributes, which is all it may have");
        return Err(Invalid::new(Reason::TooManyAttributes, format!("events[{index}]"), detail).into());
    }
    message.decode()
}

// === impl Server ===

impl<J: Journal> NamedService for Server<J> {
    const NAME: &'static str = "evhub.ingest.v1.Ingest";
}

impl<J: Journal> tower_service::Service<http::Request<Body>> for Server<J> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/evhub.ingest.v1.Ingest/Publish" => {
                    let publish = |request| {
                        let Self(service) = server.clone();
                        async move { service.publish(request).await }
                    };
                    bare::unary(request, publish).await
                }
                "/evhub.ingest.v1.Ingest/PublishStream" => bare::grpc().streaming(server, request).await,
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}

impl<J: Journal> StreamingService<Message> for Server<J> {
    type Response = PublishResponse;
    type ResponseStream = Answers;
    type Future = BoxFuture<Response<Answers>, Status>;

    fn call(&mut self, request: Request<Streaming<Message>>) -> Self::Future {
        let Self(service) = self.clone();
        Box::pin(async move { Ok(service.publish_stream(request)) })
    }
}
