//! Writes records, each in every in-sync replica before it is acknowledged, and tells how each write ended.
//!
//! One idempotent producer sends them all; its own thread hears how they ended, batch by batch. An error that is fatal to it (the
//! brokers have lost track of its numbers) ends that producer: what it had under way is unknown, and the next record gets a new
//! one.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use evhub_event::Record;
use evhub_journal::{Error, Position, Refusal, WriteError};
use rdkafka::{
    ClientContext, Message,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::{
    Connection,
    connection::{Current, WAITING},
    context, error,
    line::Turn,
    native,
    reader::blocking,
    record,
};

/// How long a producer that another one has followed may take to write what it has.
const FLUSH: Duration = Duration::from_secs(20);

/// Writes records.
pub(crate) struct Appender {
    current: Current,
    producer: Mutex<Client>,
    waiting: Arc<Waiting>,
}

/// A producer, and what it was made for.
struct Client {
    connection: Arc<Connection>,
    producer: Arc<ThreadedProducer<Reports>>,
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
    turn: Option<Turn>,
}

/// One record among those that wait.
#[derive(Debug)]
pub(crate) struct Weight {
    size: usize,
    waiting: Arc<Waiting>,
}

/// What a record that could not be sent had: it may be tried again.
pub(crate) struct Unsent {
    pub(crate) why: Refusal,
    pub(crate) weight: Weight,
    pub(crate) turn: Option<Turn>,
}

impl Appender {
    pub(crate) fn new(current: Current) -> Result<Self, Error> {
        let connection = current.get();
        let producer = producer(&connection)?;
        Ok(Self { current, producer: Mutex::new(Client { connection, producer }), waiting: Arc::default() })
    }

    /// How many records wait for brokers, and how many bytes they are.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.waiting.records.load(Relaxed), self.waiting.bytes.load(Relaxed))
    }

    /// A place among those that wait, if there is one.
    pub(crate) fn admit(&self, size: usize) -> Result<Weight, Refusal> {
        let weight = Weight::of(size, &self.waiting);
        let (records, bytes) = self.waiting();
        // One record has a place in any case, however large.
        let full = records > 1 && (records > WAITING.0 || bytes > WAITING.1);
        if full { Err(Refusal::Busy) } else { Ok(weight) }
    }

    /// Sends a record now; what comes back waits for its report.
    pub(crate) fn send(
        &self,
        topic: &str,
        partition: u32,
        record: &Record,
        weight: Weight,
        turn: Option<Turn>,
    ) -> Result<impl Future<Output = Result<Position, WriteError>> + Send + use<>, Unsent> {
        let producer = match self.producer() {
            Ok(producer) => producer,
            Err(refusal) => return Err(Unsent { why: refusal, weight, turn }),
        };
        let (answer, answered) = oneshot::channel();
        let message = BaseRecord {
            topic,
            partition: Some(partition as i32),
            payload: record.value.as_deref(),
            key: record.key.as_deref(),
            timestamp: None,
            headers: record::headers(record),
            delivery_opaque: Box::new(Pending { answer, weight, turn }),
        };
        producer.send(message).map_err(|(problem, message)| {
            let Pending { answer: _, weight, turn } = *message.delivery_opaque;
            Unsent { why: error::refusal(&problem, topic, partition), weight, turn }
        })?;
        Ok(async move {
            let gone = || Err(WriteError::Unknown("the producer ended before its report".to_owned()));
            answered.await.unwrap_or_else(|_| gone())
        })
    }

    /// Has the producer's client ask about a topic, which may have been made or grown since it last did.
    pub(crate) async fn learn(&self, topic: &str) -> Result<(), Error> {
        let producer = self.producer().map_err(|refusal| Error::Unavailable(refusal.to_string()))?;
        let (topic, patience) = (topic.to_owned(), self.current.get().patience);
        blocking(move || {
            let trouble = || producer.client().context().trouble.trouble();
            let asked = producer.client().fetch_metadata(Some(&topic), patience);
            asked.map(drop).map_err(|problem| error::unavailable("ask about a topic", &problem, trouble()))
        })
        .await
    }

    /// The producer; a new one where the last one has ended, or was made for other settings.
    fn producer(&self) -> Result<Arc<ThreadedProducer<Reports>>, Refusal> {
        let connection = self.current.get();
        let mut client = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&client.connection, &connection) {
            client.take_up(connection);
        }
        if let Some((code, reason)) = client.producer.client().fatal_error() {
            warn!(%code, reason, "the producer of appends has ended; another one takes over");
            let refused = |error: Error| Refusal::Unavailable(error.to_string());
            let new = producer(&client.connection).map_err(refused)?;
            let old = std::mem::replace(&mut client.producer, new);
            // Dropping it waits for its last reports.
            std::thread::spawn(move || drop(old));
        }
        Ok(Arc::clone(&client.producer))
    }
}

