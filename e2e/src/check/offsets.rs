//! C-10: a group's committed offsets never fall (P-12).

use std::collections::BTreeMap;

use super::{Class, Verdict, index::Index};

pub(super) fn check(index: &Index<'_>) -> Verdict {
    let mut highest: BTreeMap<(&str, u32), u64> = BTreeMap::new();
    let mut found = Vec::new();
    for (at, processor, partition, offset) in &index.commits {
        // A broker that was stopped and goes on tells for a moment what was true before.
        if index.in_doubt(*at) {
            continue;
        }
        let before = highest.entry((processor, *partition)).or_default();
        if offset < before {
            let text =
                format!("{processor}: the offset of partition {partition} fell from {before} to {offset}");
            found.push(super::Anomaly { class: Class::OffsetFell, text, slice: Vec::new() });
        }
        *before = (*before).max(*offset);
    }
    Verdict::of(found)
}
