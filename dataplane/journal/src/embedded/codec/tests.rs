//! Everything that is written reads back the same, and nothing else reads back.

use proptest::{collection::vec, option, prelude::*};

use super::*;

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn record() -> impl Strategy<Value = Record> {
    let header = (".{0,20}", bytes(40)).prop_map(|(name, value)| Header { name, value });
    (option::of(bytes(40)), option::of(bytes(300)), vec(header, 0..5))
        .prop_map(|(key, value, headers)| Record { key, value, headers })
}

fn key() -> impl Strategy<Value = LogKey> {
    any::<(u32, u32, u64)>().prop_map(|(topic, partition, offset)| LogKey { topic, partition, offset })
}

proptest! {
    #[test]
    fn a_record_reads_back_the_same(record in record(), key in key(), timestamp: i64) {
        let draft = Draft::new(&record);
        let len = draft.len();
        let bytes = Bytes::from(draft.seal(key, timestamp));
        prop_assert_eq!(bytes.len(), len);
        let stored = decode_record(key, &bytes).unwrap();
        prop_assert_eq!(stored, Stored { offset: key.offset, timestamp, record });
    }

    #[test]
    fn a_changed_byte_or_place_is_noticed(record in record(), key in key(), at: prop::sample::Index, bit in 0_u8..8) {
        let mut bytes = Draft::new(&record).seal(key, 7);
        let moved = LogKey { offset: key.offset ^ 1, ..key };
        prop_assert!(decode_record(moved, &Bytes::from(bytes.clone())).is_err());
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert!(decode_record(key, &Bytes::from(bytes)).is_err());
    }

    #[test]
    fn a_record_cut_short_is_noticed(record in record(), key in key(), cut: prop::sample::Index) {
        let bytes = Bytes::from(Draft::new(&record).seal(key, 7));
        let cut = cut.index(bytes.len());
        prop_assert!(decode_record(key, &bytes.slice(..cut)).is_err());
    }

    #[test]
    fn keys_sort_as_the_log_does(a in key(), b in key()) {
        prop_assert_eq!(a.cmp(&b), a.encode().cmp(&b.encode()));
        prop_assert_eq!(LogKey::decode(&a.encode()).unwrap(), a);
    }

    #[test]
    fn an_offset_reads_back_the_same(offset: u64, metadata in ".{0,50}") {
        prop_assert_eq!(decode_offset(&encode_offset(offset, &metadata)).unwrap(), (offset, metadata));
    }

    #[test]
    fn a_topic_reads_back_the_same(id: u32, partitions: u32, max: u32, compacted: bool, reserved: bool) {
        let settings = TopicSettings { partitions, max_record_bytes: max as usize, compacted, reserved };
        let note = TopicNote { id, settings };
        prop_assert_eq!(TopicNote::decode(&note.encode()).unwrap(), note);
    }

    #[test]
    fn no_two_offsets_share_a_key(a: (String, u32, u32), b: (String, u32, u32)) {
        let encode = |x: &(String, u32, u32)| NoteKey::Offset(&x.0, x.1, x.2).encode();
        prop_assert_eq!(a == b, encode(&a) == encode(&b));
    }
}

#[test]
fn garbage_is_refused() {
    let key = LogKey { topic: 1, partition: 2, offset: 3 };
    assert!(decode_record(key, &Bytes::new()).is_err());
    assert!(decode_record(key, &Bytes::from_static(&[0; 64])).is_err());
    assert!(LogKey::decode(&[0; 15]).is_err());
    assert!(LogKey::decode(&[0; 17]).is_err());
    assert!(decode_number(&[2, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    assert!(TopicNote::decode(&[1, 0]).is_err());
}
