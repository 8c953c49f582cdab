//! A Kafka producer and nothing else: librdkafka set as the hub sets it, with as many records waiting as it takes. The floor of
//! publishing on Kafka. Does I/O.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use evhub_bench::{machine, wire};
use evhub_journal::{Journal as _, TopicSettings};
use evhub_kafka::{Connection, Kafka};
use rdkafka::{
    ClientConfig, ClientContext,
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};
use tokio::runtime::Runtime;

use super::{Load, load::tell};

/// What is sent before anything counts.
const WARM_UP: Duration = Duration::from_millis(500);
/// How long the last records may take.
const PATIENCE: Duration = Duration::from_secs(30);
const PARTITIONS: u32 = 12;

/// As the hub's producer is set.
const SETTINGS: [(&str, &str); 6] = [
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("linger.ms", "0"),
    ("max.in.flight.requests.per.connection", "1"),
    ("batch.size", "524288"),
    ("queue.buffering.max.messages", "10000"),
];

/// The headers of an event that differ in nothing.
const HEADERS: [(&str, &str); 5] = [
    ("ce_specversion", "1.0"),
    ("ce_source", "/bench"),
    ("ce_type", "shop.order.paid"),
    ("ce_time", "2026-01-01T00:00:00.000Z"),
    ("content-type", "application/octet-stream"),
];

/// Counts what is written, while that counts.
#[derive(Clone)]
struct Written {
    from: Instant,
    to: Instant,
    count: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl ClientContext for Written {}

impl ProducerContext for Written {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let now = Instant::now();
        if result.is_err() {
            self.failed.fetch_add(1, Relaxed);
        } else if now >= self.from && now < self.to {
            self.count.fetch_add(1, Relaxed);
        }
    }
}

/// Writes to a topic for so many seconds.
pub(crate) fn play(bootstrap: &str, topic: &str, seconds: u64) -> Result<()> {
    Runtime::new()?.block_on(async {
        let log = Kafka::connect(Connection::new(bootstrap)).await?;
        let settings =
            TopicSettings { partitions: PARTITIONS, max_record_bytes: 1 << 20, ..TopicSettings::default() };
        log.ensure(topic, settings).await
    })?;
    let from = Instant::now() + WARM_UP;
    let to = from + Duration::from_secs(seconds);
    let written = Written { from, to, count: Arc::default(), failed: Arc::default() };
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    for (name, value) in SETTINGS {
        config.set(name, value);
    }
    let producer: ThreadedProducer<Written> =
        config.create_with_context(written.clone()).context("make a producer")?;
    let (data, mut number) = (wire::data(), 0_u64);
    while Instant::now() < to {
        send(&producer, topic, number, &data)?;
        number += 1;
    }
    producer.flush(PATIENCE).context("write what waits")?;
    let (events, failed) = (written.count.load(Relaxed), written.failed.load(Relaxed));
    ensure!(failed == 0, "{failed} records were not written");
    tell(&Load { events, seconds: seconds as f64, used: machine::used(std::process::id())?, latency: None })
}

/// Sends an event of this number, and of one of a thousand keys; where the queue is full, as soon as it is not.
fn send(producer: &ThreadedProducer<Written>, topic: &str, number: u64, data: &[u8]) -> Result<()> {
    let (id, key) = (format!("{number:016x}"), format!("{:04}", number % 1000));
    let header = |key, value| Header { key, value: Some(value) };
    let headers = OwnedHeaders::new_with_capacity(HEADERS.len() + 1).insert(header("ce_id", id.as_str()));
    let headers = HEADERS.iter().fold(headers, |all, (name, value)| all.insert(header(name, value)));
    let mut record = BaseRecord::to(topic).key(&key).payload(data).headers(headers);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                thread::sleep(Duration::from_millis(1));
                record = back;
            }
            Err((problem, _)) => return Err(problem).context("send a record"),
        }
    }
}
