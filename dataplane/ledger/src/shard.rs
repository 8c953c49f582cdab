//! One shard's state, and how it changes: by a command, by time, by what is read back. Pure.
//!
//! A change is made here at once and noted in a [`Draft`]. If the draft's transaction does not commit for certain, the state
//! is thrown away and read anew: it is a cache of what is durable, and nobody is answered before.
//!
//! - `fire`: what comes due; `ahead`: what of it is in memory; `load`: what is read back; `keep`: schedules; `transaction`: half messages;
//!   `claim`: publishes that are safe to repeat; `chain`: events that are repeated

mod ahead;
mod chain;
mod claim;
mod fire;
mod keep;
mod load;
mod transaction;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use evhub_cron::Progress;

use self::{keep::Dynamics, transaction::Halves};
use crate::{
    Answer, Command, Listed, Submit, TimerId, When,
    chain::Chain,
    command::Verb,
    leader::{Deviation, Planted},
    slabs::Slabs,
    state::Entry,
    timer::{End, Ended, Timer},
    timetable::{Slot, Timetable},
};

/// How long is remembered that a timer ended, in milliseconds.
pub const REMEMBER: i64 = 24 * 3_600_000;
/// How many that ended a shard remembers at the most; the first ones are forgotten earlier. About 10 MB.
pub const MOST_REMEMBERED: usize = 100_000;

/// The place of a record of which it is not known yet.
const NOWHERE: u64 = u64::MAX;
/// A timer of more bytes than this counts as so many.
const LARGEST: usize = 0xff_ffff;

/// What a shard knows.
#[derive(Clone, Debug)]
pub struct Shard {
    timers: Slabs<Pending>,
    table: Timetable,
    /// Where timers fire into, by number.
    destinations: Vec<Destination>,
    /// Their numbers by topic, which is one Producer's but on a bad day.
    numbers: HashMap<Arc<str>, Vec<u32>>,
    ended: HashMap<TimerId, Ended>,
    /// Those that ended, in their order.
    order: VecDeque<(i64, TimerId)>,
    /// The destination that fired last.
    turn: u32,
    /// The keys that publishes have claimed.
    claims: claim::Claims,
    /// How many bytes of events are in memory, and how many may be.
    cached: (usize, usize),
    /// Timers whose events are in memory and could be read back: what fires last leaves first.
    held: BTreeSet<(Slot, TimerId)>,
    /// From where on there may be timers whose events are to be read back, and are not being so.
    absent: Slot,
    halves: Halves,
    dynamics: Dynamics,
    planted: Planted,
}

impl Tally {
    pub(crate) fn add(&mut self, more: Self) {
        self.scheduled += more.scheduled;
        self.cancelled += more.cancelled;
        self.fired += more.fired;
        self.late += more.late;
        self.claimed += more.claimed;
        self.repeats += more.repeats;
        self.conflicts += more.conflicts;
        self.prepared += more.prepared;
        self.committed += more.committed;
        self.rolled_back += more.rolled_back;
        self.checked += more.checked;
        self.exhausted += more.exhausted;
    }
}

/// A Producer's topic.
#[derive(Clone, Debug)]
struct Destination {
    producer: Arc<str>,
    topic: Arc<str>,
    /// Timers, and half messages.
    pending: u64,
    /// How many events that were to be published at once wait for it.
    stuck: u64,
}

/// A pending timer, in as few bytes as it can be: there are many.
#[derive(Clone, Debug)]
struct Pending {
    slot: Slot,
    destination: u32,
    digest: u64,
    /// Where its record lies, or [`NOWHERE`]; see [`at`](Self::at).
    place: u64,
    /// What all of it takes in memory; see [`size`](Self::size).
    bytes: [u8; 3],
    /// Whether it is the event of a claim.
    claimed: bool,
    /// Of a schedule, how far it has come.
    series: Option<Box<Progress>>,
    /// All of it, where that is in memory.
    whole: Option<Box<Timer>>,
}

