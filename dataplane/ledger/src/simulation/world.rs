//! Processes that lead, or believe to; publishers; clocks; and what befalls them all.

mod halves;
mod schedules;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use evhub_event::{
    Header, Record,
    controls::{Pace, Repeat, Until, When},
};
use evhub_journal::Position;
use fastrand::Rng;

pub(super) use self::halves::policy;
use super::{
    judge,
    kafka::{Fenced, Kafka},
};
use crate::{
    Answer, Command, Submit, TimerId,
    claim::{self, By, Claim},
    command::{Mute, Verb, digest},
    leader::{Cause, Deviation, Event, Leader, Planted, Rules, Spot, Step},
    state::Entry,
    timer::Timer,
};

pub(super) const SHARDS: u32 = 2;
pub(super) const STATE: &str = "state";
pub(super) const COMMANDS: &str = "cmd";
pub(super) const TOPICS: [&str; 2] = ["a.due", "b.due"];
const PROCESSES: usize = 3;
/// How much a clock may be off that is right; in milliseconds.
pub(super) const SKEW: i64 = 20;
const STEPS: usize = 260;

/// A mistake that is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    Leader(Deviation),
    /// Whoever publishes writes the state as well.
    TwoWriters,
    /// A publish that is repeated has another id.
    RandomIds,
}

/// What happened in a history.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) fired: u64,
    pub(super) cancelled: u64,
    pub(super) repeats: u64,
    pub(super) doubts: u64,
    pub(super) fenced: u64,
    pub(super) late_ends: u64,
    pub(super) behind: u64,
    pub(super) torn: u64,
    pub(super) fetched: u64,
    pub(super) ahead: u64,
    pub(super) quarantined: u64,
    pub(super) claims: u64,
    pub(super) trimmed: u64,
    pub(super) mutes: u64,
    pub(super) prepared: u64,
    pub(super) decided: u64,
    pub(super) refused: u64,
    pub(super) checked: u64,
    pub(super) schedules: u64,
}

pub(super) struct World {
    rng: Rng,
    pub(super) kafka: Kafka,
    pub(super) now: i64,
    processes: Vec<Process>,
    /// Orders to end a transaction that have not come yet.
    late: Vec<(u32, u64)>,
    down: BTreeSet<&'static str>,
    pub(super) submits: Vec<(TimerId, Submit)>,
    /// Repeated events, and how often each is to fire.
    pub(super) chains: Vec<(TimerId, u32)>,
    /// How many publishes under a key there were.
    claims: usize,
    /// The half messages that somebody prepared.
    pub(super) halves: Vec<(TimerId, crate::half::Prepare)>,
    /// What was said of the command at each place.
    pub(super) answers: BTreeMap<(u32, u64), Answer>,
    mistake: Option<Mistake>,
    pub(super) seen: Seen,
    healing: bool,
}

struct Process {
    skew: i64,
    paused: bool,
    leads: BTreeMap<u32, Actor>,
}

struct Actor {
    leader: Leader,
    steps: VecDeque<Step>,
    epoch: u64,
    flight: Option<Flight>,
    follow: Option<u64>,
    /// What is being read back before it is due.
    ahead: Option<Vec<(TimerId, u64)>>,
}

/// A transaction that is being written.
struct Flight {
    records: Vec<(String, Spot, Record)>,
    positions: Vec<Position>,
}

impl World {
    pub(super) fn new(seed: u64, mistake: Option<Mistake>) -> Self {
        let process = || Process { skew: 0, paused: false, leads: BTreeMap::new() };
        let mut world = Self {
            rng: Rng::with_seed(seed),
            kafka: Kafka::default(),
            now: 10_000_000,
            processes: (0..PROCESSES).map(|_| process()).collect(),
            late: Vec::new(),
            down: BTreeSet::new(),
            submits: Vec::new(),
            chains: Vec::new(),
            claims: 0,
            halves: Vec::new(),
            answers: BTreeMap::new(),
            mistake,
            seen: Seen::default(),
            healing: false,
        };
        for shard in 0..SHARDS {
            world.assign(shard);
        }
        world
    }

    /// Lives through the history; says what broke.
    pub(super) fn run(&mut self) -> Result<(), String> {
        for step in 0..STEPS {
            self.happen();
            if step % 65 == 0 {
                judge::look(self)?;
            }
        }
        self.heal();
        judge::look(self)?;
        judge::end(self)
    }

    /// The leaders of each shard when all is well again.
    pub(super) fn leader(&self, shard: u32) -> Option<&Leader> {
        self.processes.iter().find_map(|process| process.leads.get(&shard)).map(|actor| &actor.leader)
    }

