//! Makes what runs ready: its topics, its workers, its copy on disk; then says so, and again whenever something is ready that
//! was not, or the other way round. I/O.
//!
//! Level-triggered: whatever runs now is looked at, from time to time. What fails for one Producer fails for it alone and is
//! tried again. Every replica makes topics, which is harmless: making one that is there changes nothing, and of two
//! replicas that want it otherwise for a moment the later snapshot's wish comes last, because each applies it last.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use evhub_journal::{Error, Journal};
use evhub_lifecycle::Drain;
use evhub_proto::control::{self, Applied, Kind, Unready};
use evhub_routing::{Generation, Name, Producer, Snapshot};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{Follow, removal::Removals, session::running};
use crate::{Hub, provision};

/// How long Processors may take to listen before it is said which do not yet.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often is looked while something new is not ready.
const SOON: Duration = Duration::from_millis(20);
/// How often otherwise.
const LOOK: Duration = Duration::from_secs(1);
/// How often a topic is asked for again that could not be made, or not be deleted.
pub(super) const AGAIN: Duration = Duration::from_secs(5);
/// How many that are not ready are told of: what is said has to fit into one message.
const MOST: usize = 1_000;
/// How many settings are remembered of a Producer whose settings cannot be set: several edits' worth.
const ASKED: usize = 256;
/// How many are asked for at once: a log far away answers each late, and there may be thousands.
const AT_ONCE: usize = 16;

/// The topics of Producers, as far as they were made.
#[derive(Default)]
struct Topics {
    /// As which Producer's.
    made: BTreeMap<Name, Arc<Producer>>,
    /// Why the others were not.
    failed: BTreeMap<Name, (Arc<Producer>, String)>,
    /// What each has asked of brokers besides, since this process began or since it was last so: what it does not ask any more is
    /// unset.
    asked: BTreeMap<Name, BTreeSet<String>>,
    again: Option<Instant>,
}

/// What was looked at last.
struct Seen {
    snapshot: Arc<Snapshot>,
    since: Instant,
    /// It is kept, and the first answer is given.
    settled: bool,
}

/// Until the drain begins.
pub(super) async fn run<J: Journal>(follow: &Follow, hub: &Hub<J>, drain: &Drain) {
    let work = async {
        let mut snapshots = follow.snapshots();
        let (mut topics, mut removals) = (Topics::default(), Removals::default());
        let mut seen = Seen { snapshot: Arc::default(), since: Instant::now(), settled: true };
        loop {
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            if !Arc::ptr_eq(&snapshot, &seen.snapshot) {
                seen = Seen { snapshot, since: Instant::now(), settled: false };
            }
            if seen.snapshot.generation != Generation::default() {
                topics.make(&hub.journal, &seen.snapshot).await;
                removals.carry_out(follow, hub, &seen.snapshot).await;
                look(follow, hub, (&topics, &removals), &mut seen).await;
            }
            let rest = if seen.settled { LOOK } else { SOON };
            tokio::select! {
                Ok(()) = snapshots.changed() => {}
                () = sleep(rest) => {}
            }
        }
    };
    tokio::select! {
        () = drain.begun() => {}
        () = work => {}
    }
}

/// Says what is ready, if there is anything new to say.
async fn look<J: Journal>(
    follow: &Follow,
    hub: &Hub<J>,
    (topics, removals): (&Topics, &Removals),
    seen: &mut Seen,
) {
    let (unready, untold) = unready(topics, removals, silent(hub));
    if !seen.settled {
        // What is removed must have ended as well: no attempt begins that is not of what is said to run.
        let ends = hub.dispatches && *hub.works.borrow() != seen.snapshot.generation;
        let waits = unready.iter().any(|one| one.kind() == Kind::Processor);
        if (ends || waits) && seen.since.elapsed() < PATIENCE {
            return;
        }
        follow.keep(&seen.snapshot).await;
        seen.settled = true;
        let generation = seen.snapshot.generation;
        info!(%generation, unready = unready.len(), "what was told runs");
        follow.status.send_if_modified(|status| status.applied(generation));
    }
    let applied = Some(Applied { running: Some(running(&seen.snapshot)), unready, untold });
    follow.applied.send_if_modified(|known| {
        let new = *known != applied;
        *known = applied;
        new
    });
}