/// What one transaction is to write, and say afterwards.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// What fires: the topic, and the record.
    pub fires: Vec<(Arc<str>, evhub_event::Record)>,
    /// What changes, the last of each timer.
    pub puts: BTreeMap<TimerId, Entry>,
    /// What to say to the command at each offset.
    pub answers: Vec<(u64, Answer)>,
    /// About how many bytes that is.
    pub bytes: usize,
    /// How many timers were made, cancelled, and fired.
    pub tally: Tally,
}

/// What happened to timers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many were made.
    pub scheduled: u64,
    /// How many were cancelled.
    pub cancelled: u64,
    /// How many fired.
    pub fired: u64,
    /// How much later than due they did, in milliseconds, all together.
    pub late: u64,
    /// How many events were published under a key.
    pub claimed: u64,
    /// How many were published already.
    pub repeats: u64,
    /// How many had the key of another one.
    pub conflicts: u64,
    /// How many half messages were prepared, committed, and rolled back.
    pub prepared: u64,
    /// Likewise.
    pub committed: u64,
    /// Likewise.
    pub rolled_back: u64,
    /// How often their publishers were asked and did not decide.
    pub checked: u64,
    /// How many were never decided on by their publishers.
    pub exhausted: u64,
}

impl Shard {
    /// A shard of which nothing is known yet, that keeps so many bytes of events in memory.
    pub fn new(cache: usize, planted: Planted) -> Self {
        Self {
            timers: Slabs::default(),
            table: Timetable::default(),
            destinations: Vec::new(),
            numbers: HashMap::new(),
            ended: HashMap::new(),
            order: VecDeque::new(),
            turn: 0,
            claims: claim::Claims::default(),
            cached: (0, cache),
            held: BTreeSet::new(),
            absent: ahead::NONE,
            halves: Halves::default(),
            dynamics: Dynamics::default(),
            planted,
        }
    }

    /// Applies the command that the log took at an instant. `others` is how many timers of a Producer the other shards have.
    pub fn apply(
        &mut self,
        (offset, taken): (u64, i64),
        Command { id, verb }: Command,
        others: impl Fn(&str) -> u64,
        draft: &mut Draft,
    ) {
        let answer = match verb {
            Verb::Submit(submit) => self.submit(id, (offset, taken), *submit, others, draft),
            Verb::Cancel => self.cancel(id, taken, draft),
            Verb::Reschedule(when) => self.reschedule(id, when, taken, draft),
            Verb::Keep(keep) => self.keep(id, (offset, taken), *keep, draft),
            Verb::Drop(generation) => self.drop_series(id, generation, taken, draft),
            Verb::Claim(claim) => self.claim(id, (offset, taken), *claim, others, draft),
            Verb::Mute(mute) => self.mute(id, &mute, taken, draft),
            Verb::Fire => self.fire_now(id, (offset, taken), draft),
            Verb::Prepare(prepare) => self.prepare(id, (offset, taken), *prepare, others, draft),
            Verb::Decide(decision) => self.decide(id, (offset, taken), &decision, draft),
            Verb::Checked(checked) => self.checked(id, (offset, taken), &checked, draft),
        };
        draft.answers.push((offset, answer));
    }

    /// The event that has to be read back before a command can be applied.
    pub fn lacks(&self, command: &Command) -> Option<(TimerId, u64)> {
        match &command.verb {
            Verb::Submit(_) | Verb::Cancel | Verb::Prepare(_) | Verb::Claim(_) => return None,
            Verb::Decide(_) | Verb::Checked(_) => return self.half_place(command.id),
            Verb::Reschedule(_) | Verb::Keep(_) | Verb::Drop(_) | Verb::Mute(_) | Verb::Fire => {}
        }
        self.absent_of(command.id)
    }

    /// Where a timer's record lies that is not in memory.
    pub fn absent_of(&self, id: TimerId) -> Option<(TimerId, u64)> {
        let pending = self.timers.get(&id).filter(|pending| pending.whole.is_none())?;
        pending.at().map(|at| (id, at))
    }

