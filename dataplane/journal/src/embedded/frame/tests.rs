//! A frame reads back as it was written, and nothing else reads as a frame.

use evhub_event::Record;
use proptest::prelude::*;

use super::{super::codec, *};

const SALT: u64 = 77;

fn chunks(counts: &[(u32, usize)]) -> Chunks {
    let mut chunks = Chunks::new();
    for (partition, count) in counts {
        let list = chunks.entry(Part { topic: 1, partition: *partition }).or_default();
        for offset in 0..*count as u64 {
            let value = Some(vec![*partition as u8; 900].into());
            add(list, 10 + offset * 2, 5, Draft::new(&Record { value, ..Record::default() }));
        }
        skip(list, 10, 10 + 2 * *count as u64 + 1, 5);
    }
    chunks
}

fn frame(at: u64, notes: &[u8], counts: &[(u32, usize)]) -> (Vec<u8>, Vec<(Part, Entry)>) {
    let mut out = Vec::new();
    let entries = encode(&mut out, SALT, at, notes, &chunks(counts));
    (out, entries)
}

#[test]
fn a_frame_reads_back_the_same() {
    for counts in [&[][..], &[(0, 1)], &[(0, 100), (1, 0), (7, 3)]] {
        let (bytes, entries) = frame(4_096, b"notes", counts);
        let head = Head::decode(&bytes).unwrap();
        assert_eq!(head.len(), bytes.len() as u64);
        let (read, notes) = head.open(SALT, 4_096, &bytes[HEAD..HEAD + head.inner()]).unwrap();
        assert_eq!((read, notes), (entries.clone(), &b"notes"[..]));
        let mut seen = 0;
        for (part, entry) in &entries {
            let from = entry.at as usize - 4_096;
            let body = &bytes[from..from + entry.len as usize];
            assert_eq!(body_checksum(SALT, *part, entry.base, body), entry.checksum);
            assert!(entry.len as usize <= CHUNK_BYTES);
            seen += codec::records(entry.base, body).map(Result::unwrap).count();
        }
        assert_eq!(seen, counts.iter().map(|(_, count)| count).sum::<usize>());
    }
}

#[test]
fn a_large_record_has_a_chunk_of_its_own() {
    let mut list = Vec::new();
    for (offset, size) in [(0, 10), (1, CHUNK_BYTES * 2), (2, 10)] {
        let value = Some(vec![0; size].into());
        add(&mut list, offset, 0, Draft::new(&Record { value, ..Record::default() }));
    }
    assert_eq!(
        list.iter().map(|chunk| (chunk.base, chunk.next)).collect::<Vec<_>>(),
        [(0, 1), (1, 2), (2, 3)]
    );
}

proptest! {
    #[test]
    fn a_changed_byte_or_place_or_salt_is_noticed(at: prop::sample::Index, bit in 0_u8..8) {
        let (mut bytes, entries) = frame(4_096, b"notes", &[(0, 5), (1, 2)]);
        let head = Head::decode(&bytes).unwrap();
        let inner = bytes[HEAD..HEAD + head.inner()].to_vec();
        prop_assert!(head.open(SALT, 4_097, &inner).is_none());
        prop_assert!(head.open(SALT + 1, 4_096, &inner).is_none());
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let opened = Head::decode(&bytes).is_some_and(|head| {
            let inner = bytes.get(HEAD..HEAD.saturating_add(head.inner()));
            inner.is_some_and(|inner| head.open(SALT, 4_096, inner).is_some())
        });
        let bodies = entries.iter().all(|(part, entry)| {
            let from = entry.at as usize - 4_096;
            body_checksum(SALT, *part, entry.base, &bytes[from..from + entry.len as usize]) == entry.checksum
        });
        prop_assert!(!(opened && bodies), "byte {at} bit {bit}");
    }
}
