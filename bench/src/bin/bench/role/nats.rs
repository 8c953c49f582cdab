//! Publishers to NATS `JetStream`: each has a connection and publishes its next message when the one before is
//! acknowledged. Speaks NATS' text protocol as far as that needs, so that no client library stands between. Does I/O.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use evhub_bench::{machine, wire};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    task::JoinSet,
};

use super::{Load, load::tell};

/// What is sent before anything counts.
const WARM_UP: Duration = Duration::from_millis(500);
/// A stream of files, with everything else as it comes.
const STREAM: &str = r#"{"name":"bench","subjects":["bench.>"],"storage":"file","retention":"limits"}"#;

/// As many messages as so many publishers can publish one after the other.
pub(crate) async fn closed(address: SocketAddr, publishers: u64, seconds: u64) -> Result<()> {
    let made = Line::connect(address).await?.ask("$JS.API.STREAM.CREATE.bench", STREAM.as_bytes()).await?;
    ensure!(!made.contains(r#""error""#), "the stream was refused: {made}");
    let mut lines = Vec::new();
    for _ in 0..publishers {
        lines.push(Line::connect(address).await?);
    }
    let from = Instant::now() + WARM_UP;
    let to = from + Duration::from_secs(seconds);
    let mut tasks = JoinSet::new();
    for (number, mut line) in lines.into_iter().enumerate() {
        let (subject, data) = (format!("bench.{}", number % 1000), wire::data());
        tasks.spawn(async move {
            let mut events = 0;
            loop {
                let answer = line.ask(&subject, &data).await?;
                ensure!(answer.contains(r#""seq""#), "a message was not acknowledged: {answer}");
                let now = Instant::now();
                if now >= to {
                    return Ok(events);
                }
                events += u64::from(now >= from);
            }
        });
    }
    let mut events = 0;
    while let Some(counted) = tasks.join_next().await {
        events += counted??;
    }
    let used = machine::used(std::process::id())?;
    tell(&Load { events, seconds: seconds as f64, used, latency: None })
}

/// One connection.
struct Line {
    stream: BufReader<TcpStream>,
    inbox: String,
    heard: String,
}

impl Line {
    async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let inbox = format!("inbox.{}", fastrand::u64(..));
        let mut stream = BufReader::new(stream);
        let hello = format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB {inbox} 1\r\n");
        stream.write_all(hello.as_bytes()).await?;
        Ok(Self { stream, inbox, heard: String::new() })
    }

    /// Publishes, and waits for what comes back.
    async fn ask(&mut self, subject: &str, data: &[u8]) -> Result<String> {
        let mut message = format!("PUB {subject} {} {}\r\n", self.inbox, data.len()).into_bytes();
        message.extend_from_slice(data);
        message.extend_from_slice(b"\r\n");
        self.stream.write_all(&message).await?;
        loop {
            self.heard.clear();
            ensure!(self.stream.read_line(&mut self.heard).await? > 0, "NATS ended the connection");
            match self.heard.split_whitespace().next() {
                Some("PING") => self.stream.write_all(b"PONG\r\n").await?,
                Some("MSG") => {
                    let length =
                        self.heard.split_whitespace().last().and_then(|length| length.parse::<usize>().ok());
                    let mut answer = vec![0; length.context("read a message's length")? + 2];
                    self.stream.read_exact(&mut answer).await?;
                    return Ok(String::from_utf8_lossy(&answer).into_owned());
                }
                Some("-ERR") => bail!("NATS refused: {}", self.heard.trim()),
                _ => {}
            }
        }
    }
}
