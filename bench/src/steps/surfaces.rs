//! Publishing whole, from a request as a connection hands it over to its answer, over a log that keeps nothing. No I/O.

use std::{
    collections::BTreeMap,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use axum::body::Body;
use bytes::{BufMut as _, Bytes, BytesMut};
use evhub_dataplane::{Hub, grpc, ingest};
use evhub_journal::sink::Sink;
use evhub_proto::{
    cloudevents::{
        CloudEvent,
        cloud_event::{CloudEventAttributeValue, Data, cloud_event_attribute_value::Attr},
    },
    ingest::PublishRequest,
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use serde_json::json;
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
};
use tower_service::Service as _;

use super::{Step, headers, snapshot};
use crate::wire;

/// How many requests of one event each the stream has.
const REQUESTS: usize = 10;

/// One event over HTTP, in binary mode.
pub(super) fn http() -> Step {
    let (runtime, hub) = hub();
    let router = ingest::router(hub);
    let (headers, data) = (headers(), Bytes::from(wire::data()));
    Box::new(move || {
        let mut request = Request::new(Body::from(data.clone()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = http::Uri::from_static("/namespaces/shop/producers/orders");
        *request.headers_mut() = headers.clone();
        let answer: Response<Body> = runtime.block_on(async {
            let Ok(answer) = router.clone().call(request).await;
            answer
        });
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "the event above is one");
        black_box(answer);
    })
}

/// A stream of so many events over gRPC, one in each request.
pub(super) fn stream() -> Step {
    let (runtime, hub) = hub();
    let (trigger, drain) = evhub_lifecycle::channel();
    let routes = grpc::routes(&hub, &drain);
    let mut messages = BytesMut::new();
    for _ in 0..REQUESTS {
        messages.extend_from_slice(&message());
    }
    let messages = messages.freeze();
    Box::new(move || {
        // A trigger that is gone would have begun the drain.
        black_box(&trigger);
        let mut request = Request::new(tonic::body::Body::new(Full::new(messages.clone())));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = http::Uri::from_static("/evhub.ingest.v1.Ingest/PublishStream");
        let grpc = http::HeaderValue::from_static("application/grpc");
        request.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
        let answer = runtime.block_on(async {
            let Ok(answer) = routes.clone().call(request).await;
            answer.into_body().collect().await.expect("an answer without a connection cannot break")
        });
        let status = answer.trailers().and_then(|trailers| trailers.get("grpc-status"));
        assert_eq!(status.map(http::HeaderValue::as_bytes), Some(&b"0"[..]), "the events above are some");
        black_box(answer);
    })
}

/// A hub, and one thread to run its futures on.
fn hub() -> (Runtime, Hub<Sink>) {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime without sockets");
    let (_, running) = watch::channel(Arc::new(snapshot(&json!({}))));
    let taken = AtomicU64::new(0);
    let sink = Sink::new(move |record| {
        drop(black_box(record));
        taken.fetch_add(1, Relaxed)
    });
    (runtime, Hub::new(sink, running))
}

/// A request with one event, as it comes over the wire.
fn message() -> Bytes {
    let text = |text: &str| CloudEventAttributeValue { attr: Some(Attr::CeString(text.to_owned())) };
    let attributes = [
        ("partitionkey".to_owned(), text("0042")),
        ("datacontenttype".to_owned(), text("application/octet-stream")),
    ];
    let event = CloudEvent {
        id: "0000000000123456".to_owned(),
        source: "/bench".to_owned(),
        spec_version: "1.0".to_owned(),
        r#type: "shop.order.paid".to_owned(),
        attributes: BTreeMap::from(attributes),
        data: Some(Data::BinaryData(wire::data().into())),
    };
    let request = PublishRequest {
        namespace: "shop".to_owned(),
        producer: "orders".to_owned(),
        events: vec![event],
        correlation: 1,
    };
    let length = request.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    bytes.put_u32(length as u32);
    request.encode(&mut bytes).expect("there is room for it");
    bytes.freeze()
}
