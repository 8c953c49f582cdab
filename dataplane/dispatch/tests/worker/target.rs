//! A target that answers each attempt as its script says, byte for byte, and remembers what it was sent.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// One attempt as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    pub(crate) began: Instant,
}

/// What to answer.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Status(u16),
    /// This status, after so long.
    After(Duration, u16),
    Text(u16, Vec<u8>),
    /// A redirect to this URL.
    Redirect(String),
    /// These bytes, whatever they are, and the end of the connection.
    Raw(Vec<u8>),
    /// Nothing, ever.
    Hang,
    /// The end of the connection.
    Reset,
    /// A body without an end.
    Endless(u16),
    /// A head that comes byte by byte, one after each of these waits, and does not end.
    Drip(Duration),
    /// A head that announces a body, and nothing of the body.
    Bodiless(u16),
    /// This status as soon as the gate is open.
    Gated(u16, watch::Receiver<bool>),
}

type Script = Box<dyn Fn(&Attempt) -> Reply + Send + Sync>;

#[derive(Default)]
struct Seen {
    attempts: Vec<Attempt>,
    /// Attempts under way, by key.
    busy: BTreeMap<String, usize>,
    under_way: usize,
    most: usize,
    overlaps: usize,
}

struct Inner {
    script: Script,
    seen: Mutex<Seen>,
    sent: AtomicUsize,
    connections: AtomicUsize,
}

pub(crate) struct Target {
    pub(crate) url: String,
    inner: Arc<Inner>,
    accepting: JoinHandle<()>,
}

impl Target {
    pub(crate) async fn new(script: impl Fn(&Attempt) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/events", listener.local_addr().expect("it is bound"));
        let inner = Arc::new(Inner {
            script: Box::new(script),
            seen: Mutex::default(),
            sent: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&inner);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let inner = Arc::clone(&shared);
                inner.connections.fetch_add(1, Relaxed);
                tokio::spawn(async move {
                    // How a connection ends is the worker's business; its attempts are what is looked at.
                    let _ = inner.serve(stream).await;
                });
            }
        });
        Self { url, inner, accepting }
    }

    /// A URL that nobody listens at.
    pub(crate) async fn nowhere() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        format!("http://{}/", listener.local_addr().expect("it is bound"))
    }

    /// All attempts so far, in the order of their arrival.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.inner.seen().attempts.clone()
    }

    /// The same as pairs of event id and attempt number.
    pub(crate) fn story(&self) -> Vec<(String, u32)> {
        self.attempts().iter().map(|attempt| (attempt.id().to_owned(), attempt.number())).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.inner.seen().attempts.len()
    }

    /// How many attempts were under way at once, at most.
    pub(crate) fn most_at_once(&self) -> usize {
        self.inner.seen().most
    }

    /// How often two attempts of one key were under way at once.
    pub(crate) fn overlaps(&self) -> usize {
        self.inner.seen().overlaps
    }

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.inner.connections.load(Relaxed)
    }

    /// How many bytes of endless bodies were sent.
    pub(crate) fn sent(&self) -> usize {
        self.inner.sent.load(Relaxed)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Attempt {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn id(&self) -> &str {
        self.header("ce-id")
    }

    pub(crate) fn number(&self) -> u32 {
        self.header("evhub-attempt").parse().expect("every attempt has a number")
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.header("evhub-epoch").parse().expect("every attempt has an epoch")
    }
}

impl Inner {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            let Some(attempt) = receive(&mut stream, &mut buffer).await? else { return Ok(()) };
            let reply = (self.script)(&attempt);
            let under_way = UnderWay::new(self, attempt);
            let goes_on = self.answer(&mut stream, reply, under_way).await?;
            if !goes_on {
                return Ok(());
            }
        }
    }

    async fn answer(
        &self,
        stream: &mut TcpStream,
        reply: Reply,
        under_way: UnderWay<'_>,
    ) -> io::Result<bool> {
        match reply {
            Reply::Status(status) => self.send(stream, status, "", b"", under_way).await,
            Reply::After(wait, status) => {
                tokio::time::sleep(wait).await;
                self.send(stream, status, "", b"", under_way).await
            }
            Reply::Text(status, text) => self.send(stream, status, "", &text, under_way).await,
            Reply::Redirect(url) => {
                self.send(stream, 307, &format!("location: {url}\r\n"), b"", under_way).await
            }
            Reply::Raw(bytes) => {
                stream.write_all(&bytes).await?;
                Ok(false)
            }
            Reply::Hang => {
                // Ends when the other side gives up.
                stream.read_u8().await?;
                Ok(false)
            }
            Reply::Reset => {
                stream.set_zero_linger()?;
                Ok(false)
            }
            Reply::Endless(status) => {
                stream.write_all(format!("HTTP/1.1 {status} x\r\n\r\n").as_bytes()).await?;
                loop {
                    stream.write_all(&[b'x'; 4096]).await?;
                    self.sent.fetch_add(4096, Relaxed);
                }
            }
            Reply::Drip(wait) => {
                stream.write_all(b"HTTP/1.1 200 x\r\nx-drip: ").await?;
                loop {
                    tokio::time::sleep(wait).await;
                    stream.write_all(b"y").await?;
                }
            }
            Reply::Bodiless(status) => {
                let head = format!("HTTP/1.1 {status} x\r\ncontent-length: 10\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                stream.read_u8().await?;
                Ok(false)
            }
            Reply::Gated(status, mut gate) => {
                let opened = gate.wait_for(|open| *open).await.is_ok();
                Ok(opened && self.send(stream, status, "", b"", under_way).await?)
            }
        }
    }

    /// Sends an answer; the attempt counts as over just before.
    async fn send(
        &self,
        stream: &mut TcpStream,
        status: u16,
        headers: &str,
        body: &[u8],
        under_way: UnderWay<'_>,
    ) -> io::Result<bool> {
        drop(under_way);
        let length = body.len();
        let head = format!("HTTP/1.1 {status} x\r\n{headers}content-length: {length}\r\n\r\n");
        stream.write_all(&[head.as_bytes(), body].concat()).await?;
        Ok(true)
    }
}

/// An attempt that is being answered.
struct UnderWay<'a> {
    inner: &'a Inner,
    key: String,
}

impl<'a> UnderWay<'a> {
    fn new(inner: &'a Inner, attempt: Attempt) -> Self {
        let key = attempt.header("ce-partitionkey").to_owned();
        let mut seen = inner.seen();
        seen.attempts.push(attempt);
        seen.under_way += 1;
        seen.most = seen.most.max(seen.under_way);
        if !key.is_empty() {
            let busy = seen.busy.entry(key.clone()).or_default();
            *busy += 1;
            seen.overlaps += usize::from(*busy > 1);
        }
        drop(seen);
        Self { inner, key }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut seen = self.inner.seen();
        seen.under_way -= 1;
        if let Some(busy) = seen.busy.get_mut(&self.key) {
            *busy -= 1;
        }
    }
}

/// Reads one request; `None` when there will be no more.
async fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Attempt>> {
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break buffer.drain(..end + 4).collect::<Vec<u8>>();
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&head).into_owned();
    let pairs = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<String, String> =
        pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let body = buffer.drain(..length).collect();
    Ok(Some(Attempt { headers, body, began: Instant::now() }))
}
