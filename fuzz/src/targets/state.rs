//! What a worker reads back of its own: parked deliveries, dead letters, and what travels with a committed offset. Each is
//! refused or read, and what is read is written the same.

use bytes::Bytes;
use evhub_dispatch::{
    dead::DeadLetter,
    parked::{self, Parked},
    protocol::Metadata,
};

use super::{parts::Parts, record::record};

pub(crate) fn run(data: &[u8]) {
    let mut parts = Parts(data);
    match parts.byte() % 3 {
        0 => metadata(&mut parts),
        1 => parked(&mut parts),
        _ => dead(&mut parts),
    }
}

fn metadata(parts: &mut Parts<'_>) {
    let offset = parts.number();
    let Ok(text) = std::str::from_utf8(parts.rest()) else { return };
    if let Ok(metadata) = Metadata::decode(text, offset) {
        assert_eq!(Metadata::decode(&metadata.encode(offset), offset), Ok(metadata));
    }
}

fn parked(parts: &mut Parts<'_>) {
    let record = record(parts);
    if let Some(key) = record.key.as_deref().and_then(|key| parked::decode_key("uid", key)) {
        assert_eq!(parked::decode_key("uid", &parked::encode_key("uid", key)), Some(key));
    }
    let written = |parked: Parked| parked.encode(Bytes::from_static(b"key"));
    if let Ok(parked) = Parked::decode(&record) {
        // Of an event without a value, which nobody parks, an empty one is written.
        let again = Parked::decode(&written(parked)).expect("what is written reads");
        let same = Parked::decode(&written(again.clone())).expect("what is written reads");
        assert_eq!(same, again);
    }
}

fn dead(parts: &mut Parts<'_>) {
    let record = record(parts);
    if let Ok((letter, event)) = DeadLetter::decode(&record) {
        let (again, same) = DeadLetter::decode(&letter.encode(event.clone())).expect("what is written reads");
        assert_eq!((again, same), (letter, event));
    }
}
