//! `maxInFlight`: attempts of one Processor under way at once are never more than its author allows, whoever makes them.
//!
//! Only what was answered soon counts: of the rest nobody knows when its owner gave it up. So does nothing that stood still.

use super::{
    Class, Verdict,
    index::{Attempt, Index, anomaly},
    timing::nanos,
};
use crate::{
    history::{Answer, Mono},
    model::Processor,
};

pub(super) fn check(index: &Index<'_>) -> Verdict {
    Verdict::of(index.model.processors.iter().filter_map(|processor| of(index, processor)).collect())
}

fn of(index: &Index<'_>, processor: &Processor) -> Option<super::Anomaly> {
    let mine = index.attempts.iter().filter(|attempt| attempt.processor == processor.name);
    let spans = mine.filter_map(|attempt| Some((attempt, span(index, processor, attempt)?)));
    // What ends at an instant is over when the next begins at it.
    let mut changes: Vec<(Mono, i32, &Attempt<'_>)> =
        spans.flat_map(|(attempt, (from, until))| [(from, 1, attempt), (until, -1, attempt)]).collect();
    changes.sort_by_key(|(at, change, _)| (*at, *change));
    let mut now = 0;
    for (_, change, attempt) in changes {
        now += change;
        if usize::try_from(now).is_ok_and(|now| now > processor.max_in_flight) {
            let (name, most) = (&processor.name, processor.max_in_flight);
            let text = format!("{name}: {now} attempts were under way at once, of {most} that may be");
            return Some(anomaly(Class::TooManyAtOnce, text, attempt.entries()));
        }
    }
    None
}

/// From when until when an attempt surely was under way.
fn span(index: &Index<'_>, processor: &Processor, attempt: &Attempt<'_>) -> Option<(Mono, Mono)> {
    let (answer, until, _) = attempt.done?;
    let answered = matches!(answer, Answer::Success | Answer::Failure(_) | Answer::Asked(..));
    let soon = until.saturating_sub(attempt.recv) <= nanos(processor.timeout) / 2;
    (answered && soon && !index.paused(attempt.recv, until)).then_some((attempt.recv, until))
}
