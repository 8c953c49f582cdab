//! A client that does nothing else than to send what dispatch would: the floor of delivering. Does I/O.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::{Result, ensure};
use bytes::Bytes;
use evhub_bench::wire;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::task::JoinSet;

/// Every header of a delivery but the two that differ.
const HEADERS: [(&str, &str); 10] = [
    ("ce-specversion", "1.0"),
    ("ce-source", "/bench"),
    ("ce-type", "shop.order.paid"),
    ("content-type", "application/octet-stream"),
    ("evhub-delivery", "9b5fe7a4-3a55-5d2a-8f0b-3a7f1d1f2a11"),
    ("evhub-attempt", "1"),
    ("evhub-epoch", "1"),
    ("evhub-processor", "shop/billing"),
    ("evhub-generation", "1"),
    ("user-agent", "evhub/0.1.0"),
];

/// Sends so many requests, so many at once.
pub(crate) async fn run(address: SocketAddr, concurrency: u64, count: u64) -> Result<()> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let uri: Uri = format!("http://{address}/events").parse()?;
    let fixed: HeaderMap = HEADERS
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    let (next, data) = (Arc::new(AtomicU64::new(0)), Bytes::from(wire::data()));
    let mut tasks = JoinSet::new();
    for _ in 0..concurrency {
        let (client, uri, fixed, next, data) =
            (client.clone(), uri.clone(), fixed.clone(), Arc::clone(&next), data.clone());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= count {
                    return anyhow::Ok(());
                }
                let mut request = Request::post(uri.clone()).body(Full::new(data.clone()))?;
                *request.headers_mut() = fixed.clone();
                let headers = request.headers_mut();
                headers.insert("ce-id", HeaderValue::try_from(format!("{number:016x}"))?);
                headers.insert("ce-partitionkey", HeaderValue::try_from(format!("{:04}", number % 1000))?);
                let answer = client.request(request).await?;
                ensure!(answer.status().is_success(), "an event was answered {}", answer.status());
                answer.into_body().collect().await?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    println!("{}", evhub_bench::machine::used(std::process::id())?);
    Ok(())
}
