//! The hub in a cgroup of 256 MiB, where the kernel ends what takes more: a target that hangs while large events pile up,
//! publishers far beyond what it can take, and very many parked deliveries. It lives, sheds, and loses nothing.

use std::{
    env,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use evhub_e2e::{
    cage::{Cage, resident},
    hub::{Hub, Site},
    model::{Growth, Order, Retry},
    plan::{Plan, manifests},
    recorder::Recorder,
    script::Mode,
    truth::Reader,
    wire::{self, Connection},
};
use tokio::{
    io::{AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use crate::in_turn;

const MEMORY: u64 = 256 << 20;
/// How long publishers flood the hub at least, and at most.
const FLOOD: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(40));
const PROCESSOR: &str = "shop/billing";

/// A hub in a cage.
struct Caged {
    site: Site,
    hub: Hub,
    cage: Cage,
    recorder: Recorder,
    /// The most that any of its lives took.
    peak: u64,
}

impl Caged {
    async fn start(plan: &Plan, port: u16) -> Result<Self> {
        let cage = Cage::new(MEMORY)?;
        let mut site = Site::new(&manifests(None, [(plan, port)]))?;
        site.before = cage.before();
        let hub = site.first_start().await?;
        Ok(Self { site, hub, cage, recorder: Recorder::default(), peak: 0 })
    }

    fn reader(&self) -> Reader<'_> {
        Reader { api: self.site.ports.api, recorder: &self.recorder }
    }

    async fn restart(&mut self) -> Result<()> {
        self.look()?;
        self.hub.kill().await?;
        self.hub = self.site.start_ready().await.with_context(|| format!("{:?}", self.cage.used()))?;
        Ok(())
    }

    fn look(&mut self) -> Result<()> {
        let ended = self.hub.ended();
        ensure!(ended.is_none(), "it did not survive ({ended:?})\n{}", self.site.log_end());
        self.peak = self.peak.max(resident(self.hub.pid())?);
        Ok(())
    }

    /// It lives, and was never ended.
    fn survived(mut self, name: &str, figures: &str) -> Result<()> {
        let ended = self.hub.ended();
        let used = self.cage.used()?;
        ensure!(
            ended.is_none() && used.ended == 0,
            "it did not survive ({ended:?}, {used:?})\n{}",
            self.site.log_end()
        );
        self.look()?;
        ensure!(self.peak < MEMORY, "{} MiB of its own", self.peak >> 20);
        let line =
            format!("{name}: {figures}; at most {} MiB of its own, of {}\n", self.peak >> 20, MEMORY >> 20);
        std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).context("say how it went")
    }
}

/// A target that counts what it receives by number, and answers with this status, or not at all while it hangs.
struct Counter {
    port: u16,
    shared: Arc<Counts>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    /// How often each number was delivered.
    seen: Mutex<Vec<u8>>,
    attempts: AtomicU64,
    hangs: AtomicBool,
    fails: AtomicBool,
}

