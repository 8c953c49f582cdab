//! What the log's files hold. An input is a chunk of records, notes, or a frame: each is refused or read, and what is read is
//! written so that it reads the same.

use evhub_journal::embedded::probe;

use super::parts::Parts;

pub(crate) fn run(data: &[u8]) {
    let mut parts = Parts(data);
    match parts.byte() % 3 {
        0 => chunk(parts.number(), parts.rest()),
        1 => notes(parts.rest()),
        // No segment is longer than can be said in 32 bits.
        _ => frame(parts.number(), parts.number() >> 32, parts.rest()),
    }
}

fn chunk(base: u64, bytes: &[u8]) {
    let Some(records) = probe::chunk(base, bytes) else { return };
    assert!(records.iter().all(|stored| stored.offset >= base), "no record lies before its chunk");
    assert_eq!(probe::chunk(base, &probe::written(base, &records)), Some(records));
}

fn notes(bytes: &[u8]) {
    if let Some(written) = probe::notes(bytes) {
        assert_eq!(probe::notes(&written).as_ref(), Some(&written));
    }
}

fn frame(salt: u64, at: u64, bytes: &[u8]) {
    if let Some((chunks, notes)) = probe::frame(salt, at, bytes) {
        assert!(
            chunks + notes <= bytes.len(),
            "{chunks} chunks and {notes} bytes of notes in {}",
            bytes.len()
        );
    }
}
