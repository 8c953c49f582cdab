//! A client that writes bytes and reads answers, so that tests say exactly what crosses the wire.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longer than any answer may take here; a test that waits so long has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
pub(super) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Wire {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// As somebody at another address.
    pub(super) async fn connect_from(own: &str, address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(own.parse().unwrap(), 0)).unwrap();
        Self { stream: socket.connect(address).await.unwrap(), buffer: Vec::new() }
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends what the other side may no longer want; says whether it could.
    pub(super) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Ends our side; theirs may still answer.
    pub(super) async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    pub(super) async fn exchange(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request).await;
        self.answer().await.expect("an answer before the end")
    }

    /// The next answer, or `None` when the connection ends before one.
    pub(super) async fn answer(&mut self) -> Option<Answer> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8(self.buffer.drain(..end + 4).collect()).unwrap();
                let mut lines = head.lines();
                let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
                let headers: HashMap<_, _> = lines
                    .filter_map(|line| line.split_once(": "))
                    .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                    .collect();
                let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
                while self.buffer.len() < length {
                    assert!(self.more().await, "the connection ended within an answer's body");
                }
                return Some(Answer { status, headers, body: self.buffer.drain(..length).collect() });
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Whether the connection ends without another byte.
    pub(super) async fn ends(&mut self) -> bool {
        self.buffer.is_empty() && !self.more().await
    }

    /// Whether the connection ends, whatever comes before.
    pub(super) async fn drained(&mut self) -> bool {
        while self.more().await {}
        true
    }

    /// Reads on until this has come, and gives all that had come by then.
    pub(super) async fn until(&mut self, text: &str) -> String {
        loop {
            let come = String::from_utf8_lossy(&self.buffer).into_owned();
            if come.contains(text) {
                self.buffer.clear();
                return come;
            }
            assert!(self.more().await, "the connection ended before {text}, after {come}");
        }
    }

    async fn more(&mut self) -> bool {
        let mut chunk = [0; 4096];
        let read = timeout(PATIENCE, self.stream.read(&mut chunk)).await.expect("waited too long");
        // A reset ends a connection as well as an end does.
        let n = read.unwrap_or(0);
        self.buffer.extend_from_slice(&chunk[..n]);
        n > 0
    }
}

impl Answer {
    #[track_caller]
    pub(super) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {} {text}", self.status))
    }

    /// Status, reason, outcome and field of a refusal, which must be a whole problem document.
    #[track_caller]
    pub(super) fn problem(&self) -> (u16, String, String, Option<String>) {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        for member in ["type", "title", "detail", "requestId"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {problem}");
        }
        let text = |member: &str| problem[member].as_str().map(ToOwned::to_owned);
        (self.status, text("reason").unwrap(), text("outcome").unwrap(), text("field"))
    }

    pub(super) fn closes(&self) -> bool {
        self.headers.get("connection").is_some_and(|value| value == "close")
    }
}

/// A request with a body of known length.
pub(super) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let headers: Vec<_> = headers.iter().map(|(name, value)| [name, ": ", value, "\r\n"].concat()).collect();
    let (headers, length) = (headers.concat(), body.len());
    let head = format!("{method} {path} HTTP/1.1\r\nHost: hub\r\n{headers}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

pub(super) fn get(path: &str) -> Vec<u8> {
    request("GET", path, &[], "")
}
