//! Events as protobuf. An input is the message of a call to publish.

use std::sync::LazyLock;

use bytes::{BufMut as _, Bytes, BytesMut};
use evhub_dataplane::grpc;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use tonic::{Code, Status, service::Routes};
use tonic_types::StatusExt as _;
use tower_service::Service as _;

use super::surface::Surface;

pub(crate) fn run(data: &[u8]) {
    thread_local! {
        static SURFACE: LazyLock<Services> = LazyLock::new(Services::new);
    }
    SURFACE.with(|services| {
        let (status, _) = services.call("/evhub.ingest.v1.Ingest/Publish", data);
        let accepted = services.surface.accepted();
        assert_eq!(status.code() == Code::Ok, accepted > 0, "{status:?}");
    });
}

/// The services of a hub without sockets.
pub(super) struct Services {
    pub(super) surface: Surface,
    routes: Routes,
}

impl Services {
    pub(super) fn new() -> Self {
        let surface = Surface::new();
        let (_, drain) = evhub_lifecycle::channel();
        let routes = grpc::routes(&surface.hub, &drain);
        Self { surface, routes }
    }

    /// Calls with this message; what is not accepted must be refused with a status, and in words of ours where it is ours.
    pub(super) fn call(&self, path: &str, message: &[u8]) -> (Status, Bytes) {
        let mut framed = BytesMut::with_capacity(message.len() + 5);
        framed.put_u8(0);
        framed.put_u32(message.len() as u32);
        framed.put_slice(message);
        let request = Request::post(format!("http://hub{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(tonic::body::Body::new(Full::new(framed.freeze())))
            .expect("a path of ours is one");
        let (status, body) = self.surface.runtime.block_on(async {
            let Ok(response) = self.routes.clone().call(request).await;
            let (parts, body) = response.into_parts();
            let whole = body.collect().await.expect("an answer without a connection cannot break");
            let trailers = whole.trailers().cloned().unwrap_or_default();
            let status =
                Status::from_header_map(&parts.headers).or_else(|| Status::from_header_map(&trailers));
            (status.expect("every call ends with a status"), whole.to_bytes())
        });
        assert!(!matches!(status.code(), Code::Unknown | Code::DataLoss), "{status:?}");
        // What the library refuses gets its words later, from the listener.
        if let Some(info) = status.get_error_details().error_info() {
            assert!(status.code() != Code::Internal && info.domain == "evhub.dev", "{status:?}");
            assert!(
                status.message().len() < 600 && !status.message().contains(char::is_control),
                "{status:?}"
            );
        }
        assert_eq!(self.surface.hub.door.in_flight(), 0, "what was charged is free again");
        (status, body.slice(body.len().min(5)..))
    }
}
