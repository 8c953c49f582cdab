//! Stands between an operator and the API server: loses, holds and repeats what watches tell, and lets nothing through any more
//! just before or just after a write.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::Response,
};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http_body_util::BodyExt as _;
use kube_client::{Client, client::Body as KubeBody};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// What becomes of what watches tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It comes through.
    #[default]
    Told,
    /// It is lost, but for every so-many-th.
    Lost(u32),
    /// It is held back until something else is its fate.
    Held,
    /// It comes, and then what came before it comes again.
    Repeated,
}

/// On which side of a write nothing goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    After,
}

/// What it does, and what it has seen.
#[derive(Debug, Default)]
struct Seen {
    /// How many of our writes came so far.
    writes: u32,
    /// At which of them nothing goes on any more.
    ends: Option<(u32, Side)>,
    /// How many events watches told.
    events: u32,
}

#[derive(Clone)]
struct Shared {
    client: Client,
    seen: Arc<Mutex<Seen>>,
    fate: watch::Sender<Fate>,
    /// Whether nothing goes on any more.
    ended: watch::Sender<bool>,
}

/// It ends with this value.
pub(crate) struct Proxy {
    shared: Shared,
    kubeconfig: PathBuf,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(client: Client, folder: &Path) -> Self {
        let (fate, ended) = (watch::Sender::new(Fate::default()), watch::Sender::new(false));
        let shared = Shared { client, seen: Arc::default(), fate, ended };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(forward).with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let kubeconfig = folder.join(format!("proxy-{}.conf", address.port()));
        fs::write(&kubeconfig, config(address)).unwrap();
        Self { shared, kubeconfig, task }
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub(crate) fn fate(&self, fate: Fate) {
        self.shared.fate.send_replace(fate);
    }

    /// At this write, counted from now on, nothing goes on any more.
    pub(crate) fn end_at(&self, write: u32, side: Side) {
        let mut seen = self.shared.seen.lock().unwrap();
        (seen.writes, seen.ends) = (0, Some((write, side)));
    }

    pub(crate) fn writes(&self) -> u32 {
        self.shared.seen.lock().unwrap().writes
    }

    pub(crate) fn events(&self) -> u32 {
        self.shared.seen.lock().unwrap().events
    }

    pub(crate) fn has_ended(&self) -> bool {
        *self.shared.ended.borrow()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn config(address: SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: proxy\nusers: [{{ name: anybody, user: {{}} }}]\n\
         clusters: [{{ name: proxy, cluster: {{ server: 'http://{address}' }} }}]\n\
         contexts: [{{ name: proxy, context: {{ cluster: proxy, user: anybody }} }}]\n"
    )
}

async fn forward(State(shared): State<Shared>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove("host");
    let body = body.collect().await.unwrap().to_bytes();
    let path = parts.uri.path().to_owned();
    let is_ours = path.contains("/evhub.dev/");
    let is_watch = is_ours && parts.uri.query().is_some_and(|query| query.contains("watch=true"));
    let is_write = is_ours && parts.method != http::Method::GET;
    if is_write {
        let ends = {
            let mut seen = shared.seen.lock().unwrap();
            seen.writes += 1;
            seen.ends.filter(|(write, _)| *write == seen.writes).map(|(_, side)| side)
        };
        if ends == Some(Side::Before) {
            return never(&shared).await;
        }
        if *shared.ended.borrow() {
            return std::future::pending().await;
        }
        let answer = send(&shared, parts, body).await;
        return if ends == Some(Side::After) { never(&shared).await } else { answer };
    }
    let answer = send(&shared, parts, body).await;
    if !is_watch || !answer.status().is_success() {
        return answer;
    }
    let (head, body) = answer.into_parts();
    Response::from_parts(head, Body::from_stream(told(shared, body)))
}

async fn send(shared: &Shared, mut parts: http::request::Parts, body: Bytes) -> Response {
    let relative = parts.uri.path_and_query().unwrap().as_str().parse().unwrap();
    parts.uri = relative;
    let request = http::Request::from_parts(parts, KubeBody::from(body.to_vec()));
    match shared.client.send(request).await {
        Ok(answer) => answer.map(Body::new),
        Err(error) => Response::builder()
            .status(http::StatusCode::BAD_GATEWAY)
            .body(Body::from(error.to_string()))
            .unwrap(),
    }
}

async fn never(shared: &Shared) -> Response {
    shared.ended.send_replace(true);
    std::future::pending().await
}

/// The events of a watch, as their fate is.
fn told(shared: Shared, body: Body) -> impl Stream<Item = Result<Bytes, axum::Error>> {
    let chunks = body.into_data_stream();
    let lines = stream::unfold((chunks, Vec::new()), |(mut chunks, mut rest)| async move {
        loop {
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                return Some((Ok(line), (chunks, rest)));
            }
            match chunks.next().await? {
                Ok(chunk) => rest.extend_from_slice(&chunk),
                Err(error) => return Some((Err(error), (chunks, Vec::new()))),
            }
        }
    });
    let mut before: Option<Vec<u8>> = None;
    lines
        .and_then(move |line| {
            let (shared, before) = (shared.clone(), before.replace(line.clone()));
            async move { Ok(fated(&shared, line, before).await) }
        })
        .map_ok(Bytes::from)
}

async fn fated(shared: &Shared, line: Vec<u8>, before: Option<Vec<u8>>) -> Vec<u8> {
    let count = {
        let mut seen = shared.seen.lock().unwrap();
        seen.events += 1;
        seen.events
    };
    let mut fate = shared.fate.subscribe();
    let now = *fate.borrow();
    match now {
        Fate::Told => line,
        Fate::Lost(every) if count % every == 0 => line,
        Fate::Lost(_) => Vec::new(),
        Fate::Held => {
            let _ = fate.wait_for(|fate| *fate != Fate::Held).await;
            line
        }
        Fate::Repeated => {
            let mut all = line;
            all.extend(before.unwrap_or_default());
            all
        }
    }
}
