//! Talking to a hub over HTTP, and turning whatever goes wrong into something a person can act on.

pub(crate) mod forward;
mod problem;

use std::{error::Error as StdError, str::FromStr, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use self::forward::Forward;
pub(crate) use self::problem::{Outcome, Problem};
use crate::exit::Usage;

/// A hub that takes longer to accept a connection is as good as gone.
const CONNECT: Duration = Duration::from_secs(5);
/// The hub itself answers or closes within this time.
const ANSWER: Duration = Duration::from_secs(30);
/// What an order may take: a redrive is answered when all of it is durable.
const ORDER: Duration = Duration::from_mins(10);
/// The longest answer taken: a page of dead letters with the largest events.
const LARGEST: usize = 256 << 20;
/// How many items one page of a list asks for.
const PAGE: usize = 100;
/// What to look at when something else than the api listener answers.
const NOT_THE_API: &str =
    "does --server (or EVHUB_SERVER) name the hub's api listener? `evhub dev` has it on port 8083";
/// What may stand in a path segment as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// Where the hub is, and whose resources are meant.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Which hub")]
pub(crate) struct Options {
    /// The hub's api listener [default: <http://127.0.0.1:8083>; as `kubectl evhub` a port that is forwarded to a dataplane]
    // Read as a URL by whoever asks the hub: what the environment says must not keep other verbs from their work.
    #[arg(long, global = true, env = "EVHUB_SERVER", value_name = "URL")]
    server: Option<String>,
    /// As `kubectl evhub`: the namespace that evhub is installed in [default: the only one]
    #[arg(long, global = true, value_parser = crate::name::label, value_name = "NAMESPACE")]
    installation: Option<String>,
    /// The namespace of names given without one
    #[arg(short, long, global = true, value_parser = crate::name::label, default_value = "default")]
    pub(crate) namespace: String,
}

/// Where `evhub dev` listens if nobody says otherwise.
const SERVER: &str = "http://127.0.0.1:8083";

/// The address of an api listener, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server(String);

/// What is no address of an api listener.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("the api listener is an http URL without user or query, as in http://127.0.0.1:8083")]
pub(crate) struct NotAServer;

/// Sends requests to one hub; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: legacy::Client<HttpConnector, Full<Bytes>>,
    server: Server,
    /// What leads there, if somebody must.
    _way: Option<Arc<Forward>>,
}

/// What came of a request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No connection, so nothing was sent.
    #[error("no hub answers at {server}")]
    Unreachable { server: String, source: Cause },
    /// A connection that broke, or an answer that did not come.
    #[error("the hub at {server} gave no whole answer")]
    Lost { server: String, source: Cause },
    /// The hub said no.
    #[error(transparent)]
    Refused(Problem),
    /// The hub, or something else at that address, answered with something else.
    #[error("{server} does not answer as a hub does")]
    Nonsense { server: String, source: Cause },
}

/// The innermost cause in words; what wraps it only repeats it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Cause(String);

/// One page of a list.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    next: Option<String>,
}

/// The path of something in a namespace, every segment encoded.
pub(crate) fn path(namespace: &str, segments: &[&str]) -> String {
    ["namespaces", namespace]
        .iter()
        .chain(segments)
        .fold(String::new(), |path, segment| path + "/" + &utf8_percent_encode(segment, SEGMENT).to_string())
}

// === impl Options ===

impl Options {
    /// A client of the hub that is meant. A variable that is set to nothing counts as not set.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        if self.named().is_none() && forward::is_plugin() {
            let way = Forward::begin(self.installation.as_deref())
                .await
                .context("could not reach a hub in the cluster")?;
            let server = Server(format!("http://{}", way.address));
            return Ok(Client { _way: Some(Arc::new(way)), ..Client::new(&server) });
        }
        Ok(Client::new(&self.server()?))
    }

    fn named(&self) -> Option<&str> {
        self.server.as_deref().filter(|server| !server.is_empty())
    }

    fn server(&self) -> Result<Server, Usage> {
        let text = self.named().unwrap_or(SERVER);
        let invalid = |error: NotAServer| {
            Usage(format!("invalid value '{text}' for '--server <URL>' (or EVHUB_SERVER): {error}"))
        };
        text.parse().map_err(invalid)
    }
}

