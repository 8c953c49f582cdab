//! C-07: every record that a Processor wants was delivered to it or is its dead letter, with a reason that is true.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    Anomaly, Class, Verdict,
    index::{Attempt, Dead, Index, Row, anomaly},
    retry_policy::{asked, counted},
    timing::Ending,
};
use crate::{
    history::Answer,
    model::{Processor, Start},
};

type Deliveries<'a, 'i> = BTreeMap<(&'a str, &'a str), Vec<&'i Attempt<'a>>>;

pub(super) fn check(index: &Index<'_>) -> Verdict {
    if !index.scanned {
        return Verdict::Unknown("the log was not read".to_owned());
    }
    let deliveries = index.deliveries();
    let mut found = uncalled_for(index);
    for processor in &index.model.processors {
        let dead: HashMap<_, _> = index
            .dead
            .iter()
            .filter(|dead| dead.processor == processor.name)
            .map(|dead| ((dead.partition, dead.offset), dead))
            .collect();
        for row in
            index.log.values().filter(|row| row.producer == processor.producer && processor.wants(row.id))
        {
            let attempts = deliveries.get(&(processor.name.as_str(), row.id)).map_or(&[][..], Vec::as_slice);
            let dead = dead.get(&(row.partition, row.offset)).copied();
            if processor.start == Start::Ready && attempts.is_empty() && dead.is_none() {
                // What it had to be sent, C-15 says.
                continue;
            }
            found.extend(end_of(index, processor, row, attempts, dead));
        }
        found.extend(stray_letters(index, processor, &deliveries));
    }
    Verdict::of(found)
}

/// Attempts at what the log does not hold or the filter does not want.
fn uncalled_for(index: &Index<'_>) -> Vec<Anomaly> {
    let mut found = Vec::new();
    for attempt in &index.attempts {
        let processor = index.model.processor(attempt.processor);
        if !index.places.contains_key(attempt.id) {
            let text = format!("{} reached {} and is not in the log", attempt.id, attempt.processor);
            found.push(anomaly(Class::Phantom, text, attempt.entries()));
        } else if !processor.is_some_and(|processor| processor.wants(attempt.id)) {
            let text = format!("{} does not want {}", attempt.processor, attempt.id);
            found.push(anomaly(Class::Unmatched, text, attempt.entries()));
        }
    }
    found
}

/// How one delivery came to its end.
fn end_of(
    index: &Index<'_>,
    processor: &Processor,
    row: &Row<'_>,
    attempts: &[&Attempt<'_>],
    dead: Option<&Dead<'_>>,
) -> Option<Anomaly> {
    let delivered =
        attempts.iter().any(|a| matches!(a.done, Some((Answer::Success | Answer::Ambiguous, ..))));
    match dead {
        Some(dead) => wrong_letter(index, processor, dead, attempts),
        None if delivered => None,
        None => {
            let left = index.left.iter().find(|(name, pending, _)| *name == processor.name && *pending > 0);
            let class = if left.is_some() { Class::Pending } else { Class::Lost };
            let text =
                format!("{} was neither delivered to {} nor is its dead letter", row.id, processor.name);
            let slice = attempts.iter().flat_map(|a| a.entries()).chain([row.entry]);
            Some(anomaly(class, text, slice.chain(left.map(|(_, _, entry)| *entry))))
        }
    }
}

/// What is untrue about a dead letter.
fn wrong_letter(
    index: &Index<'_>,
    processor: &Processor,
    dead: &Dead<'_>,
    attempts: &[&Attempt<'_>],
) -> Option<Anomaly> {
    let slice = || attempts.iter().flat_map(|a| a.entries()).chain([dead.entry]);
    let spurious = |text: String| Some(anomaly(Class::SpuriousDead, text, slice()));
    let last = attempts.iter().rfind(|a| a.number == dead.attempts && index.ending(a) != Ending::Success);
    let Some(last) = last else {
        return spurious(format!(
            "{} died in {} without a failed attempt {}",
            dead.id, processor.name, dead.attempts
        ));
    };
    // The owner that wrote the letter knew of its own success. Another owner's may have been lost, or this letter have been
    // unknown to it: C-11 says whether it may repeat.
    let known = attempts.iter().find(|a| index.ending(a) == Ending::Success && a.epoch == last.epoch);
    // One that knows of a failure alone may find the event too old to be tried again.
    if dead.reason == "MAX_AGE" && known.is_some_and(|success| index.may_be_forgotten(success)) {
        return None;
    }
    if known.is_some() {
        return spurious(format!("{} died in {} although it was delivered", dead.id, processor.name));
    }
    let status = match last.done {
        Some((Answer::Failure(status) | Answer::Asked(status, _), ..)) => Some(status),
        _ => None,
    };
    let retryable = status.is_none_or(Processor::retries);
    let (fewest, most) = counted(attempts, dead.attempts);
    let true_story = match dead.reason {
        "MAX_ATTEMPTS" => (fewest..=most).contains(&processor.retry.max_attempts),
        "MAX_AGE" => {
            let (_, wait) = processor.retry.band(most, asked(last));
            let age = Duration::from_nanos(index.over(last).saturating_sub(attempts[0].began));
            attempts[0].number > 1 || age + wait + index.model.slack.margin > processor.retry.max_age
        }
        "NOT_RETRYABLE" => !retryable,
        _ => false,
    };
    let text = || {
        let (id, name, reason) = (dead.id, &processor.name, dead.reason);
        format!("{id} died in {name} for {reason} at attempt {}, answered {status:?}", dead.attempts)
    };
    (!true_story).then(|| anomaly(Class::WrongDead, text(), slice()))
}

/// Dead letters whose position does not hold their event.
fn stray_letters(index: &Index<'_>, processor: &Processor, deliveries: &Deliveries<'_, '_>) -> Vec<Anomaly> {
    let mine = index.dead.iter().filter(|dead| dead.processor == processor.name);
    mine.filter_map(|dead| {
        let place = (processor.producer.as_str(), dead.partition, dead.offset);
        let right = index.log.get(&place).is_some_and(|row| row.id == dead.id && processor.wants(row.id));
        let attempts = deliveries.get(&(processor.name.as_str(), dead.id)).map_or(&[][..], Vec::as_slice);
        let text = || format!("the dead letter of {} points to {place:?}, which does not hold it", dead.id);
        let slice = attempts.iter().flat_map(|a| a.entries()).chain([dead.entry]);
        (!right).then(|| anomaly(Class::SpuriousDead, text(), slice))
    })
    .collect()
}
