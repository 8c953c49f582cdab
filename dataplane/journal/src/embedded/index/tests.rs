//! An index reads back as it was written, and nothing else reads as one.

use proptest::prelude::*;

use super::*;

const SALT: u64 = 77;
const FRAMES_END: u64 = 4_096;

fn part(partition: u32) -> Part {
    Part { topic: 1, partition }
}

fn chunk(base: u64, len: u32) -> Entry {
    Entry { base, next: base + 3, timestamp: base as i64 * 10, checksum: base ^ 0xabc, at: 40, len, count: 2 }
}

/// Two chunks of one partition, with another's between them.
fn growing() -> Growing {
    let mut index = Growing::default();
    for (partition, base, len) in [(0, 5, 100), (7, 1, 30), (0, 8, 200)] {
        index.add(part(partition), chunk(base, len));
    }
    index
}

fn opened(bytes: &[u8]) -> Option<(Sealed, Vec<Entry>)> {
    let trailer_at = bytes.len().checked_sub(TRAILER)?;
    let trailer = Trailer::decode(&bytes[trailer_at..])?;
    let summaries = trailer.summaries(FRAMES_END + trailer_at as u64)?;
    let from = (summaries.start - FRAMES_END) as usize;
    let sealed = trailer.open(SALT, &bytes[from..trailer_at])?;
    Some((sealed, read_lines(SALT, 0, &bytes[..from])?))
}

#[test]
fn summaries_are_kept_as_chunks_come() {
    let index = growing();
    let first = Summary { first: 5, next: 11, bytes: 300, timestamp: 80, line: 0, count: 2 };
    let other = Summary { first: 1, next: 4, bytes: 30, timestamp: 10, line: 0, count: 1 };
    assert_eq!(index.parts(), [(part(0), first), (part(7), other)]);
    assert_eq!((index.part(part(0)), index.part(part(1))), (Some(first), None));
    assert_eq!((index.len(), index.chunks(part(0)).len(), index.chunks(part(1)).len()), (3, 2, 0));
}

#[test]
fn an_index_reads_back_the_same() {
    for index in [Growing::default(), growing()] {
        let (bytes, kept) = index.seal(SALT, FRAMES_END);
        let (sealed, lines) = opened(&bytes).unwrap();
        assert_eq!(sealed, kept);
        assert_eq!(lines.len(), index.len());
        for (part, summary) in index.parts() {
            let Summary { line, count, .. } = sealed.part(part).unwrap();
            assert_eq!(sealed.part(part), Some(Summary { line, ..summary }));
            assert_eq!(lines[line as usize..(line + count) as usize], *index.chunks(part));
            let at = (line_at(FRAMES_END, line) - FRAMES_END) as usize;
            assert_eq!(read_lines(SALT, line, &bytes[at..at + LINE]).unwrap(), index.chunks(part)[..1]);
        }
        assert_eq!(sealed.part(Part { topic: 0, partition: 0 }), None);
    }
}

#[test]
fn a_line_counts_only_in_its_place() {
    let (bytes, _) = growing().seal(SALT, FRAMES_END);
    assert!(read_lines(SALT, 0, &bytes[..LINE]).is_some());
    assert!(read_lines(SALT, 1, &bytes[..LINE]).is_none());
    assert!(read_lines(SALT + 1, 0, &bytes[..LINE]).is_none());
}

/// What lies where a trailer would may be anything.
#[test]
fn a_trailer_that_cannot_be_is_none() {
    let mut bytes = [0xff; TRAILER];
    assert!(Trailer::decode(&bytes).is_none());
    bytes[..8].copy_from_slice(&MAGIC);
    assert!(Trailer::decode(&bytes[..TRAILER - 1]).is_none());
    let trailer = Trailer::decode(&bytes).unwrap();
    for trailer_at in [0, FRAMES_END, u64::MAX] {
        assert_eq!(trailer.summaries(trailer_at), None);
    }
}

proptest! {
    #[test]
    fn a_changed_bit_is_noticed(at: prop::sample::Index, bit in 0_u8..8) {
        let (mut bytes, _) = growing().seal(SALT, FRAMES_END);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert_eq!(opened(&bytes), None);
    }
}
