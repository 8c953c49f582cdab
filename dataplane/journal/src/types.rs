//! What the log's users say and hear: positions, records as read, settings, commits. No I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use evhub_event::Record;

use crate::Link;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicSettings {
    /// How many partitions.
    pub partitions: u32,
    /// The largest record it takes, in bytes of key, value and headers.
    pub max_record_bytes: usize,
    /// Keep only the newest record of each key. Records without a key are refused.
    pub compacted: bool,
    /// How long records are kept at the least; `None` is for good.
    pub retention: Option<Duration>,
    /// How many bytes each partition keeps at the least, as Kafka counts them; `None` is any number.
    pub retention_bytes: Option<u64>,
    /// The topic holds what the hub needs to make progress (parked deliveries, dead letters): when the disk fills up,
    /// such records may still use half of the reserve that events must leave alone.
    pub reserved: bool,
    /// What only a cluster of brokers has. The embedded log looks at none of it.
    pub cluster: ClusterSettings,
}

/// What a topic must look like on a cluster of brokers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterSettings {
    /// How many brokers keep each record; `None` is as many as the brokers' own setting says.
    pub replicas: Option<u16>,
    /// How many of them must have a record before it is acknowledged; `None` is as the brokers' own setting says.
    pub min_in_sync: Option<u16>,
    /// The topic may be one that somebody else has made: it is evhub's from now on, with these settings.
    pub adopt: bool,
}

/// What brokers are told of a topic besides, by Kafka's names. The embedded log looks at none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerSettings {
    /// These have these values.
    pub set: BTreeMap<String, String>,
    /// These were asked for before and are not any more: they are again as the brokers' own settings say.
    pub unset: BTreeSet<String>,
}

impl ClusterSettings {
    /// For a topic of so many copies, so many of which must have a record before it counts.
    pub fn copies(replicas: u32, min_in_sync: u32) -> Self {
        // More than there are brokers in the world is as good as what was asked for: brokers refuse both.
        let count = |number: u32| Some(u16::try_from(number).unwrap_or(u16::MAX));
        Self { replicas: count(replicas), min_in_sync: count(min_in_sync), adopt: false }
    }
}

impl Place {
    /// Its place in a chain, if it has one.
    pub fn link(&self) -> Option<&Link> {
        match self {
            Self::Behind(link) => Some(link),
            Self::ByKey | Self::Partition(_) => None,
        }
    }
}

impl TopicSettings {
    /// What a topic with settings `now` has when it is made sure of with these: what was taken yesterday is taken today, so
    /// the largest record only grows. What only a cluster has is not kept.
    pub(crate) fn within(self, now: Self) -> Self {
        let largest = self.max_record_bytes.max(now.max_record_bytes);
        Self { max_record_bytes: largest, cluster: now.cluster, ..self }
    }
}

/// Which partition an append goes to, and behind what.
#[derive(Clone, Debug)]
pub enum Place {
    /// The one that the record's key hashes to (murmur2, as Java's clients do); any for a record without a key.
    ByKey,
    /// The same, and behind the others of a chain: refused once one of those before it was not taken. In a transaction, which
    /// is taken whole, this is [`Place::ByKey`].
    Behind(Link),
    /// This one.
    Partition(u32),
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

/// What one transaction writes: all of it or nothing.
#[derive(Clone, Debug)]
pub struct Transaction<M> {
    /// Records, in this order within each partition.
    pub records: Vec<(String, Place, Record)>,
    /// Offsets committed with them, in the name of a member of a group.
    pub offsets: Option<(M, Vec<Committed>)>,
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

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}
