//! A Processor's target: a server that writes down what it receives before it answers, and answers by a script.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use crate::{
    event::name,
    history::{Answer, Fault, Mono, Rec, fingerprint},
    recorder::Recorder,
    script::{Act, Mode, Script, Wish},
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
    /// The only Processor that may come here; empty for any.
    processor: String,
    script: Script,
    healed: AtomicBool,
    /// How everything is treated for now, whatever the script says.
    turn: Mutex<Option<Mode>>,
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
            turn: Mutex::default(),
            recorder,
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self { port, shared, accepting })
    }

    /// Goes away for so long, connections and all, and comes back to the same port.
    pub async fn leave(&mut self, away: Duration) -> Result<()> {
        let recorder = self.shared.recorder.clone();
        let from = recorder.now();
        self.accepting.abort();
        sleep(away).await;
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.context("come back as a target")?;
        self.accepting = tokio::spawn(accept(listener, Arc::clone(&self.shared))).abort_handle();
        let fault = Fault::Away(self.shared.processor.clone());
        recorder.push_at(from, Rec::Fault { fault, until: recorder.now(), effect: 1 });
        Ok(())
    }

    /// From now on everything is treated so, or as the script says.
    pub fn turn(&self, mode: Option<Mode>) {
        *self.shared.turn.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }

    /// How many attempts met a fault so far.
    pub fn faulted(&self) -> u64 {
        self.shared.acts.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// From now on [`Mode::Absent`] and [`Mode::Wrong`] succeed.
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
    let mut performance = Performance { stream, shared, attempt: received.attempt, is_done: false };
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
        let generation: Option<i64> = request.header("evhub-generation").and_then(|text| text.parse().ok());
        let processor = request.header("evhub-processor").unwrap_or_default().to_owned();
        if (processor != self.processor && !self.processor.is_empty()) || generation.is_none() {
            complain("an attempt of another Processor, or without a generation");
        }
        let attributes = attributes(request);
        let named = |name| attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        let (Some(id), Some(source)) = (named("id"), named("source")) else {
            complain("an attempt without an event");
            return None;
        };
        let id = name(&source, &id);
        let hash = fingerprint(attributes.iter().map(|(n, v)| (n.as_str(), v.as_str())), &request.body);
        let turn = *self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let act = self.script.act(turn, &id, number, began / 1_000_000, self.healed.load(Relaxed));
        let attempt = self.recorder.id();
        self.recorder.push(Rec::Recv {
            attempt,
            processor,
            id,
            key: named("partitionkey"),
            hash,
            number,
            epoch,
            delivery: delivery.to_owned(),
            generation: generation.unwrap_or_default(),
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
    is_done: bool,
}

impl Drop for Performance<'_> {
    /// A target that goes away in the middle of an attempt cuts it off.
    fn drop(&mut self) {
        if !self.is_done {
            self.done(Answer::Cut, self.shared.recorder.now());
        }
    }
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
                let whole = format!("HTTP/1.1 {status} Scripted\r\n{length}\r\n{body}");
                self.send(whole.as_bytes(), judged(status)).await?;
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
            Act::Ask(status, wish) => self.ask(status, wish).await,
            Act::Endless(status) => {
                let head = format!("HTTP/1.1 {status} Endless\r\ntransfer-encoding: chunked\r\n\r\n");
                self.send(head.as_bytes(), judged(status)).await?;
                self.pour(format!("1000\r\n{}\r\n", "x".repeat(0x1000)).as_bytes()).await;
                Ok(false)
            }
            Act::Flood => {
                self.send(b"HTTP/1.1 200 OK\r\n", Answer::Cut).await?;
                self.pour(format!("x-flood: {}\r\n", "x".repeat(8000)).as_bytes()).await;
                Ok(false)
            }
            Act::Hints => {
                let hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(10_000);
                self.stream.write_all(hints.as_bytes()).await?;
                self.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Answer::Ambiguous).await?;
                Ok(true)
            }
        }
    }

    async fn ask(&mut self, status: u16, wish: Wish) -> io::Result<bool> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let (said, asked) = match wish {
            Wish::Seconds(seconds) => (seconds.to_string(), Some(seconds.saturating_mul(1000))),
            Wish::Date(seconds) => {
                let at = now / 1000 + seconds;
                (date(at), Some(at * 1000 - now))
            }
            Wish::Nonsense => ("soon".to_owned(), None),
        };
        let answer = asked.map_or(Answer::Failure(status), |asked| Answer::Asked(status, asked));
        let head = format!("HTTP/1.1 {status} Later\r\nretry-after: {said}\r\ncontent-length: 0\r\n\r\n");
        self.send(head.as_bytes(), answer).await?;
        Ok(true)
    }

    /// Sends the same for ever, or until the hub hangs up.
    async fn pour(&mut self, bytes: &[u8]) {
        while self.stream.write_all(bytes).await.is_ok() {}
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

    fn done(&mut self, answer: Answer, from: Mono) {
        self.is_done = true;
        self.shared.recorder.push(Rec::Done { attempt: self.attempt, answer, from });
    }
}

fn judged(status: u16) -> Answer {
    if (200..300).contains(&status) { Answer::Success } else { Answer::Failure(status) }
}

/// Seconds since the Unix epoch as HTTP writes an instant.
fn date(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(days % 7) as usize];
    // Days to a date, by counting from a first of March: the day that a leap year adds is then a year's last.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let names = ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];
    let year = era * 400 + year + u64::from(month >= 10);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {day:02} {} {year} {hour:02}:{minute:02}:{second:02} GMT", names[month as usize])
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn instants_are_written_as_http_does() {
        assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(date(1_798_761_599), "Thu, 31 Dec 2026 23:59:59 GMT");
    }
}
