//! Publishing to disk, beside NATS `JetStream` with `sync_interval: always`, and beside the disk itself.
//!
//! Publishers wait for each acknowledgement before they send the next event. Over HTTP and to NATS each has a connection;
//! over gRPC they share up to four streams, as the threads of an application share a client. The disk's own rate is that of a
//! file to which groups of as many blocks are appended, each group synced before the next. All four lie on the same file
//! system and take turns.

use std::{
    fs::File,
    io::Write as _,
    time::{Duration, Instant},
};

use anyhow::Result;
use evhub_bench::{
    child::{Child, role},
    hub::{Hub, producer},
    machine::{self, Guard},
    peer::{self, Nats},
    rounds::Rounds,
    wire::DATA,
};

use crate::{role::Load, settings::Settings};

const PUBLISHERS: [u32; 3] = [1, 64, 1024];
/// The most streams that publishers share over gRPC.
const STREAMS: u32 = 4;
/// The disk's place among the contenders, and NATS'.
const DISK: usize = 0;
const NATS: usize = 1;

/// What each contender came to in one round: the disk, NATS, evhub over HTTP, evhub over gRPC.
type Figures = [Figure; 4];

/// Events a second, and microseconds of processor time an event took.
#[derive(Clone, Copy, Debug, Default)]
struct Figure {
    rate: f64,
    micros: f64,
}

/// Measures and shows the table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    settings.head("Durable publishing");
    println!("; nats-server {}; {}\n", peer::VERSION, machine::disk(&settings.disk));
    println!(
        "| publishers | disk, events/s | NATS | evhub, HTTP | × NATS | × disk | evhub, gRPC | × NATS | × disk | CPU, µs an \
         event: NATS, HTTP, gRPC |\n|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    );
    for publishers in PUBLISHERS {
        row(settings, publishers)?;
    }
    Ok(())
}

fn row(settings: &Settings, publishers: u32) -> Result<()> {
    let measured = settings.measure(|round| {
        let (mut figures, mut worst) = (Figures::default(), 0.0f64);
        for turn in 0..figures.len() {
            let contender = (turn + round) % figures.len();
            let (figure, foreign) = contend(contender, settings, publishers)?;
            figures[contender] = figure;
            worst = worst.max(foreign);
        }
        Ok((figures, worst))
    })?;
    let column = |contender: usize, pick: fn(&Figure) -> f64| {
        let mut rounds = Rounds::default();
        measured.figures.iter().for_each(|figures| rounds.add(pick(&figures[contender])));
        rounds
    };
    let rates = [0, 1, 2, 3].map(|contender| column(contender, |figure| figure.rate));
    let micros = [1, 2, 3].map(|contender| column(contender, |figure| figure.micros).spread().median);
    print!("| {publishers} | {:.0} | {:.0}", rates[DISK].spread().median, rates[NATS].spread().median);
    for ours in &rates[2..] {
        let (nats, disk) = (ours.over(&rates[NATS]).spread(), ours.over(&rates[DISK]).spread());
        print!(" | {:.0} | {nats:.1} | {disk}", ours.spread().median);
    }
    println!(" | {:.1}, {:.1}, {:.1} |", micros[0], micros[1], micros[2]);
    Ok(())
}

fn contend(contender: usize, settings: &Settings, publishers: u32) -> Result<(Figure, f64)> {
    let (count, seconds) = (publishers.to_string(), settings.seconds.to_string());
    match contender {
        DISK => Ok((Figure { rate: disk(settings, publishers)?, micros: 0.0 }, 0.0)),
        NATS => {
            let nats = Nats::start(&settings.disk)?;
            publish(&nats.child, &["nats", &nats.address.to_string(), &count, &seconds])
        }
        2 => {
            let hub = Hub::start(&producer(12), Some(&settings.disk))?;
            publish(&hub.child, &["load", &hub.at.http.to_string(), &count, &seconds])
        }
        _ => {
            let hub = Hub::start(&producer(12), Some(&settings.disk))?;
            let streams = publishers.min(STREAMS);
            let (streams, window) = (streams.to_string(), (publishers / streams).to_string());
            publish(&hub.child, &["stream", &hub.at.grpc.to_string(), &streams, "1", &window, &seconds])
        }
    }
}

fn publish(server: &Child, words: &[&str]) -> Result<(Figure, f64)> {
    let (guard, before) = (Guard::start(), server.used()?);
    let load: Load = serde_json::from_str(&role(words)?.rest()?)?;
    let used = server.used()? - before;
    let rate = load.events as f64 / load.seconds;
    // Its time includes the warm-up, so it is held against all that was sent.
    let all = rate * (load.seconds + 0.5);
    Ok((Figure { rate, micros: used * 1e6 / all }, guard.foreign(used + load.used)))
}

/// Appends and syncs groups of so many blocks.
fn disk(settings: &Settings, group: u32) -> Result<f64> {
    let mut file: File = tempfile::tempfile_in(&settings.disk)?;
    let block = vec![7; DATA * group as usize];
    let (began, span) = (Instant::now(), Duration::from_secs(settings.seconds.into()));
    let mut events = 0;
    while began.elapsed() < span {
        file.write_all(&block)?;
        file.sync_data()?;
        events += u64::from(group);
    }
    Ok(events as f64 / began.elapsed().as_secs_f64())
}
