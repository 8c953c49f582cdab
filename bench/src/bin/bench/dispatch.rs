//! Delivering a backlog, beside a bare hyper-util client that sends the same requests to the same sink with as many at
//! once. A new sink, hub and log in each round.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use evhub_bench::{
    child::{Child, role},
    hub::{Hub, processor_by, producer},
    machine::Guard,
    rounds::Rounds,
    wire::Wire,
};
use tokio::time::{Instant, sleep};

use crate::{role::server::Seen, settings::Settings};

/// How many attempts are under way at once.
pub(crate) const CONCURRENCY: u32 = 64;
/// Longer than any backlog here takes.
const PATIENCE: Duration = Duration::from_mins(3);

#[derive(Clone, Copy, Debug)]
struct Figure {
    rate: f64,
    micros: f64,
}

/// Measures and shows the table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    settings.head("Delivering a backlog");
    let count = u64::from(settings.seconds) * 20_000;
    let measured = settings.measure(|round| {
        let mut worst = 0.0f64;
        let mut figures = [None; 3];
        for turn in 0..figures.len() {
            let contender = (turn + round) % figures.len();
            let (figure, foreign) = match contender {
                0 => figure(count, &bare(count, CONCURRENCY.into(), 0)?),
                1 => ours(count, None)?,
                _ => ours(count, Some(settings))?,
            };
            figures[contender] = Some(figure);
            worst = worst.max(foreign);
        }
        Ok((figures.map(|figure| figure.unwrap_or(Figure { rate: 0.0, micros: 0.0 })), worst))
    })?;
    let column = |contender: usize, pick: fn(&Figure) -> f64| {
        let mut rounds = Rounds::default();
        measured.figures.iter().for_each(|figures| rounds.add(pick(&figures[contender])));
        rounds
    };
    println!("; {count} events a round; others used at most {:.0} % of the machine\n", measured.worst);
    println!(
        "| 64 at once, HTTP/1.1 | deliveries/s | × bare client | its CPU, µs a delivery |\n|---|---:|---:|---:|"
    );
    for (contender, name) in
        ["bare hyper-util client", "evhub, log in memory", "evhub, log on disk"].iter().enumerate()
    {
        let rates = column(contender, |figure| figure.rate);
        let ratio = rates.over(&column(0, |figure| figure.rate)).spread();
        let micros = column(contender, |figure| figure.micros).spread();
        println!("| {name} | {:.0} | {ratio} | {micros:.1} |", rates.spread());
    }
    Ok(())
}

fn figure(count: u64, delivered: &Delivered) -> (Figure, f64) {
    let (rate, micros) = (count as f64 / delivered.seen.seconds, delivered.used * 1e6 / count as f64);
    (Figure { rate, micros }, delivered.foreign)
}

/// What a client that does nothing else needs to send as much to a sink that takes as long.
pub(crate) fn bare(count: u64, concurrency: u64, sink_micros: u64) -> Result<Delivered> {
    let mut sink = role(&["sink", &sink_micros.to_string()])?;
    let address = sink.line()?;
    let guard = Guard::start();
    let words = ["client", &address, &concurrency.to_string(), &count.to_string()];
    let used: f64 = role(&words)?.rest()?.trim().parse()?;
    let seen = all_of(&address, count)?;
    Ok(Delivered { seen, used, foreign: guard.foreign(used + sink.used()?) })
}

fn ours(count: u64, disk: Option<&Settings>) -> Result<(Figure, f64)> {
    let delivered = deliver(count, CONCURRENCY, 12, 0, disk)?;
    let seen = &delivered.seen;
    ensure!(seen.disordered == 0, "{} events came after a later one of their key", seen.disordered);
    ensure!(seen.repeats == 0, "{} events came again", seen.repeats);
    Ok(figure(count, &delivered))
}

/// What delivering a backlog came to.
pub(crate) struct Delivered {
    pub(crate) seen: Seen,
    /// Seconds of processor time that the hub used for it.
    pub(crate) used: f64,
    /// The others' share of the machine meanwhile, in percent.
    pub(crate) foreign: f64,
}

/// Publishes so many events of a thousand keys, then lets a Processor come that delivers them.
pub(crate) fn deliver(
    count: u64,
    max_in_flight: u32,
    partitions: u32,
    sink_micros: u64,
    disk: Option<&Settings>,
) -> Result<Delivered> {
    let hub = Hub::start(&producer(partitions), disk.map(|settings| settings.disk.as_path()))?;
    role(&["fill", &hub.at.grpc.to_string(), &count.to_string()])?.rest()?;
    deliver_from(&hub, count, max_in_flight, sink_micros)
}

/// Lets a Processor come to a hub that has so many events.
pub(crate) fn deliver_from(hub: &Hub, count: u64, max_in_flight: u32, sink_micros: u64) -> Result<Delivered> {
    deliver_by(("CloudEvents", "sink"), hub, count, max_in_flight, sink_micros)
}

/// The same by another protocol, to the role that takes it.
pub(crate) fn deliver_by(
    (protocol, taker): (&str, &str),
    hub: &Hub,
    count: u64,
    max_in_flight: u32,
    sink_micros: u64,
) -> Result<Delivered> {
    let mut sink: Child = role(&[taker, &sink_micros.to_string()])?;
    let line = sink.line()?;
    // It may tell elsewhere what it has seen.
    let (address, asked) = line.split_once(' ').unwrap_or((&line, &line));
    let (guard, before) = (Guard::start(), hub.child.used()?);
    let url = format!("http://{address}/events");
    hub.apply("processor.yaml", &processor_by(protocol, &url, max_in_flight))?;
    let seen = all_of(asked, count)?;
    let used = hub.child.used()? - before;
    Ok(Delivered { seen, used, foreign: guard.foreign(used + sink.used()?) })
}

/// Waits until a sink has seen so many events.
fn all_of(address: &str, count: u64) -> Result<Seen> {
    let address: SocketAddr = address.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut wire = Wire::connect(address).await?;
        let request = format!("GET /seen HTTP/1.1\r\nhost: {address}\r\n\r\n");
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let answer = wire.exchange(request.as_bytes()).await?;
            let seen: Seen = serde_json::from_slice(&answer.body).context("read what a sink has seen")?;
            if seen.answered >= count {
                return Ok(seen);
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!("not all of {count} events came in {PATIENCE:?}")
    })
}
