//! A receiver of gRPC streams, which counts what comes on them as the sink does. Serves HTTP/2.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use bytes::{Bytes, BytesMut};
use evhub_proto::{
    cloudevents::cloud_event::cloud_event_attribute_value::Attr,
    dispatch::{Ack, Delivery, ack::Result as Word},
};
use futures_util::stream::unfold;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedSender, unbounded_channel},
};

use super::{
    server::{Shared, tell_who_asks},
    stream::{framed, unframed},
};

/// Takes deliveries, each for a random time of up to so many microseconds, on one address, and tells what it has seen on
/// another.
pub(crate) async fn serve(micros: u64) -> Result<()> {
    let (listener, log) = (TcpListener::bind("127.0.0.1:0").await.context("listen")?, Shared::default());
    let asked = TcpListener::bind("127.0.0.1:0").await.context("listen")?;
    println!("{} {}", listener.local_addr()?, asked.local_addr()?);
    tokio::spawn(tell_who_asks(asked, log.clone()));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let log = log.clone();
        let service = service_fn(move |request| {
            let answer = acknowledge(request, log.clone(), micros);
            async { Ok::<_, Infallible>(answer) }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

/// Acknowledges each delivery of a stream when its time has passed.
fn acknowledge(
    request: Request<Incoming>,
    log: Shared,
    micros: u64,
) -> Response<StreamBody<impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>>>> {
    let (acks, queue) = unbounded_channel();
    tokio::spawn(take(request.into_body(), acks, log, micros));
    let up = unfold(Some(queue), |queue| async {
        let mut queue = queue?;
        if let Some(ack) = queue.recv().await {
            return Some((Ok(Frame::data(framed(&ack))), Some(queue)));
        }
        let ended = HeaderMap::from_iter([("grpc-status".parse().ok()?, HeaderValue::from_static("0"))]);
        Some((Ok(Frame::trailers(ended)), None))
    });
    let mut response = Response::new(StreamBody::new(up));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

/// Reads deliveries to their end.
async fn take(mut body: Incoming, acks: UnboundedSender<Ack>, log: Shared, micros: u64) {
    let mut buffer = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else { continue };
        buffer.extend_from_slice(data);
        while let Some(message) = unframed(&mut buffer) {
            let Ok(delivery) = Delivery::decode(message) else { return };
            let (came, acks, log) = (Instant::now(), acks.clone(), log.clone());
            let event = delivery.event.unwrap_or_default();
            let key = event.attributes.get("partitionkey").and_then(|value| match &value.attr {
                Some(Attr::CeString(key)) => key.parse().ok(),
                _ => None,
            });
            let id = u64::from_str_radix(&event.id, 16).unwrap_or_default();
            log.with(|log| log.came(id, key.unwrap_or_default(), came));
            tokio::spawn(async move {
                if micros > 0 {
                    tokio::time::sleep(Duration::from_micros(fastrand::u64(0..=micros))).await;
                }
                log.with(|log| log.answered(came));
                let ack =
                    Ack { sequence: delivery.sequence, result: Word::Delivered.into(), ..Ack::default() };
                // Whoever hung up ends a measurement.
                let _ = acks.send(ack);
            });
        }
    }
}
