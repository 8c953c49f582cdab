//! C-06: what one client publishes one after the other with one key lies in the log in that order.

use std::collections::BTreeMap;

use super::{
    Class, Verdict,
    index::{Index, Op, anomaly},
};

pub(super) fn check(index: &Index<'_>) -> Verdict {
    let mut last: BTreeMap<_, &Op<'_>> = BTreeMap::new();
    let mut found = Vec::new();
    for op in &index.ops {
        let (Some(key), Some((partition, offset))) = (op.key, op.receipt()) else { continue };
        // Ops are in the order in which they were begun, so the newest acknowledged one before is the only one to compare.
        let Some(before) = last.insert((op.producer, op.client, key), op) else { continue };
        let Some((first_partition, first_offset)) = before.receipt() else { continue };
        if before.ended >= op.invoked {
            continue;
        }
        let class = match (first_partition == partition, first_offset < offset) {
            (true, true) => continue,
            (true, false) => Class::IngestReorder,
            (false, _) => Class::IngestSplit,
        };
        let text = format!("{} was acknowledged before {} was sent, with key {key}", before.id, op.id);
        found.push(anomaly(class, text, before.entries().chain(op.entries())));
    }
    Verdict::of(found)
}
