//! How the log says no, and when it cannot tell. No I/O.

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
    /// A compacted topic's records need a key.
    #[error("topic {0} is compacted, and the record has no key")]
    NoKey(String),
    /// No room left on the disk; taken again when there is.
    #[error("the disk is full ({0})")]
    Full(String),
    /// A record before it in its chain was not taken.
    #[error("a record that it must not pass was not taken")]
    Behind,
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
    /// Nothing is kept at this offset any more.
    #[error("offset {offset} is out of range: the log keeps {start} to {end}")]
    OutOfRange {
        /// What was asked for.
        offset: u64,
        /// The first offset that is kept.
        start: u64,
        /// The partition's end.
        end: u64,
    },
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

/// How a transaction ended without being committed.
#[derive(Debug, thiserror::Error)]
pub enum TransactError {
    /// Another producer has this transactional id now; nothing is visible.
    #[error("fenced: another producer has the transactional id now")]
    Fenced,
    /// The member whose offsets it commits belongs to an older generation; nothing is visible.
    #[error("generation {mine} is stale: the group is at {current}")]
    Stale {
        /// The generation that the member belongs to.
        mine: u64,
        /// The group's generation.
        current: u64,
    },
    /// Nothing is visible nor will be.
    #[error("rejected: {0}")]
    Rejected(Refusal),
    /// All of it may be visible, or may yet appear, or nothing.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}
