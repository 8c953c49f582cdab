//! How records and bookkeeping are written down: keys in log order, values with a version and a checksum. Pure.
//!
//! A record's value is `version ‖ timestamp ‖ flags ‖ key ‖ headers ‖ body ‖ checksum`, integers big endian, lengths
//! 32 bit. The checksum (xxh3) is seeded with the record's place in the log, so a record that turns up elsewhere is
//! recognised as well as one whose bytes changed. The engine has checksums of its own, but they end where it hands the
//! bytes over; this one covers the whole way from an append to its reader.

use bytes::{Buf, Bytes};
use evhub_event::{Header, Record};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::{Stored, TopicSettings};

/// The version that every record's value begins with.
const RECORD_VERSION: u8 = 1;
/// The version that every bookkeeping value begins with.
const NOTE_VERSION: u8 = 1;
const HAS_KEY: u8 = 1;
const HAS_VALUE: u8 = 2;
const COMPACTED: u8 = 1;
const RESERVED: u8 = 2;
const CHECKSUM: usize = size_of::<u64>();

/// Why bytes from the log are not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at {at}")]
pub(super) struct Corrupt {
    what: &'static str,
    at: String,
}

/// The place of a record: topic, partition, offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogKey {
    pub(super) topic: u32,
    pub(super) partition: u32,
    pub(super) offset: u64,
}

impl LogKey {
    pub(super) fn encode(self) -> [u8; 16] {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&self.topic.to_be_bytes());
        key[4..8].copy_from_slice(&self.partition.to_be_bytes());
        key[8..].copy_from_slice(&self.offset.to_be_bytes());
        key
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut rest = bytes;
        let key = (|| {
            Some(Self { topic: number(&mut rest)?, partition: number(&mut rest)?, offset: long(&mut rest)? })
        })();
        key.filter(|_| rest.is_empty()).ok_or_else(|| corrupt("a key of the wrong length", bytes))
    }
}

/// A record as its appender encoded it: all but its timestamp and checksum, which only the writer knows.
#[derive(Debug)]
pub(super) struct Draft(Vec<u8>);

impl Draft {
    pub(super) fn new(record: &Record) -> Self {
        let mut out = Vec::with_capacity(record.size() + 32 + 8 * record.headers.len());
        out.push(RECORD_VERSION);
        out.extend_from_slice(&[0; 8]);
        let key = record.key.as_ref().map_or(0, |_| HAS_KEY);
        let value = record.value.as_ref().map_or(0, |_| HAS_VALUE);
        out.push(key | value);
        put(&mut out, record.key.as_deref().unwrap_or_default());
        out.extend_from_slice(&(record.headers.len() as u32).to_be_bytes());
        for header in &record.headers {
            put(&mut out, header.name.as_bytes());
            put(&mut out, &header.value);
        }
        out.extend_from_slice(record.value.as_deref().unwrap_or_default());
        Self(out)
    }

    /// How many bytes it takes in the log.
    pub(super) fn len(&self) -> usize {
        self.0.len() + CHECKSUM
    }

    /// Completes the record for its place.
    pub(super) fn seal(mut self, key: LogKey, timestamp: i64) -> Vec<u8> {
        self.0[1..9].copy_from_slice(&timestamp.to_be_bytes());
        let checksum = checksum(key, &self.0);
        self.0.extend_from_slice(&checksum.to_be_bytes());
        self.0
    }
}

/// Reads back what [`Draft::seal`] wrote.
pub(super) fn decode_record(key: LogKey, bytes: &Bytes) -> Result<Stored, Corrupt> {
    let fail = |what| Corrupt { what, at: format!("{key:?}") };
    let body = bytes.len().checked_sub(CHECKSUM).ok_or_else(|| fail("a record cut short"))?;
    let (mut rest, mut sum) = (bytes.slice(..body), &bytes[body..]);
    if long(&mut sum) != Some(checksum(key, &rest)) {
        return Err(fail("a record whose checksum does not match"));
    }
    if rest.try_get_u8().ok() != Some(RECORD_VERSION) {
        return Err(fail("a record of an unknown version"));
    }
    decode_body(key.offset, &mut rest).ok_or_else(|| fail("a record that does not decode"))
}

fn decode_body(offset: u64, rest: &mut Bytes) -> Option<Stored> {
    let timestamp = rest.try_get_i64().ok()?;
    let flags = rest.try_get_u8().ok()?;
    let key = take(rest)?;
    let count = rest.try_get_u32().ok()?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = String::from_utf8(take(rest)?.into()).ok()?;
        headers.push(Header { name, value: take(rest)? });
    }
    let record = Record {
        key: (flags & HAS_KEY != 0).then_some(key),
        value: (flags & HAS_VALUE != 0).then(|| std::mem::take(rest)),
        headers,
    };
    Some(Stored { offset, timestamp, record })
}

