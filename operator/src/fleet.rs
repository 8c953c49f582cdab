//! What all dataplanes together say of one resource. Pure.

use std::{collections::BTreeMap, sync::Arc};

use evhub_control::{Doing, Rollout};
use evhub_crds::Kind;
use evhub_routing::{Generation, Name};

/// All dataplanes that are live, as they were heard last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// What each runs.
    running: Vec<Generation>,
    /// What is not ready somewhere, and where and why.
    unready: BTreeMap<(Kind, Name), (String, String)>,
    /// One that has more to say than it can.
    silent: Option<String>,
    /// One that refuses what is newer than what it runs, and why.
    refused: Option<(String, String)>,
    /// The highest epoch that any of them knows of.
    epoch: u64,
    /// There may be others, which have not come back yet since the leader changed.
    is_gathering: bool,
    /// What each said of how Processors are doing; nothing where one of them has not said so yet.
    doing: Option<Vec<Arc<BTreeMap<Name, Doing>>>>,
}

/// What they say of a resource that runs since some generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State<'a> {
    /// There are none.
    Nobody,
    /// All run it, and it is ready.
    Ready,
    /// So many do not run it yet.
    Behind {
        /// How many.
        count: usize,
    },
    /// Those that are known run it; others may come back that do not.
    Gathering,
    /// One refuses to.
    Refused {
        /// Which.
        replica: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// All run it, and on one it is not ready.
    Unready {
        /// Which.
        replica: &'a str,
        /// Why.
        reason: &'a str,
    },
}

impl Fleet {
    /// What was heard of them.
    pub fn of(rollout: &Rollout) -> Self {
        let mut fleet = Self::default();
        let mut doing = Some(Vec::new());
        for (name, replica) in rollout.replicas() {
            let epoch = replica.running.map_or(0, |running| running.generation.epoch);
            fleet.epoch = fleet.epoch.max(epoch);
            let Some(running) = replica.running.filter(|_| replica.is_live) else { continue };
            fleet.running.push(running.generation);
            doing = doing.zip(replica.doing.clone()).map(|(mut all, one)| {
                all.push(one);
                all
            });
            if let Some((_, reason)) =
                replica.refused.as_ref().filter(|(refused, _)| *refused > running.generation)
            {
                fleet.refused.get_or_insert_with(|| (name.to_owned(), reason.clone()));
            }
            for unready in &replica.unready {
                let kind =
                    if unready.kind == Kind::Producer.as_str() { Kind::Producer } else { Kind::Processor };
                let said = || (name.to_owned(), unready.reason.clone());
                fleet.unready.entry((kind, unready.name.clone())).or_insert_with(said);
            }
            if replica.untold > 0 {
                fleet.silent.get_or_insert_with(|| name.to_owned());
            }
        }
        fleet.doing = doing.filter(|all| !all.is_empty());
        fleet
    }

    /// Notes whether others may still come back.
    pub fn gathers(&mut self, is_gathering: bool) {
        self.is_gathering = is_gathering;
    }

    /// How those Processors are doing that are not at rest; nothing where that is not known.
    pub fn doing(&self) -> Option<BTreeMap<Name, Doing>> {
        let mut together: BTreeMap<Name, Doing> = BTreeMap::new();
        for (name, one) in self.doing.as_ref()?.iter().flat_map(|all| all.iter()) {
            let sum = together.entry(name.clone()).or_default();
            // What the log says each may say; what waits, waits where it is said.
            sum.backlog = sum.backlog.max(one.backlog);
            sum.dead_lettered = sum.dead_lettered.max(one.dead_lettered);
            sum.oldest = [sum.oldest, one.oldest].into_iter().flatten().min();
            sum.parked += one.parked;
            sum.exhausted |= one.exhausted;
            sum.troubles.extend(&one.troubles);
        }
        Some(together)
    }

    /// What they say of this.
    pub fn state(&self, kind: Kind, name: &Name, since: Generation) -> State<'_> {
        if self.running.is_empty() {
            return State::Nobody;
        }
        let count = self.running.iter().filter(|running| **running < since).count();
        match (count, &self.refused) {
            (0, _) => {}
            (_, Some((replica, reason))) => return State::Refused { replica, reason },
            (count, None) => return State::Behind { count },
        }
        if let Some((replica, reason)) = self.unready.get(&(kind, name.clone())) {
            return State::Unready { replica, reason };
        }
        match &self.silent {
            Some(replica) => State::Unready { replica, reason: "more is not ready there than can be told" },
            None if self.is_gathering => State::Gathering,
            None => State::Ready,
        }
    }

    /// One that runs this.
    #[cfg(test)]
    pub(crate) fn at(generation: Generation) -> Self {
        Self { running: vec![generation], ..Self::default() }
    }

    /// One that runs this, and of which something is not ready there.
    #[cfg(test)]
    pub(crate) fn hindered(generation: Generation, what: (Kind, Name), why: &str) -> Self {
        Self { unready: BTreeMap::from([(what, ("a".to_owned(), why.to_owned()))]), ..Self::at(generation) }
    }

    /// Whether there is anybody.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// The highest epoch that any of them runs or began with.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}
