//! The claim on a partition, and the commit metadata that carries it beside the completed offsets. Pure.
//!
//! The metadata is base64 over a version byte and varints, at most [`Metadata::MAX`] characters, so that it fits a
//! broker's 4,096 bytes with room to spare. The same claim travels with the commit of every source, so that one that
//! leaves the Processor does not take it along.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD as BASE64};

/// The right to work a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Rises with every claim.
    pub epoch: u64,
    /// Told apart from every other claim by this, even where epochs were lost.
    pub nonce: u64,
    /// The end of the `.state` topic when the claim was made: what lies behind it under a lower epoch is a zombie's.
    pub floor: u64,
    /// Nothing below it in the `.state` topic is of interest.
    pub low: u64,
    /// The `.state` topic's end as far as its owner knows: everything that a commit relies on lies below. Whoever is told of an
    /// earlier end asks a log that is behind.
    pub high: u64,
    /// `.state` offsets, ascending, that are finished, replaced or discarded and whose tombstone is not yet acknowledged.
    pub dead: Vec<u64>,
}

/// What travels with a committed offset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// The claim.
    pub claim: Claim,
    /// Runs `[from, to)` of resolved offsets above the committed one, ascending and disjoint.
    pub completed: Vec<(u64, u64)>,
}

/// Metadata that is not ours, or not of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the committed metadata is not a claim of this version")]
pub struct Unreadable;

const VERSION: u8 = 2;

impl Metadata {
    /// The longest form, in characters.
    pub const MAX: usize = 3_500;

    /// The committed form, for a commit at `offset`; ascending runs and dead offsets compress to their differences.
    pub fn encode(&self, offset: u64) -> String {
        let mut bytes = vec![VERSION];
        let Claim { epoch, nonce, floor, low, high, ref dead } = self.claim;
        for value in [epoch, nonce, floor, low, high, dead.len() as u64] {
            put(&mut bytes, value);
        }
        let mut at = 0;
        for dead in dead {
            put(&mut bytes, dead - at);
            at = *dead;
        }
        at = offset;
        for &(from, to) in &self.completed {
            put(&mut bytes, from - at);
            put(&mut bytes, to - from);
            at = to;
        }
        BASE64.encode(bytes)
    }

    /// Reads the committed form back.
    pub fn decode(text: &str, offset: u64) -> Result<Self, Unreadable> {
        let bytes = BASE64.decode(text).map_err(|_| Unreadable)?;
        let (VERSION, mut rest) = bytes.split_first().map(|(v, rest)| (*v, rest)).ok_or(Unreadable)? else {
            return Err(Unreadable);
        };
        let mut claim = Claim {
            epoch: take(&mut rest)?,
            nonce: take(&mut rest)?,
            floor: take(&mut rest)?,
            low: take(&mut rest)?,
            high: take(&mut rest)?,
            dead: Vec::new(),
        };
        let mut at = 0u64;
        for _ in 0..take(&mut rest)? {
            at = at.checked_add(take(&mut rest)?).ok_or(Unreadable)?;
            claim.dead.push(at);
        }
        let mut completed = Vec::new();
        at = offset;
        while !rest.is_empty() {
            let from = at.checked_add(take(&mut rest)?).ok_or(Unreadable)?;
            at = from.checked_add(take(&mut rest)?).ok_or(Unreadable)?;
            completed.push((from, at));
        }
        Ok(Self { claim, completed })
    }
}

fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> Result<u64, Unreadable> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or(Unreadable)?;
        *bytes = rest;
        value |= u64::from(first & 0x7f).checked_shl(shift).ok_or(Unreadable)?;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Unreadable)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Claim, Metadata, Unreadable};

    fn ascending(count: usize) -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec(1u64..1 << 20, 0..count).prop_map(|steps| {
            steps
                .iter()
                .scan(0, |at, step| {
                    *at += step;
                    Some(*at)
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_committed_reads_back(
            (epoch, nonce, floor, low, high) in any::<(u64, u64, u64, u64, u64)>(),
            dead in ascending(40),
            (offset, bounds) in (0u64..1 << 40, ascending(40)),
        ) {
            let completed = bounds.chunks_exact(2).map(|run| (offset + run[0], offset + run[1])).collect();
            let metadata = Metadata { claim: Claim { epoch, nonce, floor, low, high, dead }, completed };
            prop_assert_eq!(Metadata::decode(&metadata.encode(offset), offset), Ok(metadata));
        }

        #[test]
        fn any_other_text_is_refused_or_read_but_never_a_panic(text in ".{0,80}", offset in any::<u64>()) {
            let _ = Metadata::decode(&text, offset);
        }
    }

    #[test]
    fn a_full_partition_fits() {
        // 512 unresolved records, each 300 offsets from the next, and 300 dead ones in between fit the metadata.
        let completed = (0..512u64).map(|i| (i * 300 + 1, i * 300 + 300)).collect();
        let dead = (0..300).map(|i| 1_000_000_000 + i * 2).collect();
        let (floor, low, high) = (1_000_000_000, 999_999_999, 1_000_000_700);
        let claim = Claim { epoch: 9_000, nonce: u64::MAX, floor, low, high, dead };
        let text = Metadata { claim, completed }.encode(0);
        assert!(text.len() <= Metadata::MAX, "{} characters", text.len());
    }

    #[test]
    fn other_versions_and_torn_text_are_told() {
        for text in ["", "A", "AQAAAAAA", "Ag", "not base64!"] {
            assert_eq!(Metadata::decode(text, 0), Err(Unreadable), "{text:?}");
        }
    }
}
