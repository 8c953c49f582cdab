//! A Processor's member of its consumer group: the rim that carries out what the protocol decides. I/O.
//!
//! One task owns the member, every partition that it was given, and all that is under way for them. So nothing is
//! shared and nothing is locked; concurrency is a number of futures, not of tasks. Only this task commits.

mod current;
mod gate;
mod guard;
mod lane;
mod member;
mod out;
mod room;
mod shared;
mod slot;
mod takeover;
mod task;
mod timers;
mod trace;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use evhub_backoff::Backoff;
use evhub_journal::Journal;
use evhub_routing::{EvhubName, Processor};
use evhub_telemetry::Tracer;
use futures_util::FutureExt;
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use self::member::{Exit, Member, Orders};
pub use self::room::Room;
use crate::{Progress, chains::Chains, exchange::Exchange, sender::Senders};

/// What a worker works with.
#[derive(Clone, Debug)]
pub struct Assignment<J> {
    /// The log.
    pub journal: J,
    /// What is to be done, again whenever that changes.
    pub work: watch::Receiver<Arc<Work>>,
    /// Where its figures go.
    pub progress: Arc<Progress>,
    /// How attempts are made.
    pub senders: Senders,
    /// Turns true when the Processor's inbox topic is made.
    pub inbox: watch::Receiver<bool>,
    /// The topics of events that have come due, as they are made.
    pub dues: watch::Receiver<Arc<BTreeSet<String>>>,
    /// Changes each time that somebody wants the Processor, should it be suspended, to go on.
    pub resume: watch::Receiver<u64>,
    /// Makes the spans of attempts.
    pub tracer: Tracer,
    /// What it and others may have in memory.
    pub room: Room,
    /// Where those that own some of its partitions tell each other what they need.
    pub exchange: Exchange<J>,
    /// Who is told that the target wants no more of a repeated event; without one that ends one firing.
    pub chains: Option<Arc<dyn Chains>>,
}

/// What a worker is told to do: a Processor of one uid, as its author wants it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The Processor.
    pub processor: Arc<Processor>,
    /// What EvHub's clients call the Producer of each of its topics.
    pub producers: BTreeMap<String, EvhubName>,
}

/// How long to wait before joining again after the log failed us, at first and at the most.
const REJOIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

fn rejoin() -> Backoff {
    Backoff::exponential(REJOIN.0, REJOIN.1, 2, 20).expect("these constants make a policy")
}

struct Left(Arc<Progress>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.left();
    }
}

/// Works until told to stop, then finishes what is under way, commits, and leaves. What is told anew meanwhile is obeyed
/// at once by attempts that begin later; only where it changes what is read, or the order, the group is joined anew.
pub async fn run<J: Journal>(assignment: Assignment<J>, stop: impl Future<Output = ()>) {
    // However this ends, by a panic as well, nothing is under way any more and nobody listens.
    let _left = Left(Arc::clone(&assignment.progress));
    let mut orders = Orders { work: assignment.work.clone(), resume: assignment.resume.clone() };
    // Shared, because it is asked again after it has come: by what follows a drain that failed.
    let stop = stop.shared();
    let mut failures = 0_u32;
    loop {
        let work = Arc::clone(&orders.work.borrow_and_update());
        let exit = match Member::join(&assignment, &work).await {
            Ok(member) => member.work(stop.clone(), &mut orders).await,
            Err(error) => Exit::Failed(error.to_string()),
        };
        if assignment.progress.listening.load(Relaxed) {
            failures = 0;
        }
        assignment.progress.left();
        match exit {
            Exit::Stopped => return,
            Exit::Again(why) => info!(processor = %work.processor.name, why, "joining the group again"),
            Exit::Failed(error) => {
                failures += 1;
                // The same again and again is said again when it has lasted twice as long.
                if failures.is_power_of_two() || assignment.progress.trouble().as_ref() != Some(&error) {
                    warn!(processor = %work.processor.name, error, failures, "the log failed; joining the group again");
                }
                assignment.progress.troubled(error);
                tokio::select! {
                    () = stop.clone() => return,
                    () = sleep(rejoin().wait(failures, fastrand::u64(..))) => {}
                }
            }
        }
    }
}
