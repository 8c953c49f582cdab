//! The order of steps that keeps a shard safe, whoever believes to lead it. Pure: steps out, their endings in.
//!
//! Being assigned a shard is a hint. What counts is the transactional id, and so it always goes like this:
//!
//! 1. become the producer of the shard's transactional id: every transaction of a predecessor is decided then, and it
//!    decides no other;
//! 2. only then ask for the end of the state topic, and read up to there;
//! 3. write that it is about to lead, alone in a transaction: where that lies tells whether it has read all there is. A broker
//!    that is behind tells an end that is not the end, and whoever believes it fires again what has fired, and loses the rest;
//! 4. follow the commands from where the state says that they are applied;
//! 5. one transaction at a time: what fires, what changes, and how far commands are applied;
//! 6. answer when it is committed, and not before; and only then give the commands up.
//!
//! After any doubt about a transaction the state in memory is thrown away and all begins anew: only what a successor reads
//! tells how it ended.

mod planted;
mod queued;
mod step;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use evhub_event::Record;
use evhub_journal::{Position, Stored};

use self::queued::Queued;
pub use self::{
    planted::{Deviation, Planted},
    step::{Behind, Cause, Event, Spot, Step},
};
use crate::{
    Answer, Command, Listed, TimerId,
    quarantine::Quarantine,
    shard::{Draft, Shard, Tally},
    state::{Entry, Progress, Unreadable},
    timer::Timer,
};

/// How many commands one transaction applies at the most, and about how many bytes of them.
const MOST: (usize, usize) = (2_000, 2 << 20);
/// How long a leader may be silent, in milliseconds: a transactional id that is not used for a week is forgotten.
const BEAT: i64 = 12 * 3_600_000;

/// How long commands that are applied lie in the log at the most, where more come, in milliseconds.
const TRIM: i64 = 60_000;

/// What one leader is.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Which shard.
    pub shard: u32,
    /// The topic with what is durable.
    pub state: String,
    /// Where this process can be asked; empty where nobody else is.
    pub address: String,
    /// How many bytes of events may be in memory.
    pub cache: usize,
    /// How many commands that are applied may lie in the log before they are given up.
    pub applied: u64,
    /// The planted mistake of a test.
    pub planted: Planted,
}

/// How far a leader has come.
#[derive(Debug)]
enum Phase {
    /// Nothing is asked for.
    Idle,
    Becoming,
    Asking,
    Loading(u64),
    Working,
    Fetching,
    /// The transaction under way says that it is about to lead, and nothing else.
    Standing,
    /// The transaction under way, and where its records of timers are.
    Committing(Box<Flight>),
}

#[derive(Debug)]
struct Flight {
    progress: Progress,
    topics: Vec<Arc<str>>,
    /// Which of its records, by their places among all of them, are of timers and half messages that are pending.
    pending: Vec<(usize, TimerId)>,
    answers: Vec<(u64, Answer)>,
    tally: Tally,
    /// All of it, for a planted mistake that writes it again.
    again: Option<Draft>,
    /// The rest of a transaction that a planted mistake has torn.
    rest: Vec<(String, Spot, Record)>,
}

/// Whoever leads one shard, or is about to.
#[derive(Debug)]
pub struct Leader {
    rules: Rules,
    phase: Phase,
    shard: Shard,
    progress: Progress,
    queue: VecDeque<Queued>,
    quarantine: Quarantine,
    /// Up to where the state was read.
    end: u64,
    /// Whether a transaction of this term was committed, and the state was read up to there.
    leads: bool,
    /// When the last one was.
    beat: i64,
    /// Before which command they were given up, and when.
    trimmed: (u64, i64),
    /// Timers whose events were not found where they should lie; seen once, that may be because it is not the leader.
    missed: BTreeSet<TimerId>,
    /// Whether events are read back before they are due.
    reading: bool,
    /// The ends that were asked for before their time, where that mistake is planted.
    early: Option<(u64, u64)>,
    total: Tally,
}

