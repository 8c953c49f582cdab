//! The search: every state that any order of actions can reach, each visited once, each held against the promises.

use std::{
    collections::HashSet,
    hash::{BuildHasherDefault, Hash, Hasher},
};

use super::{
    super::Behind,
    world::{Action, Phase, Scenario, World},
};

/// What the search found.
#[derive(Debug)]
pub(super) struct Report {
    /// How many different states were reached.
    pub(super) states: usize,
    /// How many of them are ends: nothing more can happen.
    pub(super) ends: usize,
    /// The first promise broken, and how to get there.
    pub(super) broken: Option<(String, Vec<Action>)>,
}

/// Explores everything, or stops at the first broken promise.
pub(super) fn explore(scenario: &Scenario) -> Report {
    let mut report = Report { states: 0, ends: 0, broken: None };
    let mut seen = Seen::default();
    let mut path: Vec<(World, Vec<Action>)> = Vec::new();
    let mut trail: Vec<Action> = Vec::new();
    visit(World::new(scenario), scenario, &mut seen, &mut path, &mut report);
    while let Some((world, actions)) = path.last_mut() {
        let Some(action) = actions.pop() else {
            path.pop();
            trail.pop();
            continue;
        };
        let mut next = world.after(action, scenario);
        let broken = judge(world, action, &mut next, scenario);
        trail.push(action);
        if let Some(promise) = broken {
            report.broken = Some((promise, trail));
            return report;
        }
        if !visit(next, scenario, &mut seen, &mut path, &mut report) {
            trail.pop();
        } else if let Some((world, _)) = path.last().filter(|(_, actions)| actions.is_empty()) {
            report.ends += 1;
            if let Some(promise) = undrained(world) {
                report.broken = Some((promise, trail));
                return report;
            }
        }
    }
    report
}

fn visit(
    world: World,
    scenario: &Scenario,
    seen: &mut Seen,
    path: &mut Vec<(World, Vec<Action>)>,
    report: &mut Report,
) -> bool {
    if !seen.insert(fingerprint(&world)) {
        return false;
    }
    report.states += 1;
    let actions = world.actions(scenario);
    path.push((world, actions));
    true
}

/// States are told apart by 128 bits, so that hundreds of millions fit in memory; two of ten million states share them
/// by chance once in 10^24 searches.
fn fingerprint(world: &World) -> u128 {
    let mut hasher = Mixer { high: 0x9e37_79b9_7f4a_7c15, low: 0xc2b2_ae3d_27d4_eb4f };
    world.hash(&mut hasher);
    u128::from(hasher.high) << 64 | u128::from(hasher.finish())
}

/// Two independent multiplicative hashes in one pass.
#[derive(Default)]
struct Mixer {
    high: u64,
    low: u64,
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word) ^ (chunk.len() as u64) << 56);
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_u64(&mut self, value: u64) {
        let mix = |state: u64, factor: u64| {
            let product = u128::from(state ^ value) * u128::from(factor);
            (product as u64) ^ ((product >> 64) as u64).rotate_left(17) ^ state.rotate_left(23)
        };
        self.high = mix(self.high, 0xa076_1d64_78bd_642f);
        self.low = mix(self.low, 0xe703_7ed1_a0b4_28db);
    }

    fn finish(&self) -> u64 {
        self.low
    }
}

/// Fingerprints are hashes already.
type Seen = HashSet<u128, BuildHasherDefault<Mixer>>;

/// Holds one step against the promises, and brings what the world knows up to date.
fn judge(before: &World, action: Action, after: &mut World, scenario: &Scenario) -> Option<String> {
    if let Action::Start(who) = action
        && let Some(promise) = judge_start(before, who, after, scenario)
    {
        return Some(promise);
    }
    let pending = after.pending();
    for (record, pending) in pending.iter().enumerate() {
        let truth = &mut after.truth;
        match (pending, truth.done[record]) {
            (None, false) => return Some(format!("lost: nothing durable stands for record {record}")),
            (Some(_), _) if truth.settled[record] => {
                return Some(format!("resurrected: record {record} was finished for good"));
            }
            (None, true) => truth.settled[record] = true,
            (Some(_), _) => {}
        }
    }
    None
}

fn judge_start(before: &World, who: u8, after: &mut World, scenario: &Scenario) -> Option<String> {
    let earlier = &before.workers[usize::from(who)].attempts;
    let worker = after.workers[usize::from(who)].clone();
    let &(place, attempt) = worker.attempts.difference(earlier).next()?;
    let record = place.offset as usize;
    if let Some(promise) = disorder(before, who, (record, attempt), scenario) {
        return Some(promise);
    }
    let Phase::Owner(partition, _) = &worker.phase else { return None };
    let epoch = partition.claim().epoch;
    let last = before.truth.started[record];
    after.truth.started[record] = last.max((epoch, attempt));
    if before.owner != who || worker.generation != before.generation {
        return None; // A zombie's attempt: a receiver tells it by its lower epoch.
    }
    if before.truth.settled[record] {
        return Some(format!("resurrected: record {record} attempted after it was finished for good"));
    }
    let on_record = before.pending()[record]?;
    if attempt != on_record + 1 {
        return Some(format!("attempts: number {attempt} of record {record} with {on_record} on record"));
    }
    let repeated = (epoch, attempt) <= last;
    let skipped = attempt > last.1 + 1;
    (repeated || skipped)
        .then(|| format!("attempts: number {attempt} of record {record}, epoch {epoch}, after {last:?}"))
}

/// Whether an attempt breaks the order that is promised. A delayed delivery has no place in it but the one that it takes
/// when its instant comes; from its first failure on it holds up its lane like any other.
fn disorder(before: &World, who: u8, (record, attempt): (usize, u32), scenario: &Scenario) -> Option<String> {
    let delayed = |record: usize| scenario.delayed.contains(&(record as u64));
    let same = |other: &usize| *other != record && scenario.log[*other] == scenario.log[record];
    let worker = &before.workers[usize::from(who)];
    let mut flying = worker.attempts.iter().map(|(place, _)| place.offset as usize);
    if scenario.promised != Behind::Pass
        && let Some(other) = flying.find(same)
    {
        return Some(format!("order: records {record} and {other} of one lane attempted at once"));
    }
    let done = &before.truth.done;
    let first = scenario.promised == Behind::Pass;
    let open = (0..record).filter(same).find(|&earlier| match first {
        _ if delayed(earlier) || delayed(record) => false,
        true => attempt == 1 && before.truth.started[earlier].1 == 0 && !done[earlier],
        false => !done[earlier],
    });
    if let Some(open) = open {
        return Some(format!("order: record {record} attempted before record {open} was finished"));
    }
    let pending = before.pending();
    let failed = |other: &usize| delayed(*other) && !done[*other] && pending[*other] > Some(0);
    let rightful = before.owner == who && worker.generation == before.generation;
    let held = (0..done.len()).filter(same).find(|other| !first && rightful && failed(other));
    held.map(|held| format!("order: record {record} attempted while record {held}, which failed, is parked"))
}

fn undrained(world: &World) -> Option<String> {
    if let Some(record) = world.truth.settled.iter().position(|settled| !settled) {
        return Some(format!("stuck: nothing more happens and record {record} is not finished"));
    }
    let left = world.pending().iter().any(Option::is_some);
    left.then(|| "stuck: parked records are left".to_owned())
}
