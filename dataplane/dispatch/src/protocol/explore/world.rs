//! The world that the search explores: a source log, a `.state` topic that compacts, a group with generations, and two
//! workers that run the real protocol code. Whatever may happen next is an [`Action`]; none takes time, all may come
//! in any order.

use std::collections::{BTreeSet, VecDeque};

use crate::protocol::{
    Behind, Claim, Claiming, Committed, Deviation, Doubt, Effect, Kind, Loaded, Loading, Metadata, Next,
    Offsets, Partition, Place, Planted, Rules, StateKey, Verdict, after,
};

/// What is explored.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    /// The lane of each record of the source.
    pub(super) log: Vec<u8>,
    /// Which of them asked for a delay.
    pub(super) delayed: Vec<u64>,
    /// What becomes of the deliveries behind a failed one.
    pub(super) behind: Behind,
    /// What should become of them.
    pub(super) promised: Behind,
    /// How many of one lane may be parked.
    pub(super) max_parked_in_lane: usize,
    /// How often each kind of trouble may happen.
    pub(super) budget: Budget,
    /// The attempt whose failure makes a dead letter.
    pub(super) max_attempts: u32,
    /// The planted mistake.
    pub(super) planted: Planted,
}

/// What may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    /// The group gets a new generation, whose owner is either worker.
    pub(super) rebalances: u8,
    /// A worker dies, and the group gets a new generation.
    pub(super) crashes: u8,
    /// An attempt fails.
    pub(super) failures: u8,
    /// An append or commit is refused, or is not answered and applied now, later or never.
    pub(super) doubts: u8,
    /// Whoever is asked for the `.state` topic's end is behind.
    pub(super) behind: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub(super) key: StateKey,
    pub(super) body: Option<Body>,
    pub(super) gone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Body {
    pub(super) place: Place,
    pub(super) kind: Kind,
    pub(super) attempts: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Append {
    Park(StateKey, Body),
    Clear(u64, StateKey),
    Bury(Place),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flying {
    offsets: Offsets,
    generation: u8,
    /// Nobody waits for its answer any more.
    orphan: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Idle,
    /// Everything is forgotten, and the answer to a commit is awaited before anything is fetched.
    Settling,
    Fetched(Option<(u64, Metadata)>),
    /// How far it is read and is to be, and whether whoever is asked is behind.
    Loading(Loading<u8>, u64, u64, bool),
    Claiming(Claiming<u8>),
    Owner(Partition<u8>, u64),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Worker {
    pub(super) generation: u8,
    pub(super) phase: Phase,
    pub(super) attempts: BTreeSet<(Place, u32)>,
    pub(super) appends: VecDeque<Append>,
    pub(super) commits: VecDeque<Flying>,
    resting: BTreeSet<Place>,
    claims: u8,
}

/// What the world knows and no worker does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Truth {
    /// Delivered, or dead-lettered.
    pub(super) done: Vec<bool>,
    /// Done, and durably not pending any more.
    pub(super) settled: Vec<bool>,
    /// The latest attempt that a rightful owner started: epoch and number.
    pub(super) started: Vec<(u64, u32)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) budget: Budget,
    pub(super) state: Vec<Slot>,
    pub(super) generation: u8,
    pub(super) owner: u8,
    pub(super) committed: Option<(u64, Metadata)>,
    pub(super) workers: [Worker; 2],
    /// Appends that nobody waits for and that may still be applied.
    pub(super) late: Vec<Append>,
    pub(super) truth: Truth,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Rebalance {
        to: u8,
    },
    Crash {
        who: u8,
        commit_applied: bool,
        to: u8,
    },
    Assigned(u8),
    Lost(u8),
    TakeEnd(u8),
    /// From a broker that knows of so much, and goes on to.
    TakeEarlierEnd(u8, u64),
    ReadState(u8),
    Receive(u8),
    Start(u8),
    Succeed(u8, Place),
    Fail(u8, Place),
    Due(u8, Place),
    Append(u8),
    AppendUnknown(u8),
    AppendLate(usize),
    Commit(u8),
    Committed(u8),
    CommitRejected(u8),
    CommitUnanswered {
        who: u8,
        applied: bool,
    },
    Compact,
}

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let worker = Worker {
            generation: 0,
            phase: Phase::Idle,
            attempts: BTreeSet::new(),
            appends: VecDeque::new(),
            commits: VecDeque::new(),
            resting: BTreeSet::new(),
            claims: 0,
        };
        let records = scenario.log.len();
        Self {
            budget: scenario.budget,
            state: Vec::new(),
            generation: 1,
            owner: 0,
            committed: None,
            workers: [worker.clone(), worker],
            late: Vec::new(),
            truth: Truth {
                done: vec![false; records],
                settled: vec![false; records],
                started: vec![(0, 0); records],
            },
        }
    }

    /// Everything that may happen next.
    pub(super) fn actions(&self, scenario: &Scenario) -> Vec<Action> {
        let mut actions = Vec::new();
        for who in [0, 1] {
            self.worker_actions(scenario, who, &mut actions);
        }
        actions.extend((0..self.late.len()).map(Action::AppendLate));
        if self.can_compact() {
            actions.push(Action::Compact);
        }
        if self.budget.rebalances > 0 && self.truth.settled.contains(&false) {
            actions.extend([0, 1].map(|to| Action::Rebalance { to }));
        }
        actions
    }

    fn worker_actions(&self, scenario: &Scenario, who: u8, actions: &mut Vec<Action>) {
        let worker = &self.workers[usize::from(who)];
        if self.owner == who && worker.generation != self.generation {
            actions.push(Action::Assigned(who));
        }
        if self.owner != who && worker.phase != Phase::Idle {
            actions.push(Action::Lost(who));
        }
        match &worker.phase {
            Phase::Idle | Phase::Settling | Phase::Claiming(_) => {}
            Phase::Fetched(_) => {
                actions.push(Action::TakeEnd(who));
                if self.budget.behind > 0 {
                    actions.extend((0..self.state.len() as u64).map(|end| Action::TakeEarlierEnd(who, end)));
                }
            }
            Phase::Loading(..) => actions.push(Action::ReadState(who)),
            Phase::Owner(partition, next) => {
                if *next < scenario.log.len() as u64 && partition.has_room() {
                    actions.push(Action::Receive(who));
                }
                if partition.ready() > 0 {
                    actions.push(Action::Start(who));
                }
                if worker.commits.is_empty() && partition.clone().commit().is_some() {
                    actions.push(Action::Commit(who));
                }
            }
        }
        for &(place, _) in &worker.attempts {
            actions.push(Action::Succeed(who, place));
            if self.budget.failures > 0 {
                actions.push(Action::Fail(who, place));
            }
        }
        actions.extend(worker.resting.iter().map(|place| Action::Due(who, *place)));
        if !worker.appends.is_empty() {
            actions.push(Action::Append(who));
            if self.budget.doubts > 0 {
                actions.push(Action::AppendUnknown(who));
            }
        }
        if let Some(flying) = worker.commits.front() {
            actions.push(Action::Committed(who));
            let awaited = !flying.orphan || worker.phase == Phase::Settling;
            if self.budget.doubts > 0 && !flying.orphan {
                actions.push(Action::CommitRejected(who));
            }
            if self.budget.doubts > 0 && awaited {
                actions.extend([true, false].map(|applied| Action::CommitUnanswered { who, applied }));
            }
        }
        if self.budget.crashes > 0 && worker.phase != Phase::Idle {
            for to in [0, 1] {
                actions.push(Action::Crash { who, commit_applied: false, to });
                if !worker.commits.is_empty() {
                    actions.push(Action::Crash { who, commit_applied: true, to });
                }
            }
        }
    }

    /// The world after a step.
    pub(super) fn after(&self, action: Action, scenario: &Scenario) -> Self {
        let mut world = self.clone();
        world.apply(action, scenario);
        world
    }

    fn apply(&mut self, action: Action, scenario: &Scenario) {
        match action {
            Action::Rebalance { to } => {
                self.budget.rebalances -= 1;
                self.rebalance(to);
            }
            Action::Crash { who, commit_applied, to } => self.crash(who, commit_applied, to),
            Action::Assigned(who) => self.assigned(who),
            Action::Lost(who) => self.drop_work(who, Phase::Idle),
            Action::TakeEnd(who) => self.take_end(who, self.state.len() as u64, false, scenario),
            Action::TakeEarlierEnd(who, end) => {
                self.budget.behind -= 1;
                self.take_end(who, end, true, scenario);
            }
            Action::ReadState(who) => self.read_state(who, scenario),
            Action::Receive(who) => self.receive(who, scenario),
            Action::Start(who) => self.start(who),
            Action::Succeed(who, place) => self.attempt_ended(who, place, Verdict::Delivered),
            Action::Fail(who, place) => self.fail(who, place, scenario),
            Action::Due(who, place) => self.due(who, place),
            Action::Append(who) => self.append(who),
            Action::AppendUnknown(who) => self.append_unknown(who, scenario),
            Action::AppendLate(index) => {
                let append = self.late.remove(index);
                self.write(&append);
            }
            Action::Commit(who) => self.commit(who),
            Action::Committed(who) => self.commit_arrives(who, scenario),
            Action::CommitRejected(who) => self.commit_rejected(who),
            Action::CommitUnanswered { who, applied } => self.commit_unanswered(who, applied, scenario),
            Action::Compact => self.compact(),
        }
        // Orphaned commits of a generation that is gone can do nothing any more.
        for worker in &mut self.workers {
            let foreign = scenario.planted.is(Deviation::ForeignGeneration);
            worker.commits.retain(|c| !c.orphan || foreign || c.generation == self.generation);
        }
        self.late.sort_unstable();
    }

    // === the group ===

    fn rebalance(&mut self, to: u8) {
        self.generation += 1;
        self.owner = to;
    }

    fn crash(&mut self, who: u8, commit_applied: bool, to: u8) {
        self.budget.crashes -= 1;
        let worker = &mut self.workers[usize::from(who)];
        let flying = worker.commits.pop_front();
        if let Some(flying) = flying.filter(|f| commit_applied && f.generation == self.generation) {
            self.committed = flying.offsets.into_iter().next();
        }
        self.drop_work(who, Phase::Idle);
        let worker = &mut self.workers[usize::from(who)];
        worker.commits.clear();
        worker.generation = 0;
        self.rebalance(to);
    }

    fn assigned(&mut self, who: u8) {
        let worker = &mut self.workers[usize::from(who)];
        worker.generation = self.generation;
        let claim = self.committed.as_ref().map(|(_, metadata)| &metadata.claim);
        let mine = match &worker.phase {
            Phase::Owner(partition, _) => claim.is_some_and(|claim| partition.is_still_mine(claim)),
            _ => false,
        };
        if !mine {
            self.drop_work(who, Phase::Fetched(self.committed.clone()));
        }
    }

    fn drop_work(&mut self, who: u8, phase: Phase) {
        let worker = &mut self.workers[usize::from(who)];
        worker.phase = phase;
        worker.attempts.clear();
        worker.resting.clear();
        for flying in &mut worker.commits {
            flying.orphan = true;
        }
        self.late.extend(worker.appends.drain(..).filter(|append| !matches!(append, Append::Bury(_))));
    }

    fn commit_arrives(&mut self, who: u8, scenario: &Scenario) {
        let worker = &mut self.workers[usize::from(who)];
        let Some(flying) = worker.commits.pop_front() else { return };
        let foreign = scenario.planted.is(Deviation::ForeignGeneration);
        let stamp = if foreign { worker.generation } else { flying.generation };
        if stamp != self.generation {
            if !flying.orphan || worker.phase == Phase::Settling {
                self.doubt(who, Doubt::Stale);
            }
            return;
        }
        self.committed = flying.offsets.into_iter().next();
        if flying.orphan {
            return self.settle(who);
        }
        let mut effects = Vec::new();
        let worker = &mut self.workers[usize::from(who)];
        worker.phase = match std::mem::replace(&mut worker.phase, Phase::Idle) {
            Phase::Claiming(claiming) => {
                let partition = claiming.acknowledged(&mut effects);
                let next = partition.resume(0);
                Phase::Owner(partition, next)
            }
            Phase::Owner(mut partition, next) => {
                partition.committed(&mut effects);
                Phase::Owner(partition, next)
            }
            other => other,
        };
        self.carry_out(who, effects);
    }

    fn commit_rejected(&mut self, who: u8) {
        self.budget.doubts -= 1;
        let worker = &mut self.workers[usize::from(who)];
        let Some(flying) = worker.commits.pop_front() else { return };
        match &mut worker.phase {
            Phase::Claiming(claiming) => {
                claiming.rejected();
                let again = claiming.claim();
                worker.commits.extend(again.map(|offsets| Flying { offsets, ..flying }));
            }
            Phase::Owner(partition, _) => partition.commit_rejected(),
            _ => {}
        }
    }

    fn commit_unanswered(&mut self, who: u8, applied: bool, scenario: &Scenario) {
        self.budget.doubts -= 1;
        let worker = &mut self.workers[usize::from(who)];
        let Some(mut flying) = worker.commits.pop_front() else { return };
        if applied && flying.generation == self.generation {
            self.committed = flying.offsets.into_iter().next();
        } else {
            flying.orphan = true;
            worker.commits.push_back(flying);
        }
        let unanswered = scenario.planted.is(Deviation::UnansweredClaim);
        match std::mem::replace(&mut worker.phase, Phase::Idle) {
            Phase::Claiming(claiming) if unanswered => self.presume(who, claiming),
            phase => {
                worker.phase = phase;
                self.doubt(who, Doubt::UnknownCommit);
            }
        }
    }

    fn presume(&mut self, who: u8, claiming: Claiming<u8>) {
        let mut effects = Vec::new();
        if let Some(partition) = claiming.presumed(&mut effects) {
            let next = partition.resume(0);
            self.workers[usize::from(who)].phase = Phase::Owner(partition, next);
        }
        self.carry_out(who, effects);
    }

    fn doubt(&mut self, who: u8, doubt: Doubt) {
        let stale = self.workers[usize::from(who)].generation != self.generation;
        match after(doubt) {
            Next::Again => {}
            Next::Reload if stale => self.drop_work(who, Phase::Idle),
            Next::Reload => {
                self.drop_work(who, Phase::Settling);
                self.settle(who);
            }
            Next::Rejoin => {
                self.drop_work(who, Phase::Idle);
                self.rebalance(who);
            }
        }
    }

    fn settle(&mut self, who: u8) {
        let worker = &mut self.workers[usize::from(who)];
        let awaited = worker.commits.iter().any(|commit| commit.generation == worker.generation);
        if worker.phase == Phase::Settling && !awaited {
            worker.phase = Phase::Fetched(self.committed.clone());
        }
    }

    // === taking over ===

    fn take_end(&mut self, who: u8, end: u64, behind: bool, scenario: &Scenario) {
        let rules = Rules {
            max_unresolved: 8,
            max_waiting: 0,
            max_parked_in_lane: scenario.max_parked_in_lane,
            behind: scenario.behind,
            planted: scenario.planted,
        };
        let worker = &mut self.workers[usize::from(who)];
        let Phase::Fetched(committed) = std::mem::replace(&mut worker.phase, Phase::Idle) else { return };
        let fetched = committed.clone();
        let nonce = u64::from(worker.claims + 1) * 2 + u64::from(who);
        let committed = match committed {
            Some((offset, metadata)) => Committed { offset, metadata: Some(metadata) },
            None => Committed { offset: 0, metadata: None },
        };
        let Ok(loading) = Loading::new(rules, nonce, &[committed], end) else {
            // It asks again.
            worker.phase = Phase::Fetched(fetched);
            return;
        };
        worker.claims += 1;
        let from = loading.range().0;
        worker.phase = Phase::Loading(loading, from, end, behind);
        self.read_on(who, scenario);
    }

    fn read_state(&mut self, who: u8, scenario: &Scenario) {
        let worker = &mut self.workers[usize::from(who)];
        let Phase::Loading(loading, next, ..) = &mut worker.phase else { return };
        let at = *next;
        let slot = &self.state[at as usize];
        match slot.body {
            _ if slot.gone => {}
            None => drop(loading.tombstone(slot.key)),
            Some(Body { place, kind, attempts }) => {
                let lane = Some(scenario.log[place.offset as usize]);
                loading.record(Loaded { at, key: slot.key, place, lane, kind, attempts });
            }
        }
        *next += 1;
        self.read_on(who, scenario);
    }

    /// At the first end, takes the end again; at the second, claims.
    fn read_on(&mut self, who: u8, scenario: &Scenario) {
        let end = self.state.len() as u64;
        let Phase::Loading(loading, next, until, behind) = &mut self.workers[usize::from(who)].phase else {
            return;
        };
        if *next == *until && *until == loading.range().1 && !*behind {
            *until = end;
        }
        if *next == *until {
            self.loaded(who, scenario);
        }
    }

    fn loaded(&mut self, who: u8, scenario: &Scenario) {
        let worker = &mut self.workers[usize::from(who)];
        let Phase::Loading(loading, ..) = std::mem::replace(&mut worker.phase, Phase::Idle) else { return };
        let mut claiming = loading.finish();
        if scenario.planted.is(Deviation::ClaimMerged) {
            claiming.claim();
            return self.presume(who, claiming);
        }
        let offsets = claiming.claim().expect("at these bounds every dead list fits");
        let generation = worker.generation;
        worker.commits.push_back(Flying { offsets, generation, orphan: false });
        worker.phase = Phase::Claiming(claiming);
    }

    // === working ===

    fn owner(&mut self, who: u8) -> Option<(&mut Partition<u8>, &mut u64)> {
        match &mut self.workers[usize::from(who)].phase {
            Phase::Owner(partition, next) => Some((partition, next)),
            _ => None,
        }
    }

    fn receive(&mut self, who: u8, scenario: &Scenario) {
        let mut effects = Vec::new();
        if let Some((partition, next)) = self.owner(who) {
            let place = Place { source: 0, offset: *next };
            let lane = Some(scenario.log[place.offset as usize]);
            if scenario.delayed.contains(next) {
                partition.delayed(place, lane, &mut effects);
            } else {
                partition.received(place, lane, &mut effects);
            }
            *next += 1;
            if *next == scenario.log.len() as u64 {
                partition.reached(0, *next, &mut effects);
            }
        }
        self.carry_out(who, effects);
    }

    fn start(&mut self, who: u8) {
        let Some(start) = self.owner(who).and_then(|(partition, _)| partition.start()) else { return };
        self.workers[usize::from(who)].attempts.insert((start.place, start.attempt));
    }

    fn fail(&mut self, who: u8, place: Place, scenario: &Scenario) {
        self.budget.failures -= 1;
        let attempts = &self.workers[usize::from(who)].attempts;
        let exhausted = attempts.iter().any(|(p, n)| *p == place && *n >= scenario.max_attempts);
        let verdict = if exhausted { Verdict::Dead } else { Verdict::Retry };
        self.attempt_ended(who, place, verdict);
    }

    fn attempt_ended(&mut self, who: u8, place: Place, verdict: Verdict) {
        self.workers[usize::from(who)].attempts.retain(|(p, _)| *p != place);
        if verdict == Verdict::Delivered {
            self.truth.done[place.offset as usize] = true;
        }
        let mut effects = Vec::new();
        if let Some((partition, _)) = self.owner(who) {
            partition.ended(place, verdict, &mut effects);
        }
        self.carry_out(who, effects);
    }

    fn due(&mut self, who: u8, place: Place) {
        self.workers[usize::from(who)].resting.remove(&place);
        if let Some((partition, _)) = self.owner(who) {
            partition.due(place);
        }
    }

    fn commit(&mut self, who: u8) {
        let Some(offsets) = self.owner(who).and_then(|(partition, _)| partition.commit()) else { return };
        let worker = &mut self.workers[usize::from(who)];
        let generation = worker.generation;
        worker.commits.push_back(Flying { offsets, generation, orphan: false });
    }

    fn carry_out(&mut self, who: u8, effects: Vec<Effect>) {
        let worker = &mut self.workers[usize::from(who)];
        for effect in effects {
            match effect {
                Effect::Park { place, key, kind, attempts } => {
                    worker.appends.push_back(Append::Park(key, Body { place, kind, attempts }));
                }
                Effect::Clear(at, key) => worker.appends.push_back(Append::Clear(at, key)),
                Effect::Bury(place) => worker.appends.push_back(Append::Bury(place)),
                Effect::Rest(place) => drop(worker.resting.insert(place)),
            }
        }
    }

    // === appending ===

    fn append(&mut self, who: u8) {
        let Some(append) = self.workers[usize::from(who)].appends.pop_front() else { return };
        let at = self.write(&append);
        let mut effects = Vec::new();
        if let Some((partition, _)) = self.owner(who) {
            match append {
                Append::Park(_, body) => partition.parked(body.place, at, &mut effects),
                Append::Clear(of, _) => partition.cleared(of, at),
                Append::Bury(place) => partition.buried(place, &mut effects),
            }
        }
        self.carry_out(who, effects);
    }

    fn append_unknown(&mut self, who: u8, scenario: &Scenario) {
        self.budget.doubts -= 1;
        let worker = &mut self.workers[usize::from(who)];
        if scenario.planted.is(Deviation::RetryUnknownAppend) {
            self.late.extend(worker.appends.front().cloned());
            return;
        }
        self.doubt(who, Doubt::UnknownAppend);
    }

    /// Writes to the `.state` or `.dead` topic.
    fn write(&mut self, append: &Append) -> u64 {
        let (key, body) = match *append {
            Append::Park(key, body) => (key, Some(body)),
            Append::Clear(_, key) => (key, None),
            Append::Bury(place) => {
                self.truth.done[place.offset as usize] = true;
                return 0;
            }
        };
        self.state.push(Slot { key, body, gone: false });
        self.state.len() as u64 - 1
    }

    fn is_shadowed(&self, at: usize) -> bool {
        self.state[at + 1..].iter().any(|later| later.key == self.state[at].key)
    }

    fn can_compact(&self) -> bool {
        (0..self.state.len()).any(|at| !self.state[at].gone && self.is_shadowed(at))
    }

    fn compact(&mut self) {
        for at in 0..self.state.len() {
            self.state[at].gone |= self.is_shadowed(at);
        }
    }

    /// What a new owner would find to do: for each record, pending or not, and how many attempts are on record. Told
    /// from what is durable alone, by code of its own.
    pub(super) fn pending(&self) -> Vec<Option<u32>> {
        let (offset, metadata) = self.committed.clone().unwrap_or_default();
        let Claim { epoch, floor, low, dead, .. } = metadata.claim;
        let resolved =
            |o: u64| o < offset || metadata.completed.iter().any(|run| (run.0..run.1).contains(&o));
        let mut pending: Vec<Option<u32>> =
            (0..self.truth.done.len() as u64).map(|o| if resolved(o) { None } else { Some(0) }).collect();
        let mut newest = vec![(0, 0); pending.len()];
        for (at, slot) in self.state.iter().enumerate().skip(low as usize) {
            let Some(body) = slot.body.filter(|_| !slot.gone && !self.is_shadowed(at)) else { continue };
            let zombie = slot.key.epoch < epoch && at as u64 >= floor;
            let record = body.place.offset as usize;
            if !zombie && !dead.contains(&(at as u64)) && (slot.key.epoch, slot.key.seq) >= newest[record] {
                newest[record] = (slot.key.epoch, slot.key.seq);
                pending[record] = Some(body.attempts);
            }
        }
        pending
    }
}
