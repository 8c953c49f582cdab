//! Reads from an offset on beside any group, and asks the brokers what else there is to know.
//!
//! The client's questions block, so each is asked on a thread that may block. Reads are made by a few consumers without a
//! group; one that goes on where it stopped need not begin anew.
//!
//! - `one`: such a consumer

mod one;

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use evhub_journal::{Committed, Error, Slice, TopicPartition};
use rdkafka::{
    Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
    metadata::MetadataTopic,
};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use self::one::Reader;
use crate::{Connection, connection::Current, context::Context, error, native, topics::Seen};

/// How many reads are made at once.
const AT_ONCE: usize = 4;
/// How many questions are asked at once. Each that its broker does not answer keeps a thread waiting, and must keep no other
/// question from being asked.
const ASKED_AT_ONCE: usize = 64;
/// How long the leader of one partition is waited for. Who asks does so again, and others want their turn.
const OF_ONE: Duration = Duration::from_secs(3);
/// How long a reader stays at its place for whoever reads on there.
const IDLE: Duration = Duration::from_secs(5);
/// How long one try for a first answer takes.
const STEP: Duration = Duration::from_millis(500);

/// Reads and asks.
pub(crate) struct Readers {
    current: Current,
    asker: Mutex<Asker>,
    idle: Arc<Mutex<Vec<Reader>>>,
    turns: Semaphore,
    /// For those who ask one partition's leader.
    questions: Arc<Semaphore>,
    /// For those who ask what a group has committed.
    askers: Arc<Semaphore>,
}

/// Who asks, and what it was made for.
#[derive(Clone)]
struct Asker {
    connection: Arc<Connection>,
    consumer: Arc<BaseConsumer<Context>>,
}

impl Readers {
    /// Connects, and waits for a first answer. What will not mend itself is told at once.
    pub(crate) async fn new(current: Current) -> Result<Self, Error> {
        let connection = current.get();
        let asker = Asker { consumer: Arc::new(consumer(&connection)?), connection };
        let first = asker.clone();
        blocking(move || first.await_answer()).await?;
        let (turns, askers) = (Semaphore::new(AT_ONCE), Arc::new(Semaphore::new(AT_ONCE)));
        let questions = Arc::new(Semaphore::new(ASKED_AT_ONCE));
        Ok(Self { current, asker: Mutex::new(asker), idle: Arc::default(), turns, questions, askers })
    }

