//! Dead letters: events that will not be tried again, with the whole story, as records of a Processor's `.dead` topic.
//!
//! The record is the event's own record, key, body and headers untouched, plus headers of ours that begin
//! `evhub-dead-`, so that any Kafka client can read both. Pure.

use bytes::Bytes;
use evhub_event::{Header, Record};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Heads every header that a dead letter adds to the event's own.
const OURS: &str = "evhub-dead-";
const STORY: &str = "evhub-dead-letter";

/// Why an event became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// Its last permitted attempt failed.
    MaxAttempts,
    /// It failed, and its next attempt would have come later than its age allows.
    MaxAge,
    /// The target's answer said that repeating is pointless.
    NotRetryable,
    /// Its record could not be read as an event.
    PoisonDecode,
    /// Its record is empty: neither attributes nor data.
    PoisonEmpty,
    /// Its parked state could not be read.
    PoisonState,
    /// Handling it failed in the hub itself.
    PoisonProcessing,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::MaxAttempts,
        Self::MaxAge,
        Self::NotRetryable,
        Self::PoisonDecode,
        Self::PoisonEmpty,
        Self::PoisonState,
        Self::PoisonProcessing,
    ];

    /// The word for it, on the wire and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxAttempts => "MAX_ATTEMPTS",
            Self::MaxAge => "MAX_AGE",
            Self::NotRetryable => "NOT_RETRYABLE",
            Self::PoisonDecode => "POISON_DECODE",
            Self::PoisonEmpty => "POISON_EMPTY",
            Self::PoisonState => "POISON_STATE",
            Self::PoisonProcessing => "POISON_PROCESSING",
        }
    }

    /// Whether it is the hub that could not work with it, and not the target that did not take it.
    pub const fn is_poison(self) -> bool {
        matches!(self, Self::PoisonDecode | Self::PoisonEmpty | Self::PoisonState | Self::PoisonProcessing)
    }
}

/// One failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// When it ended, in milliseconds since the Unix epoch.
    pub time: i64,
    /// The target's status, when it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What happened, in words: at most 1 KiB.
    pub text: String,
}

/// Where the event came from, what was tried, and why no more will be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// The event's topic.
    pub topic: String,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// The Processor's uid.
    pub processor_uid: String,
    /// The generation of the Processor's resource that gave up.
    pub generation: i64,
    /// Why.
    pub reason: Reason,
    /// How many attempts were made.
    pub attempts: u32,
    /// When the first attempt began, in milliseconds since the Unix epoch; absent when none was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_attempt: Option<i64>,
    /// When the last attempt ended, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<i64>,
    /// The latest failures, oldest first.
    pub causes: Vec<Cause>,
}

/// A record of a `.dead` topic that is no dead letter of ours.
#[derive(Debug, thiserror::Error)]
pub enum NotADeadLetter {
    /// It lacks our header.
    #[error("the record has no {STORY} header")]
    NoStory,
    /// Our header does not read.
    #[error("the {STORY} header does not read")]
    Story(#[source] serde_json::Error),
}

impl DeadLetter {
    /// The stable name of this dead letter: repeats of the same delivery share it.
    pub fn id(&self) -> String {
        format!("{}:{}:{}", self.topic, self.partition, self.offset)
    }

    /// The record to append: the event's own plus the story.
    pub fn encode(&self, event: Record) -> Record {
        let story = json!(self).to_string();
        let mut record = event;
        record.headers.push(Header { name: STORY.to_owned(), value: Bytes::from(story) });
        record
    }

    /// The story, and the event's own record.
    pub fn decode(record: &Record) -> Result<(Self, Record), NotADeadLetter> {
        let story = record.headers.iter().rev().find(|h| h.name == STORY).ok_or(NotADeadLetter::NoStory)?;
        let letter = serde_json::from_slice(&story.value).map_err(NotADeadLetter::Story)?;
        let mut event = record.clone();
        event.headers.retain(|header| !header.name.starts_with(OURS));
        Ok((letter, event))
    }
}
