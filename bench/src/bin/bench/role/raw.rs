//! Transactions and nothing else, as many producers as the ledger has shards: the floor of the ledger. On brokers they are
//! librdkafka's; on the embedded log they are the log's. Does I/O.
//!
//! An event that fires is two records, one where it appears and one in the state; one that is submitted is one in the state.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use evhub_journal::{Embedded, Journal, Place, Producer as _, TopicSettings, Transaction, embedded::Options};
use evhub_kafka::{Connection, Kafka};
use hdrhistogram::Histogram;
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode as Code},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde::{Deserialize, Serialize};
use tokio::runtime::{Handle, Runtime};

use super::ledger::{DATA, PARTITIONS, SHARDS, micros};

/// How long a transaction may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is written before anything counts.
const WARM_UP: Duration = Duration::from_secs(1);
/// How many events a paced transaction holds at the most, as the ledger's.
const MOST: u64 = 2_000;
/// About what a record of the state has of a pending timer beside its event, and of one that has ended.
const STATE: (usize, usize) = (250, 40);

/// What all values are made of.
const BYTES: &[u8] = &[7; DATA + STATE.0];

/// What the transactions came to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Committed {
    /// Events a second.
    pub(crate) rate: f64,
    /// Microseconds from an event's instant to the end of its transaction, or of the transactions themselves, at 50 %, 99 %,
    /// 99.9 % and at the most.
    pub(crate) took: [u64; 4],
}

/// What an event writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Fires,
    Submits,
}

/// Commits events of these numbers as one transaction.
type Commit = Box<dyn FnMut(&[u64]) -> Result<()> + Send>;

/// `fires BATCH SECONDS`, `submits BATCH SECONDS`: back to back; `paced RATE SECONDS`: what comes due.
pub(crate) fn play(on: &str, place: &str, prefix: &str, words: &[&str]) -> Result<()> {
    let runtime = Runtime::new()?;
    let shape = if words.first() == Some(&"submits") { Shape::Submits } else { Shape::Fires };
    let producers = match on {
        "kafka" => kafka(&runtime, place, prefix, shape)?,
        "embedded" => embedded(&runtime, place, prefix, shape)?,
        _ => bail!("there is no log {on}"),
    };
    let committed = match *words {
        ["fires" | "submits", batch, seconds] => saturated(producers, batch.parse()?, seconds.parse()?)?,
        ["paced", rate, seconds] => paced(producers, rate.parse()?, seconds.parse()?)?,
        _ => bail!("there is no such work of transactions: {words:?}"),
    };
    println!("{}", serde_json::to_string(&committed)?);
    Ok(())
}

/// As many events as transactions of so many of them take, one behind the other.
fn saturated(producers: Vec<Commit>, batch: u64, seconds: u64) -> Result<Committed> {
    let from = Instant::now() + WARM_UP;
    let to = from + Duration::from_secs(seconds);
    let took = all(producers, move |_, commit, took| {
        let mut first = 0;
        loop {
            let began = Instant::now();
            commit(&(first..first + batch).collect::<Vec<_>>())?;
            first += batch;
            let now = Instant::now();
            if now >= to {
                return Ok(());
            }
            if now >= from {
                took.saturating_record((now - began).as_micros() as u64);
            }
        }
    })?;
    Ok(committed(&took, (took.len() * batch) as f64 / seconds as f64))
}

/// So many events a second at even distances, each producer's share in one transaction after the other.
fn paced(producers: Vec<Commit>, rate: u64, seconds: u64) -> Result<Committed> {
    let first = micros() + WARM_UP.as_micros() as u64;
    let shares = producers.len() as u64;
    let took = all(producers, move |share, commit, took| {
        let due = |number: u64| first + number * 1_000_000 / rate;
        let mut next = share;
        while next < rate * seconds {
            let now = micros();
            let events: Vec<u64> = (next..rate * seconds)
                .step_by(shares as usize)
                .take(MOST as usize)
                .take_while(|number| due(*number) <= now)
                .collect();
            let Some(last) = events.last() else {
                thread::sleep(Duration::from_micros(due(next).saturating_sub(now)));
                continue;
            };
            next = last + shares;
            commit(&events)?;
            let now = micros();
            for number in events {
                took.saturating_record(now.saturating_sub(due(number)));
            }
        }
        Ok(())
    })?;
    Ok(committed(&took, rate as f64))
}

fn committed(took: &Histogram<u64>, rate: f64) -> Committed {
    let at = |quantile| took.value_at_quantile(quantile);
    Committed { rate, took: [at(0.5), at(0.99), at(0.999), took.max()] }
}

