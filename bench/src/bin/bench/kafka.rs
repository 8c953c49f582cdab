//! Publishing and delivering on one real broker of our own, beside what each is made of: librdkafka with nothing around it, a
//! bare hyper server, and a bare client. A new topic and new processes in each round; the broker stays.

use anyhow::{Result, ensure};
use evhub_bench::{
    child::role,
    hub::{Hub, producer_alone},
    machine::{self, Guard},
    rounds::Rounds,
};

use crate::{
    dispatch::{CONCURRENCY, Delivered, bare, deliver_from},
    ingest::{CONNECTIONS, Figure, publish, publish_to},
    keys,
    ledger::site::Site,
    role::Load,
    settings::Settings,
};

/// Who publishes. The first two are what HTTP publishing is made of; the second is the floor of the others.
const PUBLISHERS: [&str; 5] = [
    "bare hyper, HTTP/1.1, 64 connections",
    "librdkafka alone",
    "evhub, HTTP/1.1, 64 connections",
    "evhub, PublishStream, 4 streams, 1 event a request",
    "evhub, PublishStream, 4 streams, 100 events a request",
];

/// Measures and shows the tables.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    settings.head("On Kafka");
    ensure!(!settings.embedded, "this is measured on brokers: leave --log out");
    let site = Site::open(settings)?;
    println!("; {site}\n");
    publishing(settings, &site)?;
    delivering(settings, &site)?;
    keys::table(settings, || hub(&site, 1))
}

fn hub(site: &Site, partitions: u32) -> Result<Hub> {
    Hub::on_kafka(&producer_alone(partitions), site.bootstrap(), &site.name())
}

/// Does something, and tells how much of the machine others used meanwhile: neither our processes, which have ended then, nor the
/// broker.
fn watched<T>(site: &Site, work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let used = || anyhow::Ok(machine::used(std::process::id())? + site.broker_used()?);
    let (guard, before) = (Guard::start(), used()?);
    let done = work()?;
    Ok((done, guard.foreign(used()? - before)))
}

fn publishing(settings: &Settings, site: &Site) -> Result<()> {
    let measured = settings.measure(|round| {
        let (mut figures, mut worst) = ([Figure::default(); PUBLISHERS.len()], 0.0_f64);
        for turn in 0..PUBLISHERS.len() {
            let contender = (turn + round) % PUBLISHERS.len();
            let (figure, foreign) = watched(site, || contend(site, contender, settings.seconds))?;
            (figures[contender], worst) = (figure, worst.max(foreign));
        }
        Ok((figures, worst))
    })?;
    let column = |pick: &dyn Fn(&[Figure; PUBLISHERS.len()]) -> f64| {
        let mut rounds = Rounds::default();
        measured.figures.iter().for_each(|figures| rounds.add(pick(figures)));
        rounds
    };
    let raw = column(&|figures| figures[1].rate);
    // Whoever does both, one after the other, on the same machine.
    let both = column(&|figures| 1.0 / (1.0 / figures[0].rate + 1.0 / figures[1].rate));
    println!("others used at most {:.0} % of the machine\n", measured.worst);
    println!(
        "| publishing | events/s | × librdkafka | × hyper and librdkafka in turn | its CPU, µs an event |"
    );
    println!("|---|---:|---:|---:|---:|");
    for (contender, name) in PUBLISHERS.iter().enumerate() {
        let rate = column(&|figures| figures[contender].rate);
        let micros = column(&|figures| figures[contender].micros).spread();
        let (of_raw, of_both) = (rate.over(&raw).spread(), rate.over(&both).spread());
        println!("| {name} | {:.0} | {of_raw} | {of_both} | {micros:.1} |", rate.spread());
    }
    println!();
    Ok(())
}

fn contend(site: &Site, contender: usize, seconds: u32) -> Result<Figure> {
    let seconds = seconds.to_string();
    let figure = match contender {
        0 => {
            let mut server = role(&["bare"])?;
            let address = server.line()?;
            publish(&server, &["load", &address, CONNECTIONS, &seconds])?.0
        }
        1 => {
            let load = role(&["produce", site.bootstrap(), &site.name(), &seconds])?.rest()?;
            let load: Load = serde_json::from_str(&load)?;
            let rate = load.events as f64 / load.seconds;
            Figure { rate, micros: load.used * 1e6 / (rate * (load.seconds + 0.5)) }
        }
        _ => publish_to(&hub(site, 12)?, contender - 1, &seconds)?.0,
    };
    Ok(figure)
}

fn delivering(settings: &Settings, site: &Site) -> Result<()> {
    let count = u64::from(settings.seconds) * 10_000;
    let measured = settings
        .measure(|_| watched(site, || Ok([bare(count, CONCURRENCY.into(), 0)?, ours(site, count)?])))?;
    let column = |contender: usize, pick: &dyn Fn(&Delivered) -> f64| {
        let mut rounds = Rounds::default();
        measured.figures.iter().for_each(|figures| rounds.add(pick(&figures[contender]) / count as f64));
        rounds
    };
    let seconds = |contender| column(contender, &|delivered| delivered.seen.seconds);
    println!("{count} events a round; others used at most {:.0} % of the machine\n", measured.worst);
    println!("| delivering a backlog, 64 at once | deliveries/s | × bare client | its CPU, µs a delivery |");
    println!("|---|---:|---:|---:|");
    for (contender, name) in ["bare hyper-util client", "evhub on Kafka"].iter().enumerate() {
        let rate = 1.0 / seconds(contender).spread().median;
        let ratio = seconds(0).over(&seconds(contender)).spread();
        let micros = column(contender, &|delivered| delivered.used * 1e6).spread();
        println!("| {name} | {rate:.0} | {ratio} | {micros:.1} |");
    }
    println!();
    Ok(())
}

fn ours(site: &Site, count: u64) -> Result<Delivered> {
    let hub = hub(site, 12)?;
    role(&["fill", &hub.at.grpc.to_string(), &count.to_string()])?.rest()?;
    let delivered = deliver_from(&hub, count, CONCURRENCY, 0)?;
    let seen = &delivered.seen;
    ensure!(seen.disordered == 0, "{} events came after a later one of their key", seen.disordered);
    ensure!(seen.repeats == 0, "{} events came again", seen.repeats);
    Ok(delivered)
}