    fn happen(&mut self) {
        let shard = self.rng.u32(0..SHARDS);
        match self.rng.u32(0..100) {
            0..=11 => self.publish(),
            12..=15 => self.repeat(),
            16..=18 => self.cancel(),
            19..=20 => self.reschedule(),
            21..=28 => self.now += self.rng.i64(1..60),
            29..=31 => self.assign(shard),
            32..=33 => self.tell(),
            34 => self.crash(),
            35..=36 => self.pause(),
            37..=39 => self.arrive(),
            40 => self.kafka.time_out(shard),
            41 => self.kafka.compact(STATE, shard),
            42 => self.fail_destination(),
            43 => self.set_clock(),
            44..=47 => self.claim(),
            48 => self.chain(),
            49 => self.mute(),
            50..=56 => self.half(),
            57..=59 => self.schedule(),
            _ => self.step(),
        }
    }

    // === publishers ===

    fn publish(&mut self) {
        let n = self.submits.len();
        let topic = TOPICS[self.rng.usize(0..TOPICS.len())];
        let key = self.rng.bool().then(|| format!("k{}", self.rng.u32(0..2)));
        let record = Record {
            key: key.clone().map(Into::into),
            value: Some(vec![b'x'; self.rng.usize(1..40)].into()),
            headers: vec![Header { name: "ce_id".to_owned(), value: n.to_string().into() }],
        };
        let when = When::After(Duration::from_millis(self.rng.u64(0..120)));
        let id = TimerId::of(topic, key.as_deref().map(str::as_bytes), "/s", &n.to_string(), SHARDS);
        let submit = Submit {
            producer: topic.to_owned(),
            topic: topic.to_owned(),
            event_id: n.to_string(),
            digest: digest(&record, when),
            record,
            when,
            repeat: None,
            max_delay: Duration::from_hours(1),
            max_pending: 1_000,
        };
        self.submits.push((id, submit.clone()));
        self.command(Command { id, verb: Verb::Submit(Box::new(submit)) });
    }

    fn repeat(&mut self) {
        let Some((mut id, submit)) = self.any() else { return };
        if self.mistake == Some(Mistake::RandomIds) {
            id = TimerId::of(&submit.topic, None, "/again", &self.rng.u64(..).to_string(), SHARDS);
        }
        self.seen.repeats += 1;
        self.command(Command { id, verb: Verb::Submit(Box::new(submit)) });
    }

    fn cancel(&mut self) {
        if let Some((id, _)) = self.any() {
            self.command(Command { id, verb: Verb::Cancel });
        }
    }

    fn reschedule(&mut self) {
        let when = When::At(self.now + self.rng.i64(-20..150));
        if let Some((id, _)) = self.any() {
            self.command(Command { id, verb: Verb::Reschedule(when) });
        }
    }

    /// Publishes under one of a few keys: mostly what was published under it before.
    fn claim(&mut self) {
        let (topic, key) = (TOPICS[self.rng.usize(0..TOPICS.len())], self.rng.u32(0..4).to_string());
        let event_id = format!("c{}", self.claims);
        let header =
            |name: &str, value: &str| Header { name: name.to_owned(), value: value.to_owned().into() };
        let record = Record {
            key: None,
            value: Some(self.rng.u32(0..8).div_euclid(7).to_string().into()),
            headers: vec![header("ce_id", &event_id)],
        };
        let delay = (self.rng.u32(0..4) == 0).then_some(Duration::from_millis(30));
        let when = When::After(delay.unwrap_or_default());
        let id = TimerId::of_claim(topic, By::Key(&key), SHARDS);
        let submit = Submit {
            producer: topic.to_owned(),
            topic: topic.to_owned(),
            event_id: event_id.clone(),
            digest: digest(&record, when),
            when,
            repeat: None,
            max_delay: Duration::from_hours(1),
            max_pending: 1_000,
            record: record.clone(),
        };
        let claim = Claim {
            submit,
            timer: delay.map(|_| id.beside("/c", &event_id)),
            window: Duration::from_millis(self.rng.u64(20..400)),
            digest: claim::digest(&record, delay.map(When::After), None),
        };
        self.claims += 1;
        self.seen.claims += 1;
        self.command(Command { id, verb: Verb::Claim(Box::new(claim)) });
    }

