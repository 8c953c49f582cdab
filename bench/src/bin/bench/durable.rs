//! Publishing to disk, beside NATS `JetStream` with `sync_interval: always`, and beside the disk itself.
//!
//! Publishers have a connection each and wait for each acknowledgement before they send the next event. The disk's own rate
//! is that of a file to which groups of as many blocks are appended, each group synced before the next. All three lie on
//! the same file system and take turns.

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

#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    disk: f64,
    nats: f64,
    ours: f64,
    /// Microseconds of processor time an event took: NATS', ours.
    micros: [f64; 2],
}

/// Measures and shows the table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    settings.head("Durable publishing");
    println!("; nats-server {}; {}\n", peer::VERSION, machine::disk(&settings.disk));
    println!(
        "| publishers | disk, events/s | NATS | evhub, HTTP | × NATS | × disk | CPU, µs an event: NATS, evhub |\n\
         |---:|---:|---:|---:|---:|---:|---:|"
    );
    for publishers in PUBLISHERS {
        let measured = settings.measure(|round| {
            let mut figures = Figures::default();
            let mut worst = 0.0f64;
            for turn in 0..3 {
                match (turn + round) % 3 {
                    0 => figures.disk = disk(settings, publishers)?,
                    1 => {
                        let nats = Nats::start(&settings.disk)?;
                        let words = ["nats", &nats.address.to_string(), &publishers.to_string()];
                        let (rate, micros, foreign) = publish(&nats.child, &words, settings)?;
                        (figures.nats, figures.micros[0]) = (rate, micros);
                        worst = worst.max(foreign);
                    }
                    _ => {
                        let hub = Hub::start(&producer(12), Some(&settings.disk))?;
                        let words = ["load", &hub.at.http.to_string(), &publishers.to_string()];
                        let (rate, micros, foreign) = publish(&hub.child, &words, settings)?;
                        (figures.ours, figures.micros[1]) = (rate, micros);
                        worst = worst.max(foreign);
                    }
                }
            }
            Ok((figures, worst))
        })?;
        let column = |pick: fn(&Figures) -> f64| {
            let mut rounds = Rounds::default();
            measured.figures.iter().for_each(|figures| rounds.add(pick(figures)));
            rounds
        };
        let (disk, nats, ours) = (column(|f| f.disk), column(|f| f.nats), column(|f| f.ours));
        let (against, floor) = (ours.over(&nats).spread(), ours.over(&disk).spread());
        let micros = (column(|f| f.micros[0]).spread().median, column(|f| f.micros[1]).spread().median);
        println!(
            "| {publishers} | {:.0} | {:.0} | {:.0} | {against} | {floor} | {:.1}, {:.1} |",
            disk.spread().median,
            nats.spread().median,
            ours.spread().median,
            micros.0,
            micros.1
        );
    }
    Ok(())
}

fn publish(server: &Child, words: &[&str; 3], settings: &Settings) -> Result<(f64, f64, f64)> {
    let (guard, before) = (Guard::start(), server.used()?);
    let seconds = settings.seconds.to_string();
    let load: Load = serde_json::from_str(&role(&[words[0], words[1], words[2], &seconds])?.rest()?)?;
    let used = server.used()? - before;
    let rate = load.events as f64 / load.seconds;
    // Its time includes the warm-up, so it is held against all that was sent.
    let all = rate * (load.seconds + 0.5);
    Ok((rate, used * 1e6 / all, guard.foreign(used + load.used)))
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
