//! The rows that are gRPC, and those that are frames of HTTP/2.

use std::{collections::BTreeMap, net::SocketAddr};

use bytes::Bytes;
use evhub_proto::{
    cloudevents::{
        CloudEvent,
        cloud_event::{CloudEventAttributeValue, Data, cloud_event_attribute_value::Attr},
    },
    ingest::{PublishRequest, PublishResponse},
};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    hub::{Acked, Site},
    request::Wire,
    table::{Call, Frames, Message, bytes, text},
};
use crate::process::PATIENCE;

const PUBLISH: &str = "/evhub.ingest.v1.Ingest/Publish";

/// One connection.
struct Client(http2::SendRequest<Full<Bytes>>);

/// One answer.
struct Heard {
    http: u16,
    status: Option<Status>,
    body: Bytes,
}

/// Calls, looks at what comes back, and publishes a good event on the same and on a new connection.
pub(super) async fn check(site: &mut Site, index: usize, row: &Call) -> Result<(), String> {
    let mut client = Client::connect(site.grpc).await;
    let headers: Vec<_> = row.headers.iter().filter_map(|line| line.split_once(": ")).collect();
    let path = row.path.as_deref().unwrap_or(PUBLISH);
    let heard = client.call(path, &headers, body(row, &format!("{}-call-{index}", row.row))).await;
    let found = match row.bare {
        Some(_) if heard.status.is_none() => Ok(heard.http.to_string()),
        Some(_) => Err("a status of gRPC's".to_owned()),
        None => refusal(&heard),
    }?;
    let wanted = row.bare.map(|status| status.to_string()).or_else(|| row.refused.as_deref().map(text));
    if wanted.as_deref() != Some(found.as_str()) {
        return Err(format!("{found}, not {wanted:?}"));
    }
    good(site, &mut client).await.map_err(|error| format!("then on the same connection: {error}"))?;
    fresh(site).await
}

/// Sends frames after a good beginning: the connection ends, and others do not.
pub(super) async fn frames(site: &mut Site, row: &Frames) -> Result<(), String> {
    let mut beside = Client::connect(site.grpc).await;
    let mut sent = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, b"")].concat();
    sent.extend(row.send.iter().flat_map(|text| several(text)));
    let mut wire = Wire::connect(site.grpc);
    let ended = tokio::task::spawn_blocking(move || {
        wire.send(&sent);
        wire.ends()
    });
    assert!(ended.await.map_err(|error| error.to_string())?);
    good(site, &mut beside).await.map_err(|error| format!("then beside it: {error}"))?;
    fresh(site).await
}

/// Publishes a good event on a connection of its own.
pub(super) async fn fresh(site: &mut Site) -> Result<(), String> {
    let mut client = Client::connect(site.grpc).await;
    good(site, &mut client).await.map_err(|error| format!("then on a new connection: {error}"))
}

async fn good(site: &mut Site, client: &mut Client) -> Result<(), String> {
    let id = site.next_id();
    let message = Message { producer: None, events: vec![BTreeMap::new()] };
    let heard = client.call(PUBLISH, &[], framed(&message.request(&id).encode_to_vec())).await;
    if heard.status.as_ref().is_none_or(|status| status.code() != Code::Ok) {
        return Err(format!("a good event got {:?}", heard.status));
    }
    let whole = PublishResponse::decode(heard.body.slice(5..)).map_err(|error| error.to_string())?;
    for outcome in whole.outcomes {
        let (partition, offset) = (outcome.partition as u32, outcome.offset as u64);
        site.took("orders", Acked { id: outcome.id, partition, offset });
    }
    Ok(())
}

fn body(row: &Call, id: &str) -> Bytes {
    match (&row.frame, &row.bytes, &row.message) {
        (Some(frame), ..) => bytes(frame).into(),
        (None, Some(message), _) => framed(&bytes(message)),
        (None, None, Some(message)) => framed(&message.request(id).encode_to_vec()),
        (None, None, None) => {
            framed(&Message { producer: None, events: vec![BTreeMap::new()] }.request(id).encode_to_vec())
        }
    }
}

