//! The embedded log's durable appends, without anything around them, beside what the same disk gives a program that only
//! appends and syncs.
//!
//! Two contenders take turns in slices, so that a disk that speeds up or slows down does so for both. Bare: a file to which
//! groups of as many blocks as there are publishers are appended, one fdatasync each. The log: as many tasks, each of which
//! waits for its acknowledgement before its next append. CPU is that of the whole process, publishers included. At last each
//! log is opened again, and the time that takes is told.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use bytes::Bytes;
use evhub_bench::{
    machine::{self, Guard},
    rounds::Rounds,
    wire::DATA,
};
use evhub_event::Record;
use evhub_journal::{Embedded, Journal as _, Place, TopicPartition, TopicSettings, embedded::Options};
use tokio::task::JoinSet;

use crate::settings::Settings;

const PUBLISHERS: [usize; 3] = [1, 64, 1024];
const PARTITIONS: u32 = 12;
const TOPIC: &str = "bench";

/// What one slice came to: events a second, and microseconds of processor time each.
#[derive(Clone, Copy, Debug)]
struct Slice {
    rate: f64,
    micros: f64,
}

/// Measures and shows the table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    settings.head("The embedded log's durable appends");
    println!("; {}\n", machine::disk(&settings.disk));
    println!(
        "| publishers | bare append + fdatasync, events/s | embedded log, events/s | × bare | CPU, µs an event: bare, log |\n\
         |---:|---:|---:|---:|---:|"
    );
    let folder = tempfile::tempdir_in(&settings.disk)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mut opened = Vec::new();
    for publishers in PUBLISHERS {
        let options = Options::new(folder.path().join(format!("log-{publishers}")));
        let log = Embedded::open(options.clone())?;
        let topic =
            TopicSettings { partitions: PARTITIONS, max_record_bytes: 1 << 20, ..TopicSettings::default() };
        runtime.block_on(log.ensure(TOPIC, topic))?;
        row(settings, publishers, &log, folder.path(), &runtime)?;
        let mut events = 0;
        for partition in 0..PARTITIONS {
            let at = TopicPartition { topic: TOPIC.into(), partition };
            events += runtime.block_on(log.end(&at))?;
        }
        log.close();
        drop(log);
        let began = Instant::now();
        drop(Embedded::open(options)?);
        opened.push(format!("{events} events in {:.0} ms", began.elapsed().as_secs_f64() * 1e3));
    }
    println!("\nOpened again: {}.", opened.join(", "));
    Ok(())
}

fn row(
    settings: &Settings,
    publishers: usize,
    log: &Embedded,
    folder: &Path,
    runtime: &tokio::runtime::Runtime,
) -> Result<()> {
    let span = Duration::from_secs(settings.seconds.into());
    let mut file = File::create(folder.join(format!("bare-{publishers}")))?;
    let measured = settings.measure(|_| {
        let (guard, before) = (Guard::start(), machine::used(std::process::id())?);
        let slices = [bare(&mut file, publishers, span)?, runtime.block_on(ours(log, publishers, span))?];
        Ok((slices, guard.foreign(machine::used(std::process::id())? - before)))
    })?;
    let column = |contender: usize, pick: fn(&Slice) -> f64| {
        let mut rounds = Rounds::default();
        measured.figures.iter().for_each(|slices| rounds.add(pick(&slices[contender])));
        rounds
    };
    let rates = [0, 1].map(|contender| column(contender, |slice| slice.rate));
    let micros = [0, 1].map(|contender| column(contender, |slice| slice.micros).spread().median);
    println!(
        "| {publishers} | {:.0} | {:.0} | {} | {:.1}, {:.1} |",
        rates[0].spread().median,
        rates[1].spread().median,
        rates[1].over(&rates[0]).spread(),
        micros[0],
        micros[1],
    );
    Ok(())
}

/// A slice that has begun.
struct Clock(Instant, f64);

impl Clock {
    fn start() -> Result<Self> {
        Ok(Self(Instant::now(), machine::used(std::process::id())?))
    }

    fn stop(&self, events: usize) -> Result<Slice> {
        let (events, used) = (events as f64, machine::used(std::process::id())? - self.1);
        Ok(Slice { rate: events / self.0.elapsed().as_secs_f64(), micros: used * 1e6 / events })
    }
}

fn bare(file: &mut File, group: usize, span: Duration) -> Result<Slice> {
    let block = vec![7; DATA * group];
    let clock = Clock::start()?;
    let mut events = 0;
    while clock.0.elapsed() < span {
        file.write_all(&block)?;
        file.sync_data()?;
        events += group;
    }
    clock.stop(events)
}

async fn ours(log: &Embedded, publishers: usize, span: Duration) -> Result<Slice> {
    let body = Bytes::from(vec![7; DATA]);
    let clock = Clock::start()?;
    let began = clock.0;
    let mut tasks = JoinSet::new();
    for _ in 0..publishers {
        let (log, body) = (log.clone(), body.clone());
        tasks.spawn(async move {
            let mut events = 0;
            while began.elapsed() < span {
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
