//! The schedules of Producers, as the ledger is told of them. I/O.
//!
//! The ledger keeps and fires them. What runs here says which there are: whoever follows a snapshot tells the ledger what is
//! new in it, and what is gone. All replicas do; the ledger knows which of them is behind by the snapshot's generation. Those
//! that somebody put at runtime are none of the snapshot's, but end with their Producer.

pub(crate) mod ask;
pub(crate) mod grpc;
pub(crate) mod http;
mod json;
mod sweep;
mod template;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use evhub_backoff::Backoff;
use evhub_journal::{ClusterSettings, Journal};
use evhub_ledger::{Answer, Command, Keep, TimerId, command::Verb, series};
use evhub_lifecycle::Drain;
use evhub_routing::{Generation, Producer, Schedule, Snapshot, derived_record_bytes};
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use self::{
    sweep::{EVERY, Swept},
    template::{rule, template},
};
use crate::{Hub, provision};

/// What the ledger was told of each schedule, by the digest of it.
type Told = BTreeMap<TimerId, u64>;

/// Tells the ledger of all schedules, until the drain begins.
pub async fn run<J: Journal>(hub: Hub<J>, drain: Drain) {
    let mut snapshots = hub.snapshot.clone();
    let mut told: Option<Told> = None;
    let mut swept = Swept::default();
    let mut failures = 0;
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        // Before one was received: of nothing it does not follow that everything is gone.
        let received = snapshot.generation != Generation::default();
        let outcome = tokio::select! {
            () = drain.begun() => return,
            outcome = agree(&hub, &snapshot, &mut told, &mut swept), if received => outcome,
            () = std::future::ready(()), if !received => Ok(()),
        };
        let again = match outcome {
            Ok(()) => {
                failures = 0;
                EVERY
            }
            Err(error) => {
                failures += 1;
                warn!(error, failures, "the ledger is not told of all schedules yet; trying again");
                retry().wait(failures, fastrand::u64(..))
            }
        };
        tokio::select! {
            () = drain.begun() => return,
            () = changed(&mut snapshots) => {}
            () = sleep(again) => {}
        }
    }
}

/// Waits for another snapshot; for good when there will be none.
async fn changed(snapshots: &mut watch::Receiver<Arc<Snapshot>>) {
    if snapshots.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn retry() -> Backoff {
    let (initial, max) = (Duration::from_millis(100), Duration::from_secs(10));
    Backoff::exponential(initial, max, 2, 20).expect("these constants make a policy")
}

/// Lets the ledger keep what is to be kept, and nothing else.
async fn agree<J: Journal>(
    hub: &Hub<J>,
    snapshot: &Snapshot,
    told: &mut Option<Told>,
    swept: &mut Swept,
) -> Result<(), String> {
    tell(hub, snapshot, told).await?;
    swept.look(hub, snapshot).await
}

async fn tell<J: Journal>(hub: &Hub<J>, snapshot: &Snapshot, told: &mut Option<Told>) -> Result<(), String> {
    let generation = (snapshot.generation.epoch, snapshot.generation.revision);
    let mut wanted = BTreeMap::new();
    for producer in snapshot.producers.values() {
        for schedule in &producer.ledger.schedules {
            let (id, keep) = keep(hub, producer, schedule, generation);
            wanted.insert(id, (Arc::clone(producer), keep));
        }
    }
    let known = if let Some(known) = told {
        known
    } else {
        // What is there from before, of which nothing is known here but that it is.
        let there = hub.ledger.series().await.map_err(|error| error.to_string())?;
        let declared = there.into_iter().filter(|kept| kept.dynamic.is_none());
        told.insert(declared.map(|kept| (kept.id, 0)).collect())
    };
    let gone: Vec<TimerId> = known.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
    for id in gone {
        ask(hub, Command { id, verb: Verb::Drop(generation) }, 0, ClusterSettings::default()).await?;
        known.remove(&id);
    }
    for (id, (producer, keep)) in wanted {
        let digest = keep.digest;
        if known.get(&id) == Some(&digest) {
            continue;
        }
        provision::due(hub, &producer).await.map_err(|error| error.to_string())?;
        let bytes = derived_record_bytes(producer.event_bytes);
        let copies =
            ClusterSettings::copies(producer.brokers.replicas, producer.brokers.min_in_sync_replicas);
        let schedule = keep.name.clone();
        match ask(hub, Command { id, verb: Verb::Keep(Box::new(keep)) }, bytes, copies).await? {
            Answer::Scheduled(_) | Answer::Conflict => drop(known.insert(id, digest)),
            answer => return Err(format!("schedule {schedule} of Producer {}: {answer:?}", producer.name)),
        }
        info!(producer = %producer.name, schedule, "the ledger keeps a schedule");
    }
    Ok(())
}

async fn ask<J: Journal>(
    hub: &Hub<J>,
    command: Command,
    bytes: usize,
    copies: ClusterSettings,
) -> Result<Answer, String> {
    hub.ledger.ask(command, bytes, copies).await.map_err(|error| error.to_string())
}

/// A schedule as the ledger is told of it.
fn keep<J: Journal>(
    hub: &Hub<J>,
    producer: &Producer,
    schedule: &Schedule,
    generation: series::Generation,
) -> (TimerId, Keep) {
    let (record, rule) = (template(&producer.name, &schedule.event), rule(schedule));
    let (digest, dynamic) = (series::digest(&record, &rule), false);
    let id = id(hub, producer, schedule);
    let (topic, name) = (producer.due_topic.clone(), schedule.name.clone());
    (id, Keep { producer: producer.uid.clone(), topic, name, record, rule, generation, dynamic, digest })
}

/// Who a schedule is: no event has such a source.
pub(crate) fn id<J: Journal>(hub: &Hub<J>, producer: &Producer, schedule: &Schedule) -> TimerId {
    let key = schedule.event.partition_key.as_deref().map(str::as_bytes);
    hub.ledger.id(&producer.uid, key, "\nschedule", &schedule.name)
}
