//! The log, seen as what evhub needs of one: append, read, follow as a group, commit.
//!
//! In: records and commits. Out: positions that are durable, records in order, and the truth about who owns what. This
//! crate knows nothing of events, routes or targets. [`Journal`] and [`Tail`] are Kafka's own notions (topics,
//! partitions, groups with generations, committed offsets with metadata), because Kafka is the log in production; the
//! embedded log keeps the same promises in one process.
//!
//! - [`traits`]: what a log does
//! - [`types`]: what is said to it and heard from it
//! - [`error`]: how it refuses, and what it cannot know
//! - [`murmur2`]: which partition a key belongs to
//! - [`embedded`]: the log of `evhub dev`, in one folder

pub mod embedded;
pub mod error;
pub mod murmur2;
pub mod traits;
pub mod types;

pub use embedded::Embedded;
pub use error::{CommitError, Error, Refusal, WriteError};
pub use traits::{Journal, Tail};
pub use types::{
    Committed, MAX_METADATA, Place, Polled, Position, Slice, Stored, TopicPartition, TopicSettings,
};
