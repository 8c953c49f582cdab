//! Publishers over gRPC's `PublishStream`, each on a connection of its own. Does I/O.
//!
//! hyper speaks HTTP/2, the messages are encoded and decoded here: what a client needs, and no more.

use std::{
    convert::Infallible,
    net::SocketAddr,
    process,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use evhub_bench::{machine, wire};
use evhub_proto::{
    cloudevents::{
        CloudEvent,
        cloud_event::{CloudEventAttributeValue, Data, cloud_event_attribute_value::Attr},
    },
    ingest::{PublishRequest, PublishResponse, outcome::Kind},
};
use http::Request;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{net::TcpStream, sync::Semaphore, task::JoinSet};

use super::{Load, load::tell};

/// What is sent before anything counts.
const WARM_UP: Duration = Duration::from_millis(500);

/// How many keys the events have where nothing else is said.
pub(crate) const KEYS: u64 = 1000;

/// How the events are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// How many streams.
    pub(crate) streams: u64,
    /// How many events in one request.
    pub(crate) batch: u64,
    /// How many requests of a stream wait for their answers.
    pub(crate) window: usize,
    /// How many keys the events have.
    pub(crate) keys: u64,
}

/// As many events as so many streams can send with so many requests unanswered.
pub(crate) async fn closed(address: SocketAddr, shape: Shape, seconds: u64) -> Result<()> {
    let from = Instant::now() + WARM_UP;
    let to = from + Duration::from_secs(seconds);
    let mut tasks = JoinSet::new();
    for stream in 0..shape.streams {
        let more = move |sent| (Instant::now() < to).then_some(sent);
        let counts = move || (from..to).contains(&Instant::now());
        tasks.spawn(publish(address, shape, stream << 40, more, counts));
    }
    let mut events = 0;
    while let Some(counted) = tasks.join_next().await {
        events += counted??;
    }
    tell(&Load { events, seconds: seconds as f64, used: machine::used(process::id())?, latency: None })
}

/// So many events, as a backlog.
pub(crate) async fn fill(address: SocketAddr, count: u64, keys: u64) -> Result<()> {
    // Few keys are asked for where their order is looked at, and who needs that waits for the answer.
    let window = if keys == KEYS { 8 } else { 1 };
    let shape = Shape { streams: 1, batch: 100, window, keys };
    let began = Instant::now();
    let events = publish(address, shape, 0, move |sent| (sent < count).then_some(sent), || true).await?;
    ensure!(events == count, "{events} events of {count} were accepted");
    let seconds = began.elapsed().as_secs_f64();
    tell(&Load { events, seconds, used: machine::used(process::id())?, latency: None })
}

/// Publishes on one stream for as long as `more` says, and counts what is accepted while `counts` says so.
async fn publish(
    address: SocketAddr,
    Shape { batch, window, keys, .. }: Shape,
    first: u64,
    more: impl Fn(u64) -> Option<u64> + Send + 'static,
    counts: impl Fn() -> bool,
) -> Result<u64> {
    let stream = TcpStream::connect(address).await.context("connect")?;
    stream.set_nodelay(true)?;
    let io = TokioIo::new(stream);
    let handshake = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .handshake(io);
    let (mut sender, connection) = handshake.await?;
    tokio::spawn(connection);
    let free = Arc::new(Semaphore::new(window));
    let (data, waits) = (Bytes::from(wire::data()), Arc::clone(&free));
    let requests = futures_util::stream::unfold(0, move |sent| {
        let (more, waits, data) = (more(sent), Arc::clone(&waits), data.clone());
        async move {
            let sent = more?;
            waits.acquire_owned().await.ok()?.forget();
            Some((Ok::<_, Infallible>(Frame::data(request(first + sent, batch, keys, &data))), sent + batch))
        }
    });
    let call = Request::post(format!("http://{address}/evhub.ingest.v1.Ingest/PublishStream"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(StreamBody::new(Box::pin(requests)))?;
    let answer = sender.send_request(call).await?;
    ensure!(answer.status() == 200, "the call was answered {}", answer.status());
    accepted(answer.into_body(), &free, counts).await
}

/// A message with a batch of events, the first with this number.
fn request(first: u64, batch: u64, keys: u64, data: &Bytes) -> Bytes {
    let events = (first..first + batch).map(|number| event(number, keys, data)).collect();
    let message = PublishRequest {
        namespace: "shop".to_owned(),
        producer: "orders".to_owned(),
        events,
        correlation: first,
    };
    framed(&message)
}

/// A message as gRPC frames it.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    bytes.put_u32(length as u32);
    // There is room for it.
    let _ = message.encode(&mut bytes);
    bytes.freeze()
}

/// The next message of what came, if there is a whole one.
pub(crate) fn unframed(buffer: &mut BytesMut) -> Option<BytesMut> {
    let length = buffer.get(1..5)?.get_u32() as usize;
    (buffer.len() >= 5 + length).then(|| {
        buffer.advance(5);
        buffer.split_to(length)
    })
}

fn event(number: u64, keys: u64, data: &Bytes) -> CloudEvent {
    let text = |text: String| CloudEventAttributeValue { attr: Some(Attr::CeString(text)) };
    let attributes = [
        ("partitionkey".to_owned(), text(format!("{:04}", number % keys))),
        ("datacontenttype".to_owned(), text("application/octet-stream".to_owned())),
    ];
    CloudEvent {
        id: format!("{number:016x}"),
        source: "/bench".to_owned(),
        spec_version: "1.0".to_owned(),
        r#type: "shop.order.paid".to_owned(),
        attributes: attributes.into(),
        data: Some(Data::BinaryData(data.clone())),
    }
}

/// Reads the answers to their end and counts the events that they accept.
async fn accepted(mut body: Incoming, free: &Semaphore, counts: impl Fn() -> bool) -> Result<u64> {
    let (mut events, mut buffer) = (0, BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let Some(data) = frame.data_ref() else { continue };
        buffer.extend_from_slice(data);
        while let Some(message) = unframed(&mut buffer) {
            let answer = PublishResponse::decode(message)?;
            let refused = answer.outcomes.iter().find(|outcome| outcome.kind() != Kind::Accepted);
            ensure!(refused.is_none(), "an event was not accepted: {refused:?}");
            free.add_permits(1);
            if counts() {
                events += answer.outcomes.len() as u64;
            }
        }
    }
    Ok(events)
}