    /// What is to be said now to whoever asked for this and heard nothing, if it was applied.
    pub fn recall(&self, offset: u64, Command { id, verb }: &Command) -> Answer {
        match verb {
            Verb::Claim(claim) => return self.recall_claim(*id, claim.digest),
            Verb::Prepare(prepare) => return self.recall_prepare(*id, offset, prepare),
            // It was asked for too far in the future, which is all that leaves it as it was.
            Verb::Decide(decision) => {
                let before = self.decided_before(*id, &decision.producer, Some(offset));
                return before.unwrap_or(Answer::TooLong);
            }
            Verb::Checked(_) => return self.recall_checked(*id, offset),
            _ => {}
        }
        match (verb, self.timers.get(id), self.ended.get(id)) {
            (Verb::Submit(submit), Some(pending), _) => same(submit.digest, pending.digest, pending.slot.0),
            (Verb::Submit(submit), None, Some(ended)) => repeated(submit.digest, *ended),
            (Verb::Reschedule(_) | Verb::Keep(_), Some(pending), _) => Answer::Scheduled(pending.slot.0),
            (Verb::Mute(_), Some(_), _) => Answer::Cancelled,
            (Verb::Cancel | Verb::Reschedule(_) | Verb::Drop(_) | Verb::Mute(_), None, Some(ended)) => {
                over(*ended)
            }
            _ => Answer::Unknown,
        }
    }

    /// How many timers are pending.
    pub fn pending(&self) -> usize {
        self.timers.len()
    }

    /// How many timers of each Producer are pending.
    pub fn tallies(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.destinations.iter().map(|destination| (&destination.producer, destination.pending))
    }

    /// What is known of a timer.
    pub fn look(&self, id: TimerId) -> Result<Listed, Answer> {
        match (self.timers.get(&id), self.ended.get(&id)) {
            (Some(pending), _) if !pending.is_plain() => Err(Answer::Unknown),
            (Some(pending), _) => Ok(self.listed(id, pending)),
            (None, Some(ended)) => Err(over(*ended)),
            (None, None) => Err(Answer::Unknown),
        }
    }

    /// The pending timers of a Producer behind a place, soonest first, with their places.
    pub fn list(&self, producer: &str, after: Option<Slot>, most: usize) -> Vec<(Slot, Listed)> {
        let lines = (0..).zip(&self.destinations).filter(|(_, known)| *known.producer == *producer);
        let mut found: Vec<(Slot, Listed)> = Vec::new();
        for (line, _) in lines {
            let timers = self.table.behind(line, after);
            let plain = timers.filter_map(|(slot, timer)| {
                let (id, pending) = self.timers.at(timer).filter(|(_, pending)| pending.is_plain())?;
                Some((slot, self.listed(id, pending)))
            });
            found.extend(plain.take(most));
        }
        found.sort_unstable_by_key(|(slot, _)| *slot);
        found.truncate(most);
        found
    }

    /// Where the records of what a draft put lie: the transaction is committed. What fires last leaves memory where there is
    /// no room for it.
    pub fn settled(&mut self, id: TimerId, at: u64) {
        let Some(pending) = self.timers.get_mut(&id) else { return self.half_settled(id, at) };
        pending.place = at;
        if pending.whole.is_some() {
            self.held.insert((pending.slot, id));
        }
        self.make_room();
    }

    fn listed(&self, id: TimerId, pending: &Pending) -> Listed {
        let whole = pending.whole.as_deref();
        Listed {
            id,
            producer: self.destinations[pending.destination as usize].producer.to_string(),
            event_id: whole.map(|timer| timer.event_id.clone()).unwrap_or_default(),
            due: pending.slot.0,
            key: whole.and_then(|timer| timer.record.key.clone()),
        }
    }

    /// The records of listed timers that are not in memory.
    pub fn places(&self, listed: &[Listed]) -> Vec<(TimerId, u64)> {
        listed.iter().filter_map(|one| self.absent_of(one.id)).collect()
    }

    // === commands ===

