//! The embedded log's durable appends beside what the same disk gives a program that only appends and syncs.
//!
//! `journal DIR [ROUNDS]` measures in a new folder under DIR. For each number of publishers the two take turns in
//! one-second slices, so that a disk that speeds up or slows down does so for both: bare, a file to which groups of
//! that many 1 KiB blocks are appended, one fdatasync each; and the log, with that many tasks that each wait for their
//! acknowledgement before the next append. The ratio is the median of the rounds' own ratios. CPU is that of the whole
//! process, publishers included. At last each log is opened again, and the time that takes is told.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use evhub_event::Record;
use evhub_journal::{Embedded, Journal, Place, TopicPartition, TopicSettings, embedded::Options};

const EVENT: usize = 1024;
const SLICE: Duration = Duration::from_secs(1);
const PUBLISHERS: [usize; 3] = [1, 64, 1024];
const TOPIC: &str = "bench";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().context("usage: journal DIR [ROUNDS]")?);
    let rounds = args.next().map_or(Ok(5), |rounds| rounds.parse())?;
    let dir = dir.join(format!("evhub-bench-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let measured = measure(&dir, rounds).await;
    fs::remove_dir_all(&dir)?;
    measured
}

async fn measure(dir: &Path, rounds: usize) -> anyhow::Result<()> {
    println!("{rounds} rounds of {SLICE:?} each, medians; events of {EVENT} bytes\n");
    println!(
        "| publishers | bare append + fdatasync, events/s | embedded log, events/s | ratio | lowest–highest ratio \
         | CPU bare, µs/event | CPU log, µs/event |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    let mut reopened = Vec::new();
    for publishers in PUBLISHERS {
        let options = Options::new(dir.join(format!("log-{publishers}")));
        let log = Embedded::open(options.clone())?;
        let topic = TopicSettings { partitions: 12, max_record_bytes: 1 << 20, ..TopicSettings::default() };
        log.ensure(TOPIC, topic).await?;
        let mut bare_file = File::create(dir.join(format!("bare-{publishers}")))?;
        let (mut bare, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let floor = bare_slice(&mut bare_file, publishers)?;
            let measured = log_slice(&log, publishers).await?;
            ratios.push(measured.rate / floor.rate);
            bare.push(floor);
            ours.push(measured);
        }
        let rate = |slices: &[Slice]| median(slices.iter().map(|slice| slice.rate).collect());
        let cpu = |slices: &[Slice]| median(slices.iter().map(|slice| slice.cpu).collect());
        let (lowest, highest) =
            ratios.iter().fold((f64::MAX, 0_f64), |(low, high), ratio| (low.min(*ratio), high.max(*ratio)));
        println!(
            "| {publishers} | {:.0} | {:.0} | {:.2} | {lowest:.2}–{highest:.2} | {:.1} | {:.1} |",
            rate(&bare),
            rate(&ours),
            median(ratios),
            cpu(&bare),
            cpu(&ours),
        );
        let mut events = 0;
        for partition in 0..12 {
            events += log.end(&TopicPartition { topic: TOPIC.into(), partition }).await?;
        }
        log.close();
        drop(log);
        let start = Instant::now();
        let log = Embedded::open(options)?;
        reopened.push(format!("{events} events in {:?}", start.elapsed()));
        drop(log);
    }
    println!("\nopened again: {}", reopened.join(", "));
    Ok(())
}

/// What one slice came to.
struct Slice {
    /// Events per second.
    rate: f64,
    /// Microseconds of CPU per event.
    cpu: f64,
}

/// A slice that has begun.
struct Clock(Instant, f64);

impl Clock {
    fn start() -> anyhow::Result<Self> {
        Ok(Self(Instant::now(), cpu()?))
    }

    fn stop(&self, events: usize) -> anyhow::Result<Slice> {
        let events = events as f64;
        Ok(Slice { rate: events / self.0.elapsed().as_secs_f64(), cpu: (cpu()? - self.1) * 1e6 / events })
    }
}

/// Seconds of CPU that this process has used.
fn cpu() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Vec<f64> = fields.skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    // A tick is 10 ms on every Linux that there is.
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

fn bare_slice(file: &mut File, group: usize) -> anyhow::Result<Slice> {
    let block = vec![7; EVENT * group];
    let clock = Clock::start()?;
    let mut events = 0;
    while clock.0.elapsed() < SLICE {
        file.write_all(&block)?;
        file.sync_data()?;
        events += group;
    }
    clock.stop(events)
}

async fn log_slice(log: &Embedded, publishers: usize) -> anyhow::Result<Slice> {
    let body = Bytes::from(vec![7; EVENT]);
    let clock = Clock::start()?;
    let start = clock.0;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..publishers {
        let (log, body) = (log.clone(), body.clone());
        tasks.spawn(async move {
            let mut events = 0;
            while start.elapsed() < SLICE {
                let record = Record { value: Some(body.clone()), ..Record::default() };
                log.append(TOPIC, Place::ByKey, record).await?;
                events += 1;
            }
            anyhow::Ok(events)
        });
    }
    let mut events = 0;
    while let Some(counted) = tasks.join_next().await {
        events += counted??;
    }
    clock.stop(events)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
