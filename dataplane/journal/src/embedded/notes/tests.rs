//! What the log knows reads back the same, one by one and as a whole.

use proptest::{collection::vec, option, prelude::*};

use super::*;

fn part() -> impl Strategy<Value = Part> {
    (0..3_u32, 0..4_u32).prop_map(|(topic, partition)| Part { topic, partition })
}

fn settings() -> impl Strategy<Value = TopicSettings> {
    (any::<u32>(), any::<bool>(), option::of(0..u64::from(u32::MAX)), option::of(0..u64::MAX / 2)).prop_map(
        |(max, flag, retention, retention_bytes)| TopicSettings {
            // It never shrinks.
            partitions: 4,
            max_record_bytes: max as usize,
            compacted: flag,
            retention: retention.map(Duration::from_millis),
            retention_bytes,
            reserved: !flag,
            ..TopicSettings::default()
        },
    )
}

fn note() -> impl Strategy<Value = Note> {
    prop_oneof![
        // A topic keeps its number.
        (0..3_u32, settings())
            .prop_map(|(id, settings)| Note::Topic(format!("t{id}"), TopicNote { id, settings })),
        (".{0,9}", any::<u64>()).prop_map(|(name, number)| Note::Group(name, number)),
        (".{0,9}", part(), any::<u64>(), ".{0,50}").prop_map(|(group, part, offset, text)| {
            Note::Offset(group, part, Mark { offset, metadata: text.into() })
        }),
        (".{0,9}", any::<u64>()).prop_map(|(name, number)| Note::Producer(name, number)),
        (part(), any::<u64>()).prop_map(|(part, start)| Note::Start(part, start)),
        (part(), any::<u64>(), any::<i64>()).prop_map(|(part, next, time)| Note::Tip(part, next, time)),
    ]
}

fn encoded(notes: &[Note]) -> Vec<u8> {
    let mut out = Vec::new();
    for note in notes {
        note.encode(&mut out);
    }
    out
}

proptest! {
    #[test]
    fn notes_read_back_the_same(notes in vec(note(), 0..20)) {
        prop_assert_eq!(Note::decode_all(&encoded(&notes)).unwrap(), notes);
    }

    #[test]
    fn what_is_cut_short_is_noticed(note in note(), cut: prop::sample::Index) {
        let whole = encoded(&[note]);
        let cut = cut.index(whole.len());
        prop_assume!(cut > 0);
        prop_assert!(Note::decode_all(&whole[..cut]).is_err());
    }

    /// So a manifest may hold more than the frames that are read over it.
    #[test]
    fn what_is_read_twice_changes_nothing(notes in vec(note(), 0..20)) {
        let mut image = Image::default();
        notes.iter().cloned().for_each(|note| image.apply(note));
        let mut again = Image::default();
        Note::decode_all(&encoded(&image.notes())).unwrap().into_iter().for_each(|note| again.apply(note));
        prop_assert_eq!(&again, &image);
        let grown = notes.iter().filter(|note| !matches!(note, Note::Start(..) | Note::Tip(..))).cloned();
        grown.for_each(|note| again.apply(note));
        prop_assert_eq!(again, image);
    }
}
