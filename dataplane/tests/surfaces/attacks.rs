//! HTTP/2 in the hands of somebody who means harm, on both listeners: each attack ends with its connection, takes a bounded
//! part of memory, and whoever is honest on another connection is served all the while.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use evhub_dataplane::{grpc, ingest::Door, server::Limits};
use futures_util::{StreamExt as _, stream};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

use super::{
    h2::{PUBLISH, Raw},
    rig::{Rig, SINK},
    wire::{PATIENCE, Wire, request},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Far more than an attack may make us hold, and far less than it could if nothing bounded it.
const MOST_GROWTH: usize = 256 << 20;

// === frames ===

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The n-th stream of a client.
fn nth(n: u32) -> u32 {
    2 * n + 1
}

fn literal(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// The head of a publish, as HPACK has it.
fn head(of: Listener) -> Vec<u8> {
    let path = match of {
        Listener::Http => format!("{SINK}/events"),
        Listener::Grpc => PUBLISH.to_owned(),
    };
    let path = [&[4, u8::try_from(path.len()).unwrap()], path.as_bytes()].concat();
    [vec![0x83, 0x86], path, vec![1, 3], b"hub".to_vec(), literal("content-type", "application/grpc")]
        .concat()
}

fn open(of: Listener, n: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, nth(n), &head(of))
}

// === attacks ===

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listener {
    Http,
    Grpc,
}

/// What is sent at once, and then again and again; nothing of what comes back is heeded, or even read.
struct Attack {
    name: &'static str,
    first: fn(Listener) -> Vec<u8>,
    round: fn(Listener, u32) -> Vec<u8>,
    rounds: u32,
    reads: bool,
}

fn nothing(_: Listener) -> Vec<u8> {
    Vec::new()
}

fn silence(_: Listener, _: u32) -> Vec<u8> {
    Vec::new()
}

fn attack(
    name: &'static str,
    first: fn(Listener) -> Vec<u8>,
    round: fn(Listener, u32) -> Vec<u8>,
    rounds: u32,
) -> Attack {
    Attack { name, first, round, rounds, reads: true }
}

/// Requests that the other side has to begin and may not end.
fn resets() -> Vec<Attack> {
    vec![
        attack(
            "rapid reset (CVE-2023-44487)",
            nothing,
            |of, n| [open(of, n), frame(RESET, 0, nth(n), &[0, 0, 0, 8])].concat(),
            20_000,
        ),
        attack(
            "made you reset (CVE-2025-8671): a window that grows by nothing",
            nothing,
            |of, n| [open(of, n), frame(WINDOW, 0, nth(n), &[0; 4])].concat(),
            20_000,
        ),
        attack(
            "made you reset (CVE-2025-8671): data after the end",
            nothing,
            |of, n| {
                let whole = frame(HEADERS, END_HEADERS | END_STREAM, nth(n), &head(of));
                [whole, frame(DATA, 0, nth(n), b"x")].concat()
            },
            20_000,
        ),
    ]
}

/// Frames that cost their sender nothing.
fn floods() -> Vec<Attack> {
    let unread = |attack: Attack| Attack { reads: false, ..attack };
    let ping: fn(Listener, u32) -> Vec<u8> = |_, _| frame(PING, 0, 0, &[7; 8]).repeat(1000);
    let settings: fn(Listener, u32) -> Vec<u8> = |_, _| frame(SETTINGS, 0, 0, &[]).repeat(1000);
    vec![
        attack(
            "a head without an end",
            |of| frame(HEADERS, 0, 1, &head(of)),
            |_, _| frame(CONTINUATION, 0, 1, &literal("a", "b").repeat(200)),
            20_000,
        ),
        attack(
            "a head without an end, of nothing",
            |of| frame(HEADERS, 0, 1, &head(of)),
            |_, _| frame(CONTINUATION, 0, 1, &[]).repeat(1000),
            200,
        ),
        attack("settings", nothing, settings, 200),
        unread(attack("settings that nobody hears acknowledged", nothing, settings, 2000)),
        attack("pings", nothing, ping, 200),
        unread(attack("pings that nobody hears answered", nothing, ping, 2000)),
        attack("empty data", |of| open(of, 0), |_, _| frame(DATA, 0, 1, &[]).repeat(1000), 200),
    ]
}

/// What is to be held for somebody who never takes it, or never ends.
fn burdens() -> Vec<Attack> {
    vec![
        attack(
            "one long header, named again and again (HPACK bomb)",
            |of| {
                // Into the table: the name `x`, and a value of 4,000 bytes.
                let long = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'v'; 4000]].concat();
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &[head(of), long].concat())
            },
            |of, n| {
                let again = [head(of), vec![0xbe; 15_000]].concat();
                frame(HEADERS, END_HEADERS, nth(n + 1), &again)
            },
            200,
        ),
        attack(
            "answers that nobody has room for",
            |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]),
            |of, n| {
                let whole = frame(DATA, END_STREAM, nth(n), b"\0\0\0\0\0");
                [open(of, n), whole].concat()
            },
            50,
        ),
        attack("half a greeting", |_| PREFACE[..7].to_vec(), silence, 0),
        attack("half a frame", |_| vec![0, 0, 9], silence, 0),
        attack("half a head", |of| frame(HEADERS, 0, 1, &head(of)), silence, 0),
        attack("a body that never comes", |of| open(of, 0), silence, 0),
    ]
}