impl Counter {
    async fn start(events: usize) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen as a target")?;
        let port = listener.local_addr().context("listen as a target")?.port();
        let shared = Arc::new(Counts { seen: Mutex::new(vec![0; events]), ..Counts::default() });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, Arc::clone(&serving)));
            }
        });
        Ok(Self { port, shared, task })
    }

    fn attempts(&self) -> u64 {
        self.shared.attempts.load(Relaxed)
    }

    /// How many of these numbers were delivered.
    fn delivered(&self) -> usize {
        let seen = self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|count| **count > 0).count()
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(stream: TcpStream, counts: Arc<Counts>) {
    let mut stream = BufReader::new(stream);
    while let Ok(Some(request)) = wire::read(&mut stream).await {
        counts.attempts.fetch_add(1, Relaxed);
        while counts.hangs.load(Relaxed) {
            sleep(Duration::from_millis(50)).await;
        }
        let fails = counts.fails.load(Relaxed);
        let number: Option<usize> = request.header("ce-id").and_then(|id| id.parse().ok());
        if let (Some(number), false) = (number, fails) {
            let mut seen = counts.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = seen.get_mut(number) {
                *count = count.saturating_add(1);
            }
        }
        // 404 is tried again, and says nothing about how its target is.
        let status = if fails { "404 Not Found" } else { "200 OK" };
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Publishes large events over so many connections until so many are acknowledged, at least for some seconds; the numbers
/// of those, and how many were refused.
async fn flood(port: u16, connections: usize, bytes: usize, events: u64) -> Result<(Vec<usize>, u64)> {
    let (next, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let taken = Arc::new(AtomicU64::new(0));
    let since = Instant::now();
    let mut tasks: JoinSet<Result<Vec<usize>>> = JoinSet::new();
    for _ in 0..connections {
        let (next, refused, taken) = (Arc::clone(&next), Arc::clone(&refused), Arc::clone(&taken));
        tasks.spawn(async move {
            let body = vec![b'x'; bytes];
            let mut acked = Vec::new();
            let mut connection: Option<Connection> = None;
            while since.elapsed() < FLOOD.0 || (taken.load(Relaxed) < events && since.elapsed() < FLOOD.1) {
                let number = next.fetch_add(1, Relaxed).to_string();
                let headers = [
                    ("ce-specversion", "1.0"),
                    ("ce-id", &number),
                    ("ce-source", "/e2e"),
                    ("ce-type", "e2e"),
                    ("content-type", "application/octet-stream"),
                ];
                let request =
                    wire::request("POST", "/namespaces/shop/producers/orders/events", &headers, &body);
                if connection.as_ref().is_none_or(Connection::is_closed) {
                    connection = Connection::open(port).await.ok();
                }
                let Some(open) = &mut connection else { continue };
                match open.exchange(&request).await {
                    Ok(answer) if answer.status() == Some(202) => {
                        taken.fetch_add(1, Relaxed);
                        acked.push(number.parse()?);
                    }
                    Ok(answer) => {
                        let told = answer.header("retry-after").is_some();
                        ensure!(answer.status() == Some(429) && told, "{}", answer.first);
                        refused.fetch_add(1, Relaxed);
                    }
                    // Refused before its body was read, or cut off.
                    Err(_) => connection = None,
                }
            }
            Ok(acked)
        });
    }
    let mut acked = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        acked.extend(ended.context("a publisher failed")??);
    }
    Ok((acked, refused.load(Relaxed)))
}

#[test]
fn e2e_memory_hung_target() -> Result<()> {
    in_turn(async {
        let target = Counter::start(1 << 20).await?;
        target.shared.hangs.store(true, Relaxed);
        let plan = Plan {
            order: Order::None,
            timeout: Duration::from_secs(2),
            retry: Retry { max_attempts: 1000, ..Retry::default() },
            ..Plan::new("billing", &[(Mode::Fine, 1)])
        };
        let mut caged = Caged::start(&plan, target.port).await?;
        let (acked, refused) = flood(caged.site.ports.http, 16, 256 << 10, 500).await?;
        ensure!(acked.len() >= 500, "only {} were taken", acked.len());
        ensure!(target.attempts() > 0, "nothing was attempted");
        caged.look()?;
        target.shared.hangs.store(false, Relaxed);
        delivers(&target, acked.len(), Duration::from_secs(40)).await?;
        let figures =
            format!("{} events of 256 KiB behind a target that hangs, {refused} refused", acked.len());
        caged.survived("e2e_memory_hung_target", &figures)
    })
}

#[test]
fn e2e_memory_overload() -> Result<()> {
    in_turn(async {
        let target = Counter::start(1 << 20).await?;
        let retry = Retry { max_attempts: 1000, ..Retry::default() };
        let timeout = Duration::from_secs(30);
        let plan = Plan { order: Order::None, retry, timeout, ..Plan::new("billing", &[(Mode::Fine, 1)]) };
        let caged = Caged::start(&plan, target.port).await?;
        // Each publisher waits for its answer, so what is offered is what this many hold: as much as there is memory, and
        // sixteen times what the door lets in.
        let (acked, refused) = flood(caged.site.ports.http, 512, 512 << 10, 100).await?;
        ensure!(acked.len() >= 100, "only {} were taken", acked.len());
        ensure!(refused > 0, "nothing was refused");
        delivers(&target, acked.len(), Duration::from_mins(2)).await?;
        let figures = format!("512 publishers of 512 KiB, {} taken and {refused} refused", acked.len());
        caged.survived("e2e_memory_overload", &figures)
    })
}

/// Waits until so many events were delivered.
async fn delivers(target: &Counter, events: usize, patience: Duration) -> Result<()> {
    let since = Instant::now();
    while target.delivered() < events {
        ensure!(since.elapsed() < patience, "{} of {events} were delivered", target.delivered());
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

#[test]
fn e2e_memory_parked() -> Result<()> {
    let events = env::var("EVHUB_E2E_PARKED").ok().and_then(|text| text.parse().ok()).unwrap_or(15_000);
    in_turn(parked(events))
}

/// Parks so many deliveries, is killed with all of them, and delivers them.
async fn parked(events: usize) -> Result<()> {
    let target = Counter::start(events).await?;
    target.shared.fails.store(true, Relaxed);
    // Long enough that the first is not due before the last is parked.
    let rest = Duration::from_secs(8).max(Duration::from_millis(events as u64 / 2));
    let plan = Plan {
        order: Order::None,
        max_in_flight: 512,
        max_parked: 10_000_000,
        retry: Retry {
            max_attempts: 1000,
            growth: Growth::Fixed,
            initial: rest,
            max: rest,
            jitter: 0,
            ..Retry::default()
        },
        ..Plan::new("billing", &[(Mode::Fine, 1)])
    };
    let mut caged = Caged::start(&plan, target.port).await?;
    let began = Instant::now();
    publish(caged.site.ports.http, events).await?;
    let patience = Duration::from_secs(20).max(rest * 5);
    let all = |status: &evhub_e2e::truth::Status| status.parked == events as u64 && status.lag == 0;
    let reached = caged.reader().until(PROCESSOR, patience, all).await?;
    ensure!(
        reached.is_ok(),
        "not all are parked: {reached:?}; {:?}\n{}",
        caged.cage.used(),
        caged.site.log_end()
    );
    let took = began.elapsed();
    caged.restart().await?;
    let status = caged.reader().status(PROCESSOR).await?;
    ensure!(status.parked == events as u64, "{} of {events} are still parked", status.parked);
    caged.look()?;
    target.shared.fails.store(false, Relaxed);
    delivers(&target, events, patience).await?;
    let figures = format!("{events} parked in {took:.1?}, killed, and delivered");
    caged.survived("e2e_memory_parked", &figures)
}

/// Publishes so many small events, numbered, in batches.
async fn publish(port: u16, events: usize) -> Result<()> {
    let mut connection = Connection::open(port).await?;
    let numbers: Vec<usize> = (0..events).collect();
    for batch in numbers.chunks(1000) {
        let event = |n: &usize| format!(r#"{{"specversion":"1.0","id":"{n}","source":"/e2e","type":"e2e"}}"#);
        let body = format!("[{}]", batch.iter().map(event).collect::<Vec<_>>().join(","));
        let headers = [("content-type", "application/cloudevents-batch+json")];
        let path = "/namespaces/shop/producers/orders/events";
        let answer = connection.exchange(&wire::request("POST", path, &headers, body.as_bytes())).await?;
        ensure!(answer.status() == Some(202), "{} {}", answer.first, String::from_utf8_lossy(&answer.body));
    }
    Ok(())
}
