//! C-15: once the hub said that a Processor runs as it is written now, nothing begins as it was written before; and
//! whoever was ready receives what is published from then on (P-18, P-19).

use std::collections::{BTreeMap, HashMap};

use super::{
    Anomaly, Class, Verdict,
    index::{Attempt, Index, Op, Told, anomaly},
    timing::nanos,
};
use crate::{
    history::{Entry, Mono},
    model::{Processor, Start},
};

type Word<'a> = (Mono, Told, &'a Entry);

pub(super) fn check(index: &Index<'_>) -> Verdict {
    let mut told: HashMap<&str, Vec<Word<'_>>> = HashMap::new();
    for (at, processor, what, entry) in &index.told {
        told.entry(processor).or_default().push((*at, *what, entry));
    }
    let mut found: Vec<Anomaly> = index
        .attempts
        .iter()
        .filter_map(|attempt| stale(index, told.get(attempt.processor)?, attempt))
        .collect();
    let late = index.model.processors.iter().filter(|processor| processor.start == Start::Ready);
    let late: Vec<&Processor> = late.collect();
    if !late.is_empty() && !index.scanned {
        return Verdict::Unknown("the log was not read".to_owned());
    }
    let deliveries = index.deliveries();
    for processor in late {
        if let Some(told) = told.get(processor.name.as_str()) {
            found.extend(unheard(index, processor, told, &deliveries));
        }
    }
    Verdict::of(found)
}

/// An attempt that began after the last word before it, and not as that word says.
fn stale(index: &Index<'_>, told: &[Word<'_>], attempt: &Attempt<'_>) -> Option<Anomaly> {
    let last = told.partition_point(|(at, ..)| *at < attempt.began).checked_sub(1)?;
    let (at, what, entry) = told.get(last)?;
    let (class, why) = match *what {
        Told::Gone if attempt.began <= at + nanos(index.model.slack.removal) => return None,
        Told::Gone => (Class::AfterRemoval, "after its Processor was gone".to_owned()),
        Told::Running(now, _) if attempt.generation < now => {
            let before = attempt.generation;
            (Class::StaleGeneration, format!("as of generation {before} when {now} was said to run"))
        }
        Told::Running(now, true) if attempt.generation == now => {
            (Class::WhileSuspended, "while its Processor was suspended".to_owned())
        }
        Told::Running(..) => return None,
    };
    let text = format!("{}: an attempt at {} began {why}", attempt.processor, attempt.id);
    Some(anomaly(class, text, std::iter::once(*entry).chain(attempt.entries())))
}

/// What was published when the Processor was ready, acknowledged, and never came.
fn unheard<'a>(
    index: &Index<'a>,
    processor: &Processor,
    told: &[Word<'a>],
    deliveries: &BTreeMap<(&'a str, &'a str), Vec<&Attempt<'a>>>,
) -> Vec<Anomaly> {
    let ready = told.iter().find(|(_, what, _)| matches!(what, Told::Running(..)));
    let Some((ready, _, entry)) = ready else { return Vec::new() };
    let gone = told.iter().find(|(_, what, _)| *what == Told::Gone).map_or(Mono::MAX, |(at, ..)| *at);
    let is_its_own = |op: &&Op<'a>| {
        op.producer == processor.producer
            && op.receipt().is_some()
            && op.invoked >= *ready
            && op.ended <= gone
            && processor.wants(op.id)
    };
    let came = |id: &str| {
        deliveries.contains_key(&(processor.name.as_str(), id))
            || index.dead.iter().any(|dead| dead.processor == processor.name && dead.id == id)
    };
    index
        .ops
        .iter()
        .filter(is_its_own)
        .filter(|op| !came(op.id))
        .map(|op| {
            let text =
                format!("{} was ready before {} was published, and never received it", processor.name, op.id);
            anomaly(Class::Unheard, text, std::iter::once(*entry).chain(op.entries()))
        })
        .collect()
}