    /// Who asks by the settings of now.
    fn asker(&self) -> Asker {
        let connection = self.current.get();
        let mut asker = self.asker.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&asker.connection, &connection) {
            asker.take_up(connection);
        }
        asker.clone()
    }

    /// Has the client tell what it has to tell: nobody polls it otherwise.
    pub(crate) fn hear(&self) {
        self.asker().hear();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        for reader in idle.iter_mut().filter(|reader| reader.at.is_some() && reader.last.elapsed() > IDLE) {
            if let Err(error) = reader.rest() {
                debug!(%error, "a reader goes on where nobody reads");
            }
        }
    }

    /// Asks on a thread that may block.
    async fn ask<T: Send + 'static>(
        &self,
        intent: &'static str,
        question: impl FnOnce(&BaseConsumer<Context>, Duration) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, Error> {
        let asker = self.asker();
        blocking(move || {
            let answer = question(&asker.consumer, asker.connection.patience);
            asker.hear();
            let context = asker.consumer.context();
            if answer.is_ok() {
                context.is_well();
            }
            answer.map_err(|problem| error::unavailable(intent, &problem, context.trouble()))
        })
        .await
    }

    /// What brokers say of a topic; `None` when there is no such topic. One of which nobody leads a partition is there; that it may
    /// not be looked at is no answer.
    pub(crate) async fn topic(&self, topic: &str) -> Result<Option<Seen>, Error> {
        let name = topic.to_owned();
        let look = move |asker: &BaseConsumer<Context>, patience| {
            let metadata = asker.fetch_metadata(Some(&name), patience)?;
            metadata.topics().iter().find(|found| found.name() == name).map_or(Ok(None), seen)
        };
        self.ask("ask what topics there are", look).await
    }

    /// What a partition keeps: from its start to the end of what is committed.
    pub(crate) async fn bounds(&self, at: &TopicPartition) -> Result<Range<u64>, Error> {
        let at = at.clone();
        let question = move |asker: &BaseConsumer<Context>, patience| bounds(asker, &at, patience);
        self.ask_leader("ask for a partition's bounds", question).await
    }

    /// Asks who leads one partition, who may be away: then others are asked meanwhile.
    async fn ask_leader<T: Send + 'static>(
        &self,
        intent: &'static str,
        question: impl FnOnce(&BaseConsumer<Context>, Duration) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = Arc::clone(&self.questions).acquire_owned().await;
        let turn = turn.map_err(|_| Error::Unavailable("it is closed".to_owned()))?;
        self.ask(intent, move |asker, patience| {
            let answer = question(asker, patience.min(OF_ONE));
            // With the thread, not with whoever waits for it: that may have given up.
            drop(turn);
            answer
        })
        .await
    }

    /// See [`Journal::offset_at`](evhub_journal::Journal::offset_at).
    pub(crate) async fn offset_at(&self, at: &TopicPartition, instant: i64) -> Result<u64, Error> {
        let (asked, here) = (at.clone(), at.clone());
        let found = self.ask_leader("look a time up", move |asker, patience| {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&asked.topic, asked.partition as i32, Offset::Offset(instant.max(0)))?;
            let found = asker.offsets_for_times(list, patience)?;
            let element = found.find_partition(&asked.topic, asked.partition as i32);
            element.map_or(Ok(Offset::End), |element| element.error().map(|()| element.offset()))
        });
        match found.await? {
            Offset::Offset(offset) => Ok(u64::try_from(offset).unwrap_or(0)),
            _ => Ok(self.bounds(&here).await?.end),
        }
    }

    /// See [`Journal::committed`](evhub_journal::Journal::committed).
    pub(crate) async fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Committed>, Error> {
        let (connection, group, wanted) = (self.current.get(), group.to_owned(), partitions.to_vec());
        // Each makes a client with its threads and connections.
        let turn = Arc::clone(&self.askers).acquire_owned().await;
        let turn = turn.map_err(|_| Error::Unavailable("it is closed".to_owned()))?;
        blocking(move || {
            let failed =
                |problem: &KafkaError| error::unavailable("ask for committed offsets", problem, None);
            let config = connection.member(&group);
            let member = BaseConsumer::from_config_and_context(&config, Context::default())
                .map_err(|problem| failed(&problem))?;
            let mut list = TopicPartitionList::new();
            for at in &wanted {
                list.add_partition(&at.topic, at.partition as i32);
            }
            let found =
                member.committed_offsets(list, connection.patience).map_err(|problem| failed(&problem))?;
            // Its drop waits.
            std::thread::spawn(move || {
                drop(member);
                drop(turn);
            });
            let notes = native::metadata(&found);
            let elements = found.elements().into_iter().zip(notes);
            elements
                .filter_map(|(element, metadata)| {
                    let at = || TopicPartition {
                        topic: element.topic().to_owned(),
                        partition: element.partition() as u32,
                    };
                    match (element.error(), element.offset()) {
                        // A topic that nobody knows has nothing committed.
                        (Err(KafkaError::OffsetFetch(Code::UnknownTopicOrPartition)), _) => None,
                        (Err(problem), _) => Some(Err(failed(&problem))),
                        (Ok(()), Offset::Offset(offset)) => Some(Ok(Committed {
                            partition: at(),
                            offset: u64::try_from(offset).unwrap_or(0),
                            metadata: metadata.unwrap_or_default(),
                        })),
                        _ => None,
                    }
                })
                .collect()
        })
        .await
    }

    /// See [`Journal::read`](evhub_journal::Journal::read).
    pub(crate) async fn read(
        &self,
        at: &TopicPartition,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Slice, Error> {
        // Without a turn: that its leader is away must keep no other partition from being read.
        let kept = self.bounds(at).await?;
        if from < kept.start {
            return Err(Error::OutOfRange { offset: from, start: kept.start, end: kept.end });
        }
        if from >= kept.end {
            return Ok(Slice { records: Vec::new(), next: from, end: kept.end });
        }
        let turn = self.turns.acquire().await.map_err(|_| Error::Unavailable("it is closed".to_owned()))?;
        let (idle, asker, at) = (Arc::clone(&self.idle), self.asker(), at.clone());
        let slice = blocking(move || asker.read(&idle, &at, from, kept.end, (max_records, max_bytes))).await;
        drop(turn);
        slice
    }
}

// === impl Asker ===

