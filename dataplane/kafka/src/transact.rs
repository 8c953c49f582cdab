//! Writes transactions: all records and offsets of one, or none.
//!
//! A producer is used until its first error and never again, as only a successor's beginning decides how its last
//! transaction ended. The client's own commit waits a tenth of a second at a time while records are under way, so it is called
//! when none is.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use evhub_journal::{Error, Position, Refusal, TransactError, Transaction, WriteError};
use rdkafka::{
    ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};

use crate::{Parts, append::ending, context, error, record, tail::Member, tail::list_of};

/// How long each step of a transaction may take. The brokers end one themselves after `transaction.timeout.ms`.
const STEP: Duration = Duration::from_secs(10);
/// How long becoming the producer may take: a predecessor's open transaction is ended first.
const BECOMING: Duration = Duration::from_mins(1);

/// The producer of a transactional id.
pub struct Producer {
    parts: Arc<Parts>,
    client: Option<Arc<ThreadedProducer<Reports>>>,
}

/// Hears how the records of one transaction ended.
#[derive(Default)]
struct Reports {
    trouble: context::Context,
    ended: Mutex<Ended>,
    all_ended: Condvar,
}

#[derive(Default)]
struct Ended {
    /// How many are to end: whoever waits is woken by the last one.
    all: usize,
    count: usize,
    places: Vec<(usize, Position)>,
    failed: Option<WriteError>,
}

impl Producer {
    pub(crate) async fn new(parts: Arc<Parts>, id: &str) -> Result<Self, Error> {
        let config = parts.current.get().transactor(id);
        let client = blocking(move || {
            let client = ThreadedProducer::from_config_and_context(&config, Reports::default())
                .map_err(|problem| error::unavailable("make a transactional producer", &problem, None))?;
            client.init_transactions(BECOMING).map_err(|problem| {
                let trouble = client.context().trouble.trouble();
                error::unavailable("become a transactional producer", &problem, trouble)
            })?;
            Ok::<_, Error>(client)
        });
        let client = client.await.map_err(|problem| Error::Unavailable(problem.to_string()))??;
        Ok(Self { parts, client: Some(Arc::new(client)) })
    }
}

impl evhub_journal::Producer for Producer {
    type Member = Member;

    async fn commit(&mut self, transaction: Transaction<Member>) -> Result<Vec<Position>, TransactError> {
        let spent = || TransactError::Rejected(Refusal::Unavailable("the producer has ended".to_owned()));
        let client = self.client.take().ok_or_else(spent)?;
        let mut placed = Vec::new();
        for (topic, place, record) in transaction.records {
            let partition = match self.parts.topics.place(&topic, &place, &record) {
                Ok(partition) => partition,
                Err(refusal) => {
                    end(client);
                    return Err(TransactError::Rejected(refusal));
                }
            };
            placed.push((topic, partition, record));
        }
        let work = Work { client: Arc::clone(&client), placed, offsets: transaction.offsets };
        // Once begun it goes on to its end, even where nobody waits for that any more.
        let ended = blocking(move || work.run()).await;
        let ended = ended.unwrap_or_else(|problem| Err(TransactError::Unknown(problem.to_string())));
        match ended {
            Ok(positions) => {
                self.client = Some(client);
                Ok(positions)
            }
            Err(error) => {
                end(client);
                Err(error)
            }
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            end(client);
        }
    }
}

/// Ends a producer elsewhere: its drop waits.
fn end(client: Arc<ThreadedProducer<Reports>>) {
    std::thread::spawn(move || drop(client));
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    tokio::task::spawn_blocking(work).await
}

/// One transaction.
struct Work {
    client: Arc<ThreadedProducer<Reports>>,
    placed: Vec<(String, u32, evhub_event::Record)>,
    offsets: Option<(Member, Vec<evhub_journal::Committed>)>,
}

