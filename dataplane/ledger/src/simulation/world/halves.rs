//! Publishers of half messages, and those who ask them.

use std::{collections::HashSet, time::Duration};

use evhub_event::{Header, Record, controls::When};

use super::{PROCESSES, SHARDS, TOPICS, World};
use crate::{
    Answer, Command, TimerId,
    command::Verb,
    half::{self, Checked, Commit, Decide, Decision, Doubtful, Exhausted, Prepare, Standing, State, Wanted},
};

/// How often a publisher is asked.
const MOST_CHECKS: u32 = 3;
/// How long is waited before it is.
const INTERVAL: Duration = Duration::from_millis(30);

/// What becomes of a half message that nobody decides on.
pub(in crate::simulation) fn policy(id: TimerId) -> Exhausted {
    match id.as_bytes()[15] % 3 {
        0 => Exhausted::Rollback,
        1 => Exhausted::Commit,
        _ => Exhausted::Hold,
    }
}

impl World {
    pub(super) fn half(&mut self) {
        match self.rng.u32(0..10) {
            0..=3 => self.prepare(),
            4 => self.prepare_again(),
            5..=7 => self.decide(),
            _ => self.check(),
        }
    }

    fn prepare(&mut self) {
        let n = format!("half-{}", self.halves.len());
        let topic = TOPICS[self.rng.usize(0..TOPICS.len())];
        let key = self.rng.bool().then(|| format!("k{}", self.rng.u32(0..2)));
        let record = Record {
            key: key.clone().map(Into::into),
            value: Some(vec![b'x'; self.rng.usize(1..40)].into()),
            headers: vec![Header { name: "ce_id".to_owned(), value: n.clone().into() }],
        };
        let when = (self.rng.u32(0..4) == 0).then(|| When::After(Duration::from_millis(self.rng.u64(0..60))));
        let id = TimerId::half(topic, key.as_deref().map(str::as_bytes), "/s", &n, SHARDS);
        let prepare = Prepare {
            producer: topic.to_owned(),
            topic: topic.to_owned(),
            event_id: n,
            digest: half::digest(&record, when, None),
            record,
            when,
            max_delay: Duration::from_hours(1),
            max_pending: 1_000,
            interval: INTERVAL,
            callback: None,
        };
        self.halves.push((id, prepare.clone()));
        self.command(Command { id, verb: Verb::Prepare(Box::new(prepare)) });
    }

    fn prepare_again(&mut self) {
        if let Some((id, prepare)) = self.any_half() {
            self.command(Command { id, verb: Verb::Prepare(Box::new(prepare)) });
        }
    }

    fn decide(&mut self) {
        let Some((mut id, prepare)) = self.any_half() else { return };
        if self.rng.u32(0..20) == 0 {
            // There is none of this id.
            id = TimerId::half_alone(&self.rng.u64(..).to_string(), SHARDS);
        }
        let decide = self.decision();
        let producer = if self.rng.bool() { prepare.producer } else { String::new() };
        self.command(Command { id, verb: Verb::Decide(Box::new(Decision { producer, decide })) });
    }

    fn decision(&mut self) -> Decide {
        if self.rng.bool() {
            return Decide::Rollback;
        }
        let when = self.rng.bool().then(|| When::After(Duration::from_millis(self.rng.u64(0..100))));
        Decide::Commit(Commit { when, ..Commit::default() })
    }

    /// Somebody who believes to lead asks a publisher.
    fn check(&mut self) {
        let (who, shard) = (self.rng.usize(0..PROCESSES), self.rng.u32(0..SHARDS));
        let now = self.now + self.processes[who].skew;
        let Some(doubt) = self.doubts(who, shard, now).pop() else { return };
        let decide = (self.rng.u32(0..3) == 0).then(|| self.decision());
        self.answered(&doubt, decide);
    }

    /// All are asked about whom it is time, and none of them knows.
    pub(super) fn check_all(&mut self) {
        let pairs = (0..PROCESSES).flat_map(|who| (0..SHARDS).map(move |shard| (who, shard)));
        let doubts: Vec<Doubtful> =
            pairs.flat_map(|(who, shard)| self.doubts(who, shard, self.now)).collect();
        for doubt in doubts {
            self.answered(&doubt, None);
        }
    }

    fn doubts(&self, who: usize, shard: u32, now: i64) -> Vec<Doubtful> {
        let Some(actor) = self.processes[who].leads.get(&shard).filter(|actor| actor.leader.leads()) else {
            return Vec::new();
        };
        let shard = actor.leader.shard();
        let (except, flying) = (Vec::new(), HashSet::new());
        let wanted = Wanted { by: now, each: 100, all: 200, bytes: 1 << 20, except, flying };
        // What is not in memory would be read back, and is nothing that a publisher here looks at.
        shard.doubtful(&wanted).into_iter().filter_map(|id| Some(shard.doubt(id)?.0)).collect()
    }

    fn answered(&mut self, doubt: &Doubtful, decide: Option<Decide>) {
        self.seen.checked += 1;
        let checked = Checked {
            checks: doubt.checks,
            decide,
            interval: INTERVAL,
            max_checks: MOST_CHECKS,
            on_exhausted: policy(doubt.id),
        };
        self.command(Command { id: doubt.id, verb: Verb::Checked(Box::new(checked)) });
    }

    fn any_half(&mut self) -> Option<(TimerId, Prepare)> {
        let some = !self.halves.is_empty();
        some.then(|| self.halves[self.rng.usize(0..self.halves.len())].clone())
    }

    pub(super) fn note_half(&mut self, answer: &Answer) {
        let Answer::Half(Standing { state, first, .. }) = answer else { return };
        match (state, first) {
            (State::Prepared, _) => self.seen.prepared += 1,
            (_, true) => self.seen.decided += 1,
            (_, false) => self.seen.refused += 1,
        }
    }
}