/// `CODE REASON FIELD` of a status with all its details, which says that nothing happened.
fn refusal(Heard { status, http, .. }: &Heard) -> Result<String, String> {
    let status = status.as_ref().ok_or(format!("no status, but {http}"))?;
    let details = status.get_error_details();
    let info = details.error_info().ok_or_else(|| format!("no ErrorInfo in {status:?}"))?;
    let outcome = info.metadata.get("outcome").map(String::as_str);
    if status.message().is_empty() || info.domain != "evhub.dev" || outcome != Some("rejected") {
        return Err(format!("{status:?}"));
    }
    let field = details.bad_request().and_then(|bad| bad.field_violations.first());
    let field = field.map(|violation| format!(" {}", violation.field)).unwrap_or_default();
    Ok(format!("{} {}{field}", name(status.code()), info.reason))
}

/// A code as gRPC writes it.
fn name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// A message with its length before it.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat().into()
}

/// `5000x KIND FLAGS STREAM PAYLOAD`
fn several(text: &str) -> Vec<u8> {
    let (times, rest) = match text.split_once("x ") {
        Some((times, rest)) if times.bytes().all(|b| b.is_ascii_digit()) => (times.parse().unwrap(), rest),
        _ => (1, text),
    };
    if rest == "CALL" {
        // Each on a stream of its own, and reset before it is answered.
        let head = b"\x83\x86\x84\x01\x01h";
        return (0..times)
            .flat_map(|n| [frame(1, 4, 2 * n + 1, head), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])].concat())
            .collect();
    }
    let mut parts = rest.splitn(4, ' ');
    let mut part = || parts.next().unwrap_or_else(|| panic!("no frame: {text}"));
    let kinds = [
        "DATA",
        "HEADERS",
        "",
        "RST_STREAM",
        "SETTINGS",
        "PUSH_PROMISE",
        "",
        "",
        "WINDOW_UPDATE",
        "CONTINUATION",
    ];
    let kind = part();
    let kind = kinds.iter().position(|known| *known == kind).unwrap_or_else(|| panic!("no frame: {text}"));
    let (flags, stream) = (part().parse().unwrap(), part().parse().unwrap());
    frame(kind as u8, flags, stream, &bytes(part())).repeat(times as usize)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

// === impl Client ===

impl Client {
    async fn connect(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).await.unwrap();
        let (send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(send)
    }

    async fn call(&mut self, path: &str, headers: &[(&str, &str)], body: Bytes) -> Heard {
        let mut request = Request::post(format!("http://hub{path}")).header("te", "trailers");
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/grpc");
        }
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Full::new(body)).unwrap();
        let heard = async {
            self.0.ready().await.unwrap();
            let (parts, body) = self.0.send_request(request).await.unwrap().into_parts();
            let whole = body.collect().await.unwrap();
            let trailers = whole.trailers().cloned().unwrap_or_default();
            let status =
                Status::from_header_map(&parts.headers).or_else(|| Status::from_header_map(&trailers));
            Heard { http: parts.status.as_u16(), status, body: whole.to_bytes() }
        };
        timeout(PATIENCE, heard).await.expect("an answer")
    }
}

// === impl Message ===

impl Message {
    fn request(&self, id: &str) -> PublishRequest {
        PublishRequest {
            namespace: "shop".to_owned(),
            producer: self.producer.as_deref().unwrap_or("orders").to_owned(),
            events: self.events.iter().map(|event| said(event, id)).collect(),
            correlation: 0,
        }
    }
}

fn said(event: &BTreeMap<String, Value>, id: &str) -> CloudEvent {
    let or = |name: &str, or: &str| {
        event.get(name).and_then(Value::as_str).map_or_else(|| or.to_owned(), ToOwned::to_owned)
    };
    let fields = ["id", "source", "specversion", "type", "data"];
    let attributes = event.iter().filter(|(name, _)| !fields.contains(&name.as_str()));
    CloudEvent {
        id: or("id", id),
        source: or("source", "/s"),
        spec_version: or("specversion", "1.0"),
        r#type: or("type", "t"),
        attributes: attributes.map(|(name, value)| (name.clone(), attribute(value))).collect(),
        data: Some(Data::TextData(text(&or("data", "good")))),
    }
}

fn attribute(value: &Value) -> CloudEventAttributeValue {
    let instant = |seconds| {
        let nanos = value["nanos"].as_i64().unwrap_or_default() as i32;
        Attr::CeTimestamp(prost_types::Timestamp { seconds, nanos })
    };
    let attr = match value {
        Value::String(text) => Some(Attr::CeString(text.clone())),
        _ => value["seconds"].as_i64().map(instant),
    };
    CloudEventAttributeValue { attr }
}