impl Work {
    fn run(self) -> Result<Vec<Position>, TransactError> {
        *lock(&self.client.context().ended) = Ended { all: self.placed.len(), ..Ended::default() };
        self.client.begin_transaction().map_err(|problem| self.undecided(&problem))?;
        let written = self.send().and_then(|()| self.send_offsets());
        if let Err(error) = written {
            // Best tried: until it is aborted it hides what comes after it. Uncommitted it is not seen in any case.
            let _ = self.client.abort_transaction(STEP);
            return Err(error);
        }
        let silences = self.client.context().trouble.silences();
        match self.client.commit_transaction(STEP) {
            Ok(()) => Ok(self.positions()),
            // A coordinator aborts only what it has not committed; where it does not say that it has, nobody knows.
            Err(KafkaError::Transaction(problem)) if problem.txn_requires_abort() => {
                Err(match self.client.abort_transaction(STEP) {
                    Ok(()) => TransactError::Rejected(Refusal::Unavailable(problem.string())),
                    Err(_) => TransactError::Unknown(problem.string()),
                })
            }
            // A commit that was applied and not answered is refused when it is asked for again.
            Err(problem)
                if error::is_fenced(problem.rdkafka_error_code())
                    && self.client.context().trouble.silences() == silences =>
            {
                Err(TransactError::Fenced)
            }
            Err(problem) => Err(TransactError::Unknown(problem.to_string())),
        }
    }

    /// Sends all records, and waits until each is written.
    fn send(&self) -> Result<(), TransactError> {
        for (index, (topic, partition, record)) in self.placed.iter().enumerate() {
            let message = BaseRecord {
                topic,
                partition: Some(*partition as i32),
                payload: record.value.as_deref(),
                key: record.key.as_deref(),
                timestamp: None,
                headers: record::headers(record),
                delivery_opaque: index,
            };
            self.client.send(message).map_err(|(problem, _)| self.undecided(&problem))?;
        }
        self.await_reports()?;
        // The last report's callback may not have returned yet; the commit would wait a tenth of a second for it.
        while self.client.in_flight_count() > 0 {
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(())
    }

    fn await_reports(&self) -> Result<(), TransactError> {
        let reports = self.client.context();
        let until = Instant::now() + STEP;
        let mut ended = lock(&reports.ended);
        while ended.count < self.placed.len() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = "its records were not acknowledged in time".to_owned();
                return Err(TransactError::Rejected(Refusal::Unavailable(what)));
            }
            ended = reports.all_ended.wait_timeout(ended, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        match &ended.failed {
            None => Ok(()),
            Some(_) if self.has_ended() => Err(TransactError::Fenced),
            Some(WriteError::Rejected(refusal)) => Err(TransactError::Rejected(refusal.clone())),
            Some(WriteError::Unknown(problem)) => {
                Err(TransactError::Rejected(Refusal::Unavailable(problem.clone())))
            }
        }
    }

    fn send_offsets(&self) -> Result<(), TransactError> {
        let Some((member, offsets)) = &self.offsets else { return Ok(()) };
        let mine = member.generation;
        let Some(metadata) = &member.metadata else {
            return Err(TransactError::Stale { mine, current: mine });
        };
        let sent =
            list_of(offsets).and_then(|list| self.client.send_offsets_to_transaction(&list, metadata, STEP));
        sent.map_err(|problem| error::offsets(&problem, self.has_ended(), mine))
    }

    /// What an error before the commit comes to: nothing of the transaction will be seen.
    fn undecided(&self, problem: &KafkaError) -> TransactError {
        error::undecided(problem, self.has_ended())
    }

    fn has_ended(&self) -> bool {
        self.client.client().fatal_error().is_some()
    }

    fn positions(&self) -> Vec<Position> {
        let mut places = std::mem::take(&mut lock(&self.client.context().ended).places);
        places.sort_unstable_by_key(|(index, _)| *index);
        places.into_iter().map(|(_, place)| place).collect()
    }
}

fn lock(ended: &Mutex<Ended>) -> std::sync::MutexGuard<'_, Ended> {
    ended.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble.note(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        let mut ended = lock(&self.ended);
        ended.count += 1;
        let last = ended.count >= ended.all;
        match ending(result) {
            Ok(place) => ended.places.push((index, place)),
            Err(error) => drop(ended.failed.get_or_insert(error)),
        }
        drop(ended);
        if last {
            self.all_ended.notify_all();
        }
    }
}
