//! Schedules that somebody put, and that must not be any more: their Producer is gone, or declares one of the same name. I/O.
//!
//! Every replica looks, whenever Producers come, go or declare something else, and each minute besides: one that was behind when
//! it let somebody put a schedule has let it be put for a Producer that was gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use evhub_journal::{ClusterSettings, Journal};
use evhub_ledger::{Command, command::Verb, series::Kept};
use evhub_routing::Snapshot;
use tokio::time::{Instant, timeout};
use tracing::info;

use crate::Hub;

/// How often it is looked where nothing changes.
pub(super) const EVERY: Duration = Duration::from_mins(1);
/// How long the ledger may take: a shard that nobody leads must not keep others from being told of schedules.
const PATIENCE: Duration = Duration::from_secs(20);

/// The uids of Producers, and the schedules that each declares.
type Owners = BTreeMap<String, BTreeSet<String>>;

/// For whom all was looked through last, and when.
#[derive(Debug, Default)]
pub(super) struct Swept(Option<(Owners, Instant)>);

impl Swept {
    /// Looks all through, if it is time.
    pub(super) async fn look<J: Journal>(&mut self, hub: &Hub<J>, snapshot: &Snapshot) -> Result<(), String> {
        let owners = owners(snapshot);
        if self.0.as_ref().is_some_and(|(known, at)| *known == owners && at.elapsed() < EVERY) {
            return Ok(());
        }
        match timeout(PATIENCE, sweep(hub, snapshot, &owners)).await {
            Ok(outcome) => outcome?,
            Err(_) => return Err("a shard of the ledger does not say which schedules were put".to_owned()),
        }
        self.0 = Some((owners, Instant::now()));
        Ok(())
    }
}

async fn sweep<J: Journal>(hub: &Hub<J>, snapshot: &Snapshot, owners: &Owners) -> Result<(), String> {
    let generation = (snapshot.generation.epoch, snapshot.generation.revision);
    for kept in hub.ledger.series().await.map_err(|error| error.to_string())? {
        if !is_over(owners, &kept) {
            continue;
        }
        // One that was put by whoever knows a newer snapshot stays.
        let command = Command { id: kept.id, verb: Verb::Drop(generation) };
        let answer = hub.ledger.ask(command, 0, ClusterSettings::default()).await;
        let answer = answer.map_err(|error| error.to_string())?;
        info!(producer = kept.producer, schedule = kept.dynamic, ?answer, "a schedule that was put is over");
    }
    Ok(())
}

fn owners(snapshot: &Snapshot) -> Owners {
    let all = snapshot.producers.values().map(|producer| {
        let declared = producer.ledger.schedules.iter().map(|schedule| schedule.name.clone());
        (producer.uid.clone(), declared.collect())
    });
    all.collect()
}

fn is_over(owners: &Owners, kept: &Kept) -> bool {
    let Some(name) = &kept.dynamic else { return false };
    owners.get(&kept.producer).is_none_or(|declared| declared.contains(name))
}