/// The Processors that do not listen here, and why.
fn silent<J: Journal>(hub: &Hub<J>) -> Vec<(Name, &'static str)> {
    let running = hub.running();
    let why = |name: &Name| match running.processors.get(name) {
        Some(processor) if !hub.egress.allows(&processor.target) => {
            "its target's URL is not within --egress-allow"
        }
        _ => "does not listen yet",
    };
    hub.silent().into_iter().map(|name| (name.clone(), why(&name))).collect()
}

/// What is not ready, and how many more are that cannot be told.
fn unready(topics: &Topics, removals: &Removals, silent: Vec<(Name, &str)>) -> (Vec<Unready>, u32) {
    let one = |kind: Kind, Name { namespace, name }: Name, reason: String| {
        let name = Some(control::Name { namespace, name });
        Unready { kind: kind.into(), name, reason }
    };
    let failed = topics.failed.iter();
    let failed = failed.map(|(name, (_, problem))| one(Kind::Producer, name.clone(), problem.clone()));
    let removals = removals.waiting();
    let removals = removals.map(|(name, why)| one(Kind::Producer, name.clone(), why.clone()));
    let silent = silent.into_iter().map(|(name, why)| one(Kind::Processor, name, why.to_owned()));
    let mut all: Vec<Unready> = failed.chain(removals).chain(silent).collect();
    let untold = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    (all, u32::try_from(untold).unwrap_or(u32::MAX))
}

impl Topics {
    /// Makes what is missing, and what failed before only from time to time.
    async fn make<J: Journal>(&mut self, journal: &J, snapshot: &Snapshot) {
        let wanted = |name: &Name| snapshot.producers.contains_key(name);
        self.made.retain(|name, _| wanted(name));
        self.failed.retain(|name, _| wanted(name));
        self.asked.retain(|name, _| wanted(name));
        let due = self.again.is_none_or(|at| at <= Instant::now());
        let is_missing = |(name, producer): &(&Name, &Arc<Producer>)| {
            let is_failed = self.failed.get(*name).is_some_and(|(known, _)| known == *producer);
            self.made.get(*name) != Some(*producer) && (due || !is_failed)
        };
        let missing: Vec<Arc<Producer>> =
            snapshot.producers.iter().filter(is_missing).map(|(_, producer)| Arc::clone(producer)).collect();
        for some in missing.chunks(AT_ONCE) {
            let unset: Vec<BTreeSet<String>> = some.iter().map(|producer| self.unset(producer)).collect();
            let made = some.iter().zip(unset);
            let made = made.map(|(producer, unset)| provision::one(journal, snapshot, producer, unset));
            let made = join_all(made).await;
            let mut is_away = false;
            for (producer, made) in some.iter().zip(made) {
                is_away |= matches!(made, Err(Error::Unavailable(_)));
                self.note(producer, made);
            }
            // The log is away: it would be for all the others as well, each for as long.
            if is_away {
                return;
            }
        }
    }

    /// What this Producer asked of brokers before and does not any more.
    fn unset(&mut self, producer: &Producer) -> BTreeSet<String> {
        let now = &producer.brokers.config;
        let asked = self.asked.entry(producer.name.clone()).or_default();
        if asked.len() < ASKED {
            asked.extend(now.keys().cloned());
        }
        asked.iter().filter(|name| !now.contains_key(*name)).cloned().collect()
    }

    fn note(&mut self, producer: &Arc<Producer>, made: Result<(), Error>) {
        let name = &producer.name;
        let Err(error) = made else {
            self.failed.remove(name);
            self.asked.insert(name.clone(), producer.brokers.config.keys().cloned().collect());
            self.made.insert(name.clone(), Arc::clone(producer));
            return;
        };
        let problem = error.to_string();
        if self.failed.get(name).is_none_or(|(_, known)| *known != problem) {
            warn!(producer = %name, topic = producer.topic, problem, "its topic cannot be made");
        }
        self.failed.insert(name.clone(), (Arc::clone(producer), problem));
        self.again = Some(Instant::now() + AGAIN);
    }
}