/// Attacks until all is sent or the connection is ended, which it must be.
async fn carry_out(attack: &Attack, of: Listener, address: SocketAddr) {
    let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
    let reads = attack.reads;
    let drained = tokio::spawn(async move {
        let mut chunk = vec![0; 64 << 10];
        while reads && read.read(&mut chunk).await.is_ok_and(|count| count > 0) {}
        read
    });
    let half = attack.name == "half a greeting";
    if !half {
        let _ = write.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
    }
    let _ = write.write_all(&(attack.first)(of)).await;
    for round in 0..attack.rounds {
        if write.write_all(&(attack.round)(of, round)).await.is_err() {
            break;
        }
    }
    let mut read = drained.await.unwrap();
    while read.read(&mut [0; 4096]).await.is_ok_and(|count| count > 0) {}
}

/// Somebody who publishes one event after the other and waits for each answer.
struct Honest {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Honest {
    fn start(of: Listener, address: SocketAddr) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&served));
        let task = tokio::spawn(async move {
            let mut wire = Wire::connect(address).await;
            let mut raw = Raw::connect(address).await;
            while !stopped.load(SeqCst) {
                let good = match of {
                    Listener::Http => wire.exchange(request("POST", SINK, &[], "good")).await.status == 202,
                    Listener::Grpc => raw.publishes().await,
                };
                assert!(good, "an honest publish is served");
                count.fetch_add(1, SeqCst);
            }
        });
        Self { stop, served, task }
    }

    /// Ends once it was served after now, too.
    async fn stop(self) {
        let before = self.served.load(SeqCst);
        let more = async {
            while self.served.load(SeqCst) < before + 3 && !self.task.is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, more).await.expect("it is served");
        self.stop.store(true, SeqCst);
        self.task.await.expect("it was served all the while");
    }
}

fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Bounds short enough to wait for.
async fn rig() -> Rig {
    let short = Duration::from_millis(500);
    let http = Limits { head: short, idle: short, write: short, body_grace: short, ..Limits::default() };
    let calls = grpc::Limits {
        greeting: short,
        call: short,
        ping: short,
        pong: short,
        write: short,
        ..grpc::Limits::default()
    };
    Rig::bounded(http, calls, |_| ()).await
}