    /// Publishes an event that is repeated.
    fn chain(&mut self) {
        let (topic, count) = (TOPICS[self.rng.usize(0..TOPICS.len())], self.rng.u32(1..5));
        let event_id = format!("r{}", self.chains.len());
        let record = Record {
            headers: vec![Header { name: "ce_id".to_owned(), value: event_id.clone().into() }],
            ..Record::default()
        };
        let when = When::After(Duration::from_millis(self.rng.u64(0..40)));
        let id = TimerId::of(topic, None, "/r", &event_id, SHARDS);
        let repeat = Repeat { pace: Pace::Every(Duration::from_millis(100)), until: Until::Count(count) };
        let submit = Submit {
            producer: topic.to_owned(),
            topic: topic.to_owned(),
            event_id,
            digest: digest(&record, when),
            record,
            when,
            repeat: Some(repeat),
            max_delay: Duration::from_hours(1),
            max_pending: 1_000,
        };
        self.chains.push((id, count));
        self.command(Command { id, verb: Verb::Submit(Box::new(submit)) });
    }

    /// One of two Processors wants no more of one.
    fn mute(&mut self) {
        if self.chains.is_empty() {
            return;
        }
        let (id, _) = self.chains[self.rng.usize(0..self.chains.len())];
        let all = ["p1".to_owned(), "p2".to_owned()].to_vec();
        let processor = all[self.rng.usize(0..2)].clone();
        self.seen.mutes += 1;
        self.command(Command { id, verb: Verb::Mute(Mute { processor, all }) });
    }

    fn any(&mut self) -> Option<(TimerId, Submit)> {
        let some = !self.submits.is_empty();
        some.then(|| self.submits[self.rng.usize(0..self.submits.len())].clone())
    }

    fn command(&mut self, command: Command) {
        let (shard, now) = (command.id.shard(), self.now);
        let offset = self.kafka.append(COMMANDS, shard, command.clone().encode(), now);
        if let (Some(Mistake::TwoWriters), Verb::Submit(submit)) = (self.mistake, command.verb) {
            let timer = Timer {
                id: command.id,
                producer: submit.producer.as_str().into(),
                topic: submit.topic.as_str().into(),
                due: submit.when.due(now),
                seq: offset,
                generation: 0,
                digest: submit.digest,
                max_delay: 3_600_000,
                event_id: submit.event_id,
                record: submit.record,
                series: None,
                claimed: false,
                chain: None,
            };
            self.kafka.append(STATE, shard, Entry::Pending(Box::new(timer)).encode(), now);
        }
    }

    // === faults ===

    /// The group assigns a shard to somebody; who had it does not know yet.
    fn assign(&mut self, shard: u32) {
        let planted = match self.mistake {
            Some(Mistake::Leader(deviation)) => Planted(Some(deviation)),
            _ => Planted::NONE,
        };
        let process = self.rng.usize(0..PROCESSES);
        let cache = self.rng.usize(0..200);
        let (state, address, applied) = (STATE.to_owned(), String::new(), 3);
        let mut leader = Leader::new(Rules { shard, state, address, cache, applied, planted });
        let steps = leader.begin().into();
        let actor = Actor { leader, steps, epoch: 0, flight: None, follow: None, ahead: None };
        let process = &mut self.processes[process];
        process.leads.entry(shard).or_insert(actor);
    }

    /// Somebody learns that a shard is not its own any more, if somebody else has it.
    fn tell(&mut self) {
        let shard = self.rng.u32(0..SHARDS);
        let have: Vec<usize> =
            (0..PROCESSES).filter(|process| self.processes[*process].leads.contains_key(&shard)).collect();
        if have.len() > 1 {
            let who = have[self.rng.usize(0..have.len())];
            self.processes[who].leads.remove(&shard);
        }
    }

    fn crash(&mut self) {
        let who = self.rng.usize(0..PROCESSES);
        let gone = std::mem::take(&mut self.processes[who].leads);
        self.seen.torn += gone.values().filter(|actor| actor.flight.is_some()).count() as u64;
        for shard in gone.into_keys() {
            self.assign(shard);
        }
    }

    fn pause(&mut self) {
        let who = self.rng.usize(0..PROCESSES);
        self.processes[who].paused ^= true;
    }

    /// An order to end a transaction comes late, or never.
    fn arrive(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let (id, epoch) = self.late.swap_remove(self.rng.usize(0..self.late.len()));
        self.seen.late_ends += 1;
        if self.rng.u32(0..4) > 0 {
            // One of an old epoch is refused, and nobody hears of it.
            let _ = self.kafka.end(id, epoch);
        }
    }

    fn fail_destination(&mut self) {
        let topic = TOPICS[self.rng.usize(0..TOPICS.len())];
        if !self.down.remove(topic) {
            self.down.insert(topic);
        }
    }

