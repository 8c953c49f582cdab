//! C-04: an event is the same wherever it is seen: in the log, at a target, as a dead letter.

use std::collections::HashMap;

use super::{
    Anomaly, Class, Verdict,
    index::{Index, Op, anomaly},
};
use crate::history::Entry;

pub(super) fn check(index: &Index<'_>) -> Verdict {
    let ops: HashMap<_, _> = index.ops.iter().map(|op| (op.id, op)).collect();
    let logged = index.log.values().map(|row| Sighting {
        at: "the log",
        id: row.id,
        key: row.key,
        hash: row.hash,
        entry: row.entry,
    });
    let received = index.attempts.iter().filter_map(|attempt| {
        let entry = attempt.entries().next()?;
        Some(Sighting { at: attempt.processor, id: attempt.id, key: attempt.key, hash: attempt.hash, entry })
    });
    let dead = index.dead.iter().map(|dead| Sighting {
        at: "a dead letter",
        id: dead.id,
        key: dead.key,
        hash: dead.hash,
        entry: dead.entry,
    });
    Verdict::of(logged.chain(received).chain(dead).filter_map(|seen| compare(&seen, &ops)).collect())
}

struct Sighting<'a> {
    at: &'a str,
    id: &'a str,
    key: Option<&'a str>,
    hash: u64,
    entry: &'a Entry,
}

fn compare(seen: &Sighting<'_>, ops: &HashMap<&str, &Op<'_>>) -> Option<Anomaly> {
    let Some(op) = ops.get(seen.id) else {
        let text = format!("{} was seen at {} and never published", seen.id, seen.at);
        return Some(anomaly(Class::Invented, text, [seen.entry]));
    };
    if seen.hash == op.hash && seen.key == op.key {
        return None;
    }
    let text =
        format!("{} was published with {:x} and seen at {} with {:x}", op.id, op.hash, seen.at, seen.hash);
    Some(anomaly(Class::Corrupt, text, op.entries().take(1).chain([seen.entry])))
}