// === impl Client ===

impl Client {
    /// A client of this hub; connects when first used.
    pub(crate) fn new(server: &Server) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let http =
            legacy::Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Self { http, server: server.clone(), _way: None }
    }

    /// Reads one thing.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let answer = self.send(ANSWER, Method::GET, path, HeaderMap::new(), Bytes::new()).await?;
        self.decode(&answer)
    }

    /// Reads a whole list, page by page; the path may have a query.
    pub(crate) async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Error> {
        let mut items = Vec::new();
        let and = if path.contains('?') { '&' } else { '?' };
        let mut after = String::new();
        loop {
            let page: Page<T> = self.get(&format!("{path}{and}limit={PAGE}{after}")).await?;
            items.extend(page.items);
            match page.next {
                Some(next) => after = format!("&after={}", utf8_percent_encode(&next, SEGMENT)),
                None => return Ok(items),
            }
        }
    }

    /// Opens a stream: what it brings is for the caller to read, however long that takes.
    pub(crate) async fn stream(&self, path: &str) -> Result<Incoming, Error> {
        let uri = Uri::try_from(format!("{}{path}", self.server.0)).map_err(|error| self.nonsense(&error))?;
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = uri;
        let late = |_| self.lost(&std::io::Error::from(std::io::ErrorKind::TimedOut));
        let (head, body) =
            tokio::time::timeout(ANSWER, self.answer(request)).await.map_err(late)??.into_parts();
        if head.status.is_success() { Ok(body) } else { Err(self.refusal(head.status, body).await?) }
    }

    /// Orders something by a JSON document and waits until it is done.
    pub(crate) async fn order<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let body = serde_json::to_vec(body).context("could not write JSON")?;
        let json = header::HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
        let answer = self.send(ORDER, Method::POST, path, headers, body.into()).await?;
        Ok(self.decode(&answer)?)
    }

    /// Tells the hub to do something that needs no more words, and hears only that it was done.
    pub(crate) async fn tell(&self, path: &str) -> Result<(), Error> {
        self.send(ANSWER, Method::POST, path, HeaderMap::new(), Bytes::new()).await.map(drop)
    }

    /// Wants something to end, and hears only that it was taken.
    pub(crate) async fn forget(&self, path: &str) -> Result<(), Error> {
        self.send(ANSWER, Method::DELETE, path, HeaderMap::new(), Bytes::new()).await.map(drop)
    }

    /// Changes something as a JSON document says.
    pub(crate) async fn amend<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Error> {
        let json = header::HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
        let answer = self.send(ANSWER, Method::PATCH, path, headers, body.to_string().into()).await?;
        self.decode(&answer)
    }

    /// Puts a JSON document in the place of what is there.
    pub(crate) async fn replace<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Error> {
        let json = header::HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
        let answer = self.send(ANSWER, Method::PUT, path, headers, body.to_string().into()).await?;
        self.decode(&answer)
    }

    /// Sends bytes under headers of the caller's and reads the answer.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<T, Error> {
        let answer = self.send(ANSWER, Method::POST, path, headers, body).await?;
        self.decode(&answer)
    }

    async fn send(
        &self,
        limit: Duration,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Bytes, Error> {
        let uri = Uri::try_from(format!("{}{path}", self.server.0)).map_err(|error| self.nonsense(&error))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let late = |_| self.lost(&std::io::Error::from(std::io::ErrorKind::TimedOut));
        tokio::time::timeout(limit, self.exchange(request)).await.map_err(late)?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Bytes, Error> {
        let (head, body) = self.answer(request).await?.into_parts();
        if head.status.is_success() {
            self.whole(body).await
        } else {
            Err(self.refusal(head.status, body).await?)
        }
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        let failed = |error: legacy::Error| {
            if error.is_connect() { self.unreachable(&error) } else { self.lost(&error) }
        };
        self.http.request(request).await.map_err(failed)
    }

    async fn whole(&self, body: Incoming) -> Result<Bytes, Error> {
        let body = Limited::new(body, LARGEST).collect().await;
        Ok(body.map_err(|error| self.lost(&*error))?.to_bytes())
    }

    async fn refusal(&self, status: StatusCode, body: Incoming) -> Result<Error, Error> {
        Ok(Error::Refused(Problem::decode(status, &self.whole(body).await?)))
    }

    fn decode<T: DeserializeOwned>(&self, body: &Bytes) -> Result<T, Error> {
        serde_json::from_slice(body).map_err(|error| self.nonsense(&error))
    }

    fn unreachable(&self, error: &(dyn StdError + 'static)) -> Error {
        Error::Unreachable { server: self.server.0.clone(), source: Cause::of(error) }
    }

    fn lost(&self, error: &(dyn StdError + 'static)) -> Error {
        Error::Lost { server: self.server.0.clone(), source: Cause::of(error) }
    }

    fn nonsense(&self, error: &(dyn StdError + 'static)) -> Error {
        Error::Nonsense { server: self.server.0.clone(), source: Cause::of(error) }
    }
}

// === impl Error ===

impl Error {
    /// Nothing is there, so nothing was sent.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// What became of an event whose publishing ended like this.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Unreachable { .. } => Outcome::Rejected,
            Self::Refused(problem) => problem.outcome,
            Self::Lost { .. } | Self::Nonsense { .. } => Outcome::Unknown,
        }
    }

    /// What to do next.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => Some(
                "is the hub running? start one with `evhub dev examples/quickstart`, or name its api listener with \
                 --server or EVHUB_SERVER",
            ),
            Self::Lost { .. } => None,
            Self::Refused(problem) => problem.hint(),
            Self::Nonsense { .. } => Some(NOT_THE_API),
        }
    }
}