fn producer(connection: &Connection) -> Result<Arc<ThreadedProducer<Reports>>, Error> {
    let reports = Reports { trouble: context::Context::default() };
    ThreadedProducer::from_config_and_context(&connection.appender(), reports)
        .map(Arc::new)
        .map_err(|problem| error::unavailable("make a producer", &problem, None))
}

// === impl Client ===

impl Client {
    /// Takes up other settings. The producer stays where they are a new name and password; else it writes what it has, beside
    /// the one that follows it.
    fn take_up(&mut self, connection: Arc<Connection>) {
        let credentials = connection.settings.new_credentials(&self.connection.settings);
        match credentials {
            Some((name, password)) => native::set_credentials(self.producer.client(), name, password),
            None => match producer(&connection) {
                Ok(new) => {
                    info!("appends go by new client settings");
                    let old = std::mem::replace(&mut self.producer, new);
                    std::thread::spawn(move || {
                        if let Err(error) = old.flush(FLUSH) {
                            warn!(%error, "what was under way with the old client settings may not be written");
                        }
                    });
                }
                Err(error) => warn!(%error, "appends go on by the old client settings"),
            },
        }
        self.connection = connection;
    }
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
        let ended = ending(result);
        if ended.is_ok() {
            self.trouble.is_well();
        }
        pending.tell(ended, || self.trouble.trouble().map(|trouble| trouble.to_string()));
    }
}

/// How a write ended.
pub(crate) fn ending(result: &DeliveryResult<'_>) -> Result<Position, WriteError> {
    match result {
        Ok(message) => error::written(message.partition(), message.offset()),
        Err((problem, message)) => {
            let (topic, partition) = (message.topic(), message.partition() as u32);
            Err(error::write(problem, native::not_persisted(message), topic, partition))
        }
    }
}

// === impl Pending ===

impl Pending {
    fn tell(self, ending: Result<Position, WriteError>, trouble: impl Fn() -> Option<String>) {
        let Self { answer, weight, turn } = self;
        drop(weight);
        if ending.is_ok() {
            turn.into_iter().for_each(Turn::taken);
        }
        // Whoever asked may have gone.
        let _ = answer.send(ending.map_err(|ending| error::with_trouble(ending, trouble())));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_one_record_always_has_a_place() {
        // Connects to nobody; what waits is counted all the same.
        let (_change, current) = Current::new(Connection::new("127.0.0.1:1"));
        let appender = Appender::new(current).unwrap();
        let large = appender.admit(2 * WAITING.1).unwrap();
        assert_eq!(appender.admit(1).unwrap_err(), Refusal::Busy);
        assert_eq!(appender.waiting(), (1, 2 * WAITING.1));
        drop(large);
        let small: Vec<_> = (0..WAITING.0).map(|_| appender.admit(1).unwrap()).collect();
        assert_eq!(appender.admit(1).unwrap_err(), Refusal::Busy);
        drop(small);
        assert_eq!(appender.waiting(), (0, 0));
    }
}
