//! The log, seen as what evhub needs of one: append, read, follow as a group, commit.
//!
//! In: records and commits. Out: positions that are durable, records in order, and the truth about who owns what. This
//! crate knows nothing of events, routes or targets. [`Journal`] and [`Tail`] are Kafka's own notions (topics,
//! partitions, groups with generations, committed offsets with metadata), because Kafka is the log in production; the
//! embedded log keeps the same promises in one process.

use std::{fmt, future::Future};

use evhub_event::Record;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's number, from 0.
    pub partition: u32,
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The partition's number within the topic appended to.
    pub partition: u32,
    /// The record's offset within the partition.
    pub offset: u64,
}

/// A record as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its offset. Offsets grow but need not be dense.
    pub offset: u64,
    /// When the log took it, in milliseconds since the Unix epoch; never falls within a partition.
    pub timestamp: i64,
    /// What was appended.
    pub record: Record,
}

/// The part of a partition that one read returned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Records in offset order.
    pub records: Vec<Stored>,
    /// Where to read on.
    pub next: u64,
    /// The partition's end when it was read: the offset that the next append would get at the least.
    pub end: u64,
}

/// What a topic must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// How many partitions.
    pub partitions: u32,
    /// The largest record it takes, in bytes of key, value and headers.
    pub max_record_bytes: usize,
    /// Keep only the newest record of each key.
    pub compacted: bool,
}

/// Which partition an append goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The one that the record's key hashes to (murmur2, as Java's clients do); any for a record without a key.
    ByKey,
    /// This one.
    Partition(u32),
}

/// How a write ended without an acknowledgement.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The record is not in the log and never will be.
    #[error("rejected: {0}")]
    Rejected(Refusal),
    /// The record may be in the log, or may yet appear.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

/// Why the log refused a write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such topic.
    #[error("there is no topic {0}")]
    UnknownTopic(String),
    /// No such partition.
    #[error("topic {0} has no partition {1}")]
    UnknownPartition(String, u32),
    /// Larger than the topic's `max_record_bytes`.
    #[error("a record of {size} bytes is over the topic's limit of {limit}")]
    TooLarge {
        /// The record's size.
        size: usize,
        /// The topic's limit.
        limit: usize,
    },
    /// No room left on the disk; taken again when there is.
    #[error("the disk is full ({0})")]
    Full(String),
    /// Too many writes are waiting.
    #[error("the log is overloaded")]
    Busy,
    /// The log is closed or cannot write now.
    #[error("the log is not available ({0})")]
    Unavailable(String),
}

/// Why a read or a change of topics failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such topic.
    #[error("there is no topic {0}")]
    UnknownTopic(String),
    /// No such partition.
    #[error("topic {0} has no partition {1}")]
    UnknownPartition(String, u32),
    /// The topic exists with other settings, which cannot be changed so.
    #[error("topic {topic} {problem}")]
    Settings {
        /// The topic.
        topic: String,
        /// What is wrong.
        problem: String,
    },
    /// The log cannot be used now.
    #[error("the log is not available: {0}")]
    Unavailable(String),
    /// What was read is not what was written.
    #[error("the log is damaged: {0}")]
    Damaged(String),
}

/// How a commit ended without an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Another generation owns the group; nothing was written.
    #[error("generation {mine} is stale: the group is at {current}")]
    Stale {
        /// The generation that this member belongs to.
        mine: u64,
        /// The group's generation.
        current: u64,
    },
    /// Nothing was written.
    #[error("refused: {0}")]
    Rejected(String),
    /// It may have been written.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

/// The most metadata that one committed offset carries, in bytes: a Kafka broker's default
/// `offset.metadata.max.bytes`.
pub const MAX_METADATA: usize = 4096;

/// A committed offset: the first offset not known to be resolved, and what its owner noted beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The partition it speaks of.
    pub partition: TopicPartition,
    /// The first offset that is still to be read.
    pub offset: u64,
    /// At most [`MAX_METADATA`] bytes of text.
    pub metadata: String,
}

/// What a group member learns from one poll.
#[derive(Debug)]
pub enum Polled {
    /// These partition numbers, of every topic of the member, are now this member's, by this generation.
    Assigned {
        /// The group's generation.
        generation: u64,
        /// Partition numbers.
        partitions: Vec<u32>,
    },
    /// These are about to be taken away. Commits still count until [`Tail::release`].
    Revoked(Vec<u32>),
    /// These are gone: nothing that this member commits for them counts any more.
    Lost(Vec<u32>),
    /// Records of one partition, in order.
    Records(TopicPartition, Vec<Stored>),
    /// Everything before this offset has been handed out.
    End(TopicPartition, u64),
}

/// The log.
pub trait Journal: Clone + Send + Sync + 'static {
    /// A member of a group.
    type Tail: Tail;

    /// Makes sure that a topic exists with these settings. Partitions may grow; they never shrink.
    fn ensure(&self, topic: &str, settings: TopicSettings) -> impl Future<Output = Result<(), Error>> + Send;

    /// How many partitions a topic has; `None` when there is no such topic.
    fn partitions(&self, topic: &str) -> Option<u32>;

    /// Appends one record. `Ok` means that it is durable at that position.
    fn append(
        &self,
        topic: &str,
        place: Place,
        record: Record,
    ) -> impl Future<Output = Result<Position, WriteError>> + Send + 'static;

    /// Reads from an offset on, at most so many records and about so many bytes.
    fn read(
        &self,
        at: &TopicPartition,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> impl Future<Output = Result<Slice, Error>> + Send;

    /// The partition's end: the offset that the next append would get at the least.
    fn end(&self, at: &TopicPartition) -> impl Future<Output = Result<u64, Error>> + Send;

    /// The first offset whose record the log took at or after this instant (milliseconds since the Unix epoch), or the
    /// partition's end when there is none.
    fn offset_at(&self, at: &TopicPartition, instant: i64) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Joins a group as a member that reads these topics, all of which have the same number of partitions.
    fn join(&self, group: &str, topics: &[String]) -> impl Future<Output = Result<Self::Tail, Error>> + Send;

    /// What a group has committed for these partitions; a partition without a commit is left out.
    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<Vec<Committed>, Error>> + Send;
}

/// One member of a group. Only the task that polls may commit: a commit carries the generation that the member belongs
/// to at that moment, so a commit made beside a rebalance would speak in another owner's name.
pub trait Tail: Send + 'static {
    /// Waits for the next thing to know. Cancel-safe.
    fn poll(&mut self) -> impl Future<Output = Result<Polled, Error>> + Send;

    /// Starts reading a partition of ours at an offset. Nothing is read of a partition before.
    fn seek(&mut self, at: &TopicPartition, offset: u64);

    /// Stops or resumes handing out records of a partition; what stays unread costs nothing.
    fn pause(&mut self, at: &TopicPartition, paused: bool);

    /// Commits offsets of several partitions, all or none, in this member's name and generation as of this call.
    fn commit(&mut self, offsets: Vec<Committed>) -> impl Future<Output = Result<(), CommitError>> + Send + 'static;

    /// Says that these revoked partitions are drained: others may have them.
    fn release(&mut self, partitions: &[u32]);

    /// Leaves the group.
    fn leave(self) -> impl Future<Output = ()> + Send;
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}
