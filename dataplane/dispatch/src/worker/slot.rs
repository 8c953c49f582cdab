//! One partition in the worker's hands: the protocol's value, the payloads it speaks of, and what was read too early.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use evhub_event::{Controls, Record, kafka, record::PROCESSOR_UID};
use evhub_journal::{Journal, Stored};
use evhub_routing::OnExhausted;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use tracing::warn;

use super::{
    gate::Gate,
    shared::{Lane, Shared, now},
    task::{self, Attempted, Done, Payload},
};
use crate::{
    Progress,
    dead::{Cause, DeadLetter, Reason},
    outcome::{Answer, Outcome, Tried, decide, longest_wait},
    pace::Permit,
    parked::{self, HELD, Parked},
    protocol::{Claiming, Effect, Kind, Offsets, Partition, Place, Start, StateKey, Verdict},
    wanted::{self, Intake},
};

/// How many of an event's latest failures are kept with it: enough to see a pattern, and at most 11 KiB.
const CAUSES: usize = 10;

/// A delay follows the wall clock, which may jump; so its timer looks at it at least this often.
const NAP: Duration = Duration::from_mins(1);

/// How many bytes of events a Processor holds in memory before it stops reading: enough for the default of attempts under
/// way at the default size of events.
const MOST_HELD: usize = 64 << 20;

/// How far a partition's taking over has come.
pub(super) enum Slot {
    /// What is durable is being read.
    Taking,
    /// The claim is being committed.
    Claiming(Box<Claiming<Lane>>, HashMap<Place, Rest>),
    /// It is ours.
    Working(Box<Working>),
}

/// What is known of a parked delivery beside its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    pub(super) not_before: i64,
    pub(super) kind: Kind,
    pub(super) bytes: u64,
}

/// A partition that is ours.
pub(super) struct Working {
    pub(super) number: u32,
    pub(super) partition: Partition<Lane>,
    payloads: HashMap<Place, Payload>,
    /// The parked deliveries, and those on their way to be.
    parked: HashMap<Place, Rest>,
    /// When what is on its way to be parked may be attempted.
    instants: HashMap<Place, i64>,
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
    pub(super) gate: Gate,
    /// An event was exhausted, and nothing more is delivered until somebody says so.
    pub(super) suspended: bool,
    /// How many deliveries are parked, or on their way to be, and their bytes.
    pub(super) parked: (u64, u64),
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

    /// Whether nothing is delivered and nothing taken in.
    pub(super) fn is_halted(&self) -> bool {
        self.suspended || self.shared.processor.suspend
    }

    /// Whether as much is parked as may be.
    fn is_full(&self) -> bool {
        let policy = &self.shared.processor.policy;
        self.parked.0 >= u64::from(policy.max_parked) || self.parked.1 >= policy.max_parked_bytes
    }

    fn suspend(&mut self, reason: Reason) {
        if !std::mem::replace(&mut self.suspended, true) {
            self.shared.progress.suspended.store(true, Relaxed);
            warn!(processor = %self.shared.name, ?reason, "suspended: an event is exhausted; resume it to go on");
        }
    }
}

impl Working {
    /// With more ended than this and not committed no attempt is started: a crash would repeat them all.
    pub(super) const MOST_UNCOMMITTED: usize = 256;

    /// Begins with what was found parked.
    pub(super) fn new<J: Journal>(
        number: u32,
        partition: Partition<Lane>,
        mut parked: HashMap<Place, Rest>,
        out: &mut Out<J>,
    ) -> Self {
        for rest in parked.values_mut() {
            out.parked = (out.parked.0 + 1, out.parked.1 + rest.bytes);
            if rest.not_before == HELD {
                match out.shared.processor.policy.on_exhausted {
                    OnExhausted::Suspend => out.suspend(Reason::MaxAttempts),
                    OnExhausted::DeadLetter | OnExhausted::Drop => rest.not_before = 0,
                }
            }
        }
        let (payloads, instants) = (HashMap::new(), HashMap::new());
        let (letters, backlog) = (HashMap::new(), VecDeque::new());
        let (paused, uncommitted, flying) = (false, 0, 0);
        Self { number, partition, payloads, parked, instants, letters, backlog, paused, uncommitted, flying }
    }