    fn submit(
        &mut self,
        id: TimerId,
        (offset, taken): (u64, i64),
        submit: Submit,
        others: impl Fn(&str) -> u64,
        draft: &mut Draft,
    ) -> Answer {
        if let Some(pending) = self.timers.get(&id) {
            return same(submit.digest, pending.digest, pending.slot.0);
        }
        if let Some(ended) = self.ended.get(&id) {
            return repeated(submit.digest, *ended);
        }
        let Submit { producer, topic, event_id, record, when, repeat, max_delay, max_pending, digest } =
            submit;
        let max_delay = u64::try_from(max_delay.as_millis()).unwrap_or(u64::MAX);
        let Some(due) = within(when, taken, max_delay) else { return Answer::TooLong };
        // Whoever asked has looked whether it can be one; only time can have passed since.
        let Ok(chain) = repeat.map(|repeat| Chain::begun(repeat, due).map(Box::new)).transpose() else {
            return Answer::TooLate;
        };
        let line = self.destination(&producer, &topic);
        let known = &self.destinations[line as usize];
        if known.pending.saturating_add(others(&producer)) >= max_pending {
            return Answer::TooMany;
        }
        let (producer, topic) = (Arc::clone(&known.producer), Arc::clone(&known.topic));
        let (seq, generation, claimed) = (offset, 0, false);
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
            series: None,
            claimed,
            chain,
        };
        draft.tally.scheduled += 1;
        self.put(timer, draft);
        Answer::Scheduled(due)
    }

    fn cancel(&mut self, id: TimerId, taken: i64, draft: &mut Draft) -> Answer {
        let plain = self.timers.get(&id).filter(|pending| pending.is_plain());
        let Some((slot, digest)) = plain.map(|pending| (pending.slot, pending.digest)) else {
            return self.ended.get(&id).map_or(Answer::Unknown, |ended| over(*ended));
        };
        draft.tally.cancelled += 1;
        self.end(id, Ended { how: End::Cancelled, due: slot.0, at: taken, digest }, draft);
        Answer::Cancelled
    }

    fn reschedule(&mut self, id: TimerId, when: When, taken: i64, draft: &mut Draft) -> Answer {
        let Some(pending) = self.timers.get(&id).filter(|pending| pending.is_plain()) else {
            return self.ended.get(&id).map_or(Answer::Unknown, |ended| over(*ended));
        };
        // Whoever applies a command has read back what it needs.
        let Some(timer) = pending.whole.clone() else { return Answer::Unknown };
        let Some(due) = within(when, taken, timer.max_delay) else { return Answer::TooLong };
        self.take(id);
        self.put(Timer { due, generation: timer.generation.saturating_add(1), ..*timer }, draft);
        Answer::Scheduled(due)
    }

    // === changes ===

    fn put(&mut self, timer: Timer, draft: &mut Draft) {
        let bytes = timer.record.size();
        draft.bytes += bytes;
        draft.puts.insert(timer.id, Entry::Pending(Box::new(timer.clone())));
        self.insert(timer, None);
    }

    fn insert(&mut self, mut timer: Timer, at: Option<u64>) {
        self.take(timer.id);
        let line = self.destination(&timer.producer, &timer.topic);
        // One name for all of them.
        let known = &self.destinations[line as usize];
        (timer.producer, timer.topic) = (Arc::clone(&known.producer), Arc::clone(&known.topic));
        let (id, slot, bytes) = (timer.id, (timer.due, timer.seq), timer.footprint().min(LARGEST));
        // A schedule has a bound of its own.
        *self.destinations[line as usize].count(timer.claimed) += u64::from(timer.series.is_none());
        let (digest, claimed) = (timer.digest, timer.claimed);
        if let Some(put) = timer.series.as_deref().filter(|series| series.dynamic) {
            self.dynamics.entry(Arc::clone(&timer.producer)).or_default().insert(id, put.clone());
        }
        let series = timer.series.as_ref().map(|series| Box::new(series.progress));
        // What is not durable yet has to be in memory; see `settled`.
        let fits = self.cached.0 + bytes <= self.cached.1;
        let sooner = || self.held.last().is_some_and(|(last, _)| slot < *last);
        let keep = at.is_none() || fits || sooner();
        let whole = keep.then(|| Box::new(timer));
        self.cached.0 += if keep { bytes } else { 0 };
        match (keep, at) {
            (true, Some(_)) => drop(self.held.insert((slot, id))),
            (false, _) => self.absent = self.absent.min(slot),
            (true, None) => {}
        }
        let (place, bytes) = (at.unwrap_or(NOWHERE), Pending::bytes_of(bytes));
        let pending = Pending { slot, destination: line, digest, place, bytes, claimed, series, whole };
        let (number, _) = self.timers.insert(id, pending);
        self.table.insert(line, slot, number);
        if keep && !fits && at.is_some() {
            self.make_room();
        }
    }

    fn take(&mut self, id: TimerId) -> Option<Pending> {
        let pending = self.timers.remove(&id)?;
        self.table.remove(pending.destination, pending.slot);
        *self.destinations[pending.destination as usize].count(pending.claimed) -=
            u64::from(pending.series.is_none());
        if pending.whole.is_some() {
            self.cached.0 -= pending.size();
            self.held.remove(&(pending.slot, id));
        }
        let producer = &self.destinations[pending.destination as usize].producer;
        if let Some(all) = self.dynamics.get_mut(producer).filter(|_| pending.series.is_some())
            && all.remove(&id).is_some()
            && all.is_empty()
        {
            self.dynamics.remove(producer);
        }
        Some(pending)
    }

    fn end(&mut self, id: TimerId, ended: Ended, draft: &mut Draft) {
        self.take(id);
        draft.puts.insert(id, Entry::Ended(id, ended));
        self.remember(id, ended);
    }

    fn remember(&mut self, id: TimerId, ended: Ended) {
        if self.ended.insert(id, ended).is_none() {
            self.order.push_back((ended.at, id));
        }
    }

    fn destination(&mut self, producer: &str, topic: &str) -> u32 {
        let known = |number: &&u32| *self.destinations[**number as usize].producer == *producer;
        if let Some(number) = self.numbers.get(topic).and_then(|numbers| numbers.iter().find(known)) {
            return *number;
        }
        let (producer, topic): (Arc<str>, Arc<str>) = (producer.into(), topic.into());
        let number = self.destinations.len() as u32;
        self.numbers.entry(Arc::clone(&topic)).or_default().push(number);
        self.destinations.push(Destination { producer, topic, pending: 0, stuck: 0 });
        number
    }

    fn is(&self, deviation: Deviation) -> bool {
        self.planted.is(deviation)
    }
}

