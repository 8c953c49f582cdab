//! Which chunks a segment has of each partition: all in memory while it is written, behind its frames once it is sealed.
//! Pure.
//!
//! Behind the frames lie a line for each chunk, partition by partition, a summary for each partition, and the trailer: `magic ‖
//! where the frames end ‖ lines ‖ summaries ‖ checksum`, integers big endian. That checksum covers summaries and trailer. Lines
//! are looked at a few at a time, so each has its own, bound to its number. All sums are seeded with the segment's salt, so
//! no event can pass for an index.

use std::{collections::BTreeMap, ops::Range};

use bytes::Buf;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{codec::Part, frame::Entry};

/// The bytes of a chunk's line.
pub(super) const LINE: usize = 48;
/// The bytes of a partition's summary.
pub(super) const SUMMARY: usize = 48;
/// The bytes of an index' trailer.
pub(super) const TRAILER: usize = 32;
/// What it begins with.
pub(super) const MAGIC: [u8; 8] = *b"evhubix2";
/// The bytes of a line, and of a trailer, that their checksums cover.
const LINE_BODY: usize = LINE - 4;
const TRAILER_BODY: usize = TRAILER - 8;

/// What a segment holds of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) bytes: u64,
    /// Of its last record.
    pub(super) timestamp: i64,
    /// The number of its first line, and how many it has.
    pub(super) line: u32,
    pub(super) count: u32,
}

/// The index of a segment that is written.
#[derive(Debug, Default)]
pub(super) struct Growing {
    parts: BTreeMap<Part, Held>,
    chunks: usize,
}

#[derive(Debug)]
struct Held {
    /// Kept as chunks come: readers ask for it far more often.
    summary: Summary,
    chunks: Vec<Entry>,
}

/// What memory keeps of the index of a segment that is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) parts: Vec<(Part, Summary)>,
    pub(super) frames_end: u64,
}

/// How an index ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    frames_end: u64,
    lines: u32,
    parts: u32,
    checksum: u64,
    body: [u8; TRAILER_BODY],
}

impl Growing {
    pub(super) fn add(&mut self, part: Part, chunk: Entry) {
        self.chunks += 1;
        let held = self.parts.entry(part).or_insert_with(|| Held {
            summary: Summary {
                first: chunk.base,
                next: chunk.base,
                bytes: 0,
                timestamp: 0,
                line: 0,
                count: 0,
            },
            chunks: Vec::new(),
        });
        (held.summary.next, held.summary.timestamp) = (chunk.next, chunk.timestamp);
        held.summary.bytes += u64::from(chunk.len);
        held.summary.count += 1;
        held.chunks.push(chunk);
    }

    pub(super) fn part(&self, part: Part) -> Option<Summary> {
        self.parts.get(&part).map(|held| held.summary)
    }

    pub(super) fn parts(&self) -> Vec<(Part, Summary)> {
        self.parts.iter().map(|(part, held)| (*part, held.summary)).collect()
    }

    /// A partition's chunks, in order.
    pub(super) fn chunks(&self, part: Part) -> &[Entry] {
        self.parts.get(&part).map_or(&[], |held| held.chunks.as_slice())
    }

    /// How many chunks there are.
    pub(super) fn len(&self) -> usize {
        self.chunks
    }

    /// What is to lie behind the frames, which end there, and what memory keeps of it.
    pub(super) fn seal(&self, salt: u64, frames_end: u64) -> (Vec<u8>, Sealed) {
        let mut out = Vec::with_capacity(self.chunks * LINE + self.parts.len() * SUMMARY + TRAILER);
        let mut parts = Vec::with_capacity(self.parts.len());
        let mut number = 0;
        for (part, held) in &self.parts {
            parts.push((*part, Summary { line: number, ..held.summary }));
            for chunk in &held.chunks {
                out.extend_from_slice(&write_line(salt, number, chunk));
                number += 1;
            }
        }
        let summaries_at = out.len();
        for (part, summary) in &parts {
            write_summary(&mut out, *part, summary);
        }
        let summaries = out.get(summaries_at..).unwrap_or_default();
        let trailer = write_trailer(salt, frames_end, number, summaries);
        out.extend_from_slice(&trailer);
        (out, Sealed { parts, frames_end })
    }
}

impl Sealed {
    pub(super) fn part(&self, part: Part) -> Option<Summary> {
        let at = self.parts.binary_search_by_key(&part, |(part, _)| *part).ok()?;
        self.parts.get(at).map(|(_, summary)| *summary)
    }
}

