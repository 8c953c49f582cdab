//! C-11: attempt counts are exact, and what is repeated could not yet have been durable (P-13).
//!
//! Within an epoch the numbers of one delivery rise by exactly one. A new owner begins with the last number, if that
//! attempt's outcome was not durable when its owner ended, or with the one after it.

use std::collections::{BTreeMap, HashMap};

use super::{
    Anomaly, Class, Verdict,
    index::{Attempt, Index, Window, anomaly},
    timing::{Ending, nanos},
};
use crate::{
    history::{Answer, Fault, Mono},
    model::Owners,
};

pub(super) fn check(index: &Index<'_>) -> Verdict {
    let published = index.ops.iter().map(|op| (op.id, op.invoked)).collect();
    let rule = Rule { index, first: first_of_epochs(index), published };
    let mut found = Vec::new();
    let mut repeats: BTreeMap<(&str, Option<u32>, Mono), Vec<&Attempt<'_>>> = BTreeMap::new();
    for attempts in index.deliveries().values() {
        found.extend(attempts.first().and_then(|first| rule.begins(first)));
        for pair in attempts.windows(2) {
            let [before, next] = pair else { continue };
            match rule.follows(before, next) {
                Ok(Some(change)) => repeats.entry(change).or_default().push(before),
                Ok(None) => {}
                Err((class, text)) => {
                    found.push(anomaly(class, text, rule.slice(before, next)));
                }
            }
        }
    }
    found.extend(repeats.iter().filter_map(|(change, repeated)| over_bound(index, change, repeated)));
    found.extend(delivery_keys(index));
    Verdict::of(found)
}

/// A change of owner: the Processor, the partition unless a process ended, and when.
type Change<'a> = (&'a str, Option<u32>, Mono);

struct Rule<'a, 'i> {
    index: &'i Index<'a>,
    /// When each epoch of a Processor's partition was first seen.
    first: HashMap<(&'a str, u32, u64), Mono>,
    /// When each event was published.
    published: HashMap<&'a str, Mono>,
}

impl<'a> Rule<'a, '_> {
    /// The first number is one, unless a pause lay between the publish and it.
    fn begins(&self, first: &Attempt<'_>) -> Option<Anomaly> {
        let published = self.published.get(first.id).copied().unwrap_or(first.recv);
        let right = first.number == 1
            || (first.number > 1 && self.index.unseen(first.processor, published, first.recv));
        let text = format!("the first attempt at {} has number {}", first.id, first.number);
        (!right).then(|| anomaly(Class::WrongNumber, text, first.entries()))
    }