fn checksum(key: LogKey, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, xxh3_64(&key.encode()))
}

// === bookkeeping ===

/// A key of the bookkeeping keyspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NoteKey<'a> {
    /// The version of the whole format.
    Format,
    /// A topic, by name.
    Topic(&'a str),
    /// A group's generation.
    Group(&'a str),
    /// What a group has committed for a partition of a topic.
    Offset(&'a str, u32, u32),
}

const FORMAT: u8 = 0;
const TOPIC: u8 = 1;
const GROUP: u8 = 2;
const OFFSET: u8 = 3;

impl NoteKey<'_> {
    /// The first byte of every topic's key.
    pub(super) const TOPICS: [u8; 1] = [TOPIC];
    /// The first byte of every group's key.
    pub(super) const GROUPS: [u8; 1] = [GROUP];

    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Format => vec![FORMAT],
            Self::Topic(name) => [&[TOPIC], name.as_bytes()].concat(),
            Self::Group(name) => [&[GROUP], name.as_bytes()].concat(),
            Self::Offset(group, topic, partition) => {
                let mut key = vec![OFFSET];
                put(&mut key, group.as_bytes());
                key.extend_from_slice(&topic.to_be_bytes());
                key.extend_from_slice(&partition.to_be_bytes());
                key
            }
        }
    }

    /// The name in a topic's or group's key.
    pub(super) fn name(key: &[u8]) -> Result<String, Corrupt> {
        let name = key.get(1..).and_then(|name| std::str::from_utf8(name).ok());
        name.map(str::to_owned).ok_or_else(|| corrupt("a name that is no text", key))
    }
}

/// A topic as the log keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TopicNote {
    pub(super) id: u32,
    pub(super) settings: TopicSettings,
}

impl TopicNote {
    pub(super) fn encode(&self) -> Vec<u8> {
        let compacted = if self.settings.compacted { COMPACTED } else { 0 };
        let reserved = if self.settings.reserved { RESERVED } else { 0 };
        let mut out = vec![NOTE_VERSION, compacted | reserved];
        out.extend_from_slice(&self.id.to_be_bytes());
        out.extend_from_slice(&self.settings.partitions.to_be_bytes());
        out.extend_from_slice(&(self.settings.max_record_bytes as u64).to_be_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let decode = |mut rest: &[u8]| {
            version(&mut rest)?;
            let flags = rest.try_get_u8().ok()?;
            let (id, partitions) = (number(&mut rest)?, number(&mut rest)?);
            let max_record_bytes = usize::try_from(long(&mut rest)?).ok()?;
            let (compacted, reserved) = (flags & COMPACTED != 0, flags & RESERVED != 0);
            Some(Self { id, settings: TopicSettings { partitions, max_record_bytes, compacted, reserved } })
        };
        decode(bytes).ok_or_else(|| corrupt("a topic that does not decode", bytes))
    }
}

/// A number kept under a key: the format's version, a group's generation.
pub(super) fn encode_number(number: u64) -> Vec<u8> {
    [&[NOTE_VERSION][..], &number.to_be_bytes()].concat()
}

/// Reads back what [`encode_number`] wrote.
pub(super) fn decode_number(bytes: &[u8]) -> Result<u64, Corrupt> {
    let decode = |mut rest: &[u8]| version(&mut rest).and_then(|()| long(&mut rest));
    decode(bytes).ok_or_else(|| corrupt("a number that does not decode", bytes))
}

/// A committed offset and its metadata.
pub(super) fn encode_offset(offset: u64, metadata: &str) -> Vec<u8> {
    [&[NOTE_VERSION][..], &offset.to_be_bytes(), metadata.as_bytes()].concat()
}

/// Reads back what [`encode_offset`] wrote.
pub(super) fn decode_offset(bytes: &[u8]) -> Result<(u64, String), Corrupt> {
    let decode = |mut rest: &[u8]| {
        version(&mut rest)?;
        Some((long(&mut rest)?, std::str::from_utf8(rest).ok()?.to_owned()))
    };
    decode(bytes).ok_or_else(|| corrupt("an offset that does not decode", bytes))
}

fn version(rest: &mut &[u8]) -> Option<()> {
    (rest.try_get_u8().ok()? == NOTE_VERSION).then_some(())
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    rest.try_get_u32().ok()
}

fn long(rest: &mut &[u8]) -> Option<u64> {
    rest.try_get_u64().ok()
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn take(rest: &mut Bytes) -> Option<Bytes> {
    let len = rest.try_get_u32().ok()? as usize;
    (len <= rest.len()).then(|| rest.split_to(len))
}

fn corrupt(what: &'static str, bytes: &[u8]) -> Corrupt {
    Corrupt { what, at: format!("{:?}", bytes.get(..64).unwrap_or(bytes)) }
}

#[cfg(test)]
mod tests;
