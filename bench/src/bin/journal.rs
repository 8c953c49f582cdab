//! The embedded log's durable appends beside what the same disk gives a program that only appends and syncs.
//!
//! `journal DIR [ROUNDS]` measures in a new folder under DIR. For each number of publishers the two take turns in
//! one-second slices, so that a disk that speeds up or slows down does so for both: bare, a file to which groups of
//! that many 1 KiB blocks are appended, one fdatasync each; and the log, with that many tasks that each wait for their
//! acknowledgement before the next append.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use evhub_event::Record;
use evhub_journal::{Embedded, Journal, Place, TopicSettings, embedded::Options};

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
    println!("{rounds} rounds of {SLICE:?} each, median events/s of {EVENT} bytes\n");
    println!("| publishers | bare append + fdatasync | embedded log | ratio | lowest–highest ratio |");
    println!("|---:|---:|---:|---:|---:|");
    for publishers in PUBLISHERS {
        let log = Embedded::open(Options::new(dir.join(format!("log-{publishers}"))))?;
        let partitions =
            TopicSettings { partitions: 12, max_record_bytes: 1 << 20, compacted: false, reserved: false };
        log.ensure(TOPIC, partitions).await?;
        let mut bare_file = File::create(dir.join(format!("bare-{publishers}")))?;
        let (mut bare, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let floor = bare_slice(&mut bare_file, publishers)?;
            let rate = log_slice(&log, publishers).await?;
            bare.push(floor);
            ours.push(rate);
            ratios.push(rate / floor);
        }
        let (bare, ours) = (median(&mut bare), median(&mut ours));
        let ratio = median(&mut ratios);
        let (lowest, highest) = (ratios[0], ratios[ratios.len() - 1]);
        println!("| {publishers} | {bare:.0} | {ours:.0} | {ratio:.2} | {lowest:.2}–{highest:.2} |");
        log.close();
    }
    Ok(())
}

fn bare_slice(file: &mut File, group: usize) -> anyhow::Result<f64> {
    let block = vec![7; EVENT * group];
    let start = Instant::now();
    let mut events = 0;
    while start.elapsed() < SLICE {
        file.write_all(&block)?;
        file.sync_data()?;
        events += group;
    }
    Ok(events as f64 / start.elapsed().as_secs_f64())
}

async fn log_slice(log: &Embedded, publishers: usize) -> anyhow::Result<f64> {
    let body = Bytes::from(vec![7; EVENT]);
    let start = Instant::now();
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
    Ok(f64::from(events) / start.elapsed().as_secs_f64())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