impl Leader {
    /// A leader to be.
    pub fn new(rules: Rules) -> Self {
        let shard = Shard::new(rules.cache, rules.planted);
        Self {
            rules,
            phase: Phase::Idle,
            shard,
            progress: Progress::default(),
            queue: VecDeque::new(),
            quarantine: Quarantine::default(),
            end: 0,
            leads: false,
            beat: 0,
            trimmed: (0, i64::MIN),
            missed: BTreeSet::new(),
            reading: false,
            early: None,
            total: Tally::default(),
        }
    }

    /// The first step.
    pub fn begin(&mut self) -> Vec<Step> {
        (self.leads, self.reading) = (false, false);
        self.queue.clear();
        self.progress = Progress::default();
        self.shard = Shard::new(self.rules.cache, self.rules.planted);
        if self.rules.planted.is(Deviation::EndBeforeBecoming)
            || self.rules.planted.is(Deviation::BecomingAfterReading)
        {
            self.phase = Phase::Asking;
            return vec![Step::Ask];
        }
        self.phase = Phase::Becoming;
        vec![Step::Become]
    }

    /// What follows from what happened. `others` is how many timers of a Producer other shards have.
    pub fn on(&mut self, event: Event, now: i64, others: impl Fn(&str) -> u64) -> Vec<Step> {
        let mut steps = Vec::new();
        match event {
            Event::Became => self.became(now, &mut steps),
            Event::Ends(start, end) => self.ends(start, end, now, &mut steps),
            Event::Read(records, next) => self.read(records, next, now, &mut steps),
            Event::Commands(records) => self.queue.extend(records.into_iter().map(Queued::read)),
            Event::Fetched(events) => self.fetched(events, now, &mut steps),
            Event::Came(events) => {
                self.reading = false;
                self.shard.came(events);
            }
            Event::Committed(positions) => self.committed(&positions, now, &mut steps),
            Event::Failed(cause) => self.failed(cause, now, &mut steps),
            Event::Woken => {}
        }
        self.go_on(now, others, &mut steps);
        self.read_ahead(&mut steps);
        steps
    }

