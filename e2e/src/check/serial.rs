//! C-09: one owner never has two attempts of a lane under way at once. An old owner's last may overlap with a new owner's
//! first; then their epochs differ.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    Anomaly, Class, Verdict,
    index::{Attempt, Index, anomaly},
};
use crate::{
    history::Mono,
    model::{Order, Processor},
};

pub(super) fn check(index: &Index<'_>) -> Verdict {
    let mut lanes: BTreeMap<(&str, Option<u32>, &str), Vec<&Attempt<'_>>> = BTreeMap::new();
    for attempt in &index.attempts {
        let processor = index.model.processor(attempt.processor);
        if let Some((partition, key)) = processor.and_then(|processor| lane(index, processor, attempt)) {
            lanes.entry((attempt.processor, partition, key)).or_default().push(attempt);
        }
    }
    Verdict::of(lanes.values().flat_map(|lane| overlaps(index, lane)).collect())
}

/// The lane in which an attempt must be alone, if there is one.
fn lane<'a>(
    index: &Index<'a>,
    processor: &Processor,
    attempt: &Attempt<'a>,
) -> Option<(Option<u32>, &'a str)> {
    match processor.order {
        Order::None => None,
        Order::Key => attempt.key.map(|key| (None, key)),
        Order::KeyFirstAttempt => attempt.key.filter(|_| attempt.number == 1).map(|key| (None, key)),
        Order::Partition => index.places.get(attempt.id).map(|(_, partition, _)| (Some(*partition), "")),
    }
}

/// In the order of arrival it is enough to hold each attempt against the one of its epoch that lasts longest so far.
fn overlaps(index: &Index<'_>, lane: &[&Attempt<'_>]) -> Vec<Anomaly> {
    let mut open: HashMap<u64, (Mono, &Attempt<'_>)> = HashMap::new();
    let mut found = Vec::new();
    for attempt in lane {
        let over = index.over(attempt);
        let Some((until, longest)) = open.get(&attempt.epoch).copied() else {
            open.insert(attempt.epoch, (over, attempt));
            continue;
        };
        if attempt.began < until {
            let length = Duration::from_nanos(until.min(over).saturating_sub(attempt.began));
            let text = format!(
                "{}: attempts at {} and {} were under way at once for {length:?}, both at epoch {}",
                attempt.processor, longest.id, attempt.id, attempt.epoch
            );
            found.push(anomaly(Class::Overlap, text, longest.entries().chain(attempt.entries())));
        }
        if over > until {
            open.insert(attempt.epoch, (over, attempt));
        }
    }
    found
}
