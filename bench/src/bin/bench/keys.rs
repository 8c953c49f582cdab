//! How concurrency grows with the number of keys: one partition, a hundred attempts at once, and a sink that takes 0 to
//! 5 ms. The ideal is that of a hub that costs nothing: as many at once as there are keys, up to a hundred, each taking
//! what the sink took on average, as the sink itself measured it.

use anyhow::{Result, ensure};
use evhub_bench::{
    child::role,
    hub::{Hub, producer},
    rounds::Rounds,
};

use crate::{dispatch::deliver_from, settings::Settings};

const EVENTS: u64 = 10_000;
const CONCURRENCY: u32 = 100;
const KEYS: [u64; 9] = [1, 2, 5, 10, 20, 50, 100, 1000, 10_000];
/// The longest that the sink takes, in microseconds.
const LONGEST: u64 = 5_000;

/// Measures and shows the table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    settings.head("Delivering by the number of keys");
    println!("\n| keys | sink's mean, ms | ideal, s | evhub, s | × ideal |\n|---:|---:|---:|---:|---:|");
    for keys in KEYS {
        let measured = settings.measure(|_| {
            let hub = Hub::start(&producer(1), Some(&settings.disk))?;
            role(&["fill", &hub.at.grpc.to_string(), &EVENTS.to_string(), &keys.to_string()])?.rest()?;
            let delivered = deliver_from(&hub, EVENTS, CONCURRENCY, LONGEST)?;
            ensure!(delivered.seen.disordered == 0, "{} events came out of order", delivered.seen.disordered);
            Ok(((delivered.seen.mean, delivered.seen.seconds), delivered.foreign))
        })?;
        let (mut means, mut ideals, mut ours) = (Rounds::default(), Rounds::default(), Rounds::default());
        for (mean, seconds) in measured.figures {
            means.add(mean * 1000.0);
            ideals.add(EVENTS as f64 * mean / keys.min(CONCURRENCY.into()) as f64);
            ours.add(seconds);
        }
        let ratio = ours.over(&ideals).spread();
        let (mean, ideal) = (means.spread().median, ideals.spread().median);
        println!("| {keys} | {mean:.2} | {ideal:.2} | {} | {ratio} |", ours.spread());
    }
    Ok(())
}
