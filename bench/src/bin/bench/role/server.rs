//! A server that does nothing, and a sink that counts what it was sent and checks its order. Serves HTTP/1.1.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// What a sink has seen.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// How many different events.
    pub(crate) events: u64,
    /// How many came again.
    pub(crate) repeats: u64,
    /// How many came after a later one of their key.
    pub(crate) disordered: u64,
    /// How many requests were answered.
    pub(crate) answered: u64,
    /// From the first request to the last answer, in seconds.
    pub(crate) seconds: f64,
    /// How long it took for its answers, on average, in seconds.
    pub(crate) mean: f64,
}

/// Takes what comes and answers 202.
pub(crate) async fn bare() -> Result<()> {
    serve(|request| async move {
        let _ = request.into_body().collect().await;
        only(StatusCode::ACCEPTED)
    })
    .await
}

/// Takes events, each for a random time of up to so many microseconds, and tells what it has seen to who asks.
pub(crate) async fn sink(micros: u64) -> Result<()> {
    let log = Shared::default();
    serve(move |request| {
        let log = log.clone();
        async move {
            if request.method() == Method::GET {
                return log.tell();
            }
            let came = Instant::now();
            let (parts, body) = request.into_parts();
            let _ = body.collect().await;
            let number = |name: &str, radix| {
                let value = parts.headers.get(name)?.to_str().ok()?;
                u64::from_str_radix(value, radix).ok()
            };
            let (id, key) = (number("ce-id", 16), number("ce-partitionkey", 10));
            log.with(|log| log.came(id.unwrap_or_default(), key.unwrap_or_default(), came));
            if micros > 0 {
                tokio::time::sleep(Duration::from_micros(fastrand::u64(0..=micros))).await;
            }
            log.with(|log| log.answered(came));
            only(StatusCode::NO_CONTENT)
        }
    })
    .await
}

/// Tells whoever asks there what was seen.
pub(crate) async fn tell_who_asks(listener: TcpListener, log: Shared) -> Result<()> {
    answer_all(listener, move |_| {
        let log = log.clone();
        async move { log.tell() }
    })
    .await
}

/// What was seen so far; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Log>>);

impl Shared {
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Log) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self) -> Response<Full<Bytes>> {
        let seen = self.with(|log| log.seen());
        Response::new(Full::from(serde_json::to_vec(&seen).unwrap_or_default()))
    }
}

/// What came and was answered.
#[derive(Default)]
pub(crate) struct Log {
    seen: Seen,
    began: Option<Instant>,
    ended: Option<Instant>,
    busy: Duration,
    /// One bit for each event by its number.
    known: Vec<u64>,
    latest: HashMap<u64, u64>,
}

impl Log {
    /// An event of this number and key came.
    pub(crate) fn came(&mut self, id: u64, key: u64, now: Instant) {
        self.began.get_or_insert(now);
        let (word, bit) = ((id / 64) as usize, 1 << (id % 64));
        if self.known.len() <= word {
            self.known.resize(word + 1, 0);
        }
        if self.known[word] & bit != 0 {
            self.seen.repeats += 1;
            return;
        }
        self.known[word] |= bit;
        self.seen.events += 1;
        let latest = self.latest.entry(key).or_default();
        self.seen.disordered += u64::from(id < *latest);
        *latest = id.max(*latest);
    }

    /// One that came then is answered.
    pub(crate) fn answered(&mut self, came: Instant) {
        self.ended = Some(Instant::now());
        self.seen.answered += 1;
        self.busy += came.elapsed();
    }

    fn seen(&self) -> Seen {
        let seconds = self.began.zip(self.ended).map_or(0.0, |(began, ended)| (ended - began).as_secs_f64());
        Seen {
            seconds,
            mean: self.busy.as_secs_f64() / self.seen.answered.max(1) as f64,
            ..self.seen.clone()
        }
    }
}

/// Serves each connection in a task of its own, until killed.
async fn serve<F: Future<Output = Response<Full<Bytes>>> + Send>(
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("listen")?;
    println!("{}", listener.local_addr()?);
    answer_all(listener, answer).await
}

async fn answer_all<F: Future<Output = Response<Full<Bytes>>> + Send>(
    listener: TcpListener,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(request);
                async { Ok::<_, Infallible>(answer.await) }
            });
            // A client that goes away is what ends a measurement.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn only(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
