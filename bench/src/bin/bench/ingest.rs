//! Publishing with durability off (`evhub dev --memory`), beside a bare hyper server that answers the same requests.
//!
//! Every contender is a process of its own, new in each round; they take turns, and the order turns with the round. The
//! publishers are one process with one thread, the same for all that speak HTTP.

use anyhow::Result;
use evhub_bench::{
    child::{Child, role},
    hub::{Hub, producer},
    machine::Guard,
    rounds::Rounds,
};

use crate::{role::Load, settings::Settings};

/// How many connections publish over HTTP.
pub(crate) const CONNECTIONS: &str = "64";
/// Streams of gRPC, and how many requests of each wait for their answers.
const STREAMS: &str = "4";
const WINDOW: &str = "128";

/// Who is measured.
const NAMES: [&str; 4] = [
    "bare hyper, HTTP/1.1, 64 connections",
    "evhub, HTTP/1.1, 64 connections",
    "evhub, PublishStream, 4 streams, 1 event a request",
    "evhub, PublishStream, 4 streams, 100 events a request",
];

/// What one contender came to in one round: events a second, and microseconds of processor time an event took of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figure {
    pub(crate) rate: f64,
    pub(crate) micros: f64,
}

/// Measures and shows the table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    settings.head("Publishing, durability off");
    let measured = settings.measure(|round| {
        let mut figures = [Figure::default(); NAMES.len()];
        let mut worst = 0.0f64;
        for turn in 0..NAMES.len() {
            let contender = (turn + round) % NAMES.len();
            let (figure, foreign) = contend(contender, settings.seconds)?;
            figures[contender] = figure;
            worst = worst.max(foreign);
        }
        Ok((figures, worst))
    })?;
    let rates = |contender: usize| {
        let mut rounds = Rounds::default();
        measured.figures.iter().for_each(|figures| rounds.add(figures[contender].rate));
        rounds
    };
    let micros = |contender: usize| {
        let mut rounds = Rounds::default();
        measured.figures.iter().for_each(|figures| rounds.add(figures[contender].micros));
        rounds.spread()
    };
    println!("; others used at most {:.0} % of the machine\n", measured.worst);
    println!(
        "| | events/s | × bare hyper | × evhub over HTTP | its CPU, µs an event |\n|---|---:|---:|---:|---:|"
    );
    for (contender, name) in NAMES.iter().enumerate() {
        let own = rates(contender);
        let (bare, http) = (own.over(&rates(0)).spread(), own.over(&rates(1)).spread());
        println!("| {name} | {:.0} | {bare} | {http} | {:.1} |", own.spread(), micros(contender));
    }
    Ok(())
}

fn contend(contender: usize, seconds: u32) -> Result<(Figure, f64)> {
    let seconds = seconds.to_string();
    if contender == 0 {
        let mut server = role(&["bare"])?;
        let address = server.line()?;
        return publish(&server, &["load", &address, CONNECTIONS, &seconds]);
    }
    publish_to(&Hub::start(&producer(12), None)?, contender, &seconds)
}

/// Publishes to a hub as the contender of this number in [`NAMES`] does.
pub(crate) fn publish_to(hub: &Hub, contender: usize, seconds: &str) -> Result<(Figure, f64)> {
    let (http, grpc) = (hub.at.http.to_string(), hub.at.grpc.to_string());
    match contender {
        1 => publish(&hub.child, &["load", &http, CONNECTIONS, seconds]),
        2 => publish(&hub.child, &["stream", &grpc, STREAMS, "1", WINDOW, seconds]),
        _ => publish(&hub.child, &["stream", &grpc, STREAMS, "100", "8", seconds]),
    }
}

/// Lets a publisher do its work.
pub(crate) fn publish(server: &Child, words: &[&str]) -> Result<(Figure, f64)> {
    let (guard, before) = (Guard::start(), server.used()?);
    let load: Load = serde_json::from_str(&role(words)?.rest()?)?;
    let used = server.used()? - before;
    let rate = load.events as f64 / load.seconds;
    // Its time includes the warm-up, so it is held against all that was sent.
    let all = rate * (load.seconds + 0.5);
    Ok((Figure { rate, micros: used * 1e6 / all }, guard.foreign(used + load.used)))
}

/// How long receipts take at given rates.
pub(crate) fn latency(settings: &Settings) -> Result<()> {
    settings.head("Publishing over HTTP, open loop");
    println!(
        "\n| where | events/s | p50 ms | p99 ms | p99.9 ms | longest ms |\n|---|---:|---:|---:|---:|---:|"
    );
    for (name, disk) in [("in memory", false), ("on disk", true)] {
        for rate in [500, 2_000, 8_000] {
            let words = [CONNECTIONS.to_owned(), rate.to_string(), settings.seconds.to_string()];
            let measured = settings.measure(|_| {
                let hub = Hub::start(&producer(12), disk.then_some(settings.disk.as_path()))?;
                let address = hub.at.http.to_string();
                let (guard, before) = (Guard::start(), hub.child.used()?);
                let load = role(&["open", &address, &words[0], &words[1], &words[2]])?.rest()?;
                let load: Load = serde_json::from_str(&load)?;
                let foreign = guard.foreign(hub.child.used()? - before + load.used);
                Ok((load.latency.unwrap_or_default(), foreign))
            })?;
            let column = |index: usize| {
                let mut rounds = Rounds::default();
                measured.figures.iter().for_each(|times| rounds.add(times[index] as f64 / 1000.0));
                rounds.spread()
            };
            println!("| {name} | {rate} | {} | {} | {} | {} |", column(0), column(1), column(2), column(3));
        }
    }
    Ok(())
}
