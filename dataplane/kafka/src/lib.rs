//! The log on Kafka.
//!
//! In: records, commits and the names of topics, by `evhub-journal`'s traits. Out: positions that all in-sync replicas have,
//! records in order, and Kafka's own word on who owns what. This crate knows nothing of events, routes or targets, and it is
//! the only one that knows librdkafka.
//!
//! - [`connection`]: where the brokers are, and how to be let in
//! - [`context`]: what a client tells of itself: its log, its errors
//! - [`append`]: writes records, and tells how each write ended
//! - [`transact`]: writes transactions
//! - [`topics`]: which topics there are, made and grown as asked
//! - [`reader`]: reads from an offset on, beside any group
//! - [`tail`]: one member of a group
//! - [`record`], [`error`]: both worlds' words for the same
//! - [`native`]: what needs `unsafe`

pub mod connection;

mod append;
mod context;
mod error;
mod native;
mod reader;
mod record;
mod tail;
mod topics;
mod transact;

use std::{
    future::Future,
    sync::{Arc, Weak},
};

use evhub_event::Record;
use evhub_journal::{
    Committed, Error, Journal, Place, Position, Refusal, Slice, TopicPartition, TopicSettings, WriteError,
};
use tracing::debug;

use self::{append::Appender, reader::Readers, topics::Topics};
pub use self::{
    connection::{Connection, Sasl, Tls},
    tail::{Member, Tail},
    transact::Producer,
};

/// A Kafka cluster, as a log. Clones share its connections.
#[derive(Clone)]
pub struct Kafka(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) connection: Connection,
    pub(crate) topics: Topics,
    pub(crate) appender: Appender,
    pub(crate) readers: Readers,
}

impl Kafka {
    /// Connects, and waits until a broker has answered: a wrong address, certificate or password is told within the
    /// connection's patience, where the client itself would try for ever and say nothing.
    pub async fn connect(connection: Connection) -> Result<Self, Error> {
        let readers = Readers::new(connection.clone()).await?;
        let topics = Topics::new(&connection)?;
        let appender = Appender::new(&connection)?;
        let parts = Arc::new(Parts { connection, topics, appender, readers });
        tokio::spawn(look_again(Arc::downgrade(&parts)));
        Ok(Self(parts))
    }
}

/// Asks about every topic that is known, again and again: others may have grown one. Ends with the log.
async fn look_again(parts: Weak<Parts>) {
    while let Some(rest) = parts.upgrade().map(|parts| parts.connection.refresh) {
        tokio::time::sleep(rest).await;
        let Some(parts) = parts.upgrade() else { return };
        for topic in parts.topics.names() {
            if let Err(error) = parts.topics.refresh(&parts.readers, &topic).await {
                debug!(%error, topic, "a topic cannot be looked at");
                break;
            }
        }
    }
}

impl Parts {
    /// Appends to a topic that was not known, or not whole: another dataplane may have made or grown it a moment ago.
    async fn append_again(&self, topic: &str, place: Place, record: Record) -> Result<Position, WriteError> {
        let unavailable = |error: Error| WriteError::Rejected(Refusal::Unavailable(error.to_string()));
        self.topics.refresh(&self.readers, topic).await.map_err(unavailable)?;
        let partition = self.topics.place(topic, place, &record).map_err(WriteError::Rejected)?;
        self.appender.learn(topic).await.map_err(unavailable)?;
        self.appender.send(topic, partition, record)?.await
    }
}

impl Journal for Kafka {
    type Tail = Tail;
    type Member = Member;
    type Producer = Producer;

    async fn ensure(&self, topic: &str, settings: TopicSettings) -> Result<(), Error> {
        self.0.topics.ensure(&self.0.readers, topic, settings).await
    }

    fn partitions(&self, topic: &str) -> Option<u32> {
        self.0.topics.partitions(topic)
    }

    fn waiting(&self) -> Option<(usize, usize)> {
        Some(self.0.appender.waiting())
    }

    fn append(
        &self,
        topic: &str,
        place: Place,
        record: Record,
    ) -> impl Future<Output = Result<Position, WriteError>> + Send + 'static {
        // Sent within this call, so that records lie in the order of the calls.
        let sent = self.0.topics.place(topic, place, &record).map_err(WriteError::Rejected);
        let sent = sent.and_then(|partition| self.0.appender.send(topic, partition, record.clone()));
        let (parts, topic) = (Arc::clone(&self.0), topic.to_owned());
        async move {
            match sent {
                Ok(sent) => sent.await,
                Err(WriteError::Rejected(Refusal::UnknownTopic(_) | Refusal::UnknownPartition(..))) => {
                    parts.append_again(&topic, place, record).await
                }
                Err(refused) => Err(refused),
            }
        }
    }

    async fn producer(&self, id: &str) -> Result<Producer, Error> {
        Producer::new(Arc::clone(&self.0), id).await
    }

    async fn read(
        &self,
        at: &TopicPartition,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Slice, Error> {
        self.known(at).await?;
        self.0.readers.read(at, from, max_records, max_bytes).await
    }

    async fn start(&self, at: &TopicPartition) -> Result<u64, Error> {
        self.known(at).await?;
        Ok(self.0.readers.bounds(at).await?.start)
    }

    async fn end(&self, at: &TopicPartition) -> Result<u64, Error> {
        self.known(at).await?;
        Ok(self.0.readers.bounds(at).await?.end)
    }

    async fn offset_at(&self, at: &TopicPartition, instant: i64) -> Result<u64, Error> {
        self.known(at).await?;
        self.0.readers.offset_at(at, instant).await
    }

    async fn join(&self, group: &str, topics: &[String]) -> Result<Tail, Error> {
        let mut counts = Vec::new();
        for topic in topics {
            counts.push(self.0.topics.known(&self.0.readers, topic).await?);
        }
        if let Some(other) = counts.iter().position(|count| *count != counts[0]) {
            let problem = format!("has {} partitions and not {} as {}", counts[other], counts[0], topics[0]);
            return Err(Error::Settings { topic: topics[other].clone(), problem });
        }
        Tail::join(Arc::clone(&self.0), group, topics)
    }

    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Committed>, Error> {
        self.0.readers.committed(group, partitions).await
    }
}

impl Kafka {
    /// Makes sure that a partition is known to be there.
    async fn known(&self, at: &TopicPartition) -> Result<(), Error> {
        let has_it = |count: u32| at.partition < count;
        if self.partitions(&at.topic).is_some_and(has_it) {
            return Ok(());
        }
        self.0.topics.refresh(&self.0.readers, &at.topic).await?;
        match self.partitions(&at.topic) {
            None => Err(Error::UnknownTopic(at.topic.clone())),
            Some(count) if !has_it(count) => Err(Error::UnknownPartition(at.topic.clone(), at.partition)),
            Some(_) => Ok(()),
        }
    }
}