impl Asker {
    /// Waits for a first answer, in small steps: the client tries for ever, and what it says meanwhile may be that nothing
    /// will help.
    fn await_answer(&self) -> Result<(), Error> {
        let until = Instant::now() + self.connection.patience;
        loop {
            let answer = self.consumer.fetch_metadata(Some(""), STEP);
            self.hear();
            let Err(problem) = answer else { return Ok(()) };
            let trouble = self.consumer.context().trouble();
            if trouble.as_ref().is_some_and(|trouble| trouble.lasting) || Instant::now() > until {
                return Err(error::unavailable("reach a broker", &problem, trouble));
            }
        }
    }

    fn hear(&self) {
        // It joins no group and reads nothing, so that there are only callbacks.
        loop {
            let before = self.consumer.context().calls();
            let polled = self.consumer.poll(Duration::ZERO).is_some();
            if !polled && self.consumer.context().calls() == before {
                return;
            }
        }
    }

    fn take_up(&mut self, connection: Arc<Connection>) {
        match connection.settings.new_credentials(&self.connection.settings) {
            Some((name, password)) => native::set_credentials(self.consumer.client(), name, password),
            None => match consumer(&connection) {
                Ok(new) => {
                    let old = std::mem::replace(&mut self.consumer, Arc::new(new));
                    // The last handle's drop waits.
                    std::thread::spawn(move || drop(old));
                }
                Err(error) => warn!(%error, "questions go on by the old client settings"),
            },
        }
        self.connection = connection;
    }

    fn read(
        &self,
        idle: &Mutex<Vec<Reader>>,
        at: &TopicPartition,
        from: u64,
        end: u64,
        most: (usize, usize),
    ) -> Result<Slice, Error> {
        let patience = self.connection.patience;
        let failed = |problem: &KafkaError| {
            self.hear();
            error::unavailable("read a partition", problem, self.consumer.context().trouble())
        };
        let mut reader = Reader::take(idle, &self.connection, at, from)?;
        match reader.read(at, from, end, most, Instant::now() + patience) {
            Ok(slice) => {
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
                Ok(slice)
            }
            // Retention was faster.
            Err(KafkaError::MessageConsumption(Code::AutoOffsetReset | Code::OffsetOutOfRange)) => {
                let kept = bounds(&self.consumer, at, patience).map_err(|problem| failed(&problem))?;
                if from >= kept.start {
                    // It hung while another one came to lead, and does not know yet what was written since.
                    return Err(Error::Unavailable(format!(
                        "a broker that is behind does not have offset {from} of {at} yet"
                    )));
                }
                Err(Error::OutOfRange { offset: from, start: kept.start, end: kept.end })
            }
            Err(KafkaError::MessageConsumption(Code::OffsetNotAvailable)) => Err(Error::Unavailable(
                format!("a broker that is behind does not have what lies before {end} of {at} yet"),
            )),
            Err(problem) => Err(failed(&problem)),
        }
    }
}

fn seen(topic: &MetadataTopic) -> Result<Option<Seen>, KafkaError> {
    match topic.error().map(Code::from) {
        None => {}
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => return Ok(None),
        Some(code) => return Err(KafkaError::MetadataFetch(code)),
    }
    let partitions = topic.partitions();
    let replicas = partitions.iter().map(|partition| partition.replicas().len()).min();
    let led = partitions.iter().all(|partition| partition.leader() >= 0);
    match replicas {
        Some(replicas) => Ok(Some(Seen { partitions: partitions.len() as u32, replicas, led })),
        None => Err(KafkaError::MetadataFetch(Code::LeaderNotAvailable)),
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|problem| Err(Error::Unavailable(format!("a question to Kafka ended: {problem}"))))
}

fn consumer(connection: &Connection) -> Result<BaseConsumer<Context>, Error> {
    BaseConsumer::from_config_and_context(&connection.reader(), Context::default())
        .map_err(|problem| error::unavailable("make a reader", &problem, None))
}

/// A `read_committed` client is told the end of what is committed, not of what is written.
fn bounds(
    asker: &BaseConsumer<Context>,
    at: &TopicPartition,
    patience: Duration,
) -> Result<Range<u64>, KafkaError> {
    let (start, end) = asker.fetch_watermarks(&at.topic, at.partition as i32, patience)?;
    Ok(u64::try_from(start).unwrap_or(0)..u64::try_from(end).unwrap_or(0))
}