    /// Whether it leads, as far as it knows.
    pub fn leads(&self) -> bool {
        self.leads
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Working | Phase::Idle)
    }

    /// When there is something to do, if nothing happens before.
    pub fn wake(&self) -> Option<i64> {
        let Phase::Working = self.phase else { return None };
        let next = self.shard.next(|topic| self.quarantine.is_suspect(topic));
        let beat = self.beat.saturating_add(BEAT);
        let suspects = self
            .quarantine
            .suspects()
            .filter_map(|(suspect, until)| Some(self.shard.next(|topic| topic != suspect)?.max(until)));
        next.into_iter().chain(suspects).chain([beat]).min()
    }

    /// What it knows.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// How far it has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// When a publisher is to be asked about a half message, if it leads for sure.
    pub fn next_check(&self) -> Option<i64> {
        self.shard.next_check().filter(|_| self.leads)
    }

    /// How many commands wait to be applied.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How many destinations are left in peace because they fail.
    pub fn quarantined(&self) -> usize {
        self.quarantine.len()
    }

    /// What happened to timers while it led.
    pub fn total(&self) -> Tally {
        self.total
    }

    /// What is said to whoever asked for this at an offset and heard nothing; `None` as long as it is not applied.
    pub fn recall(&self, offset: u64, command: &Command) -> Option<Answer> {
        let applied = self.leads && offset < self.progress.applied;
        applied.then(|| self.shard.recall(offset, command))
    }

    /// Those of listed timers that are not in memory, and where they lie.
    pub fn places(&self, listed: &[Listed]) -> Vec<(TimerId, u64)> {
        self.shard.places(listed)
    }

    // === taking over ===

    fn became(&mut self, now: i64, steps: &mut Vec<Step>) {
        if self.rules.planted.is(Deviation::BecomingAfterReading) {
            return self.loaded();
        }
        if let Some((start, end)) = self.early.take() {
            self.phase = Phase::Loading(end);
            return self.read(Vec::new(), start, now, steps);
        }
        self.phase = Phase::Asking;
        steps.push(Step::Ask);
    }

    fn ends(&mut self, start: u64, end: u64, now: i64, steps: &mut Vec<Step>) {
        if self.rules.planted.is(Deviation::EndBeforeBecoming) {
            self.early = Some((start, end));
            self.phase = Phase::Becoming;
            steps.push(Step::Become);
            return;
        }
        self.phase = Phase::Loading(end);
        self.read(Vec::new(), start, now, steps);
    }

    fn read(&mut self, records: Vec<Stored>, next: u64, now: i64, steps: &mut Vec<Step>) {
        let Phase::Loading(end) = self.phase else { return };
        let dropped = self.rules.planted.is(Deviation::FirstSliceDropped) && self.progress.term == 0;
        for stored in records {
            match Entry::decode(&stored.record) {
                _ if stored.offset >= end => {}
                Ok(entry) if dropped && !matches!(entry, Entry::Progress(_)) => {}
                Ok(entry) => {
                    if let Some(progress) = self.shard.load(stored.offset, entry, now) {
                        self.progress = progress;
                    }
                }
                Err(why @ Unreadable::Version(_)) => {
                    self.phase = Phase::Idle;
                    steps.push(Step::Refuse(why));
                    return;
                }
                Err(why @ Unreadable::Malformed) => steps.push(Step::Passed(stored.offset, why.to_string())),
            }
        }
        if next < end {
            steps.push(Step::Read(next));
            return;
        }
        self.shard.loaded();
        self.end = end;
        if self.rules.planted.is(Deviation::BecomingAfterReading) {
            self.phase = Phase::Becoming;
            steps.push(Step::Become);
        } else {
            self.loaded();
        }
    }

    fn loaded(&mut self) {
        self.progress.term += 1;
        self.progress.leader.clone_from(&self.rules.address);
        self.phase = Phase::Working;
    }

    // === working ===

    fn fetched(&mut self, events: Vec<(TimerId, Option<Timer>)>, now: i64, steps: &mut Vec<Step>) {
        // Whoever has been followed by another one may not see it for now, and would never look for it again.
        let missed = events.iter().filter(|(_, timer)| timer.is_none()).map(|(id, _)| *id);
        let first: Vec<TimerId> = missed.filter(|id| !self.missed.contains(id)).collect();
        if !first.is_empty() {
            self.missed.extend(first);
            return self.failed(Cause::Doubt, now, steps);
        }
        for (id, timer) in events {
            if timer.is_none() {
                steps.push(Step::Passed(self.progress.applied, format!("the event of timer {id} is gone")));
            } else {
                self.missed.remove(&id);
            }
            self.shard.fetched(id, timer);
        }
        if matches!(self.phase, Phase::Fetching) {
            self.phase = Phase::Working;
        }
    }

    fn go_on(&mut self, now: i64, others: impl Fn(&str) -> u64, steps: &mut Vec<Step>) {
        let Phase::Working = self.phase else { return };
        if !self.leads {
            steps.push(Step::Commit(vec![self.mine(Entry::Standing)]));
            self.phase = Phase::Standing;
            return;
        }
        let missing = self.missing(now);
        if !missing.is_empty() {
            self.phase = Phase::Fetching;
            steps.push(Step::Fetch(missing));
            return;
        }
        let mut draft = Draft::default();
        let applied = self.apply(others, &mut draft, steps);
        self.fire(now, &mut draft);
        let beat = self.beat.saturating_add(BEAT) <= now;
        let nothing = draft.fires.is_empty() && draft.puts.is_empty() && applied == self.progress.applied;
        if nothing && !beat && !self.shard.must_forget(now) {
            return;
        }
        self.shard.forget(now, &mut draft);
        let watermark = self.progress.watermark.max(now);
        let progress = Progress { applied, watermark, ..self.progress.clone() };
        if self.rules.planted.is(Deviation::TrimmedTooEarly) {
            self.trim(applied, now, steps);
        }
        self.commit(draft, progress, steps);
    }

    /// What has to be read back first: what the next command is about, and what fires in this transaction. Each is said once.
    fn missing(&self, now: i64) -> Vec<(TimerId, u64)> {
        let lacking = self.queue.front().and_then(|queued| self.shard.lacks(queued.command.as_ref().ok()?));
        let missing = match self.trial(now) {
            Some(suspect) => self.shard.missing(now, |topic| *topic != *suspect),
            None => self.shard.missing(now, |topic| self.quarantine.is_suspect(topic)),
        };
        let others = missing.into_iter().filter(|(id, _)| lacking.is_none_or(|(lacking, _)| lacking != *id));
        lacking.into_iter().chain(others).collect()
    }

    /// The suspect, if any, into which alone the next transaction fires.
    fn trial(&self, now: i64) -> Option<Arc<str>> {
        let may = |topic: &str| self.quarantine.rests(topic).is_some_and(|until| until <= now);
        self.shard.overdue_in(now, may)
    }

    /// Has events read back before they are due, where there is room for them.
    fn read_ahead(&mut self, steps: &mut Vec<Step>) {
        if !self.leads || self.reading {
            return;
        }
        let places = self.shard.ahead();
        if !places.is_empty() {
            self.reading = true;
            // Before a transaction, that it need not wait for it.
            steps.insert(0, Step::Ahead(places));
        }
    }

    /// Applies what waits, as far as one transaction takes it. Returns the first command that is not applied then.
    fn apply(&mut self, others: impl Fn(&str) -> u64, draft: &mut Draft, steps: &mut Vec<Step>) -> u64 {
        let (mut applied, mut bytes) = (self.progress.applied, 0);
        while draft.answers.len() < MOST.0 && bytes < MOST.1 {
            let Some(next) = self.queue.front() else { break };
            if next.command.as_ref().is_ok_and(|command| self.shard.lacks(command).is_some()) {
                break;
            }
            let Some(Queued { offset, taken, command, bytes: size }) = self.queue.pop_front() else { break };
            // It was applied by a predecessor, or before a doubt.
            if offset < applied {
                continue;
            }
            (applied, bytes) = (offset + 1, bytes + size);
            match command {
                Ok(command) => self.shard.apply((offset, taken), command, &others, draft),
                Err(why) => {
                    steps.push(Step::Passed(offset, why));
                    draft.answers.push((offset, Answer::Unreadable));
                }
            }
        }
        applied
    }

    /// Fires what is due: into one suspect alone, where one may be tried again, or into all that are trusted.
    fn fire(&mut self, now: i64, draft: &mut Draft) {
        let quarantine = &self.quarantine;
        match self.trial(now) {
            Some(suspect) => self.shard.fire(now, |topic| *topic != *suspect, draft),
            None => self.shard.fire(now, |topic| quarantine.is_suspect(topic), draft),
        }
    }

    fn commit(&mut self, draft: Draft, progress: Progress, steps: &mut Vec<Step>) {
        let mut topics: Vec<Arc<str>> = draft.fires.iter().map(|(topic, _)| Arc::clone(topic)).collect();
        topics.sort_unstable();
        topics.dedup();
        let planted = self.rules.planted;
        let again = planted.is(Deviation::SameAfterDoubt).then(|| draft.clone());
        let Draft { fires, puts, answers, tally, .. } = draft;
        let pending = (fires.len()..).zip(&puts).filter_map(|(at, (id, entry))| {
            matches!(entry, Entry::Pending(_) | Entry::Half(_)).then_some((at, *id))
        });
        let pending = pending.collect();
        let fires = fires.into_iter().map(|(topic, record)| (topic.to_string(), Spot::ByKey, record));
        let puts = puts.into_values().map(|entry| self.mine(entry));
        let last = self.mine(Entry::Progress(progress.clone()));
        let (records, rest): (Vec<_>, Vec<_>) = if planted.is(Deviation::StateBeforeFires) {
            (puts.chain([last]).collect(), fires.collect())
        } else if planted.is(Deviation::ProgressApart) {
            (fires.chain(puts).collect(), vec![last])
        } else {
            (fires.chain(puts).chain([last]).collect(), Vec::new())
        };
        steps.push(Step::Commit(records));
        let flight = Flight { progress, topics, pending, answers, tally, again, rest };
        self.phase = Phase::Committing(Box::new(flight));
    }

    /// A record of the state.
    fn mine(&self, entry: Entry) -> (String, Spot, Record) {
        (self.rules.state.clone(), Spot::Partition(self.rules.shard), entry.encode())
    }

    fn committed(&mut self, positions: &[Position], now: i64, steps: &mut Vec<Step>) {
        if let Phase::Standing = self.phase {
            return self.stands(positions, steps);
        }
        let Phase::Committing(mut flight) = std::mem::replace(&mut self.phase, Phase::Working) else {
            return;
        };
        let rest = std::mem::take(&mut flight.rest);
        if !rest.is_empty() {
            steps.push(Step::Commit(rest));
            self.phase = Phase::Committing(flight);
            return;
        }
        let Flight { progress, topics, pending, answers, tally, .. } = *flight;
        for (at, id) in pending {
            if let Some(position) = positions.get(at) {
                self.shard.settled(id, position.offset);
            }
        }
        self.quarantine.committed(&topics);
        self.progress = progress;
        self.beat = now;
        self.total.add(tally);
        self.trim(self.progress.applied, now, steps);
        steps.extend(answers.into_iter().map(|(offset, answer)| Step::Answer(offset, answer)));
    }

    /// Whether all of the state was read: its end was where this leader's first record lies.
    fn stands(&mut self, positions: &[Position], steps: &mut Vec<Step>) {
        let blind = [Deviation::EndBelieved, Deviation::EndBeforeBecoming, Deviation::BecomingAfterReading];
        let blind = blind.into_iter().any(|mistake| self.rules.planted.is(mistake));
        let (told, lies) = (self.end, positions.last().map_or(u64::MAX, |last| last.offset));
        if lies != told && !blind {
            self.phase = Phase::Idle;
            steps.push(Step::Behind(Behind { told, lies }));
            return;
        }
        // How far it has come is written next, and where it can be asked.
        (self.leads, self.beat, self.phase) = (true, i64::MIN, Phase::Working);
        steps.push(Step::Follow(self.progress.applied));
    }

    /// Gives up commands now and then: what is committed is never looked for again, whoever leads.
    fn trim(&mut self, applied: u64, now: i64, steps: &mut Vec<Step>) {
        let (before, at) = self.trimmed;
        let many = applied >= before.saturating_add(self.rules.applied);
        if applied > before && (many || now >= at.saturating_add(TRIM)) {
            self.trimmed = (applied, now);
            steps.push(Step::Trim(applied));
        }
    }

    fn failed(&mut self, cause: Cause, now: i64, steps: &mut Vec<Step>) {
        let phase = std::mem::replace(&mut self.phase, Phase::Idle);
        if let (Phase::Committing(flight), Cause::Refused | Cause::Doubt) = (&phase, cause)
            && !flight.topics.is_empty()
        {
            self.quarantine.refused(&flight.topics, now);
        }
        if let Phase::Committing(flight) = phase
            && let Flight { again: Some(draft), progress, .. } = *flight
        {
            // The producer goes on as if nothing had been written.
            self.commit(draft, progress, steps);
            return;
        }
        steps.extend(self.begin());
    }
}
