//! Writes records, each in every in-sync replica before it is acknowledged, and tells how each write ended.
//!
//! One idempotent producer sends them all; its own thread hears how they ended. An error that is fatal to it (the brokers have
//! lost track of its numbers) ends that producer: what it had under way is unknown, and the next record gets a new one.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use evhub_event::Record;
use evhub_journal::{Error, Position, WriteError};
use rdkafka::{
    ClientContext, Message,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};
use tokio::sync::oneshot;
use tracing::warn;

use crate::{Connection, context, error, native, reader::blocking, record};

/// Writes records.
pub(crate) struct Appender {
    connection: Connection,
    producer: Mutex<Arc<ThreadedProducer<Reports>>>,
    waiting: Arc<Waiting>,
}

/// How many records wait for their reports, and how many bytes they are.
#[derive(Debug, Default)]
struct Waiting {
    records: AtomicUsize,
    bytes: AtomicUsize,
}

/// Hears how writes ended.
pub(crate) struct Reports {
    trouble: context::Context,
}

/// Who waits for a report.
pub(crate) struct Pending {
    answer: oneshot::Sender<Result<Position, WriteError>>,
    weight: Weight,
}

/// One record among those that wait.
struct Weight {
    size: usize,
    waiting: Arc<Waiting>,
}

impl Appender {
    pub(crate) fn new(connection: &Connection) -> Result<Self, Error> {
        let producer = Mutex::new(Arc::new(producer(connection)?));
        Ok(Self { connection: connection.clone(), producer, waiting: Arc::default() })
    }

    /// How many records wait for brokers, and how many bytes they are.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.waiting.records.load(Relaxed), self.waiting.bytes.load(Relaxed))
    }

    /// Sends a record now; what comes back waits for its report.
    pub(crate) fn send(
        &self,
        topic: &str,
        partition: u32,
        record: Record,
    ) -> Result<impl Future<Output = Result<Position, WriteError>> + Send + 'static, WriteError> {
        let producer = self.producer()?;
        let (answer, answered) = oneshot::channel();
        let pending = Box::new(Pending { answer, weight: Weight::of(record.size(), &self.waiting) });
        let message = BaseRecord {
            topic,
            partition: Some(partition as i32),
            payload: record.value.as_deref(),
            key: record.key.as_deref(),
            timestamp: None,
            headers: record::headers(&record),
            delivery_opaque: pending,
        };
        producer.send(message).map_err(|(problem, _)| error::queueing(&problem, topic, partition))?;
        Ok(async move {
            let gone = || Err(WriteError::Unknown("the producer ended before its report".to_owned()));
            answered.await.unwrap_or_else(|_| gone())
        })
    }

    /// Has the producer's client ask about a topic, which may have been made or grown since it last did.
    pub(crate) async fn learn(&self, topic: &str) -> Result<(), Error> {
        let producer = Arc::clone(&self.producer.lock().unwrap_or_else(PoisonError::into_inner));
        let (topic, patience) = (topic.to_owned(), self.connection.patience);
        let asked = move || {
            let trouble = || producer.client().context().trouble.trouble();
            let asked = producer.client().fetch_metadata(Some(&topic), patience);
            asked.map(drop).map_err(|problem| error::unavailable("ask about a topic", &problem, trouble()))
        };
        blocking(asked).await
    }

    /// The producer; a new one where the last one has ended.
    fn producer(&self) -> Result<Arc<ThreadedProducer<Reports>>, WriteError> {
        let mut current = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((code, reason)) = current.client().fatal_error() {
            warn!(%code, reason, "the producer of appends has ended; another one takes over");
            let refused =
                |error: Error| WriteError::Rejected(evhub_journal::Refusal::Unavailable(error.to_string()));
            let new = Arc::new(producer(&self.connection).map_err(refused)?);
            let old = std::mem::replace(&mut *current, new);
            // Dropping it waits for its last reports.
            std::thread::spawn(move || drop(old));
        }
        Ok(Arc::clone(&current))
    }
}

fn producer(connection: &Connection) -> Result<ThreadedProducer<Reports>, Error> {
    let reports = Reports { trouble: context::Context::default() };
    ThreadedProducer::from_config_and_context(&connection.appender(), reports)
        .map_err(|problem| error::unavailable("make a producer", &problem, None))
}

// === impl Reports ===

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble.note(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Box<Pending>) {
        pending.tell(ending(result));
    }
}

/// How a write ended.
pub(crate) fn ending(result: &DeliveryResult<'_>) -> Result<Position, WriteError> {
    match result {
        Ok(message) => Ok(Position {
            partition: message.partition() as u32,
            offset: u64::try_from(message.offset()).unwrap_or(0),
        }),
        Err((problem, message)) => {
            let (topic, partition) = (message.topic(), message.partition() as u32);
            Err(error::write(problem, native::not_persisted(message), topic, partition))
        }
    }
}

// === impl Pending ===

impl Pending {
    fn tell(self, ending: Result<Position, WriteError>) {
        let Self { answer, weight } = self;
        drop(weight);
        // Whoever asked may have gone.
        let _ = answer.send(ending);
    }
}

// === impl Weight ===

impl Weight {
    fn of(size: usize, waiting: &Arc<Waiting>) -> Self {
        waiting.records.fetch_add(1, Relaxed);
        waiting.bytes.fetch_add(size, Relaxed);
        Self { size, waiting: Arc::clone(waiting) }
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.waiting.records.fetch_sub(1, Relaxed);
        self.waiting.bytes.fetch_sub(self.size, Relaxed);
    }
}
