//! How concurrency grows with the number of keys: one partition, a hundred attempts at once, and a target that takes 0 to
//! 5 ms. The ideal is that of a hub and a network that cost nothing: as many at once as there are keys, up to a hundred, each
//! taking what the target took on average, as it measured itself. A bare client with as many at once says what of that can be
//! had on this machine.

use anyhow::{Result, ensure};
use evhub_bench::{
    child::role,
    hub::{Hub, producer},
    rounds::Rounds,
};

use crate::{
    dispatch::{Delivered, bare, deliver_by},
    settings::Settings,
};

const EVENTS: u64 = 10_000;
const CONCURRENCY: u32 = 100;
const KEYS: [u64; 9] = [1, 2, 5, 10, 20, 50, 100, 1000, 10_000];
/// The longest that the target takes, in microseconds.
const LONGEST: u64 = 5_000;

/// How we speak to the target, and which role takes that.
const WAYS: [(&str, &str); 2] = [("CloudEvents", "sink"), ("Stream", "receiver")];

/// What one contender came to in all rounds.
#[derive(Default)]
struct Column {
    seconds: Rounds,
    ideals: Rounds,
    micros: Rounds,
}

/// Measures and shows the table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    settings.head("Delivering by the number of keys");
    table(settings, || Hub::start(&producer(1), Some(&settings.disk)))
}

/// The table of hubs that are made so, each with a Producer of one partition.
pub(crate) fn table(settings: &Settings, hub: impl Fn() -> Result<Hub>) -> Result<()> {
    println!(
        "\n\n| keys | bare client, s | × ideal | CloudEvents, s | × ideal | its CPU, µs | Stream, s | × ideal | its CPU, µs |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    );
    for keys in KEYS {
        let at_once = keys.min(CONCURRENCY.into());
        let measured = settings.measure(|_| {
            let floor = bare(EVENTS, at_once, LONGEST)?;
            let [http, stream] = WAYS.map(|way| ours(way, keys, &hub()?));
            let (http, stream) = (http?, stream?);
            let foreign = floor.foreign.max(http.foreign).max(stream.foreign);
            Ok(([floor, http, stream], foreign))
        })?;
        let mut columns: [Column; 3] = Default::default();
        for figures in measured.figures {
            for (column, delivered) in columns.iter_mut().zip(&figures) {
                column.add(delivered, at_once);
            }
        }
        let [bare, http, stream] = columns.map(|column| column.told());
        println!("| {keys} | {} | {} | {} | {} | {} |", bare.0, http.0, http.1, stream.0, stream.1);
    }
    Ok(())
}

/// A backlog of so many keys, delivered in one of our ways.
fn ours(way: (&str, &str), keys: u64, hub: &Hub) -> Result<Delivered> {
    role(&["fill", &hub.at.grpc.to_string(), &EVENTS.to_string(), &keys.to_string()])?.rest()?;
    let delivered = deliver_by(way, hub, EVENTS, CONCURRENCY, LONGEST)?;
    ensure!(delivered.seen.disordered == 0, "{} events came out of order", delivered.seen.disordered);
    Ok(delivered)
}

impl Column {
    fn add(&mut self, Delivered { seen, used, .. }: &Delivered, at_once: u64) {
        self.seconds.add(seen.seconds);
        self.ideals.add(EVENTS as f64 * seen.mean / at_once as f64);
        self.micros.add(used * 1e6 / EVENTS as f64);
    }

    /// Seconds and their ratio to the ideal, as cells; and microseconds of processor time for an event.
    fn told(&self) -> (String, String) {
        let (seconds, ratio) = (self.seconds.spread(), self.seconds.over(&self.ideals).spread());
        (format!("{seconds} | {ratio}"), format!("{:.1}", self.micros.spread()))
    }
}