impl Trailer {
    /// Reads a trailer; `None` for what is none. Nothing it says has been checked yet.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let body = bytes.first_chunk::<TRAILER_BODY>()?;
        let mut rest = bytes.get(..TRAILER)?.strip_prefix(&MAGIC)?;
        let (frames_end, lines, parts) = (rest.get_u64(), rest.get_u32(), rest.get_u32());
        Some(Self { frames_end, lines, parts, checksum: rest.get_u64(), body: *body })
    }

    /// Where the summaries lie if the trailer lies there; `None` when that cannot be.
    pub(super) fn summaries(&self, trailer_at: u64) -> Option<Range<u64>> {
        let bytes = |count: u32, each: usize| u64::from(count).checked_mul(each as u64);
        let from = self.frames_end.checked_add(bytes(self.lines, LINE)?)?;
        let to = from.checked_add(bytes(self.parts, SUMMARY)?)?;
        (to == trailer_at).then_some(from..to)
    }

    /// The index, if it is what was written.
    pub(super) fn open(&self, salt: u64, summaries: &[u8]) -> Option<Sealed> {
        let whole = trailer_checksum(salt, &self.body, summaries) == self.checksum;
        let parts = summaries.chunks_exact(SUMMARY).map(read_summary).collect();
        whole.then_some(Sealed { parts, frames_end: self.frames_end })
    }
}

/// Where a line lies.
pub(super) fn line_at(frames_end: u64, number: u32) -> u64 {
    frames_end + u64::from(number) * LINE as u64
}

/// The lines that lie there, the first of this number; `None` when one is not what was written.
pub(super) fn read_lines(salt: u64, first: u32, bytes: &[u8]) -> Option<Vec<Entry>> {
    (first..).zip(bytes.chunks_exact(LINE)).map(|(number, line)| read_line(salt, number, line)).collect()
}

fn write_line(salt: u64, number: u32, chunk: &Entry) -> [u8; LINE] {
    let mut out = [0; LINE];
    out[..8].copy_from_slice(&chunk.base.to_be_bytes());
    out[8..16].copy_from_slice(&chunk.next.to_be_bytes());
    out[16..24].copy_from_slice(&chunk.timestamp.to_be_bytes());
    out[24..32].copy_from_slice(&chunk.checksum.to_be_bytes());
    out[32..36].copy_from_slice(&chunk.at.to_be_bytes());
    out[36..40].copy_from_slice(&chunk.len.to_be_bytes());
    out[40..LINE_BODY].copy_from_slice(&chunk.count.to_be_bytes());
    let sum = line_checksum(salt, number, &out[..LINE_BODY]);
    out[LINE_BODY..].copy_from_slice(&sum.to_be_bytes());
    out
}

fn read_line(salt: u64, number: u32, line: &[u8]) -> Option<Entry> {
    let (body, mut sum) = line.split_at_checked(LINE_BODY)?;
    let whole = sum.try_get_u32().ok()? == line_checksum(salt, number, body);
    let mut rest = whole.then_some(body)?;
    let (base, next, timestamp) = (rest.get_u64(), rest.get_u64(), rest.get_i64());
    let checksum = rest.get_u64();
    let (at, len, count) = (rest.get_u32(), rest.get_u32(), rest.get_u32());
    Some(Entry { base, next, timestamp, checksum, at, len, count })
}

/// Half of a sum is enough for so few bytes.
fn line_checksum(salt: u64, number: u32, body: &[u8]) -> u32 {
    xxh3_64_with_seed(body, salt.wrapping_add(number.into())) as u32
}

fn write_summary(out: &mut Vec<u8>, part: Part, summary: &Summary) {
    out.extend_from_slice(&part.topic.to_be_bytes());
    out.extend_from_slice(&part.partition.to_be_bytes());
    out.extend_from_slice(&summary.first.to_be_bytes());
    out.extend_from_slice(&summary.next.to_be_bytes());
    out.extend_from_slice(&summary.bytes.to_be_bytes());
    out.extend_from_slice(&summary.timestamp.to_be_bytes());
    out.extend_from_slice(&summary.line.to_be_bytes());
    out.extend_from_slice(&summary.count.to_be_bytes());
}

fn read_summary(mut rest: &[u8]) -> (Part, Summary) {
    let part = Part { topic: rest.get_u32(), partition: rest.get_u32() };
    let (first, next, bytes) = (rest.get_u64(), rest.get_u64(), rest.get_u64());
    let timestamp = rest.get_i64();
    (part, Summary { first, next, bytes, timestamp, line: rest.get_u32(), count: rest.get_u32() })
}

fn write_trailer(salt: u64, frames_end: u64, lines: u32, summaries: &[u8]) -> [u8; TRAILER] {
    let mut out = [0; TRAILER];
    let parts = (summaries.len() / SUMMARY) as u32;
    out[..8].copy_from_slice(&MAGIC);
    out[8..16].copy_from_slice(&frames_end.to_be_bytes());
    out[16..20].copy_from_slice(&lines.to_be_bytes());
    out[20..TRAILER_BODY].copy_from_slice(&parts.to_be_bytes());
    let sum = trailer_checksum(salt, &out[..TRAILER_BODY], summaries);
    out[TRAILER_BODY..].copy_from_slice(&sum.to_be_bytes());
    out
}

fn trailer_checksum(salt: u64, body: &[u8], summaries: &[u8]) -> u64 {
    xxh3_64_with_seed(summaries, xxh3_64_with_seed(body, salt))
}

#[cfg(test)]
mod tests;
