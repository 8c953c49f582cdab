//! An HTTP/2 client that calls however it likes, and hears the answer as it comes.

use std::{net::SocketAddr, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use evhub_proto::{
    cloudevents::{
        CloudEvent,
        cloud_event::{CloudEventAttributeValue, Data, cloud_event_attribute_value::Attr},
    },
    ingest::PublishRequest,
};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{net::TcpStream, time::timeout};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::wire::PATIENCE;

pub(super) const PUBLISH: &str = "/evhub.ingest.v1.Ingest/Publish";
pub(super) const STREAM: &str = "/evhub.ingest.v1.Ingest/PublishStream";

/// One connection.
pub(super) struct Raw {
    send: http2::SendRequest<Full<Bytes>>,
}

/// One answer.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) http: u16,
    pub(super) status: Option<Status>,
    body: Bytes,
}

impl Raw {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { send }
    }

    pub(super) async fn call(&mut self, path: &str, headers: &[(&str, &str)], body: Bytes) -> Heard {
        let mut request = Request::post(format!("http://hub{path}")).header("te", "trailers");
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/grpc");
        }
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Full::new(body)).unwrap();
        let heard = async {
            self.send.ready().await.unwrap();
            let response = self.send.send_request(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let body = body.collect().await.unwrap();
            let trailers: HeaderMap = body.trailers().cloned().unwrap_or_default();
            let status = Status::from_header_map(&parts.headers);
            Heard {
                http: parts.status.as_u16(),
                status: status.or_else(|| Status::from_header_map(&trailers)),
                body: body.to_bytes(),
            }
        };
        timeout(PATIENCE, heard).await.expect("an answer")
    }

    /// Publishes a good event; says how that ended.
    pub(super) async fn publishes(&mut self) -> bool {
        let heard = self.call(PUBLISH, &[], frame(&good())).await;
        heard.status.is_some_and(|status| status.code() == Code::Ok)
    }
}

impl Heard {
    /// The messages that were answered.
    pub(super) fn messages<T: Message + Default>(&self) -> Vec<T> {
        let mut rest = self.body.clone();
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let (_, length) = (rest.get_u8(), rest.get_u32() as usize);
            messages.push(T::decode(rest.split_to(length)).unwrap());
        }
        messages
    }

    /// Code, reason, outcome and field.
    #[track_caller]
    pub(super) fn refusal(&self) -> (Code, String, String, Option<String>) {
        refusal(self.status.as_ref().expect("a status"))
    }
}

/// What a status says beside its sentence, which it must have.
#[track_caller]
pub(super) fn refusal(status: &Status) -> (Code, String, String, Option<String>) {
    assert!(!status.message().is_empty(), "{status:?}");
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "evhub.dev");
    let field = details.bad_request().map(|bad| bad.field_violations[0].field.clone());
    (status.code(), info.reason.clone(), info.metadata["outcome"].clone(), field)
}

/// A message with its length before it.
pub(super) fn frame(message: &impl Message) -> Bytes {
    prefixed(0, &message.encode_to_vec())
}

/// Bytes as a message, with a flag that says whether they are compressed.
pub(super) fn prefixed(flag: u8, message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(message.len() + 5);
    bytes.put_u8(flag);
    bytes.put_u32(u32::try_from(message.len()).unwrap());
    bytes.put_slice(message);
    bytes.freeze()
}

pub(super) fn event(id: &str, key: Option<&str>, data: &str) -> CloudEvent {
    let value = |text: &str| CloudEventAttributeValue { attr: Some(Attr::CeString(text.to_owned())) };
    CloudEvent {
        id: id.to_owned(),
        source: "/till".to_owned(),
        spec_version: "1.0".to_owned(),
        r#type: "shop.paid".to_owned(),
        attributes: key.map(|key| ("partitionkey".to_owned(), value(key))).into_iter().collect(),
        data: Some(Data::TextData(data.to_owned())),
    }
}

pub(super) fn request(events: Vec<CloudEvent>) -> PublishRequest {
    let (namespace, producer) = ("shop".to_owned(), "orders".to_owned());
    PublishRequest { namespace, producer, events, correlation: 0 }
}

pub(super) fn good() -> PublishRequest {
    request(vec![event("good", None, "good")])
}

/// A channel as any gRPC client has one.
pub(super) async fn channel(address: SocketAddr) -> tonic::transport::Channel {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect_timeout(Duration::from_secs(5)).connect().await.unwrap()
}
