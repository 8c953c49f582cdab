//! One partition in the worker's hands: the protocol's value, the payloads it speaks of, and what was read too early.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use evhub_event::{Record, kafka, record::PROCESSOR_UID};
use evhub_journal::{Journal, Stored};
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use tracing::warn;

use super::{
    shared::{Lane, Shared, now},
    task::{self, Attempted, Done, Payload},
};
use crate::{
    Progress,
    dead::{Cause, DeadLetter, Reason},
    outcome::{Answer, Outcome, decide},
    parked::{self, Parked},
    protocol::{Claiming, Effect, Kind, Offsets, Partition, Place, Start, StateKey, Verdict},
};

/// How many of an event's latest failures are kept with it: enough to see a pattern, and at most 11 KiB.
const CAUSES: usize = 10;

/// How many bytes of events a Processor holds in memory before it stops reading: enough for the default of attempts under
/// way at the default size of events.
const MOST_HELD: usize = 64 << 20;

/// How far a partition's taking over has come.
pub(super) enum Slot {
    /// What is durable is being read.
    Taking,
    /// The claim is being committed.
    Claiming(Box<Claiming<Lane>>, HashMap<Place, i64>),
    /// It is ours.
    Working(Box<Working>),
}

/// A partition that is ours.
pub(super) struct Working {
    pub(super) number: u32,
    pub(super) partition: Partition<Lane>,
    payloads: HashMap<Place, Payload>,
    not_before: HashMap<Place, i64>,
    letters: HashMap<Place, Record>,
    backlog: VecDeque<Read>,
    /// Whether its sources are paused.
    pub(super) paused: bool,
    /// How many attempts ended since the commit that was acknowledged last, and how many of them the one under way knows.
    uncommitted: usize,
    flying: usize,
}

/// What was read of a source and not taken in yet.
pub(super) enum Read {
    Record(u16, Stored),
    End(u16, u64),
}

type Task = Pin<Box<dyn Future<Output = (u32, Done)> + Send>>;

/// Where a slot puts what is to be done.
pub(super) struct Out<J> {
    pub(super) shared: Arc<Shared<J>>,
    pub(super) tasks: FuturesUnordered<Task>,
    pub(super) timers: BTreeSet<(Instant, u32, Place)>,
    /// The names of topics, by the index that places carry.
    pub(super) topics: Vec<String>,
    /// How many bytes of events are in memory, read from sources and not yet finished or parked.
    pub(super) held: usize,
}

impl<J: Journal> Out<J> {
    pub(super) fn run(&self, partition: u32, task: impl Future<Output = Done> + Send + 'static) {
        self.tasks.push(Box::pin(async move { (partition, task.await) }));
    }

    /// The index of a topic, which gets one if it has none.
    pub(super) fn source(&mut self, topic: &str) -> u16 {
        let index = self.topics.iter().position(|known| known == topic).unwrap_or_else(|| {
            self.topics.push(topic.to_owned());
            self.topics.len() - 1
        });
        index as u16
    }
}

impl Working {
    /// With more ended than this and not committed no attempt is started: a crash would repeat them all.
    pub(super) const MOST_UNCOMMITTED: usize = 256;

    pub(super) fn new(number: u32, partition: Partition<Lane>, not_before: HashMap<Place, i64>) -> Self {
        let (payloads, letters, backlog) = (HashMap::new(), HashMap::new(), VecDeque::new());
        Self {
            number,
            partition,
            payloads,
            not_before,
            letters,
            backlog,
            paused: false,
            uncommitted: 0,
            flying: 0,
        }
    }

    /// Takes note of what was read.
    pub(super) fn read(&mut self, read: Read) {
        self.backlog.push_back(read);
    }

    /// Takes in as much of what was read as there is room for. Returns whether all of it was.
    pub(super) fn take_in<J: Journal>(&mut self, out: &mut Out<J>) -> bool {
        let mut effects = Vec::new();
        while self.has_room(out) {
            match self.backlog.pop_front() {
                Some(Read::Record(source, stored)) => self.receive(source, stored, &mut effects, out),
                Some(Read::End(source, end)) => self.partition.reached(source, end, &mut effects),
                None => break,
            }
        }
        self.carry_out(effects, out);
        self.backlog.is_empty()
    }

