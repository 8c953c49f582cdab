//! Keys that publishes claim: the first one is published, the others are told of it. Pure.
//!
//! What is published at once is a timer that is due already and leaves nothing behind: so a topic that fails is left alone
//! with it like with any other timer, and nothing of what was acknowledged is lost. Keys are forgotten as the log's clock
//! passes their windows, never by the clock of whoever leads: a command that waited for a leader still finds them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use evhub_event::Record;

use super::{Draft, Shard};
use crate::{
    Answer, Submit, TimerId,
    claim::{Claim, Claimed, Receipt},
    leader::Deviation,
    slabs::Slabs,
    state::Entry,
    timer::Timer,
};

/// How many keys a shard remembers at the most: of all Producers, and of one. About 100 MB.
pub(super) const MOST_KEYS: (usize, usize) = (500_000, 400_000);
/// How many events of a Producer may wait for a topic that fails.
const MOST_STUCK: u64 = 10_000;
/// How many keys are forgotten for each one that is claimed, at the most.
const MOST_FORGOTTEN: usize = 8;

/// The keys that are taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    known: Slabs<Claimed>,
    /// Which is free first.
    ends: BTreeSet<(i64, TimerId)>,
    /// How many of each Producer.
    of: HashMap<Arc<str>, usize>,
    bytes: usize,
}

impl Shard {
    /// How many keys are taken.
    pub fn keys(&self) -> usize {
        self.claims.known.len()
    }

    /// Publishes an event, or says what was said to the first one of its key.
    pub(super) fn claim(
        &mut self,
        id: TimerId,
        (offset, taken): (u64, i64),
        claim: Claim,
        others: impl Fn(&str) -> u64,
        draft: &mut Draft,
    ) -> Answer {
        self.claims.forget(taken, draft);
        if let Some(known) = self.claims.known.get(&id).filter(|known| known.until > taken) {
            let answer = known.told(claim.digest);
            let tally = &mut draft.tally;
            *(if answer == Answer::Conflict { &mut tally.conflicts } else { &mut tally.repeats }) += 1;
            return answer;
        }
        let Claim { submit, timer, window, digest } = claim;
        if self.claims.is_full(&submit.producer) {
            return Answer::TooManyKeys;
        }
        let (producer, event_id) = (submit.producer.as_str().into(), submit.event_id.clone());
        let timer = if let Some(timer) = timer {
            match self.submit(timer, (offset, taken), submit, others, draft) {
                Answer::Scheduled(due) => Some((timer, due)),
                refused => return refused,
            }
        } else {
            let Submit { producer, topic, event_id, record, .. } = submit;
            if !self.publish(id.at(offset), offset, (&producer, &topic, event_id, record), draft) {
                return Answer::Stuck;
            }
            None
        };
        draft.tally.claimed += 1;
        let until = taken.saturating_add(i64::try_from(window.as_millis()).unwrap_or(i64::MAX));
        let claimed = Claimed { producer, until, digest, receipt: Receipt { event_id, timer } };
        let answer = Answer::Claimed(Box::new(claimed.receipt.clone()));
        if !self.is(Deviation::KeysUnwritten) {
            draft.puts.insert(id, Entry::Claimed(id, Box::new(claimed.clone())));
        }
        self.claims.insert(id, claimed);
        answer
    }

    /// What is to be said now to whoever claimed a key and heard nothing.
    pub(super) fn recall_claim(&self, id: TimerId, digest: u64) -> Answer {
        self.claims.known.get(&id).map_or(Answer::Unknown, |known| known.told(digest))
    }

    /// Lets an event be published by this transaction, or by the first one that its topic takes.
    pub(super) fn publish(
        &mut self,
        id: TimerId,
        seq: u64,
        (producer, topic, event_id, record): (&str, &str, String, Record),
        draft: &mut Draft,
    ) -> bool {
        let line = self.destination(producer, topic);
        let known = &self.destinations[line as usize];
        if known.stuck >= MOST_STUCK {
            return false;
        }
        let (producer, topic) = (Arc::clone(&known.producer), Arc::clone(&known.topic));
        // Due long ago: in the order of the commands, and before what comes due.
        let (due, generation, digest, max_delay, series, chain) = (0, 0, 0, 0, None, None);
        let claimed = true;
        let timer = Timer {
            id,
            producer,
            topic,
            due,
            seq,
            generation,
            digest,
            max_delay,
            event_id,
            record,
            series,
            claimed,
            chain,
        };
        self.put(timer, draft);
        true
    }

    /// Publishes what waits; nothing is left of it but its key.
    pub(super) fn fire_claimed(&mut self, id: TimerId, draft: &mut Draft) -> bool {
        let Some(pending) = self.take(id) else { return false };
        let written = pending.at().is_some();
        let Some(timer) = pending.whole else { return false };
        draft.bytes += timer.record.size();
        draft.fires.push((timer.topic, timer.record));
        if written {
            draft.puts.insert(id, Entry::Gone(id));
        } else {
            // It was never written down.
            draft.puts.remove(&id);
        }
        true
    }

    /// What is taken, in the order of ids.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> Vec<(TimerId, Claimed)> {
        let mut all: Vec<_> = self.claims.known.iter().map(|(id, claimed)| (*id, claimed.clone())).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }
}

impl Claims {
    pub(super) fn insert(&mut self, id: TimerId, mut claimed: Claimed) {
        self.remove(id);
        if let Some((name, _)) = self.of.get_key_value(&claimed.producer) {
            claimed.producer = Arc::clone(name);
        }
        *self.of.entry(Arc::clone(&claimed.producer)).or_default() += 1;
        self.ends.insert((claimed.until, id));
        self.bytes += claimed.receipt.size();
        self.known.insert(id, claimed);
    }

    pub(super) fn remove(&mut self, id: TimerId) {
        let Some(claimed) = self.known.remove(&id) else { return };
        self.ends.remove(&(claimed.until, id));
        self.bytes -= claimed.receipt.size();
        if let Some(count) = self.of.get_mut(&claimed.producer) {
            *count -= 1;
            if *count == 0 {
                self.of.remove(&claimed.producer);
            }
        }
    }

    /// Forgets keys that are free by the instant at which the log took a command.
    fn forget(&mut self, taken: i64, draft: &mut Draft) {
        for _ in 0..MOST_FORGOTTEN {
            let Some((_, id)) = self.ends.first().copied().filter(|(until, _)| *until <= taken) else {
                break;
            };
            self.remove(id);
            draft.puts.insert(id, Entry::Free(id));
        }
    }

    fn is_full(&self, producer: &str) -> bool {
        // An event's id may be long: as many bytes as that many usual ones have.
        let bytes = self.bytes >= MOST_KEYS.0 * 128;
        bytes
            || self.known.len() >= MOST_KEYS.0
            || self.of.get(producer).is_some_and(|count| *count >= MOST_KEYS.1)
    }
}

impl Claimed {
    fn told(&self, asked: u64) -> Answer {
        if asked == self.digest { Answer::Claimed(Box::new(self.receipt.clone())) } else { Answer::Conflict }
    }
}

#[cfg(test)]
mod tests;
