//! A Processor's target: a server that writes down what it receives before it answers, and answers by a script.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use crate::{
    history::{Answer, Fault, Mono, Rec, fingerprint},
    recorder::Recorder,
    script::{Act, Mode, Script},
    wire::{self, Message, unescape},
};

/// A running target. Dropping it ends it, connections and all.
#[derive(Debug)]
pub struct Target {
    /// Where it listens.
    pub port: u16,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    processor: String,
    script: Script,
    healed: AtomicBool,
    acts: Mutex<BTreeMap<Mode, u64>>,
    recorder: Recorder,
}

impl Target {
    /// Begins to listen on a free port.
    pub async fn start(processor: &str, script: Script, recorder: Recorder) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen as a target")?;
        let port = listener.local_addr().context("listen as a target")?.port();
        let shared = Arc::new(Shared {
            processor: processor.to_owned(),
            acts: Mutex::new(script.faults()),
            script,
            healed: AtomicBool::new(false),
            recorder,
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self { port, shared, accepting })
    }

    /// From now on [`Mode::Down`] answers.
    pub fn heal(&self) {
        self.shared.healed.store(true, Relaxed);
    }

    /// Writes down each misbehaviour of the script and how many attempts met it.
    pub fn confess(&self) {
        let acts = self.shared.acts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (mode, effect) in acts {
            let fault = Fault::Other(format!("{} {mode:?}", self.shared.processor));
            self.shared.recorder.push(Rec::Fault { fault, until: self.shared.recorder.now(), effect });
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, Arc::clone(&shared)));
                }
                Err(error) => shared.recorder.complain(format!("a target could not accept: {error}")),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves a connection until either side ends it. An error is the hub's hanging up, which the history shows.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut stream = BufReader::new(stream);
    while let Ok(true) = one(&mut stream, &shared).await {}
}

/// One request; whether the connection lives on.
async fn one(stream: &mut BufReader<TcpStream>, shared: &Shared) -> io::Result<bool> {
    if stream.fill_buf().await?.is_empty() {
        return Ok(false);
    }
    let began = shared.recorder.now();
    let Some(request) = wire::read(stream).await? else { return Ok(false) };
    let Some(received) = shared.recv(&request, began) else { return Ok(false) };
    let (mode, act) = received.act;
    if mode != Mode::Fine {
        let mut acts = shared.acts.lock().unwrap_or_else(PoisonError::into_inner);
        *acts.entry(mode).or_default() += 1;
    }
    let mut performance = Performance { stream, shared, attempt: received.attempt };
    performance.perform(act).await
}

struct Received {
    attempt: u64,
    act: (Mode, Act),
}

impl Shared {
    /// Writes down a request. One that no delivery of ours looks like is a complaint.
    fn recv(&self, request: &Message, began: Mono) -> Option<Received> {
        let complain = |what: &str| {
            self.recorder.complain(format!("{} received {what}: {:?}", self.processor, request.headers));
        };
        let number: Option<u32> = request.header("evhub-attempt").and_then(|text| text.parse().ok());
        let epoch: Option<u64> = request.header("evhub-epoch").and_then(|text| text.parse().ok());
        let delivery = request.header("evhub-delivery");
        let (Some(number), Some(epoch), Some(delivery)) = (number, epoch, delivery) else {
            complain("an attempt without its number, epoch or delivery");
            return None;
        };
        if request.header("evhub-processor") != Some(&self.processor)
            || request.header("evhub-generation").is_none()
        {
            complain("an attempt of another Processor, or without a generation");
        }
        let attributes = attributes(request);
        let named = |name| attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        let Some(id) = named("id") else {
            complain("an attempt without an event");
            return None;
        };
        let hash = fingerprint(attributes.iter().map(|(n, v)| (n.as_str(), v.as_str())), &request.body);
        let act = self.script.act(&id, number, began / 1_000_000, self.healed.load(Relaxed));
        let attempt = self.recorder.id();
        self.recorder.push(Rec::Recv {
            attempt,
            processor: self.processor.clone(),
            id,
            key: named("partitionkey"),
            hash,
            number,
            epoch,
            delivery: delivery.to_owned(),
            began,
        });
        Some(Received { attempt, act })
    }
}

fn attributes(request: &Message) -> Vec<(String, String)> {
    let attribute = |(name, value): &(String, String)| match name.as_str() {
        "content-type" => Some(("datacontenttype".to_owned(), value.clone())),
        name => Some((name.strip_prefix("ce-")?.to_owned(), unescape(value))),
    };
    request.headers.iter().filter_map(attribute).collect()
}

/// An attempt being answered.
struct Performance<'a> {
    stream: &'a mut BufReader<TcpStream>,
    shared: &'a Shared,
    attempt: u64,
}

impl Performance<'_> {
    /// Whether the connection lives on.
    async fn perform(&mut self, act: Act) -> io::Result<bool> {
        match act {
            Act::Answer(status, after) => {
                sleep(Duration::from_millis(after)).await;
                let body = if matches!(status, 204) { "" } else { "x" };
                let length =
                    if status == 204 { String::new() } else { format!("content-length: {}\r\n", body.len()) };
                let answer =
                    if (200..300).contains(&status) { Answer::Success } else { Answer::Failure(status) };
                self.send(format!("HTTP/1.1 {status} Scripted\r\n{length}\r\n{body}").as_bytes(), answer)
                    .await?;
                Ok(true)
            }
            Act::Hang => self.outwait(&[]).await,
            Act::Drip => self.outwait(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await,
            Act::Reset => self.reset(b"", Answer::Cut).await,
            Act::Garbage => {
                self.send(b"220 mail.example ESMTP ready\r\n\x00\xff\x16\x03", Answer::Cut).await?;
                Ok(false)
            }
            Act::Torn => {
                self.reset(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n123", Answer::Ambiguous).await
            }
        }
    }

    async fn send(&mut self, bytes: &[u8], answer: Answer) -> io::Result<()> {
        let from = self.shared.recorder.now();
        let sent = self.stream.write_all(bytes).await;
        self.done(if sent.is_ok() { answer } else { Answer::PeerGone }, from);
        sent
    }

    /// Sends a byte a second, and in the end nothing, until the hub hangs up.
    async fn outwait(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let mut rest = bytes.iter();
        let mut ignored = [0; 64];
        loop {
            tokio::select! {
                read = self.stream.read(&mut ignored) => {
                    if !matches!(read, Ok(n) if n > 0) {
                        break;
                    }
                }
                () = sleep(Duration::from_secs(1)) => {
                    if let Some(byte) = rest.next()
                        && self.stream.write_all(&[*byte]).await.is_err()
                    {
                        break;
                    }
                }
            }
        }
        self.done(Answer::PeerGone, self.shared.recorder.now());
        Ok(false)
    }

    /// Sends these bytes and resets the connection.
    async fn reset(&mut self, bytes: &[u8], answer: Answer) -> io::Result<bool> {
        let stream = self.stream.get_mut();
        stream.set_zero_linger()?;
        let from = self.shared.recorder.now();
        let sent = stream.write_all(bytes).await;
        self.done(if sent.is_ok() { answer } else { Answer::PeerGone }, from);
        // The caller drops the stream, and lingering for no time makes that a reset.
        Ok(false)
    }

    fn done(&self, answer: Answer, from: Mono) {
        self.shared.recorder.push(Rec::Done { attempt: self.attempt, answer, from });
    }
}
