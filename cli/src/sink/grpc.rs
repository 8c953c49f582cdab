//! The receiver over gRPC: EvHub's `Dispatch` and evhub's own `Deliver`, answered as its owner decides. Prints nothing.
//!
//! An attempt is told as one over HTTP is, so that whoever decides and whoever reads need not know the protocol.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use evhub_lifecycle::Drain;
use evhub_proto::{
    cloudevents::{
        CloudEvent,
        cloud_event::{Data, cloud_event_attribute_value::Attr},
    },
    dispatch::{
        Ack, Delivery, ack,
        receiver_server::{Receiver, ReceiverServer},
    },
    evhub_comm::Result as Ret,
    evhub_processor::{
        DispatchReq, DispatchRsp,
        evhub_processor_server::{EvhubProcessor, EvhubProcessorServer},
    },
};
use futures_util::{Stream, stream::unfold};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tonic::{Request, Response, Status, Streaming, async_trait, service::Routes};

use super::server::{Answer, Attempt, take_time};

/// The largest message taken; far above what any Producer lets in.
const LARGEST: usize = 64 << 20;
const DISPATCH: &str = "/evhub_processor.evhubProcessor/Dispatch";
const DELIVER: &str = "/evhub.dispatch.v1.Receiver/Deliver";

/// Both services.
struct Receivers<D> {
    decide: Arc<D>,
    drain: Drain,
}

/// Serves both.
pub(super) fn routes<D: Fn(&Attempt) -> Answer + Send + Sync + 'static>(
    decide: &Arc<D>,
    drain: &Drain,
) -> Routes {
    let both = || Receivers { decide: Arc::clone(decide), drain: drain.clone() };
    Routes::new(EvhubProcessorServer::new(both()).max_decoding_message_size(LARGEST))
        .add_service(ReceiverServer::new(both()).max_decoding_message_size(LARGEST))
        .prepare()
}

impl<D: Fn(&Attempt) -> Answer> Receivers<D> {
    /// The status that an attempt is answered with, after its time.
    async fn answer(&self, attempt: Attempt) -> StatusCode {
        let answer = (self.decide)(&attempt);
        take_time(answer.delay, &self.drain).await;
        answer.status
    }
}

#[async_trait]
impl<D: Fn(&Attempt) -> Answer + Send + Sync + 'static> EvhubProcessor for Receivers<D> {
    async fn dispatch(&self, request: Request<DispatchReq>) -> Result<Response<DispatchRsp>, Status> {
        let (metadata, _, message) = request.into_parts();
        let mut headers = metadata.into_headers();
        put(&mut headers, "ce-id", &message.event_id);
        put(&mut headers, "evhub-attempt", &(message.retry_times + 1).to_string());
        let body = message.event.map(|event| event.data).unwrap_or_default();
        let status = self.answer(Attempt::at(DISPATCH, headers, body)).await;
        let failed = || Ret { code: i32::from(status.as_u16()), msg: "the sink was told to fail".to_owned() };
        Ok(Response::new(DispatchRsp { ret: (!status.is_success()).then(failed), pass_back: Bytes::new() }))
    }
}

type Acks = Pin<Box<dyn Stream<Item = Result<Ack, Status>> + Send>>;

#[async_trait]
impl<D: Fn(&Attempt) -> Answer + Send + Sync + 'static> Receiver for Receivers<D> {
    type DeliverStream = Acks;

    async fn deliver(&self, request: Request<Streaming<Delivery>>) -> Result<Response<Acks>, Status> {
        let own = Self { decide: Arc::clone(&self.decide), drain: self.drain.clone() };
        let acks = unfold((own, request.into_inner()), async |(own, mut deliveries)| {
            let delivery = match deliveries.message().await {
                Ok(delivery) => delivery?,
                Err(status) => return Some((Err(status), (own, deliveries))),
            };
            let ack = own.acknowledge(delivery).await;
            Some((Ok(ack), (own, deliveries)))
        });
        Ok(Response::new(Box::pin(acks)))
    }
}

impl<D: Fn(&Attempt) -> Answer> Receivers<D> {
    async fn acknowledge(&self, delivery: Delivery) -> Ack {
        let Delivery { sequence, delivery, processor, attempt, epoch, generation, event, .. } = delivery;
        let mut headers = HeaderMap::new();
        let body = event.map(|event| attributes(&mut headers, event)).unwrap_or_default();
        let own = [
            ("evhub-delivery", delivery),
            ("evhub-processor", processor),
            ("evhub-attempt", attempt.to_string()),
            ("evhub-epoch", epoch.to_string()),
            ("evhub-generation", generation),
        ];
        for (name, value) in own {
            put(&mut headers, name, &value);
        }
        let status = self.answer(Attempt::at(DELIVER, headers, body)).await;
        let result = if status.is_success() { ack::Result::Delivered } else { ack::Result::Retry };
        let message = if status.is_success() { String::new() } else { status.to_string() };
        Ack { sequence, result: result.into(), retry_after: None, message }
    }
}

/// An event's attributes as the HTTP binding has them; its data.
fn attributes(headers: &mut HeaderMap, event: CloudEvent) -> Bytes {
    let CloudEvent { id, source, spec_version, r#type, attributes, data } = event;
    for (name, value) in [("id", id), ("source", source), ("specversion", spec_version), ("type", r#type)] {
        put(headers, &format!("ce-{name}"), &value);
    }
    for (name, value) in attributes {
        if let Some(Attr::CeString(text) | Attr::CeUri(text) | Attr::CeUriRef(text)) = value.attr {
            put(headers, &format!("ce-{name}"), &text);
        }
    }
    match data {
        Some(Data::BinaryData(bytes)) => bytes,
        Some(Data::TextData(text)) => text.into(),
        Some(Data::ProtoData(any)) => any.value.into(),
        None => Bytes::new(),
    }
}

/// What is no header as it is is percent-encoded.
fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    let encoded = if value.bytes().all(|b| b.is_ascii_graphic() && b != b'%') {
        value.to_owned()
    } else {
        utf8_percent_encode(value, NON_ALPHANUMERIC).to_string()
    };
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(encoded)) {
        headers.insert(name, value);
    }
}

impl Attempt {
    fn at(path: &str, headers: HeaderMap, body: Bytes) -> Self {
        Self { time: Timestamp::now(), path: path.to_owned(), headers, body }
    }
}
