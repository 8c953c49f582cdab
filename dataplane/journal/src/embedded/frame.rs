//! Frames: what one group commit writes, whole or not at all. Pure.
//!
//! `magic ‖ chunks ‖ length of the notes ‖ length of the bodies ‖ checksum`, a directory of the chunks, the notes, the
//! bodies; integers big endian. The checksum covers head, directory and notes, and the directory holds each body's own, so
//! a reader of one chunk checks just that. Sums are seeded with the segment's salt and the place: bytes that turn up
//! elsewhere are recognised as well as bytes that changed, and nobody can write an event that looks like a frame.

use bytes::Buf;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::codec::{Draft, Part};

/// What a frame begins with.
pub(super) const MAGIC: [u8; 4] = *b"EvF2";
/// The bytes of a frame's head.
pub(super) const HEAD: usize = 24;
/// The bytes that one chunk takes in a directory.
const LISTED: usize = 48;
/// A chunk is closed when it has reached this size: what is read and checked to get at one record.
pub(super) const CHUNK_BYTES: usize = 32 << 10;

/// Records of one partition that lie together.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) base: u64,
    /// The first offset after it, gaps included.
    pub(super) next: u64,
    pub(super) timestamp: i64,
    drafts: Vec<Draft>,
    len: usize,
}

/// Where a chunk lies in its segment, and how to tell that it is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) base: u64,
    pub(super) next: u64,
    /// Of its last record.
    pub(super) timestamp: i64,
    pub(super) checksum: u64,
    pub(super) at: u32,
    pub(super) len: u32,
    pub(super) count: u32,
}

/// The chunks of a frame to be, by partition and in order.
pub(super) type Chunks = std::collections::BTreeMap<Part, Vec<Chunk>>;

/// Adds a record, in order.
pub(super) fn add(chunks: &mut Vec<Chunk>, offset: u64, timestamp: i64, mut draft: Draft) {
    let delta = |chunk: &Chunk| u32::try_from(offset - chunk.base).ok();
    let fits = |chunk: &Chunk| chunk.len + draft.len() <= CHUNK_BYTES && delta(chunk).is_some();
    if !chunks.last().is_some_and(fits) {
        chunks.push(Chunk { base: offset, next: offset, timestamp, drafts: Vec::new(), len: 0 });
    }
    let Some(chunk) = chunks.last_mut() else { return };
    draft.seal((offset - chunk.base) as u32, timestamp);
    (chunk.next, chunk.timestamp) = (offset + 1, timestamp);
    chunk.len += draft.len();
    chunk.drafts.push(draft);
}

/// Leaves out the offsets up to this one.
pub(super) fn skip(chunks: &mut Vec<Chunk>, from: u64, next: u64, timestamp: i64) {
    match chunks.last_mut() {
        Some(chunk) => chunk.next = next,
        None => chunks.push(Chunk { base: from, next, timestamp, drafts: Vec::new(), len: 0 }),
    }
}

/// Writes a frame that will lie at `at`, and gives back what an index must know of it.
pub(super) fn encode(
    out: &mut Vec<u8>,
    salt: u64,
    at: u64,
    notes: &[u8],
    chunks: &Chunks,
) -> Vec<(Part, Entry)> {
    out.clear();
    let listed = || chunks.iter().flat_map(|(part, chunks)| chunks.iter().map(move |chunk| (*part, chunk)));
    let (count, bodies) = listed().fold((0, 0), |(count, bytes), (_, chunk)| (count + 1, bytes + chunk.len));
    let body_at = HEAD + count * LISTED + notes.len();
    out.reserve(body_at + bodies);
    out.resize(HEAD + count * LISTED, 0);
    out.extend_from_slice(notes);
    let mut entries = Vec::with_capacity(count);
    for (part, chunk) in listed() {
        let from = out.len();
        for draft in &chunk.drafts {
            out.extend_from_slice(draft.bytes());
        }
        let Chunk { base, next, timestamp, .. } = *chunk;
        let checksum = body_checksum(salt, part, base, &out[from..]);
        let (len, count) = (chunk.len as u32, chunk.drafts.len() as u32);
        entries.push((
            part,
            Entry { base, next, timestamp, checksum, at: (at + from as u64) as u32, len, count },
        ));
    }
    for ((part, entry), place) in entries.iter().zip(out[HEAD..].chunks_exact_mut(LISTED)) {
        place.copy_from_slice(&list(*part, entry));
    }
    out[..4].copy_from_slice(&MAGIC);
    out[4..8].copy_from_slice(&(count as u32).to_be_bytes());
    out[8..12].copy_from_slice(&(notes.len() as u32).to_be_bytes());
    out[12..16].copy_from_slice(&(bodies as u32).to_be_bytes());
    let sum = head_checksum(salt, at, &out[..16], &out[HEAD..body_at]);
    out[16..HEAD].copy_from_slice(&sum.to_be_bytes());
    entries
}