    fn set_clock(&mut self) {
        let who = self.rng.usize(0..PROCESSES);
        // Ahead by little, as no clock is believed that jumps ahead; behind by much.
        self.processes[who].skew =
            if self.rng.u32(0..3) == 0 { -3_600_000 } else { self.rng.i64(-SKEW..=SKEW) };
    }

    /// Everything is well from now on; all that is due fires.
    fn heal(&mut self) {
        self.healing = true;
        (self.down, self.late) = (BTreeSet::new(), Vec::new());
        for process in &mut self.processes {
            (process.skew, process.paused) = (0, false);
        }
        for shard in 0..SHARDS {
            let have: Vec<usize> =
                (0..PROCESSES).filter(|who| self.processes[*who].leads.contains_key(&shard)).collect();
            for who in have.iter().skip(1) {
                self.processes[*who].leads.remove(&shard);
            }
            if have.is_empty() {
                self.assign(shard);
            }
        }
        for _ in 0..40 {
            for _ in 0..200 {
                if !(0..PROCESSES)
                    .flat_map(|who| (0..SHARDS).map(move |shard| (who, shard)))
                    .any(|(who, shard)| self.act(who, shard))
                {
                    break;
                }
            }
            self.check_all();
            // Longer than any destination rests.
            self.now += 5_000;
        }
    }

    // === leaders ===

    fn step(&mut self) {
        let (who, shard) = (self.rng.usize(0..PROCESSES), self.rng.u32(0..SHARDS));
        if !self.processes[who].paused {
            // A few at once: else most of a history is taking over.
            for _ in 0..self.rng.u32(1..12) {
                self.act(who, shard);
            }
        }
    }

    /// Does one thing of a leader's, if there is any.
    fn act(&mut self, who: usize, shard: u32) -> bool {
        let Some(mut actor) = self.processes[who].leads.remove(&shard) else { return false };
        let now = self.now + self.processes[who].skew;
        let event = if actor.flight.is_some() {
            Some(self.go_on(shard, &mut actor))
        } else if let Some(step) = actor.steps.pop_front() {
            Some(self.take(shard, step, &mut actor))
        } else {
            self.news(shard, now, &mut actor).map(Some)
        };
        let acted = event.is_some();
        if let Some(Some(event)) = event {
            if let Event::Failed(cause) = event {
                match cause {
                    Cause::Fenced => self.seen.fenced += 1,
                    Cause::Refused => self.seen.quarantined += 1,
                    Cause::Doubt => self.seen.doubts += 1,
                }
            }
            let steps = actor.leader.on(event, now, |_| 0);
            actor.steps.extend(steps);
        }
        self.processes[who].leads.insert(shard, actor);
        acted
    }

    fn news(&mut self, shard: u32, now: i64, actor: &mut Actor) -> Option<Event> {
        if actor.ahead.is_some() && self.rng.bool() {
            return actor.ahead.take().map(|places| self.come(shard, places));
        }
        if let Some(from) = actor.follow {
            let (commands, next) = self.kafka.read(COMMANDS, shard, from, self.rng.usize(1..4));
            if next > from {
                actor.follow = Some(next);
                return Some(Event::Commands(commands));
            }
        }
        actor.leader.wake().filter(|at| *at <= now).map(|_| Event::Woken)
    }

    fn take(&mut self, shard: u32, step: Step, actor: &mut Actor) -> Option<Event> {
        match step {
            Step::Become => {
                actor.follow = None;
                if self.fails(12) {
                    return Some(Event::Failed(Cause::Doubt));
                }
                actor.epoch = self.kafka.init(shard);
                Some(Event::Became)
            }
            Step::Ask => Some(Event::Ends(0, self.told_end(shard))),
            Step::Read(from) => {
                let (records, next) = self.kafka.read(STATE, shard, from, self.rng.usize(1..6));
                Some(Event::Read(records, next.max(from + 1)))
            }
            Step::Follow(from) => {
                actor.follow = Some(from);
                None
            }
            Step::Fetch(places) => {
                self.seen.fetched += 1;
                let once: BTreeSet<_> = places.iter().collect();
                assert_eq!(once.len(), places.len(), "an event is asked for twice at once");
                Some(Event::Fetched(
                    places.into_iter().map(|place| (place.0, self.fetch(shard, place))).collect(),
                ))
            }
            Step::Ahead(places) => {
                actor.ahead = Some(places);
                None
            }
            Step::Commit(records) => {
                actor.flight = Some(Flight { records, positions: Vec::new() });
                None
            }
            Step::Answer(offset, answer) => {
                self.seen.cancelled += u64::from(answer == Answer::Cancelled);
                self.note_half(&answer);
                self.answers.insert((shard, offset), answer);
                None
            }
            Step::Trim(before) => {
                self.seen.trimmed += 1;
                self.kafka.trim(COMMANDS, shard, before);
                None
            }
            Step::Behind(_) => {
                self.seen.behind += 1;
                Some(Event::Failed(Cause::Doubt))
            }
            Step::Passed(..) | Step::Refuse(_) => None,
        }
    }

