//! Parked deliveries as records of a Processor's `.state` topic, and the wish that those go on which suspended it. Pure.
//!
//! The record holds the event's own bytes and headers, never a reference to them: retention would eat what it points
//! to. What the delivery has come to travels in one header of ours. The key begins with the Processor's uid, because a
//! deleted Processor's successor of the same name finds its topic.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use bytes::Bytes;
use evhub_event::{Header, Record};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    dead::Cause,
    protocol::{Kind, StateKey},
};

const HEADER: &str = "evhub-parked";
const VERSION: u32 = 1;
/// Tells parked deliveries from whatever else the topic may come to hold.
const TAG: u8 = b'p';
/// Tells the wish that the Processor goes on.
const RESUMED: u8 = b'r';

/// The instant that never comes: its Processor was suspended because of this delivery, and whoever loads it knows. Unless
/// [`resumed`] comes after it in the same partition.
pub const HELD: i64 = i64::MAX;

/// A parked delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Why it is parked.
    pub kind: Kind,
    /// The event's topic.
    pub topic: String,
    /// Its offset there; its partition is the `.state` record's.
    pub offset: u64,
    /// Which topic of that name it was, as the log tells them apart; 0 where it does not.
    pub log: u64,
    /// How many attempts were made.
    pub attempts: u32,
    /// When the first of them began, in milliseconds since the Unix epoch.
    pub first_attempt: Option<i64>,
    /// When the next may begin, likewise; [`HELD`] for one that waits for its Processor to be resumed.
    pub not_before: i64,
    /// How many of the attempts were throttled, and so do not count.
    pub throttled: u32,
    /// What the target gave back with its latest failing answer, to be sent along with the next attempt.
    pub pass_back: Option<Bytes>,
    /// The latest failures, oldest first.
    pub causes: Vec<Cause>,
    /// The event's own record.
    pub event: Record,
}