impl Cause {
    fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut innermost = error;
        while let Some(cause) = innermost.source() {
            innermost = cause;
        }
        Self(innermost.to_string())
    }
}

// === impl Server ===

impl FromStr for Server {
    type Err = NotAServer;

    fn from_str(text: &str) -> Result<Self, NotAServer> {
        let uri: Uri = text.parse().map_err(|_| NotAServer)?;
        let host = uri.host().is_some_and(|host| !host.is_empty());
        let user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if uri.scheme() != Some(&Scheme::HTTP) || !host || user || uri.query().is_some() {
            return Err(NotAServer);
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl From<std::net::SocketAddr> for Server {
    fn from(address: std::net::SocketAddr) -> Self {
        Self(format!("http://{address}"))
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_http_url() {
        let server: Server = "http://127.0.0.1:8083/".parse().unwrap();
        assert_eq!(server.to_string(), "http://127.0.0.1:8083");
        for text in
            ["", "localhost:8083", "https://hub", "http://", "http://u:p@hub", "http://hub?x=1", "/api"]
        {
            assert_eq!(text.parse::<Server>(), Err(NotAServer), "{text}");
        }
    }

    #[test]
    fn nothing_names_the_usual_hub() {
        let named = |server: &str| {
            let options =
                Options { server: Some(server.to_owned()), namespace: String::new(), installation: None };
            options.server().map(|server| server.to_string()).ok()
        };
        assert_eq!(named("").as_deref(), Some(SERVER));
        assert_eq!(named("http://127.0.0.1:9/").as_deref(), Some("http://127.0.0.1:9"));
        assert_eq!(named("https://hub"), None);
    }

    #[test]
    fn segments_cannot_leave_their_place() {
        assert_eq!(path("shop", &["producers", "orders"]), "/namespaces/shop/producers/orders");
        assert_eq!(
            path("shop", &["dead", "evhub.shop.orders:0:7"]),
            "/namespaces/shop/dead/evhub.shop.orders:0:7"
        );
        assert_eq!(path("shop", &["dead", "a/../b?c d"]), "/namespaces/shop/dead/a%2F..%2Fb%3Fc%20d");
    }

    #[test]
    fn the_innermost_cause_speaks() {
        let inner = std::io::Error::other("connection refused");
        let outer = std::io::Error::other(Cause(inner.to_string()));
        assert_eq!(Cause::of(&outer).to_string(), "connection refused");
    }
}