    /// Whether `next` may come after `before`; the change of owner at which `before` was repeated, if it was.
    fn follows(
        &self,
        before: &Attempt<'a>,
        next: &Attempt<'a>,
    ) -> Result<Option<Change<'a>>, (Class, String)> {
        let told = |what: &str| {
            let (id, name) = (next.id, next.processor);
            let (n, e, m, f) = (before.number, before.epoch, next.number, next.epoch);
            format!("{name}, {id}: attempt {n} at epoch {e}, then {m} at epoch {f}: {what}")
        };
        if next.epoch < before.epoch {
            if self.index.wakes(before.recv, next.began) {
                return Ok(None);
            }
            return Err((Class::StaleEpoch, told("the epoch fell")));
        }
        if next.epoch == before.epoch {
            return self.same_owner(before, next).map(|()| None).map_err(|(class, what)| (class, told(what)));
        }
        self.new_owner(before, next).map_err(|(class, what)| (class, told(what)))
    }

    fn same_owner(&self, before: &Attempt<'_>, next: &Attempt<'_>) -> Result<(), (Class, &'static str)> {
        let ended = self.index.ending(before);
        if next.number == before.number {
            return Err((Class::SameEpochRepeat, "one owner used a number twice"));
        }
        if ended == Ending::Success {
            return Err((Class::RepeatAfterSuccess, "it had been delivered"));
        }
        // While the hub stands still, an attempt may time out before it is sent.
        let unseen = self.index.unseen(next.processor, before.recv, next.recv);
        if next.number == before.number + 1 || (unseen && next.number > before.number) {
            return Ok(());
        }
        Err((Class::WrongNumber, "numbers rise by one"))
    }

    /// A change of owner must explain it: the end of the process that was the owner, or, where there are several, any of their
    /// ends, or the other's taking over alone.
    fn new_owner(
        &self,
        before: &Attempt<'a>,
        next: &Attempt<'a>,
    ) -> Result<Option<Change<'a>>, (Class, &'static str)> {
        let ends = self.index.ends_between(before.recv, next.recv);
        let mut ways: Vec<Option<&Window<'_>>> = ends.into_iter().map(Some).collect();
        if ways.is_empty() || self.index.model.owners == Owners::Many {
            ways.push(None);
        }
        let mut why = (Class::WrongNumber, "nothing explains it");
        for way in ways {
            match self.changed_hands(before, next, way) {
                Ok(change) => return Ok(change),
                Err(not) => why = not,
            }
        }
        Err(why)
    }

    fn changed_hands(
        &self,
        before: &Attempt<'a>,
        next: &Attempt<'a>,
        end: Option<&Window<'_>>,
    ) -> Result<Option<Change<'a>>, (Class, &'static str)> {
        let moment = end.map_or_else(|| self.taken_over(next), |end| end.from);
        let until = end.map_or(moment, |end| end.until);
        if next.number == before.number {
            self.repeatable(before, moment, end)?;
            let partition = end.is_none().then(|| self.partition(next)).flatten();
            return Ok(Some((before.processor, partition, moment)));
        }
        let unseen = self.index.unseen(next.processor, before.recv, next.recv) && next.number > before.number;
        if next.number != before.number + 1 && !unseen {
            return Err((Class::WrongNumber, "a new owner goes on with the last number or the next"));
        }
        match self.index.ending(before) {
            Ending::Success => Err((Class::WrongNumber, "a success is no reason for a further number")),
            Ending::Unanswered if !self.index.expired(before, until) => {
                Err((Class::WrongNumber, "its owner ended before the attempt did, so the number stands"))
            }
            Ending::Failure if before.answered().is_some_and(|from| from > until) => {
                Err((Class::WrongNumber, "its owner ended before the answer, so the number stands"))
            }
            _ => Ok(None),
        }
    }

    /// An outcome may be forgotten only while it cannot have been durable.
    fn repeatable(
        &self,
        before: &Attempt<'_>,
        moment: Mono,
        end: Option<&Window<'_>>,
    ) -> Result<(), (Class, &'static str)> {
        let Some((answer, _, done)) = before.done else { return Ok(()) };
        let clean = end.is_some_and(|end| *end.fault == Fault::CleanStop);
        if clean && answer != Answer::PeerGone && self.index.ending(before) != Ending::Either {
            return Err((Class::RepeatedByCleanStop, "a clean stop finishes what was answered"));
        }
        let worked = moment.saturating_sub(done).saturating_sub(self.index.standstill(done, moment));
        if worked > nanos(self.index.model.slack.durable) {
            return Err((Class::DurableRepeated, "its outcome must have been durable by then"));
        }
        Ok(())
    }

    fn taken_over(&self, next: &Attempt<'_>) -> Mono {
        let place = self.partition(next);
        place.and_then(|p| self.first.get(&(next.processor, p, next.epoch)).copied()).unwrap_or(next.recv)
    }

    fn partition(&self, attempt: &Attempt<'_>) -> Option<u32> {
        self.index.places.get(attempt.id).map(|(_, partition, _)| *partition)
    }

    fn slice(&self, before: &Attempt<'a>, next: &Attempt<'a>) -> Vec<&'a crate::history::Entry> {
        let ends = self.index.ends_between(before.recv, next.recv).into_iter().map(|end| end.entry);
        before.entries().chain(ends).chain(next.entries()).collect()
    }
}

/// P-13: what was in flight, and what ended since the last commit.
fn over_bound(index: &Index<'_>, change: &Change<'_>, repeated: &[&Attempt<'_>]) -> Option<Anomaly> {
    let (name, _, moment) = change;
    let processor = index.model.processor(name)?;
    let bound = processor.max_in_flight + index.model.slack.commit_every;
    let under_way = repeated.iter().filter(|a| a.answered().is_none_or(|from| from > *moment)).count();
    if repeated.len() <= bound && under_way <= processor.max_in_flight {
        return None;
    }
    let text = format!(
        "{name} repeated {} attempts, {under_way} of them under way, when its owner ended; permitted are {bound} and {}",
        repeated.len(),
        processor.max_in_flight
    );
    Some(anomaly(Class::TooManyRepeats, text, repeated.iter().take(4).flat_map(|attempt| attempt.entries())))
}

/// The idempotency key is one per delivery and no other's.
fn delivery_keys(index: &Index<'_>) -> Vec<Anomaly> {
    let mut of_delivery: HashMap<(&str, &str), &Attempt<'_>> = HashMap::new();
    let mut of_key: HashMap<&str, &Attempt<'_>> = HashMap::new();
    let mut found = Vec::new();
    for attempt in &index.attempts {
        let first = *of_delivery.entry((attempt.processor, attempt.id)).or_insert(attempt);
        let owner = *of_key.entry(attempt.delivery).or_insert(attempt);
        if first.delivery != attempt.delivery
            || (owner.processor, owner.id) != (attempt.processor, attempt.id)
        {
            let other = if first.delivery == attempt.delivery { owner } else { first };
            let text = format!("{} in {}: Evhub-Delivery is not its own", attempt.id, attempt.processor);
            found.push(anomaly(
                Class::DeliveryKey,
                text,
                other.entries().take(1).chain(attempt.entries().take(1)),
            ));
        }
    }
    found
}

fn first_of_epochs<'a>(index: &Index<'a>) -> HashMap<(&'a str, u32, u64), Mono> {
    let mut first = HashMap::new();
    for attempt in &index.attempts {
        if let Some((_, partition, _)) = index.places.get(attempt.id) {
            first.entry((attempt.processor, *partition, attempt.epoch)).or_insert(attempt.recv);
        }
    }
    first
}
