//! Reads from an offset on beside any group, and asks the brokers what else there is to know.
//!
//! The client's questions block, so each is asked on a thread that may block. Reads are made by a few consumers without a
//! group; one that goes on where it stopped need not begin anew.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use evhub_journal::{Committed, Error, Slice, Stored, TopicPartition};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use tokio::sync::Semaphore;

use crate::{Connection, context::Context, error, native, record};

/// How many reads are made at once.
const AT_ONCE: usize = 4;

/// Reads and asks.
pub(crate) struct Readers {
    connection: Connection,
    asker: Arc<BaseConsumer<Context>>,
    idle: Arc<Mutex<Vec<Reader>>>,
    turns: Semaphore,
}

impl Readers {
    /// Connects, and waits for a first answer.
    pub(crate) async fn new(connection: Connection) -> Result<Self, Error> {
        let asker = Arc::new(consumer(&connection)?);
        let readers = Self { connection, asker, idle: Arc::default(), turns: Semaphore::new(AT_ONCE) };
        readers.ask("reach a broker", |asker, patience| asker.fetch_metadata(Some(""), patience)).await?;
        Ok(readers)
    }

    /// Asks on a thread that may block.
    async fn ask<T: Send + 'static>(
        &self,
        intent: &'static str,
        question: impl FnOnce(&BaseConsumer<Context>, Duration) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, Error> {
        let (asker, patience) = (Arc::clone(&self.asker), self.connection.patience);
        blocking(move || {
            question(&asker, patience)
                .map_err(|problem| error::unavailable(intent, &problem, asker.context().trouble()))
        })
        .await
    }

    /// How many partitions a topic has, all of them with a leader; `None` when there is no such topic, or not yet.
    pub(crate) async fn partitions(&self, topic: &str) -> Result<Option<u32>, Error> {
        let name = topic.to_owned();
        let count = move |asker: &BaseConsumer<Context>, patience| {
            let metadata = asker.fetch_metadata(Some(&name), patience)?;
            let found = metadata.topics().iter().find(|found| found.name() == name && found.error().is_none());
            let led = |found: &rdkafka::metadata::MetadataTopic| {
                let partitions = found.partitions();
                partitions.iter().all(|partition| partition.leader() >= 0).then_some(partitions.len() as u32)
            };
            Ok(found.and_then(led).filter(|count| *count > 0))
        };
        self.ask("ask what topics there are", count).await
    }

    /// What a partition keeps: from its start to the end of what is committed.
    pub(crate) async fn bounds(&self, at: &TopicPartition) -> Result<Range<u64>, Error> {
        let at = at.clone();
        self.ask("ask for a partition's bounds", move |asker, patience| bounds(asker, &at, patience)).await
    }

    /// See [`Journal::offset_at`](evhub_journal::Journal::offset_at).
    pub(crate) async fn offset_at(&self, at: &TopicPartition, instant: i64) -> Result<u64, Error> {
        let (asked, here) = (at.clone(), at.clone());
        let found = self.ask("look a time up", move |asker, patience| {
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
        let (connection, group, wanted) = (self.connection.clone(), group.to_owned(), partitions.to_vec());
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
        let turn = self.turns.acquire().await.map_err(|_| Error::Unavailable("it is closed".to_owned()))?;
        let (connection, asker) = (self.connection.clone(), Arc::clone(&self.asker));
        let (idle, at) = (Arc::clone(&self.idle), at.clone());
        let slice = blocking(move || {
            let failed = |problem: KafkaError| {
                error::unavailable("read a partition", &problem, asker.context().trouble())
            };
            let kept = bounds(&asker, &at, connection.patience).map_err(failed)?;
            if from < kept.start {
                return Err(Error::OutOfRange { offset: from, start: kept.start, end: kept.end });
            }
            if from >= kept.end {
                return Ok(Slice { records: Vec::new(), next: from, end: kept.end });
            }
            let mut reader = Reader::take(&idle, &connection, &at, from)?;
            let until = Instant::now() + connection.patience;
            let slice = reader.read(&at, from, kept.end, (max_records, max_bytes), until).map_err(failed);
            if slice.is_ok() {
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
            }
            slice
        })
        .await;
        drop(turn);
        slice
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

/// A consumer that reads one partition at a time.
struct Reader {
    consumer: BaseConsumer<Context>,
    /// Which partition it reads, and from where on it has handed out nothing.
    at: Option<(TopicPartition, u64)>,
    /// Read, and not handed out.
    peeked: Option<Stored>,
}

impl Reader {
    /// One that goes on there if there is one, else any that is idle, else a new one.
    fn take(
        idle: &Mutex<Vec<Self>>,
        connection: &Connection,
        at: &TopicPartition,
        from: u64,
    ) -> Result<Self, Error> {
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on =
            |reader: &Self| reader.at.as_ref().is_some_and(|(there, next)| there == at && *next == from);
        match idle.iter().position(goes_on) {
            Some(index) => Ok(idle.swap_remove(index)),
            None if idle.len() >= AT_ONCE => Ok(idle.remove(0)),
            None => Ok(Self { consumer: consumer(connection)?, at: None, peeked: None }),
        }
    }

    fn begin(&mut self, at: &TopicPartition, from: u64) -> Result<(), KafkaError> {
        self.peeked = None;
        self.at = Some((at.clone(), from));
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&at.topic, at.partition as i32, Offset::Offset(from as i64))?;
        self.consumer.assign(&list)
    }

    /// Reads what lies before `end`, which was the partition's end a moment ago.
    fn read(
        &mut self,
        at: &TopicPartition,
        from: u64,
        end: u64,
        (max_records, max_bytes): (usize, usize),
        until: Instant,
    ) -> Result<Slice, KafkaError> {
        // An end that is told to a reader which goes on may be an old one; to one that began just now it is as new as ours.
        let mut fresh = self.at.as_ref() != Some(&(at.clone(), from));
        if fresh {
            self.begin(at, from)?;
        }
        let (mut records, mut bytes, mut next) = (Vec::new(), 0, from);
        loop {
            match self.next(until)? {
                Some(stored) => {
                    next = next.max(stored.offset);
                    let size = stored.record.size();
                    if records.len() >= max_records || (!records.is_empty() && bytes + size > max_bytes) {
                        self.peeked = Some(stored);
                        break;
                    }
                    next = stored.offset + 1;
                    bytes += size;
                    records.push(stored);
                }
                None if fresh || next >= end => {
                    next = next.max(end);
                    break;
                }
                None => {
                    self.begin(at, next)?;
                    fresh = true;
                }
            }
        }
        self.at = Some((at.clone(), next));
        Ok(Slice { records, next, end: end.max(next) })
    }

    /// The next record; `None` at the end.
    fn next(&mut self, until: Instant) -> Result<Option<Stored>, KafkaError> {
        if let Some(stored) = self.peeked.take() {
            return Ok(Some(stored));
        }
        loop {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let is_ours = self.at.as_ref().is_some_and(|(at, _)| {
                        at.topic == message.topic() && at.partition == message.partition() as u32
                    });
                    if is_ours {
                        return Ok(Some(record::stored(&message)));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
                Some(Err(problem @ KafkaError::MessageConsumption(Code::AutoOffsetReset))) => {
                    return Err(problem);
                }
                Some(Err(_)) | None if Instant::now() < until => {}
                Some(Err(problem)) => return Err(problem),
                None => return Err(KafkaError::MessageConsumption(Code::OperationTimedOut)),
            }
        }
    }
}