    /// Parked deliveries bound what is taken in, but not what a predecessor took in already: some of them may wait for
    /// replay to pass.
    fn has_room<J: Journal>(&self, out: &Out<J>) -> bool {
        let parked = Progress::get(&out.shared.progress.parked);
        let most = u64::from(out.shared.processor.policy.max_parked);
        self.partition.has_room() && out.held < MOST_HELD && (parked < most || self.partition.is_replaying())
    }

    fn receive<J: Journal>(
        &mut self,
        source: u16,
        stored: Stored,
        effects: &mut Vec<Effect>,
        out: &mut Out<J>,
    ) {
        let place = Place { source, offset: stored.offset };
        if stored.record.value.is_none() && kafka::decode(&stored.record).is_err() {
            Progress::add(&out.shared.progress.poisoned, 1);
            return self.partition.skipped(place, effects);
        }
        if is_anothers(&stored.record, out) {
            return self.partition.skipped(place, effects);
        }
        let lane = out.shared.lane(stored.record.key.as_ref());
        if self.partition.received(place, lane, effects) {
            let payload = Payload::read(stored.record);
            out.held += payload.held;
            self.payloads.insert(place, payload);
        }
    }

    /// Starts the next attempt, if there is one to make.
    pub(super) fn start<J: Journal>(&mut self, out: &Out<J>) -> bool {
        if self.uncommitted >= Self::MOST_UNCOMMITTED {
            return false;
        }
        let Some(start) = self.partition.start() else { return false };
        Progress::add(&out.shared.progress.attempts, 1);
        Progress::add(&out.shared.progress.in_flight, 1);
        let payload = self.payloads.remove(&start.place);
        let (shared, epoch) = (Arc::clone(&out.shared), self.partition.claim().epoch);
        let attempt = task::attempt(shared, self.number, epoch, start, payload);
        out.run(self.number, async move { Done::Attempted(Box::new(attempt.await)) });
        true
    }

    /// Draws the consequences of an attempt.
    pub(super) fn attempted<J: Journal>(&mut self, attempted: Attempted, out: &mut Out<J>) {
        let Attempted { start, mut payload, answer, began, micros } = attempted;
        let progress = Arc::clone(&out.shared.progress);
        progress.in_flight.fetch_sub(1, Relaxed);
        self.uncommitted += 1;
        Progress::add(&progress.attempt_micros, micros);
        let outcome = decide(&out.shared.processor.policy.retry, start.attempt, &answer, fastrand::u64(..));
        if outcome != Outcome::Delivered {
            payload.first_attempt.get_or_insert(began);
            let (time, status) = (now(), answer.status());
            let attempt = start.attempt - u32::from(matches!(answer, Answer::Poison(..)));
            payload.causes.push(Cause { attempt, time, status, text: answer.text() });
            let excess = payload.causes.len().saturating_sub(CAUSES);
            payload.causes.drain(..excess);
        }
        let mut effects = Vec::new();
        match outcome {
            Outcome::Delivered => {
                out.held -= payload.held;
                Progress::add(&progress.delivered, 1);
                progress.last_delivery.store(now(), Relaxed);
                self.partition.ended(start.place, Verdict::Delivered, &mut effects);
            }
            Outcome::Retry(wait) => {
                Progress::add(&progress.retried, 1);
                self.not_before.insert(start.place, now() + wait.as_millis() as i64);
                self.payloads.insert(start.place, payload);
                self.partition.ended(start.place, Verdict::Retry, &mut effects);
            }
            Outcome::Dead(reason) => {
                out.held -= payload.held;
                self.letters.insert(start.place, self.letter(start, payload, reason, out));
                self.partition.ended(start.place, Verdict::Dead, &mut effects);
            }
        }
        self.carry_out(effects, out);
    }

