//! The log on Kafka.
//!
//! In: records, commits and the names of topics, by `evhub-journal`'s traits. Out: positions that all in-sync replicas have,
//! records in order, and Kafka's own word on who owns what. This crate knows nothing of events, routes or targets, and it is
//! the only one that knows librdkafka.
//!
//! - [`connection`]: where the brokers are, and what each kind of client is set to
//! - [`settings`]: how to be let in, from a file that may change
//! - [`context`], [`trouble`]: what a client tells of itself, and what to do about it
//! - [`append`]: writes records, and tells how each write ended
//! - [`line`]: whose turn it is in a chain
//! - [`transact`]: writes transactions
//! - [`topics`]: which topics there are, made and grown as asked
//! - [`reader`]: reads from an offset on, beside any group
//! - [`tail`]: one member of a group
//! - [`record`], [`error`]: both worlds' words for the same
//! - [`native`]: what needs `unsafe`

pub mod connection;
pub mod settings;

mod append;
mod context;
mod error;
mod line;
mod native;
mod reader;
mod record;
mod tail;
mod topics;
mod transact;
mod trouble;

use std::{
    future::Future,
    sync::{Arc, Weak},
};

use evhub_event::Record;
use evhub_journal::{
    BrokerSettings, Committed, Error, Journal, Place, Position, Refusal, Slice, TopicPartition,
    TopicSettings, WriteError,
};
use tokio::{sync::watch, task::JoinHandle};
use tracing::{debug, info, warn};

use self::{
    append::{Appender, Unsent, Weight},
    connection::Current,
    line::{Entered, Lines, Turn},
    reader::Readers,
    topics::Topics,
};
pub use self::{
    connection::Connection,
    settings::{Invalid, Settings},
    tail::{Member, Tail},
    transact::Producer,
};

/// A Kafka cluster, as a log. Clones share its connections.
#[derive(Clone)]
pub struct Kafka(Arc<Parts>);

pub(crate) struct Parts {
    change: watch::Sender<Arc<Connection>>,
    pub(crate) current: Current,
    pub(crate) topics: Topics,
    pub(crate) appender: Appender,
    pub(crate) readers: Readers,
    lines: Lines,
}

/// What an append came to within its call.
enum Begun<S> {
    Sent(S),
    /// Its turn comes later.
    Later(JoinHandle<Result<Position, WriteError>>),
    /// Its topic is not known, or not whole: another dataplane may have made or grown it a moment ago.
    Unknown(Box<Offer>),
    Refused(Refusal),
}

/// A record that is to be appended.
struct Offer {
    topic: String,
    place: Place,
    record: Record,
    weight: Weight,
    turn: Option<Turn>,
}

impl Kafka {
    /// Connects, and waits until a broker has answered. A wrong address, certificate or password is told within the
    /// connection's patience, and sooner where waiting would not help; the client itself would try for ever and say nothing.
    pub async fn connect(connection: Connection) -> Result<Self, Error> {
        let (change, current) = Current::new(connection);
        let readers = Readers::new(current.clone()).await?;
        let topics = Topics::new(current.clone());
        let appender = Appender::new(current.clone())?;
        let parts = Arc::new(Parts { change, current, topics, appender, readers, lines: Lines::default() });
        tokio::spawn(look_again(Arc::downgrade(&parts)));
        tokio::spawn(read_again(Arc::downgrade(&parts)));
        Ok(Self(parts))
    }
}

/// Asks about every topic that is known, again and again: others may have grown one. Ends with the log.
async fn look_again(parts: Weak<Parts>) {
    while let Some(rest) = parts.upgrade().map(|parts| parts.current.get().refresh) {
        tokio::time::sleep(rest).await;
        let Some(parts) = parts.upgrade() else { return };
        for topic in parts.topics.names() {
            if let Err(error) = parts.topics.refresh(&parts.readers, &parts.appender, &topic).await {
                debug!(%error, topic, "a topic cannot be looked at");
                break;
            }
        }
    }
}

/// Looks at the files of settings, again and again: a password or a certificate may be a new one. Lets idle clients rest, too.
/// Ends with the log.
async fn read_again(parts: Weak<Parts>) {
    let mut refused = None;
    while let Some(rest) = parts.upgrade().map(|parts| parts.current.get().reread) {
        tokio::time::sleep(rest).await;
        let Some(parts) = parts.upgrade() else { return };
        parts.topics.rest();
        parts.readers.hear();
        let connection = parts.current.get();
        let settings = connection.settings.clone();
        // Files are read on a thread that may block.
        match tokio::task::spawn_blocking(move || settings.again()).await {
            Ok(Some(Ok(settings))) => {
                info!("client settings have changed");
                refused = None;
                parts.change.send_replace(Arc::new(Connection { settings, ..(*connection).clone() }));
            }
            // Said once: it may be half written, and it stays so until somebody mends it.
            Ok(Some(Err(error))) if refused.as_ref() != Some(&error) => {
                warn!(%error, "client settings have changed and cannot be used; those of before are");
                refused = Some(error);
            }
            _ => {}
        }
    }
}

