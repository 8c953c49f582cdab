//! Records as bytes, and chunks of them. Pure.
//!
//! A chunk is a run of records of one partition: `length ‖ delta ‖ timestamp ‖ flags ‖ key ‖ headers ‖ value` each, integers
//! big endian, lengths 32 bit. The delta is the offset's distance from the chunk's first, since offsets have gaps. Who
//! stores a chunk checks its sum, which covers the whole way from an append to its reader.

use bytes::{Buf, Bytes};
use evhub_event::{Header, Record};

use crate::Stored;

const HAS_KEY: u8 = 1;
const HAS_VALUE: u8 = 2;
/// The length, and what only the writer knows: delta and timestamp.
const PREFIX: usize = 4 + 4 + 8;

/// Bytes that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Corrupt(pub(super) String);

/// A partition of a topic, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Part {
    pub(super) topic: u32,
    pub(super) partition: u32,
}

/// A record as its appender encoded it: all but what only the writer knows.
#[derive(Clone, Debug)]
pub(super) struct Draft(Vec<u8>);

impl Draft {
    pub(super) fn new(record: &Record) -> Self {
        let mut out = Vec::with_capacity(record.size() + PREFIX + 16 + 8 * record.headers.len());
        out.extend_from_slice(&[0; PREFIX]);
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
        let rest = (out.len() - 4) as u32;
        out[..4].copy_from_slice(&rest.to_be_bytes());
        Self(out)
    }

    /// A record as it lies in a chunk, to be put into another.
    pub(super) fn copied(raw: &Raw<'_>) -> Self {
        Self(raw.bytes.to_vec())
    }

    /// How many bytes it takes in a chunk.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Completes the record for its place.
    pub(super) fn seal(&mut self, delta: u32, timestamp: i64) {
        self.0[4..8].copy_from_slice(&delta.to_be_bytes());
        self.0[8..PREFIX].copy_from_slice(&timestamp.to_be_bytes());
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A record as it lies in a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a> {
    pub(super) offset: u64,
    pub(super) timestamp: i64,
    bytes: &'a [u8],
}

/// The records of a chunk whose first offset is `base`.
pub(super) fn records(base: u64, chunk: &[u8]) -> impl Iterator<Item = Result<Raw<'_>, Corrupt>> {
    let mut rest = chunk;
    std::iter::from_fn(move || {
        (!rest.is_empty()).then(|| {
            let found = raw(base, &mut rest);
            if found.is_none() {
                rest = &[];
            }
            found.ok_or_else(|| Corrupt(format!("a record of the chunk at offset {base} does not decode")))
        })
    })
}

fn raw<'a>(base: u64, rest: &mut &'a [u8]) -> Option<Raw<'a>> {
    let mut head: &[u8] = rest;
    let len = 4 + head.try_get_u32().ok()? as usize;
    let (delta, timestamp) = (head.try_get_u32().ok()?, head.try_get_i64().ok()?);
    let (bytes, behind) = rest.split_at_checked(len.max(PREFIX))?;
    *rest = behind;
    Some(Raw { offset: base.checked_add(delta.into())?, timestamp, bytes })
}

impl Raw<'_> {
    /// How many bytes it takes in its chunk.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Its key; `None` when it has none.
    pub(super) fn key(&self) -> Option<&[u8]> {
        let mut rest = self.bytes.get(PREFIX..)?;
        let flags = rest.try_get_u8().ok()?;
        let len = rest.try_get_u32().ok()? as usize;
        rest.get(..len).filter(|_| flags & HAS_KEY != 0)
    }

    /// Whether it only says that its key is gone.
    pub(super) fn is_tombstone(&self) -> bool {
        self.bytes.get(PREFIX).is_some_and(|flags| flags & HAS_VALUE == 0)
    }

    /// The record in memory of its own, so that keeping it does not keep its chunk.
    pub(super) fn stored(&self) -> Result<Stored, Corrupt> {
        let mut rest = Bytes::copy_from_slice(self.bytes.get(PREFIX..).unwrap_or_default());
        let record = decode(&mut rest)
            .ok_or_else(|| Corrupt(format!("the record at offset {} does not decode", self.offset)))?;
        Ok(Stored { offset: self.offset, timestamp: self.timestamp, record })
    }
}

fn decode(rest: &mut Bytes) -> Option<Record> {
    let flags = rest.try_get_u8().ok()?;
    let key = take(rest)?;
    let count = rest.try_get_u32().ok()?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = String::from_utf8(take(rest)?.into()).ok()?;
        headers.push(Header { name, value: take(rest)? });
    }
    Some(Record {
        key: (flags & HAS_KEY != 0).then_some(key),
        value: (flags & HAS_VALUE != 0).then(|| std::mem::take(rest)),
        headers,
    })
}

/// Writes bytes with their length before them.
pub(super) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn take(rest: &mut Bytes) -> Option<Bytes> {
    let len = rest.try_get_u32().ok()? as usize;
    (len <= rest.len()).then(|| rest.split_to(len))
}

#[cfg(test)]
mod tests;