/// Has every producer work on a thread of its own.
fn all(
    producers: Vec<Commit>,
    work: impl Fn(u64, &mut Commit, &mut Histogram<u64>) -> Result<()> + Send + Sync + 'static,
) -> Result<Histogram<u64>> {
    let work = Arc::new(work);
    let start = |(share, mut commit): (u64, Commit)| {
        let work = Arc::clone(&work);
        thread::spawn(move || {
            let mut took = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3)?;
            work(share, &mut commit, &mut took)?;
            anyhow::Ok(took)
        })
    };
    let threads: Vec<_> = (0..).zip(producers).map(start).collect();
    let mut took = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3)?;
    for thread in threads {
        took.add(thread.join().map_err(|_| anyhow!("a producer's thread panicked"))??)?;
    }
    Ok(took)
}

/// Where events appear, and where the state is.
fn topics(prefix: &str) -> (String, String) {
    (format!("{prefix}.raw.due"), format!("{prefix}.raw.state"))
}

async fn ensure<J: Journal>(log: &J, prefix: &str) -> Result<()> {
    let (due, state) = topics(prefix);
    let settings = TopicSettings { max_record_bytes: 1 << 20, ..TopicSettings::default() };
    log.ensure(&due, TopicSettings { partitions: PARTITIONS, ..settings }).await?;
    log.ensure(&state, TopicSettings { partitions: SHARDS, compacted: true, ..settings }).await?;
    Ok(())
}

/// What an event is in the state: its key, and its value.
fn state_of(number: u64, shape: Shape) -> (String, &'static [u8]) {
    let value = if shape == Shape::Fires { &BYTES[..STATE.1] } else { BYTES };
    (format!("t{number:016x}"), value)
}

fn kafka(runtime: &Runtime, bootstrap: &str, prefix: &str, shape: Shape) -> Result<Vec<Commit>> {
    let connection = Connection { prefix: prefix.to_owned(), ..Connection::new(bootstrap) };
    runtime.block_on(async { ensure(&Kafka::connect(connection).await?, prefix).await })?;
    let (due, state) = topics(prefix);
    let producer = |shard: u32| {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("transactional.id", format!("{prefix}-raw-{shard}"));
        // Nothing lingers, and each partition's part goes by itself.
        config.set("linger.ms", "0").set("max.in.flight.requests.per.connection", "5");
        let producer: BaseProducer = config.create().context("make a transactional producer")?;
        producer.init_transactions(PATIENCE).context("become a transactional producer")?;
        let (due, state) = (due.clone(), state.clone());
        let commit = move |numbers: &[u64]| {
            producer.begin_transaction()?;
            for number in numbers {
                if shape == Shape::Fires {
                    let key = format!("{:04}", number % 1000);
                    let partition = (number % u64::from(PARTITIONS)) as i32;
                    send(
                        &producer,
                        BaseRecord::to(&due).partition(partition).key(&key).payload(&BYTES[..DATA]),
                    )?;
                }
                let (key, value) = state_of(*number, shape);
                send(&producer, BaseRecord::to(&state).partition(shard as i32).key(&key).payload(value))?;
            }
            // The client's own commit waits a tenth of a second at a time while records are under way.
            while producer.in_flight_count() > 0 {
                producer.poll(Duration::from_millis(1));
            }
            producer.commit_transaction(PATIENCE).context("commit")
        };
        anyhow::Ok(Box::new(commit) as Commit)
    };
    (0..SHARDS).map(producer).collect()
}

/// Sends a record; where the queue is full, as soon as it is not.
fn send(producer: &BaseProducer, mut record: BaseRecord<'_, String, [u8]>) -> Result<()> {
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                producer.poll(Duration::from_millis(1));
                record = back;
            }
            Err((problem, _)) => return Err(problem).context("send a record"),
        }
    }
}

fn embedded(runtime: &Runtime, folder: &str, prefix: &str, shape: Shape) -> Result<Vec<Commit>> {
    let log = Embedded::open(Options::new(folder))?;
    runtime.block_on(ensure(&log, prefix))?;
    let (due, state) = topics(prefix);
    let producer = |shard: u32| {
        let mut producer = runtime.block_on(log.producer(&format!("{prefix}-raw-{shard}")))?;
        let (due, state, handle): (_, _, Handle) = (due.clone(), state.clone(), runtime.handle().clone());
        let commit = move |numbers: &[u64]| {
            let mut records = Vec::new();
            for number in numbers {
                if shape == Shape::Fires {
                    let key = format!("{:04}", number % 1000);
                    let place = Place::Partition((number % u64::from(PARTITIONS)) as u32);
                    records.push((due.clone(), place, record(key, &BYTES[..DATA])));
                }
                let (key, value) = state_of(*number, shape);
                records.push((state.clone(), Place::Partition(shard), record(key, value)));
            }
            handle.block_on(producer.commit(Transaction { records, offsets: None })).context("commit")?;
            Ok(())
        };
        anyhow::Ok(Box::new(commit) as Commit)
    };
    (0..SHARDS).map(producer).collect()
}

fn record(key: String, value: &'static [u8]) -> evhub_event::Record {
    evhub_event::Record { key: Some(key.into()), value: Some(value.into()), headers: Vec::new() }
}