impl Parts {
    /// Begins an append within its call, so that records lie in the order of the calls.
    fn begin(
        self: &Arc<Self>,
        topic: &str,
        place: Place,
        record: Record,
    ) -> Begun<impl Future<Output = Result<Position, WriteError>> + Send + use<>> {
        let tear = |refusal: Refusal| {
            place.link().into_iter().for_each(evhub_journal::Link::tear);
            Begun::Refused(refusal)
        };
        let weight = match self.appender.admit(record.size()) {
            Ok(weight) => weight,
            Err(refusal) => return tear(refusal),
        };
        let turn = match place.link().map(|link| self.lines.enter(link)) {
            None => None,
            Some(Entered::Now(turn)) => Some(turn),
            Some(Entered::Behind) => return Begun::Refused(Refusal::Behind),
            Some(Entered::Later(turn)) => {
                let (parts, topic) = (Arc::clone(self), topic.to_owned());
                // A task of its own, because whoever waits for several of a chain waits for one after the other.
                return Begun::Later(tokio::spawn(async move {
                    let Ok(turn) = turn.await else { return Err(WriteError::Rejected(Refusal::Behind)) };
                    parts.write(Offer { topic, place, record, weight, turn: Some(turn) }).await
                }));
            }
        };
        let offer = Offer { topic: topic.to_owned(), place, record, weight, turn };
        match self.send(offer) {
            Ok(sent) => Begun::Sent(sent),
            Err((Refusal::UnknownTopic(_) | Refusal::UnknownPartition(..), offer)) => Begun::Unknown(offer),
            Err((refusal, _)) => Begun::Refused(refusal),
        }
    }

    /// Hands a record to the client, or gives it back with the reason.
    fn send(
        &self,
        offer: Offer,
    ) -> Result<impl Future<Output = Result<Position, WriteError>> + Send + use<>, (Refusal, Box<Offer>)>
    {
        let partition = match self.topics.place(&offer.topic, &offer.place, &offer.record) {
            Ok(partition) => partition,
            Err(refusal) => return Err((refusal, Box::new(offer))),
        };
        let Offer { topic, place, record, weight, turn } = offer;
        self.appender.send(&topic, partition, &record, weight, turn).map_err(|unsent| {
            let Unsent { why, weight, turn } = unsent;
            (why, Box::new(Offer { topic, place, record, weight, turn }))
        })
    }

    /// Writes a record whose turn it is.
    async fn write(&self, offer: Offer) -> Result<Position, WriteError> {
        match self.send(offer) {
            Ok(sent) => sent.await,
            Err((Refusal::UnknownTopic(_) | Refusal::UnknownPartition(..), offer)) => {
                self.write_anew(*offer).await
            }
            Err((refusal, _)) => Err(WriteError::Rejected(refusal)),
        }
    }

    /// Writes to a topic after another look at it.
    async fn write_anew(&self, offer: Offer) -> Result<Position, WriteError> {
        let unavailable = |error: Error| WriteError::Rejected(Refusal::Unavailable(error.to_string()));
        let looked = self.topics.refresh(&self.readers, &self.appender, &offer.topic);
        looked.await.map_err(unavailable)?;
        match self.send(offer) {
            Ok(sent) => sent.await,
            Err((refusal, _)) => Err(WriteError::Rejected(refusal)),
        }
    }
}

impl Journal for Kafka {
    type Tail = Tail;
    type Member = Member;
    type Producer = Producer;

    async fn ensure(&self, topic: &str, settings: TopicSettings) -> Result<(), Error> {
        self.ensure_with(topic, settings, &BrokerSettings::default()).await
    }

    async fn ensure_with(
        &self,
        topic: &str,
        settings: TopicSettings,
        brokers: &BrokerSettings,
    ) -> Result<(), Error> {
        self.0.topics.ensure(&self.0.readers, &self.0.appender, topic, settings, brokers).await
    }

    async fn may_grow(&self, topic: &str, partitions: u32) -> Result<(), Error> {
        self.0.topics.may_grow(&self.0.readers, &self.0.appender, topic, partitions).await
    }

    async fn remove(&self, topic: &str) -> Result<(), Error> {
        self.0.topics.remove(&self.0.readers, &self.0.appender, topic).await
    }

    fn partitions(&self, topic: &str) -> Option<u32> {
        self.0.topics.partitions(topic)
    }

    async fn look_up(&self, topic: &str) -> Result<Option<u32>, Error> {
        let seen = self.0.topics.refresh(&self.0.readers, &self.0.appender, topic).await?;
        Ok(seen.map(|seen| seen.partitions))
    }

    async fn identity(&self, topic: &str) -> Result<u64, Error> {
        self.0.topics.identity(topic).await
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
        let parts = Arc::clone(&self.0);
        let begun = parts.begin(topic, place, record);
        async move {
            match begun {
                Begun::Sent(sent) => sent.await,
                Begun::Refused(refusal) => Err(WriteError::Rejected(refusal)),
                Begun::Unknown(offer) => parts.write_anew(*offer).await,
                Begun::Later(task) => task
                    .await
                    .unwrap_or_else(|error| Err(WriteError::Unknown(format!("it was given up: {error}")))),
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

    async fn trim(&self, at: &TopicPartition, before: u64) -> Result<(), Error> {
        self.known(at).await?;
        let bounds = self.0.readers.bounds(at).await?;
        let before = before.min(bounds.end);
        if before <= bounds.start {
            return Ok(());
        }
        self.0.topics.trim(at, before).await
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
            let at = TopicPartition { topic: topic.clone(), partition: 0 };
            self.known(&at).await?;
            counts.push(self.partitions(topic).unwrap_or(0));
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
        self.0.topics.refresh(&self.0.readers, &self.0.appender, &at.topic).await?;
        match self.partitions(&at.topic) {
            None => Err(Error::UnknownTopic(at.topic.clone())),
            Some(count) if !has_it(count) => Err(Error::UnknownPartition(at.topic.clone(), at.partition)),
            Some(_) => Ok(()),
        }
    }
}
