//! Deletes the topics of Producers that were deleted, because whoever serves control says so. I/O.
//!
//! Nothing else has a topic deleted: not that a Producer is not there, for it may be refused, or not known yet; and not a copy
//! of what ran once, which may be as old as it likes. Every replica does it, before it says that it runs what it was told: so
//! whoever serves control knows when nobody will any more, and lets nobody else have the name before.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evhub_journal::{Error, Journal};
use evhub_routing::{Name, Removal, Snapshot};
use tokio::time::Instant;
use tracing::warn;

use super::{Follow, Source, Status, settle::AGAIN};
use crate::Hub;

/// What was told to be deleted, as far as that is done.
#[derive(Default)]
pub(super) struct Removals {
    /// Of which Producers, by their uids.
    done: BTreeSet<String>,
    /// Why others are not, by their names.
    waiting: BTreeMap<Name, String>,
    /// When what failed is tried again.
    again: Option<Instant>,
}

impl Removals {
    /// Deletes what is to be deleted and may be.
    pub(super) async fn carry_out<J: Journal>(
        &mut self,
        follow: &Follow,
        hub: &Hub<J>,
        snapshot: &Arc<Snapshot>,
    ) {
        let said = |uid: &String| snapshot.removals.values().any(|removal| removal.uid == *uid);
        self.done.retain(said);
        let failed = std::mem::take(&mut self.waiting);
        let is_due = self.again.is_none_or(|at| at <= Instant::now());
        for removal in snapshot.removals.values() {
            if self.done.contains(&removal.uid) {
                continue;
            }
            let name = &removal.name;
            let hindered = why_not(&follow.settings.prefix, removal, snapshot)
                .or_else(|| untold(&follow.status.borrow()))
                .or_else(|| read(hub, snapshot));
            if let Some(why) = hindered {
                self.waiting.insert(name.clone(), why.to_owned());
                continue;
            }
            // Not before its time, unless it was never tried.
            if let Some(why) = failed.get(name).filter(|_| !is_due) {
                self.waiting.insert(name.clone(), why.clone());
                continue;
            }
            match delete(follow, hub, snapshot, removal).await {
                Ok(()) => drop(self.done.insert(removal.uid.clone())),
                Err(error) => {
                    let why = error.to_string();
                    if failed.get(name) != Some(&why) {
                        warn!(producer = %name, topic = removal.topic, why, "its topics cannot be deleted");
                    }
                    self.waiting.insert(name.clone(), why);
                    self.again = Some(Instant::now() + AGAIN);
                }
            }
        }
    }

    /// What is not done yet, and why.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&Name, &String)> {
        self.waiting.iter()
    }
}

/// Deletes what one Producer had, unless something else runs by now.
async fn delete<J: Journal>(
    follow: &Follow,
    hub: &Hub<J>,
    snapshot: &Arc<Snapshot>,
    removal: &Removal,
) -> Result<(), Error> {
    let Removal { name, uid, topic, due_topic } = removal;
    let over = || Err(Error::Unavailable("something else is to run, which is looked at first".to_owned()));
    let mut snapshots = follow.snapshots.subscribe();
    for topic in [due_topic, topic] {
        if hub.journal.look_up(topic).await?.is_some() {
            warn!(producer = %name, uid, topic, "deleting a topic whose Producer was deleted, as its deletionPolicy says");
        }
        if !Arc::ptr_eq(&snapshots.borrow(), snapshot) {
            return over();
        }
        // Brokers that do not answer are asked again and again; not any more once somebody else may have the name.
        tokio::select! {
            biased;
            Ok(()) = snapshots.changed() => return over(),
            removed = hub.journal.remove(topic) => removed?,
        }
    }
    hub.dues.gone(due_topic);
    Ok(())
}

/// Why nobody may delete this, whoever says so: it has to be what a Producer of that name had and no other can, and nobody who
/// runs may have a use for it.
fn why_not(prefix: &str, removal: &Removal, snapshot: &Snapshot) -> Option<&'static str> {
    let Removal { name: Name { namespace, name }, uid: _, topic, due_topic } = removal;
    let is_label = |text: &str| {
        !text.is_empty() && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
    };
    let own = format!("{prefix}.{namespace}.{name}");
    if !is_label(namespace) || !is_label(name) || *topic != own || *due_topic != format!("{own}.due") {
        return Some("its topics are not those of a Producer of this name, and stay");
    }
    let is_it = |other: &String| other == topic || other == due_topic;
    let publishes = snapshot.producers.values().any(|one| is_it(&one.topic) || is_it(&one.due_topic));
    let reads = snapshot.processors.values().any(|one| {
        let own = [&one.state_topic, &one.dead_topic, &one.inbox_topic];
        let read = one.routes.iter().flat_map(|route| [&route.topic, &route.due_topic]);
        own.into_iter().chain(read).any(is_it)
    });
    (publishes || reads).then_some("somebody who runs has a use for its topics, and they stay")
}

/// Why what runs may be a thing of the past.
fn untold(status: &Status) -> Option<&'static str> {
    let is_told = status.connected && status.source == Source::Control;
    (!is_told).then_some("nobody serves control who would know better")
}

/// Why it may still be read from here.
fn read<J: Journal>(hub: &Hub<J>, snapshot: &Snapshot) -> Option<&'static str> {
    let is_read = hub.dispatches && *hub.works.borrow() != snapshot.generation;
    is_read.then_some("Processors that read it have not ended yet")
}