    /// Nothing of this partition is here any more.
    pub(super) fn forget<J: Journal>(&self, out: &mut Out<J>) {
        for rest in self.parked.values() {
            out.parked = (out.parked.0 - 1, out.parked.1 - rest.bytes);
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

    /// Whether there is something to take in, and room for it.
    pub(super) fn can_take_in<J: Journal>(&self, out: &Out<J>) -> bool {
        !self.backlog.is_empty() && self.has_room(out)
    }

    /// While the target is in trouble, no more is taken in than one record to try it with. Neither that nor what is
    /// parked bounds what a predecessor took in already: some of it may wait for replay to pass.
    fn has_room<J: Journal>(&self, out: &Out<J>) -> bool {
        let idle = self.partition.unresolved() == 0 && self.partition.ready() == 0;
        let needed = !out.gate.open || idle || self.partition.is_replaying();
        let room = !out.is_full() || self.partition.is_replaying();
        needed && room && out.held < MOST_HELD && self.partition.has_room() && !out.is_halted()
    }

    fn receive<J: Journal>(
        &mut self,
        source: u16,
        stored: Stored,
        effects: &mut Vec<Effect>,
        out: &mut Out<J>,
    ) {
        let (place, shared) = (Place { source, offset: stored.offset }, Arc::clone(&out.shared));
        if stored.record.value.is_none() && kafka::decode(&stored.record).is_err() {
            Progress::add(&shared.progress.poisoned, 1);
            self.partition.skipped(place, effects);
            return;
        }
        if is_anothers(&stored.record, out) {
            self.partition.skipped(place, effects);
            return;
        }
        let inbox =
            out.topics.get(usize::from(source)).is_some_and(|topic| *topic == shared.processor.inbox_topic);
        let intake = if inbox { Intake::Now } else { wanted::intake(&shared.processor, &stored.record) };
        let lane = shared.lane(stored.record.key.as_ref());
        let due = match intake {
            Intake::Later(delay) => {
                let delay = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX / 4);
                Some(stored.timestamp.saturating_add(delay)).filter(|due| *due > now())
            }
            Intake::Now | Intake::Undelayed => None,
            Intake::Unwanted(why) => {
                if self.partition.skipped(place, effects) {
                    shared.progress.discard(why);
                }
                return;
            }
        };
        let new = match due {
            None => self.partition.received(place, lane, effects),
            Some(_) => self.partition.delayed(place, lane, effects),
        };
        if !new {
            return;
        }
        Progress::add(&shared.progress.undelayed, u64::from(intake == Intake::Undelayed));
        if let Some(not_before) = due {
            Progress::add(&shared.progress.delayed, 1);
            self.instants.insert(place, not_before);
        }
        let payload = Payload::read(stored.record);
        out.held += payload.held;
        self.payloads.insert(place, payload);
    }

    /// Starts the next attempt, if there is one to make; if there is none, gives the permit back.
    pub(super) fn start<J: Journal>(&mut self, permit: Permit, out: &Out<J>) -> Result<(), Permit> {
        if self.uncommitted >= Self::MOST_UNCOMMITTED {
            return Err(permit);
        }
        let next = if out.gate.open { self.partition.start_probe() } else { self.partition.start() };
        let Some(start) = next else { return Err(permit) };
        Progress::add(&out.shared.progress.attempts, 1);
        Progress::add(&out.shared.progress.in_flight, 1);
        let payload = self.payloads.remove(&start.place);
        let (shared, epoch) = (Arc::clone(&out.shared), self.partition.claim().epoch);
        let topic = out.topics.get(usize::from(start.place.source)).cloned().unwrap_or_default();
        let attempt = task::attempt(shared, self.number, epoch, (start, topic), payload, permit);
        out.run(self.number, async move { Done::Attempted(Box::new(attempt.await)) });
        Ok(())
    }

    /// Draws the consequences of an attempt.
    pub(super) fn attempted<J: Journal>(&mut self, attempted: Attempted, out: &mut Out<J>) {
        let Attempted { start, mut payload, answer, began, permit } = attempted;
        let progress = Arc::clone(&out.shared.progress);
        progress.in_flight.fetch_sub(1, Relaxed);
        self.uncommitted += 1;
        Progress::add(&progress.attempt_micros, began.1.elapsed().as_micros() as u64);
        out.gate.ended(permit, began.1, &answer, start.attempt == 1);
        let first = *payload.first_attempt.get_or_insert(began.0);
        let tried = Tried {
            attempt: start.attempt,
            throttled: payload.throttled,
            age: Duration::from_millis(now().saturating_sub(first).max(0) as u64),
            allowed: Controls::of(&payload.record).max_attempts,
        };
        let outcome = decide(&out.shared.processor.policy, tried, &answer, fastrand::u64(..));
        if outcome != Outcome::Delivered {
            let poison = matches!(answer, Answer::Poison(..));
            note(&mut payload, start.attempt - u32::from(poison), &answer);
        }
        self.draw(start, payload, outcome, out);
    }

    fn draw<J: Journal>(&mut self, start: Start, mut payload: Payload, outcome: Outcome, out: &mut Out<J>) {
        let (place, progress) = (start.place, Arc::clone(&out.shared.progress));
        let verdict = match outcome {
            Outcome::Delivered => {
                out.held -= payload.held;
                Progress::add(&progress.delivered, 1);
                progress.last_delivery.store(now(), Relaxed);
                self.finished(place, out);
                Verdict::Delivered
            }
            Outcome::Discard(why) => {
                out.held -= payload.held;
                progress.discard(why);
                self.finished(place, out);
                Verdict::Discarded
            }
            Outcome::Retry { wait, throttled } => {
                Progress::add(&progress.retried, 1);
                Progress::add(&progress.throttled, u64::from(throttled));
                payload.throttled += u32::from(throttled);
                self.instants.insert(place, now() + wait.as_millis() as i64);
                self.payloads.insert(place, payload);
                Verdict::Retry
            }
            Outcome::Suspend(reason) => {
                out.suspend(reason);
                self.instants.insert(place, HELD);
                self.payloads.insert(place, payload);
                Verdict::Retry
            }
            Outcome::Dead(reason) => {
                out.held -= payload.held;
                self.letters.insert(place, self.letter(start, payload, reason, out));
                Verdict::Dead
            }
        };
        let mut effects = Vec::new();
        self.partition.ended(place, verdict, &mut effects);
        self.carry_out(effects, out);
    }

    /// Nothing of a delivery is parked any more.
    pub(super) fn finished<J: Journal>(&mut self, place: Place, out: &mut Out<J>) {
        if let Some(rest) = self.parked.remove(&place) {
            out.parked = (out.parked.0 - 1, out.parked.1 - rest.bytes);
        }
    }

    /// The dead letter that an attempt made. One of an unreadable record tells of an attempt only if there was one.
    fn letter<J: Journal>(&self, start: Start, payload: Payload, reason: Reason, out: &Out<J>) -> Record {
        let shared = &out.shared;
        let poison = reason.is_poison();
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
        let reason = letter.reason;
        warn!(processor = %shared.name, letter = letter.id(), ?reason, attempts = letter.attempts, "an event becomes a dead letter");
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
        let (not_before, bytes) =
            (self.instants.remove(&place).unwrap_or_default(), payload.record.size() as u64);
        out.parked = (out.parked.0 + 1, out.parked.1 + bytes);
        self.finished(place, out);
        self.parked.insert(place, Rest { not_before, kind, bytes });
        let parked = Parked {
            kind,
            topic: out.topics.get(usize::from(place.source)).cloned().unwrap_or_default(),
            offset: place.offset,
            attempts,
            first_attempt: payload.first_attempt,
            not_before,
            throttled: payload.throttled,
            pass_back: payload.pass_back,
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

    /// Sets the timer of a parked delivery, unless it waits for its Processor to be resumed. The wall clock may have
    /// jumped since its instant was noted, so no retry rests longer than the longest wait of its policy.
    fn rest<J: Journal>(&mut self, place: Place, out: &mut Out<J>) {
        let Some(rest) = self.parked.get(&place).filter(|rest| rest.not_before != HELD) else { return };
        let most = match rest.kind {
            Kind::Delay => NAP,
            Kind::Retry | Kind::Behind => longest_wait(&out.shared.processor.policy.retry),
        };
        let wait = rest.not_before.saturating_sub(now()).max(0);
        let wait = Duration::from_millis(wait as u64).min(most);
        out.timers.insert((Instant::now() + wait, self.number, place));
    }

    /// The timer of a parked delivery has run out.
    pub(super) fn due<J: Journal>(&mut self, place: Place, out: &mut Out<J>) {
        match self.parked.get(&place) {
            Some(Rest { kind: Kind::Delay, not_before, .. }) if *not_before > now() => self.rest(place, out),
            _ => self.partition.due(place),
        }
    }

    /// What was held until the Processor is resumed is due.
    pub(super) fn resume(&mut self) {
        for not_before in self.instants.values_mut().filter(|not_before| **not_before == HELD) {
            *not_before = 0;
        }
        for (place, rest) in self.parked.iter_mut().filter(|(_, rest)| rest.not_before == HELD) {
            rest.not_before = 0;
            self.partition.due(*place);
        }
    }
}

/// Adds a failure to what is known of an event.
fn note(payload: &mut Payload, attempt: u32, answer: &Answer) {
    payload.causes.push(Cause { attempt, time: now(), status: answer.status(), text: answer.text() });
    let excess = payload.causes.len().saturating_sub(CAUSES);
    payload.causes.drain(..excess);
}

/// Whether a record was redriven for a Processor that had this one's name before it.
fn is_anothers<J: Journal>(record: &Record, out: &Out<J>) -> bool {
    record.header(PROCESSOR_UID).is_some_and(|uid| *uid != out.shared.processor.uid.as_bytes())
}