/// Chunks as an index knows them.
pub(super) type Entries = Vec<(Part, Entry)>;

/// A frame's head: how much follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    chunks: usize,
    notes: usize,
    bodies: usize,
    checksum: u64,
    bytes: [u8; 16],
}

impl Head {
    /// Reads a head; `None` for what is none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.get(..HEAD)?.strip_prefix(&MAGIC)?;
        let mut number = || rest.get_u32() as usize;
        let (chunks, notes, bodies) = (number(), number(), number());
        let checksum = rest.get_u64();
        Some(Self { chunks, notes, bodies, checksum, bytes: bytes.get(..16)?.try_into().ok()? })
    }

    /// The same with the checksum that would belong to what follows it.
    pub(super) fn trusted(self, salt: u64, at: u64, inner: &[u8]) -> Self {
        Self { checksum: head_checksum(salt, at, &self.bytes, inner), ..self }
    }

    /// How many bytes of directory and notes follow the head.
    pub(super) fn inner(&self) -> usize {
        self.chunks.saturating_mul(LISTED).saturating_add(self.notes)
    }

    /// The whole frame's length.
    pub(super) fn len(&self) -> u64 {
        (HEAD as u64).saturating_add(self.inner() as u64).saturating_add(self.bodies as u64)
    }

    /// What the directory lists, and the notes; `None` when they are not what was written here. The bodies are not looked
    /// at.
    pub(super) fn open<'a>(&self, salt: u64, at: u64, inner: &'a [u8]) -> Option<(Entries, &'a [u8])> {
        let whole =
            inner.len() == self.inner() && head_checksum(salt, at, &self.bytes, inner) == self.checksum;
        let (listed, notes) = whole.then(|| inner.split_at_checked(self.chunks * LISTED))??;
        let mut entries = Vec::with_capacity(self.chunks);
        let mut body = at + (HEAD + inner.len()) as u64;
        for listed in listed.chunks_exact(LISTED) {
            let (part, entry) = unlist(listed, u32::try_from(body).ok()?);
            body += u64::from(entry.len);
            entries.push((part, entry));
        }
        Some((entries, notes))
    }
}

/// How a chunk stands in a directory; where it lies follows from the order.
fn list(part: Part, entry: &Entry) -> [u8; LISTED] {
    let mut out = [0; LISTED];
    out[..4].copy_from_slice(&part.topic.to_be_bytes());
    out[4..8].copy_from_slice(&part.partition.to_be_bytes());
    out[8..16].copy_from_slice(&entry.base.to_be_bytes());
    out[16..24].copy_from_slice(&entry.next.to_be_bytes());
    out[24..32].copy_from_slice(&entry.timestamp.to_be_bytes());
    out[32..40].copy_from_slice(&entry.checksum.to_be_bytes());
    out[40..44].copy_from_slice(&entry.len.to_be_bytes());
    out[44..].copy_from_slice(&entry.count.to_be_bytes());
    out
}

fn unlist(mut rest: &[u8], at: u32) -> (Part, Entry) {
    let part = Part { topic: rest.get_u32(), partition: rest.get_u32() };
    let (base, next, timestamp) = (rest.get_u64(), rest.get_u64(), rest.get_i64());
    let checksum = rest.get_u64();
    let (len, count) = (rest.get_u32(), rest.get_u32());
    (part, Entry { base, next, timestamp, checksum, at, len, count })
}

/// The checksum of a chunk's body, bound to its segment and place.
pub(super) fn body_checksum(salt: u64, Part { topic, partition }: Part, base: u64, body: &[u8]) -> u64 {
    let mut place = [0; 16];
    place[..4].copy_from_slice(&topic.to_be_bytes());
    place[4..8].copy_from_slice(&partition.to_be_bytes());
    place[8..].copy_from_slice(&base.to_be_bytes());
    xxh3_64_with_seed(body, xxh3_64(&place) ^ salt)
}

fn head_checksum(salt: u64, at: u64, head: &[u8], inner: &[u8]) -> u64 {
    let seed = xxh3_64_with_seed(head, salt ^ at.rotate_left(32));
    xxh3_64_with_seed(inner, seed)
}

#[cfg(test)]
mod tests;