/// A `.state` record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It lacks our header.
    #[error("the record has no {HEADER} header")]
    NoHeader,
    /// Our header does not read.
    #[error("the {HEADER} header does not read")]
    Header(#[source] serde_json::Error),
    /// It was written by another version.
    #[error("the record has version {0}, this one reads {VERSION}")]
    Version(u32),
    /// The event's key, or what the target gave back, does not read.
    #[error("the event's key or what its target gave back does not read")]
    Base64(#[source] base64::DecodeError),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Story {
    version: u32,
    behind: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    delay: bool,
    topic: String,
    offset: u64,
    #[serde(skip_serializing_if = "is_none", default)]
    log: u64,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_attempt: Option<i64>,
    not_before: i64,
    #[serde(skip_serializing_if = "is_zero", default)]
    throttled: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pass_back: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    causes: Vec<Cause>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl Parked {
    /// The record to append.
    pub fn encode(self, key: Bytes) -> Record {
        let Record { key: own, value, mut headers } = self.event;
        let story = Story {
            version: VERSION,
            behind: self.kind == Kind::Behind,
            delay: self.kind == Kind::Delay,
            topic: self.topic,
            offset: self.offset,
            log: self.log,
            attempts: self.attempts,
            first_attempt: self.first_attempt,
            not_before: self.not_before,
            throttled: self.throttled,
            pass_back: self.pass_back.map(|bytes| BASE64.encode(bytes)),
            causes: self.causes,
            key: own.map(|own| BASE64.encode(own)),
        };
        let story = json!(story).to_string();
        headers.push(Header { name: HEADER.to_owned(), value: Bytes::from(story) });
        // A null value would be a tombstone.
        Record { key: Some(key), value: Some(value.unwrap_or_default()), headers }
    }

    /// Reads a record back.
    pub fn decode(record: &Record) -> Result<Self, Unreadable> {
        let header = record.headers.iter().rev().find(|h| h.name == HEADER).ok_or(Unreadable::NoHeader)?;
        let story: Story = serde_json::from_slice(&header.value).map_err(Unreadable::Header)?;
        if story.version != VERSION {
            return Err(Unreadable::Version(story.version));
        }
        let bytes = |text: Option<String>| -> Result<Option<Bytes>, Unreadable> {
            let bytes = text.map(|text| BASE64.decode(text)).transpose().map_err(Unreadable::Base64)?;
            Ok(bytes.map(Bytes::from))
        };
        let key = bytes(story.key)?;
        let mut headers = record.headers.clone();
        headers.retain(|header| header.name != HEADER);
        Ok(Self {
            kind: match (story.delay, story.behind) {
                (true, _) => Kind::Delay,
                (false, true) => Kind::Behind,
                (false, false) => Kind::Retry,
            },
            topic: story.topic,
            offset: story.offset,
            log: story.log,
            attempts: story.attempts,
            first_attempt: story.first_attempt,
            not_before: story.not_before,
            throttled: story.throttled,
            pass_back: bytes(story.pass_back)?,
            causes: story.causes,
            event: Record { key, value: record.value.clone(), headers },
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_none(log: &u64) -> bool {
    *log == 0
}

/// The key of a `.state` record.
pub fn encode_key(uid: &str, key: StateKey) -> Bytes {
    let mut bytes = Vec::with_capacity(uid.len() + 25);
    bytes.extend_from_slice(uid.as_bytes());
    bytes.push(TAG);
    for part in [key.epoch, key.seq, key.nonce] {
        bytes.extend_from_slice(&part.to_be_bytes());
    }
    Bytes::from(bytes)
}

/// The record that lets a Processor go on: whatever is held below it in its partition is held no longer, whoever loads it.
/// It needs no clock, and nothing ever removes it but the next one: what is held is kept, so what comes after it is read.
pub fn resumed(uid: &str) -> Record {
    Record { key: Some(resumed_key(uid)), value: Some(Bytes::new()), headers: Vec::new() }
}

/// Whether a `.state` record's key is that of [`resumed`] of this Processor.
pub fn is_resumed(uid: &str, key: &[u8]) -> bool {
    key == resumed_key(uid)
}

fn resumed_key(uid: &str) -> Bytes {
    Bytes::from([uid.as_bytes(), &[RESUMED]].concat())
}

/// Reads a `.state` record's key; `None` for one that is not this Processor's parked delivery.
pub fn decode_key(uid: &str, key: &[u8]) -> Option<StateKey> {
    let (&TAG, rest) = key.strip_prefix(uid.as_bytes())?.split_first()? else { return None };
    let (parts, []) = rest.as_chunks::<8>() else { return None };
    let [epoch, seq, nonce] = parts else { return None };
    let number = |bytes: &[u8; 8]| u64::from_be_bytes(*bytes);
    Some(StateKey { epoch: number(epoch), seq: number(seq), nonce: number(nonce) })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use evhub_event::{Header, Record};
    use proptest::prelude::*;

    use super::{HEADER, Parked, decode_key, encode_key, is_resumed, resumed};
    use crate::{
        dead::Cause,
        protocol::{Kind, StateKey},
    };

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
    }

    proptest! {
        #[test]
        fn what_is_parked_reads_back(
            (kind, attempts, offset, first, not_before) in any::<(u8, u32, u64, Option<i64>, i64)>(),
            (throttled, log, pass_back) in (any::<u32>(), any::<u64>(), prop::option::of(bytes())),
            (topic, text) in (".{0,20}", ".{0,20}"),
            (key, value) in (prop::option::of(bytes()), bytes()),
            headers in prop::collection::vec(("[a-z_]{1,9}", bytes()), 0..4),
        ) {
            let headers = headers.into_iter().map(|(name, value)| Header { name, value }).collect();
            let parked = Parked {
                kind: [Kind::Behind, Kind::Retry, Kind::Delay][usize::from(kind % 3)],
                topic,
                offset,
                log,
                attempts,
                first_attempt: first,
                not_before,
                throttled,
                pass_back,
                causes: vec![Cause { attempt: attempts, time: not_before, status: Some(503), text }],
                event: Record { key, value: Some(value), headers },
            };
            let record = parked.clone().encode(Bytes::from_static(b"k"));
            prop_assert_eq!(Parked::decode(&record).expect("it was just encoded"), parked);
        }

        #[test]
        fn keys_read_back_for_their_own_processor_alone((epoch, seq, nonce) in any::<(u64, u64, u64)>()) {
            let key = StateKey { epoch, seq, nonce };
            let bytes = encode_key("uid-1", key);
            prop_assert_eq!(decode_key("uid-1", &bytes), Some(key));
            prop_assert_eq!(decode_key("uid-2", &bytes), None);
            prop_assert_eq!(decode_key("uid-1", &bytes[..bytes.len() - 1]), None);
            prop_assert!(!is_resumed("uid-1", &bytes));
        }

        #[test]
        fn a_wish_is_its_own_processors_and_no_delivery(uid in "[a-z0-9-]{1,36}") {
            let record = resumed(&uid);
            let key = record.key.as_deref().expect("it has one");
            prop_assert!(is_resumed(&uid, key) && !is_resumed("other", key));
            prop_assert_eq!(decode_key(&uid, key), None);
            prop_assert!(record.value.is_some(), "it is no tombstone");
        }

        #[test]
        fn anything_else_is_told_and_never_a_panic(value in bytes(), name in prop::bool::ANY) {
            let name = if name { HEADER } else { "other" };
            let headers = vec![Header { name: name.to_owned(), value: value.clone() }];
            let record = Record { key: None, value: None, headers };
            prop_assert!(Parked::decode(&record).is_err());
            let _ = decode_key("", &value);
        }
    }
}
