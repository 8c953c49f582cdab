//! The log, seen as what evhub needs of one: append, read, follow as a group, commit.
//!
//! In: records and commits. Out: positions that are durable, records in order, and the truth about who owns what. This
//! crate knows nothing of events, routes or targets. [`Journal`], [`Tail`] and [`Producer`] are Kafka's own notions (topics,
//! partitions, groups with generations, committed offsets with metadata, fenced transactions), because Kafka is the log in production; the
//! embedded log keeps the same promises in one process.
//!
//! - [`traits`]: what a log does
//! - [`types`]: what is said to it and heard from it
//! - [`chain`]: records that must not pass one another
//! - [`error`]: how it refuses, and what it cannot know
//! - [`murmur2`]: which partition a key belongs to
//! - [`embedded`]: the log of `evhub dev`, in one folder
//! - [`unpleasant`]: any log on a bad day, for tests
//! - [`sink`]: a log that only hands on, for fuzzing and measuring

pub mod chain;
pub mod embedded;
pub mod error;
pub mod murmur2;
pub mod sink;
pub mod traits;
pub mod types;
pub mod unpleasant;

pub use chain::{Chain, Link};
pub use embedded::Embedded;
pub use error::{CommitError, Error, Refusal, TransactError, WriteError};
pub use traits::{Journal, Producer, Tail};
pub use types::{
    BrokerSettings, ClusterSettings, Committed, MAX_METADATA, Place, Polled, Position, Slice, Stored,
    TopicPartition, TopicSettings, Transaction,
};