    /// The dead letter that an attempt made. One of an unreadable record tells of an attempt only if there was one.
    fn letter<J: Journal>(&self, start: Start, payload: Payload, reason: Reason, out: &Out<J>) -> Record {
        let shared = &out.shared;
        let poison = !matches!(reason, Reason::MaxAttempts | Reason::NotRetryable);
        Progress::add(&shared.progress.poisoned, u64::from(poison));
        let attempts = start.attempt - u32::from(poison);
        let letter = DeadLetter {
            topic: out.topics.get(usize::from(start.place.source)).cloned().unwrap_or_default(),
            partition: self.number,
            offset: start.place.offset,
            processor_uid: shared.processor.uid.clone(),
            generation: shared.processor.generation,
            reason,
            attempts,
            first_attempt: payload.first_attempt.filter(|_| attempts > 0),
            last_attempt: payload.causes.last().map(|cause| cause.time).filter(|_| attempts > 0),
            causes: payload.causes,
        };
        warn!(processor = %shared.name, letter = letter.id(), ?reason, attempts, "an event becomes a dead letter");
        letter.encode(payload.record)
    }

    /// What to commit now, if there is anything.
    pub(super) fn commit(&mut self) -> Option<Offsets> {
        let offsets = self.partition.commit()?;
        self.flying = self.uncommitted;
        Some(offsets)
    }

    /// The commit under way succeeded.
    pub(super) fn committed(&mut self, effects: &mut Vec<Effect>) {
        self.uncommitted -= std::mem::take(&mut self.flying);
        self.partition.committed(effects);
    }

    /// Does what the protocol asks for.
    pub(super) fn carry_out<J: Journal>(&mut self, effects: Vec<Effect>, out: &mut Out<J>) {
        for effect in effects {
            match effect {
                Effect::Park { place, key, kind, attempts } => self.park(place, key, kind, attempts, out),
                Effect::Rest(place) => self.rest(place, out),
                Effect::Bury(place) => self.bury(place, out),
                Effect::Clear(at, key) => {
                    let cleared = task::clear(Arc::clone(&out.shared), self.number, key);
                    out.run(self.number, async move { Done::Cleared(at, cleared.await) });
                }
            }
        }
    }

    fn park<J: Journal>(&mut self, place: Place, key: StateKey, kind: Kind, attempts: u32, out: &mut Out<J>) {
        let shared = Arc::clone(&out.shared);
        let payload = self.payloads.remove(&place).expect("what is parked was read or attempted just before");
        out.held -= payload.held;
        let parked = Parked {
            kind,
            topic: out.topics.get(usize::from(place.source)).cloned().unwrap_or_default(),
            offset: place.offset,
            attempts,
            first_attempt: payload.first_attempt,
            not_before: self.not_before.get(&place).copied().unwrap_or_default(),
            causes: payload.causes,
            event: payload.record,
        };
        let key = parked::encode_key(&shared.processor.uid, key);
        let parking = task::park(shared, self.number, parked, key);
        out.run(self.number, async move { Done::Parked(place, parking.await) });
    }

    fn bury<J: Journal>(&mut self, place: Place, out: &Out<J>) {
        let shared = Arc::clone(&out.shared);
        let record = self.letters.remove(&place).expect("only the end of an attempt makes a dead letter");
        out.run(self.number, async move {
            task::bury(&shared, record).await;
            Progress::add(&shared.progress.dead_lettered, 1);
            Done::Buried(place)
        });
    }

    /// Sets the timer of a parked delivery. The wall clock may have jumped since its instant was noted, so none rests
    /// longer than the longest wait of its policy.
    fn rest<J: Journal>(&mut self, place: Place, out: &mut Out<J>) {
        let backoff = &out.shared.processor.policy.retry.backoff;
        let longest =
            backoff.max.max(backoff.initial).mul_f64(1.0 + f64::from(backoff.jitter_percent) / 100.0);
        let wait = self.not_before.remove(&place).unwrap_or_default().saturating_sub(now());
        let wait = Duration::from_millis(wait.max(0) as u64).min(longest);
        out.timers.insert((Instant::now() + wait, self.number, place));
    }
}

/// Whether a record was redriven for a Processor that had this one's name before it.
fn is_anothers<J: Journal>(record: &Record, out: &Out<J>) -> bool {
    record.header(PROCESSOR_UID).is_some_and(|uid| *uid != out.shared.processor.uid.as_bytes())
}
