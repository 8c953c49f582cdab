//! Publishers over HTTP/1.1: each has a connection and sends its next event when the one before is acknowledged. Does I/O.

use std::{
    net::SocketAddr,
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use evhub_bench::{
    machine,
    wire::{Template, Wire},
};
use hdrhistogram::Histogram;
use tokio::{sync::Semaphore, task::JoinSet};

use super::Load;

/// What is sent before anything counts.
const WARM_UP: Duration = Duration::from_millis(500);

/// As many events as so many connections can send one after the other.
pub(crate) async fn closed(address: SocketAddr, connections: u64, seconds: u64) -> Result<()> {
    let mut tasks = JoinSet::new();
    let from = Instant::now() + WARM_UP;
    let to = from + Duration::from_secs(seconds);
    for number in 0..connections {
        let (mut wire, mut template) = (Wire::connect(address).await?, Template::new(address));
        tasks.spawn(async move {
            let (mut events, mut next) = (0, number << 32);
            loop {
                let status = wire.exchange(template.of(next)).await?.status;
                ensure!(status == 202, "an event was answered {status}");
                let now = Instant::now();
                if now >= to {
                    return Ok(events);
                }
                events += u64::from(now >= from);
                next += 1;
            }
        });
    }
    let mut events = 0;
    while let Some(counted) = tasks.join_next().await {
        events += counted??;
    }
    tell(&Load { events, seconds: seconds as f64, used: machine::used(process::id())?, latency: None })
}

/// So many events a second, whether or not those before are acknowledged. An event's time counts from the instant at
/// which it should have been sent, so one that waits for a free connection is as late as its publisher would find it.
pub(crate) async fn open(address: SocketAddr, connections: u64, rate: u64, seconds: u64) -> Result<()> {
    let interval = Duration::from_secs(1) / u32::try_from(rate).context("a rate")?;
    let warm_up = WARM_UP.as_nanos() as u64 / interval.as_nanos() as u64;
    let total = warm_up + seconds * rate;
    let (due, next) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
    let mut wires = Vec::new();
    for _ in 0..connections {
        wires.push((Wire::connect(address).await?, Template::new(address)));
    }
    let began = pace(&due, interval, total + connections);
    let mut tasks = JoinSet::new();
    for (mut wire, mut template) in wires {
        let (due, next) = (Arc::clone(&due), Arc::clone(&next));
        tasks.spawn(async move {
            let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
            loop {
                due.acquire().await?.forget();
                let number = next.fetch_add(1, Relaxed);
                if number >= total {
                    return anyhow::Ok(times);
                }
                let scheduled = began + interval * (number as u32 + 1);
                let status = wire.exchange(template.of(number)).await?.status;
                ensure!(status == 202, "an event was answered {status}");
                if number >= warm_up {
                    times.saturating_record(scheduled.elapsed().as_micros() as u64);
                }
            }
        });
    }
    let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
    while let Some(ended) = tasks.join_next().await {
        times.add(ended??)?;
    }
    let at = |quantile| times.value_at_quantile(quantile);
    let latency = Some([at(0.5), at(0.99), at(0.999), times.max()]);
    tell(&Load { events: times.len(), seconds: seconds as f64, used: machine::used(process::id())?, latency })
}

/// Tells what was measured.
pub(super) fn tell(load: &Load) -> Result<()> {
    println!("{}", serde_json::to_string(load)?);
    Ok(())
}

/// Lets an event be sent at each of so many instants, beginning now. From a thread of its own, because the runtime's timers
/// are a millisecond coarse; gives back when it began.
fn pace(due: &Arc<Semaphore>, interval: Duration, count: u64) -> Instant {
    let (began, due) = (Instant::now(), Arc::clone(due));
    thread::spawn(move || {
        let mut sent = 0;
        while sent < count {
            thread::sleep((began + interval * (sent as u32 + 1)).saturating_duration_since(Instant::now()));
            let passed = (began.elapsed().as_nanos() / interval.as_nanos()) as u64;
            due.add_permits(passed.min(count).saturating_sub(sent) as usize);
            sent = passed.max(sent);
        }
    });
    began
}