    /// The end of the state, as a broker tells it: one that led the partition before may not know yet that it does no more.
    fn told_end(&mut self, shard: u32) -> u64 {
        let end = self.kafka.end_of(STATE, shard);
        if self.fails(8) { end.saturating_sub(self.rng.u64(1..12)) } else { end }
    }

    /// Reads an event back.
    fn fetch(&self, shard: u32, (id, at): (TimerId, u64)) -> Option<Timer> {
        let (records, _) = self.kafka.read(STATE, shard, at, 1);
        let stored = records.first().filter(|stored| stored.offset == at)?;
        match Entry::decode(&stored.record) {
            Ok(Entry::Pending(timer)) if timer.id == id => Some(*timer),
            Ok(Entry::Half(half)) if half.id == id => Some(half.timer),
            _ => None,
        }
    }

    /// Events come that were read ahead of their time; now and then not all.
    fn come(&mut self, shard: u32, places: Vec<(TimerId, u64)>) -> Event {
        let mut came = Vec::new();
        for place in places {
            came.extend(
                self.fetch(shard, place).map(|timer| (place.1, timer)).filter(|_| self.rng.u32(0..8) > 0),
            );
        }
        self.seen.ahead += came.len() as u64;
        Event::Came(came)
    }

    /// One more record of a transaction, or its end.
    fn go_on(&mut self, shard: u32, actor: &mut Actor) -> Option<Event> {
        let (id, now) = ((shard, actor.epoch), self.now);
        let flight = actor.flight.as_mut()?;
        let Some((topic, spot, record)) = flight.records.get(flight.positions.len()).cloned() else {
            return Some(self.end(shard, actor));
        };
        if self.down.contains(topic.as_str()) {
            actor.flight = None;
            // The client aborts, and the order may be lost.
            if self.rng.bool() {
                self.kafka.give_up(shard, actor.epoch);
            } else {
                self.seen.torn += 1;
            }
            return Some(Event::Failed(Cause::Refused));
        }
        let partition = match spot {
            Spot::ByKey => 0,
            Spot::Partition(partition) => partition,
        };
        let Ok(position) = self.kafka.produce(id, (&topic, partition), record, now) else {
            actor.flight = None;
            return Some(Event::Failed(Cause::Fenced));
        };
        flight.positions.push(position);
        None
    }

    fn end(&mut self, shard: u32, actor: &mut Actor) -> Event {
        let positions = actor.flight.take().map(|flight| flight.positions).unwrap_or_default();
        let fate = if self.healing { 9 } else { self.rng.u32(0..10) };
        match fate {
            // It is under way, and nobody knows.
            0 => {
                self.late.push((shard, actor.epoch));
                Event::Failed(Cause::Doubt)
            }
            // It was lost.
            1 => {
                self.seen.torn += 1;
                Event::Failed(Cause::Doubt)
            }
            fate => match self.kafka.end(shard, actor.epoch) {
                Err(Fenced) => Event::Failed(Cause::Fenced),
                // Its answer was lost.
                Ok(()) if fate == 2 => Event::Failed(Cause::Doubt),
                Ok(()) => {
                    self.seen.fired += positions.len() as u64;
                    Event::Committed(positions)
                }
            },
        }
    }

    fn fails(&mut self, one_in: u32) -> bool {
        !self.healing && self.rng.u32(0..one_in) == 0
    }
}

impl Seen {
    pub(super) fn add(&mut self, more: Self) {
        self.fired += more.fired;
        self.cancelled += more.cancelled;
        self.repeats += more.repeats;
        self.doubts += more.doubts;
        self.fenced += more.fenced;
        self.late_ends += more.late_ends;
        self.behind += more.behind;
        self.torn += more.torn;
        self.fetched += more.fetched;
        self.ahead += more.ahead;
        self.quarantined += more.quarantined;
        self.claims += more.claims;
        self.trimmed += more.trimmed;
        self.mutes += more.mutes;
        self.prepared += more.prepared;
        self.decided += more.decided;
        self.refused += more.refused;
        self.checked += more.checked;
        self.schedules += more.schedules;
    }
}
