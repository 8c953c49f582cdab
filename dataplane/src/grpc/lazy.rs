//! A publish request whose events are still bytes: taken apart only when it is known that they are not too many. Pure but
//! for the calls, which go on to the service.
//!
//! What protobuf holds in two bytes takes a hundred times that as a value, so a message must not become values before the
//! Producer's limits are asked.

use std::{
    convert::Infallible,
    iter::from_fn,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use evhub_event::{Invalid, Reason, attributes::MAX_ATTRIBUTES};
use evhub_journal::Journal;
use evhub_proto::ingest::{PublishRequest, PublishResponse};
use prost::{
    DecodeError, Message as _,
    encoding::{DecodeContext, WireType, decode_key, skip_field},
};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::BoxFuture,
    server::{Grpc, NamedService, StreamingService, UnaryService},
};

use super::{
    ingest::{Answers, Service},
    status::{self, MESSAGE_BYTES},
};
use crate::problem::{Problem, reason};

/// The field of a request that holds an event, and that of an event that holds an attribute.
const EVENT: u32 = 3;
const ATTRIBUTE: u32 = 5;

/// A request as it came.
#[derive(Debug)]
pub(super) struct Message(Bytes);

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

/// Serves `evhub.ingest.v1.Ingest`, as the generated server would if it did not take messages apart.
#[derive(Clone)]
pub(super) struct Server<J: Journal>(pub(super) Service<J>);

// === impl Message ===

impl Message {
    /// All but the events.
    pub(super) fn head(&self) -> Result<Head, Problem> {
        Head::decode(&*self.0).map_err(|error| undecodable(&error))
    }

    /// All of it, if it has at most so many events and none of them more attributes than any may have.
    pub(super) fn open(self, most: usize) -> Result<PublishRequest, Problem> {
        if fields(&self.0, EVENT).nth(most).is_some() {
            let detail =
                format!("the request has more than {most} events, which is all that this Producer takes");
            return Err(Problem::new(reason::BATCH_TOO_LARGE, detail).at("events"));
        }
        let crowded = |event| fields(event, ATTRIBUTE).nth(MAX_ATTRIBUTES).is_some();
        if let Some(index) = fields(&self.0, EVENT).position(crowded) {
            let detail =
                format!("the event has more than {MAX_ATTRIBUTES} attributes, which is all it may have");
            return Err(Invalid::new(Reason::TooManyAttributes, format!("events[{index}]"), detail).into());
        }
        PublishRequest::decode(self.0).map_err(|error| undecodable(&error))
    }
}

fn undecodable(error: &DecodeError) -> Problem {
    let text = error.to_string();
    status::undecodable(text.strip_prefix(status::UNDECODABLE).unwrap_or(&text))
}

/// The fields of this number that hold bytes, as far as the message is one.
fn fields(mut bytes: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    from_fn(move || {
        while bytes.has_remaining() {
            let (found, wire) = decode_key(&mut bytes).ok()?;
            if wire != WireType::LengthDelimited {
                skip_field(wire, found, &mut bytes, DecodeContext::default()).ok()?;
                continue;
            }
            let length = prost::decode_length_delimiter(&mut bytes).ok()?;
            let (field, rest) = bytes.split_at_checked(length)?;
            bytes = rest;
            if found == number {
                return Some(field);
            }
        }
        None
    })
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
        let service = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(AsItComes).apply_max_message_size_config(Some(MESSAGE_BYTES), None);
            Ok(match request.uri().path() {
                "/evhub.ingest.v1.Ingest/Publish" => grpc.unary(service, request).await,
                "/evhub.ingest.v1.Ingest/PublishStream" => grpc.streaming(service, request).await,
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}

impl<J: Journal> UnaryService<Message> for Server<J> {
    type Response = PublishResponse;
    type Future = BoxFuture<Response<PublishResponse>, Status>;

    fn call(&mut self, request: Request<Message>) -> Self::Future {
        let Self(service) = self.clone();
        Box::pin(async move { service.publish(request).await })
    }
}

impl<J: Journal> StreamingService<Message> for Server<J> {
    type Response = PublishResponse;
    type ResponseStream = Answers;
    type Future = BoxFuture<Response<Answers>, Status>;

    fn call(&mut self, request: Request<Streaming<Message>>) -> Self::Future {
        let Self(service) = self.clone();
        Box::pin(async move { service.publish_stream(request) })
    }
}

/// Gives requests as they came.
struct AsItComes;

impl Codec for AsItComes {
    type Encode = PublishResponse;
    type Decode = Message;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for AsItComes {
    type Item = PublishResponse;
    type Error = Status;

    fn encode(&mut self, item: PublishResponse, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(to).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for AsItComes {
    type Item = Message;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Message>, Status> {
        Ok(Some(Message(from.copy_to_bytes(from.remaining()))))
    }
}