async fn withstand(of: Listener) {
    let rig = rig().await;
    let (name, address) = match of {
        Listener::Http => ("http", rig.http),
        Listener::Grpc => ("grpc", rig.grpc),
    };
    for attack in resets().into_iter().chain(floods()).chain(burdens()) {
        let before = resident();
        let honest = Honest::start(of, address);
        let (before_it, began) = (honest.served.load(SeqCst), Instant::now());
        timeout(PATIENCE * 2, carry_out(&attack, of, address))
            .await
            .unwrap_or_else(|_| panic!("{}: its connection goes on", attack.name));
        let (took, served) = (began.elapsed(), honest.served.load(SeqCst) - before_it);
        assert!(
            served > 0 || took < Duration::from_secs(2),
            "{}: for {took:?} nobody else was served",
            attack.name
        );
        honest.stop().await;
        let grown = resident().saturating_sub(before);
        assert!(grown < MOST_GROWTH, "{}: {grown} bytes more", attack.name);
    }
    let open = rig.hub.meters.connections(name);
    let gone = async {
        while open.get() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("nothing of them is left");
    assert_eq!(rig.hub.door.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attacks_on_the_http_listener_end_with_their_connection() {
    withstand(Listener::Http).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attacks_on_the_grpc_listener_end_with_their_connection() {
    withstand(Listener::Grpc).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_held_at_once_are_bounded_in_all() {
    let http = Limits { heads: 10_000, ..Limits::default() };
    let rig = Rig::with(http, Door::default()).await;
    let long = literal("x", &"v".repeat(100)).repeat(20);
    let start = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let opened: Vec<u8> = (0..20)
        .flat_map(|n| frame(HEADERS, END_HEADERS, nth(n), &[head(Listener::Http), long.clone()].concat()))
        .collect();
    let mut wire = Wire::connect(rig.http).await;
    wire.send([start, opened].concat()).await;
    wire.until("BUSY").await;
    // HTTP/1.1 is bounded by its connections, and a small head finds room.
    assert_eq!(rig.ask(rig.http, request("POST", SINK, &[], "good")).await.status, 202);
}

async fn multiplexed(address: SocketAddr) -> http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    send
}

/// Many at once, of which some change their mind: what any busy client does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_multiplexing_is_not_cut_off() {
    const COUNT: usize = 5000;
    let rig = Rig::start().await;
    let send = multiplexed(rig.http).await;
    let one = |n: usize| {
        let mut send = send.clone();
        async move {
            send.ready().await.unwrap();
            let request =
                Request::post(format!("http://hub{SINK}/events")).body(Full::new(Bytes::from("good")));
            let answered = send.send_request(request.unwrap());
            if n % 100 == 99 {
                // It is on its way, and nobody waits for it.
                let _ = timeout(Duration::from_micros(50), answered).await;
                return true;
            }
            let response = answered.await.unwrap();
            let accepted = response.status() == 202;
            accepted && response.into_body().collect().await.unwrap().to_bytes().starts_with(b"{\"id\"")
        }
    };
    let all = stream::iter(0..COUNT).map(one).buffer_unordered(90).collect::<Vec<_>>();
    let answers = timeout(PATIENCE * 3, all).await.expect("all are answered");
    assert!(answers.iter().all(|good| *good));
    assert!(rig.events().await.len() >= COUNT - COUNT / 100);
}

#[tokio::test]
async fn both_protocols_say_the_same_on_one_listener() {
    let rig = Rig::start().await;
    let mut send = multiplexed(rig.http).await;
    let cases = [
        (SINK, "x".to_owned(), 202, ""),
        ("/namespaces/shop/producers/nobody", "x".to_owned(), 404, "UNKNOWN_PRODUCER"),
        (SINK, "x".repeat(super::rig::EVENT_BYTES + 1), 413, "EVENT_TOO_LARGE"),
        ("/nowhere", String::new(), 404, "NOT_FOUND"),
        (SINK, "y".to_owned(), 202, ""),
    ];
    for (path, body, status, reason) in cases {
        let request = Request::post(format!("http://hub{path}")).body(Full::new(Bytes::from(body))).unwrap();
        send.ready().await.unwrap();
        let response = send.send_request(request).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains(reason), "{path}: {body:?}");
    }
    assert_eq!(rig.events().await.len(), 2);
}
