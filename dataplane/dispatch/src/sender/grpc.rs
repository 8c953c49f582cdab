//! EvHub's dispatch as a gRPC call, and what a gRPC status means. I/O.

use std::time::Duration;

use evhub_proto::evhub_processor::evhub_processor_client::EvhubProcessorClient;
use evhub_routing::{GrpcCode, Target};
use tonic::{Code, Extensions, Request, Status, body::Body, metadata::MetadataMap};
use tonic_types::StatusExt as _;

use super::{
    ANSWER, Deadline, Delivery, Reply, always,
    connect::Client,
    evhub, identify,
    text::{failure, printable},
};
use crate::outcome::Answer;

pub(super) async fn attempt(
    client: &Client<Body>,
    target: &Target,
    delivery: &Delivery<'_>,
    deadline: Deadline,
) -> Reply {
    let mut metadata = always(target);
    identify(&mut metadata, delivery);
    let metadata = MetadataMap::from_headers(metadata);
    let mut request = Request::from_parts(metadata, Extensions::default(), evhub::request(delivery));
    request.set_timeout(deadline.timeout);
    let mut client = EvhubProcessorClient::with_origin(client.clone(), target.url.clone())
        .max_decoding_message_size(ANSWER);
    match deadline.until(client.dispatch(request)).await {
        Ok(Ok(response)) => evhub::understand_message(response.into_inner()),
        Ok(Err(status)) => answer(&status).into(),
        Err(late) => late.into(),
    }
}

/// What a failing status says. One with a source was made here: there was no answer.
pub(super) fn answer(status: &Status) -> Answer {
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
