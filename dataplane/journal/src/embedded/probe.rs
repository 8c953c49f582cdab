//! The parsers of the log's files, for bytes that no writer of ours wrote: fuzzing hands them anything. Pure.

use super::{codec, frame, notes::Note};
use crate::Stored;

/// The records of a chunk whose first offset is `base`; `None` for what is no chunk.
pub fn chunk(base: u64, bytes: &[u8]) -> Option<Vec<Stored>> {
    codec::records(base, bytes).map(|raw| raw.ok()?.stored().ok()).collect()
}

/// A chunk of these records.
pub fn written(base: u64, records: &[Stored]) -> Vec<u8> {
    let mut out = Vec::new();
    for Stored { offset, timestamp, record } in records {
        let mut draft = codec::Draft::new(record);
        // Within a chunk offsets are counted from its first, in 32 bits.
        draft.seal((offset - base) as u32, *timestamp);
        out.extend_from_slice(draft.bytes());
    }
    out
}

/// Notes as they are written again; `None` for what are none.
pub fn notes(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    Note::decode_all(bytes).ok()?.iter().for_each(|note| note.encode(&mut out));
    Some(out)
}

/// How many chunks a frame at this place lists and how many bytes of notes it has, had it the checksum that belongs to it;
/// `None` for what is no frame.
pub fn frame(salt: u64, at: u64, bytes: &[u8]) -> Option<(usize, usize)> {
    let head = frame::Head::decode(bytes)?;
    let inner = bytes.get(frame::HEAD..)?.get(..head.inner())?;
    let (entries, notes) = head.trusted(salt, at, inner).open(salt, at, inner)?;
    Some((entries.len(), notes.len()))
}
