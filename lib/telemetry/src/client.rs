//! How spans reach their collector: OTLP over plain HTTP. Does I/O.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::{runtime::Handle, time::timeout};

/// As OTLP has it.
const ANSWER: Duration = Duration::from_secs(10);
/// An answer says what was not taken, in a few words.
const READ: usize = 64 << 10;

/// Sends on the hub's own threads, whoever asks: the exporter waits on a thread of its own, where nothing else runs.
#[derive(Debug)]
pub(crate) struct Collector {
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Handle,
}

impl Collector {
    /// A client that runs there.
    pub(crate) fn new(runtime: Handle) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), runtime }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let exchange = async move {
            let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, READ).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        // Only there, where the runtime is, is there a clock for it.
        self.runtime.spawn(async { timeout(ANSWER, exchange).await }).await??
    }
}
