//! C-12: as many attempts as the policy allows and no more, each after the wait that it asks for, the target's own wish
//! included (P-14).

use std::{collections::BTreeSet, time::Duration};

use super::{
    Anomaly, Class, Verdict,
    index::{Attempt, Index, anomaly},
    timing::{Ending, nanos},
};
use crate::{
    history::{Answer, Mono},
    model::{Processor, Retry},
};

pub(super) fn check(index: &Index<'_>) -> Verdict {
    let mut found = Vec::new();
    for ((name, _), attempts) in index.deliveries() {
        let Some(processor) = index.model.processor(name) else { continue };
        found.extend(too_many(processor, &attempts));
        for pair in attempts.windows(2) {
            let [before, next] = pair else { continue };
            if next.number == before.number + 1 {
                found.extend(too_soon(index, processor, &attempts, before, next));
                found.extend(too_late(index, processor, &attempts, before, next));
            }
        }
        found.extend(too_old(index, &processor.retry, &attempts));
    }
    Verdict::of(found)
}

/// How long the target asked to be left alone.
pub(super) fn asked(attempt: &Attempt<'_>) -> Option<Duration> {
    match attempt.done {
        Some((Answer::Asked(_, wish), ..)) => Some(Duration::from_millis(wish)),
        _ => None,
    }
}

/// The fewest and the most of the first so many attempts that count. One that was throttled does not, unless it was
/// repeated, when nobody can tell which of the answers counts.
pub(super) fn counted(attempts: &[&Attempt<'_>], number: u32) -> (u32, u32) {
    let is_throttled = |attempt: &&&Attempt<'_>| matches!(attempt.done, Some((Answer::Asked(429, _), ..)));
    let earlier = || attempts.iter().filter(|attempt| attempt.number < number);
    let maybe: BTreeSet<u32> = earlier().filter(is_throttled).map(|attempt| attempt.number).collect();
    let others: BTreeSet<u32> =
        earlier().filter(|attempt| !is_throttled(attempt)).map(|attempt| attempt.number).collect();
    let surely = maybe.difference(&others).count() as u32;
    (number.saturating_sub(maybe.len() as u32), number.saturating_sub(surely))
}

fn too_many(processor: &Processor, attempts: &[&Attempt<'_>]) -> Option<Anomaly> {
    let last = attempts.iter().max_by_key(|attempt| attempt.number)?;
    let (fewest, _) = counted(attempts, last.number);
    let most = processor.retry.max_attempts;
    let text = || format!("{} had attempt {fewest} that counts, of {most}, in {}", last.id, last.processor);
    (fewest > most).then(|| anomaly(Class::TooManyAttempts, text(), last.entries()))
}

/// The shortest wait holds for every owner: the instant is durable before the number is.
fn too_soon(
    index: &Index<'_>,
    processor: &Processor,
    attempts: &[&Attempt<'_>],
    before: &Attempt<'_>,
    next: &Attempt<'_>,
) -> Option<Anomaly> {
    // A success that came too late ended at the time-out, and nobody saw when that was.
    let (answer, from, _) = before.done.filter(|_| index.ending(before) != Ending::Either)?;
    let slack = &index.model.slack;
    let allowed = if answer == Answer::PeerGone { slack.reading } else { slack.rounding };
    let (fewest, _) = counted(attempts, before.number);
    let (shortest, _) = processor.retry.band(fewest, asked(before));
    let earliest = from.saturating_add(nanos(shortest)).saturating_sub(nanos(allowed));
    let waited = Duration::from_nanos(next.began.saturating_sub(from));
    let text = || {
        let (id, name, number) = (next.id, next.processor, next.number);
        format!(
            "{name}, {id}: attempt {number} came {waited:?} after the failure before it, which asks for {shortest:?}"
        )
    };
    (next.began < earliest).then(|| anomaly(Class::TooSoon, text(), before.entries().chain(next.entries())))
}

/// The longest wait holds while the owner is the same and nothing stands still.
fn too_late(
    index: &Index<'_>,
    processor: &Processor,
    attempts: &[&Attempt<'_>],
    before: &Attempt<'_>,
    next: &Attempt<'_>,
) -> Option<Anomaly> {
    let prompt = processor.retry.prompt?;
    let (_, from, done) = before.done?;
    let undisturbed = next.epoch == before.epoch && !index.unseen(next.processor, before.recv, next.recv);
    let (_, most) = counted(attempts, before.number);
    let (_, longest) = processor.retry.band(most, asked(before));
    let latest: Mono = done.saturating_add(nanos(longest + prompt));
    let waited = Duration::from_nanos(next.recv.saturating_sub(from));
    let text = || {
        let (id, name, number) = (next.id, next.processor, next.number);
        format!(
            "{name}, {id}: attempt {number} came {waited:?} after the failure before it; {longest:?} is the longest wait"
        )
    };
    (undisturbed && next.recv > latest)
        .then(|| anomaly(Class::TooLate, text(), before.entries().chain(next.entries())))
}

/// No attempt begins later after the first one than the policy allows. What was due while nobody owned it is made late.
fn too_old(index: &Index<'_>, retry: &Retry, attempts: &[&Attempt<'_>]) -> Option<Anomaly> {
    let prompt = retry.prompt?;
    let (first, last) = (attempts.first()?, attempts.last()?);
    let age = Duration::from_nanos(last.recv.saturating_sub(first.began));
    let text = || format!("{}, {}: an attempt {age:?} after the first one", last.processor, last.id);
    let undisturbed = first.epoch == last.epoch && !index.unseen(last.processor, first.recv, last.recv);
    (undisturbed && age > retry.max_age + prompt)
        .then(|| anomaly(Class::TooOld, text(), first.entries().chain(last.entries())))
}
