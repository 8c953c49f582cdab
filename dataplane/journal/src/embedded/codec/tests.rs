//! Everything that is written reads back the same, and what is cut short does not read back.

use proptest::{collection::vec, option, prelude::*};

use super::*;

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

pub(in super::super) fn record() -> impl Strategy<Value = Record> {
    let header = (".{0,20}", bytes(40)).prop_map(|(name, value)| Header { name, value });
    (option::of(bytes(40)), option::of(bytes(300)), vec(header, 0..5))
        .prop_map(|(key, value, headers)| Record { key, value, headers })
}

/// These records, each with its distance from the first and its time, as one chunk.
fn chunk(records: &[(u32, i64, Record)]) -> Vec<u8> {
    let one = |(delta, timestamp, record): &(u32, i64, Record)| {
        let mut draft = Draft::new(record);
        draft.seal(*delta, *timestamp);
        draft.bytes().to_vec()
    };
    records.iter().flat_map(one).collect()
}

proptest! {
    #[test]
    fn a_chunk_reads_back_the_same(sent in vec((0..1_000_u32, any::<i64>(), record()), 0..6), base in 0..u64::MAX / 2) {
        let chunk = chunk(&sent);
        let read: Vec<Stored> = records(base, &chunk).map(|raw| raw.unwrap().stored().unwrap()).collect();
        let expected: Vec<Stored> = sent.iter().cloned().map(|(delta, timestamp, record)| {
            Stored { offset: base + u64::from(delta), timestamp, record }
        }).collect();
        prop_assert_eq!(read, expected);
        for (raw, (_, _, record)) in records(base, &chunk).zip(&sent) {
            let raw = raw.unwrap();
            prop_assert_eq!(raw.key(), record.key.as_deref());
            prop_assert_eq!(raw.is_tombstone(), record.value.is_none());
            prop_assert_eq!(Draft::copied(&raw).len(), raw.len());
        }
    }

    #[test]
    fn a_record_cut_short_does_not_read_back(record in record(), cut: prop::sample::Index) {
        let whole = chunk(&[(0, 7, record)]);
        let cut = cut.index(whole.len());
        prop_assume!(cut > 0);
        prop_assert!(records(0, &whole[..cut]).all(|raw| raw.is_err()));
    }

    #[test]
    fn garbage_ends(garbage in vec(any::<u8>(), 0..200)) {
        for raw in records(u64::MAX, &garbage).flatten() {
            let _ = (raw.key().is_some(), raw.stored());
        }
    }
}