impl Pending {
    /// Where its record lies, once that is known.
    fn at(&self) -> Option<u64> {
        (self.place != NOWHERE).then_some(self.place)
    }

    /// How many bytes all of it takes in memory.
    fn size(&self) -> usize {
        let [a, b, c] = self.bytes;
        u32::from_le_bytes([a, b, c, 0]) as usize
    }

    fn bytes_of(size: usize) -> [u8; 3] {
        let [a, b, c, ..] = size.min(LARGEST).to_le_bytes();
        [a, b, c]
    }

    /// Whether it is a timer that somebody may look at, cancel and reschedule.
    fn is_plain(&self) -> bool {
        self.series.is_none() && !self.claimed
    }
}

impl Destination {
    fn count(&mut self, claimed: bool) -> &mut u64 {
        if claimed { &mut self.stuck } else { &mut self.pending }
    }
}

/// When a timer is due, unless that is too far away.
fn within(when: When, taken: i64, max_delay: u64) -> Option<i64> {
    let due = when.due(taken);
    (due.abs_diff(taken) <= max_delay).then_some(due)
}

/// What is said to a repeat while the timer is pending.
fn same(asked: u64, known: u64, due: i64) -> Answer {
    if asked == known { Answer::Scheduled(due) } else { Answer::Conflict }
}

/// What is said to one when it has ended.
fn repeated(asked: u64, ended: Ended) -> Answer {
    match ended {
        Ended { digest, .. } if digest != asked => Answer::Conflict,
        Ended { how: End::Fired, due, .. } => Answer::Scheduled(due),
        Ended { how: End::Cancelled, .. } => Answer::Cancelled,
    }
}

/// What is said of a timer that has ended.
fn over(ended: Ended) -> Answer {
    match ended.how {
        End::Fired => Answer::AlreadyFired,
        End::Cancelled => Answer::Cancelled,
    }
}

#[cfg(test)]
mod tests;
