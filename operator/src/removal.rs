//! The topics that go with their Producers: from when an API server says that one was deleted until every dataplane says that
//! they are gone. Pure.
//!
//! Only that it says so counts. A Producer that is in no list any more may be missing for another reason (a store that was
//! restored, a list that was read while nobody watched), so its topic stays, and that is said. What is not carried out when
//! another operator leads is forgotten: the topic stays then, too.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use evhub_compile::{Removals, names};
use evhub_crds::Kind;
use evhub_routing::{Generation, Name, Producer, Removal, Snapshot};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    fleet::{Fleet, State},
    index::Stored,
};

/// How many may be under way. Whoever deletes more at once keeps the topics of the others.
const MOST: usize = 1_000;
/// How long dataplanes may take. A new Producer of the name waits meanwhile, and not for ever.
const PATIENCE: Duration = Duration::from_mins(10);

/// What is under way.
#[derive(Debug, Default)]
pub struct Removing {
    orders: BTreeMap<Name, Order>,
    /// Those that were seen deleted since something was published, and whose topics stay, by their uids.
    stay: BTreeSet<String>,
}

#[derive(Debug)]
struct Order {
    removal: Arc<Removal>,
    began: Instant,
    /// The first generation that says so, once it is published.
    since: Option<Generation>,
    /// What stands in its way, as it was told last.
    trouble: Option<String>,
}

/// What became of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Became {
    /// Every dataplane says that the topics are gone.
    Gone,
    /// One says why it cannot delete them; it goes on trying.
    Hindered(String),
    /// They stay: it took too long, for this reason.
    GivenUp(String),
}

impl Removing {
    /// Takes up that an API server says that a Producer was deleted, which ran so. Says whether its topics are to go.
    pub fn deleted(&mut self, prefix: &str, ran: &Producer, deleted: &Stored, now: Instant) -> bool {
        let goes = goes(prefix, ran, deleted) && self.orders.len() < MOST;
        if goes {
            let Producer { name, uid, topic, due_topic, .. } = ran.clone();
            let removal = Arc::new(Removal { name: name.clone(), uid, topic, due_topic });
            self.orders.insert(name, Order { removal, began: now, since: None, trouble: None });
        } else {
            self.stay.insert(deleted.uid.clone());
        }
        goes
    }

    /// What dataplanes are to delete.
    pub fn all(&self) -> Removals {
        self.orders.iter().map(|(name, order)| (name.clone(), Arc::clone(&order.removal))).collect()
    }

    /// This is published.
    pub fn published(&mut self, snapshot: &Snapshot) {
        self.stay.clear();
        for (name, order) in &mut self.orders {
            if snapshot.removals.get(name).is_some_and(|said| said.uid == order.removal.uid) {
                order.since.get_or_insert(snapshot.generation);
            }
        }
    }

    /// Looks at what dataplanes say. What has ended is forgotten.
    pub fn look(&mut self, fleet: &Fleet, now: Instant) -> Vec<(Arc<Removal>, Became)> {
        let mut became = Vec::new();
        self.orders.retain(|name, order| {
            let (is_gone, why) = judge(fleet, name, order.since);
            let is_over = now.saturating_duration_since(order.began) > PATIENCE;
            let said = match why {
                _ if is_gone => Some(Became::Gone),
                why if is_over => {
                    Some(Became::GivenUp(why.unwrap_or_else(|| "not every dataplane answers".into())))
                }
                Some(why) if order.trouble.as_ref() != Some(&why) => Some(Became::Hindered(why)),
                _ => None,
            };
            if let Some(Became::Hindered(why)) = &said {
                order.trouble = Some(why.clone());
            }
            became.extend(said.map(|said| (Arc::clone(&order.removal), said)));
            !is_gone && !is_over
        });
        became
    }

    /// The Producers that ran and were to take their topics along, and are gone without anybody having said that they were
    /// deleted: neither is one of them there, nor are its topics to go.
    pub fn unseen<'a>(
        &self,
        ran: &'a Snapshot,
        runs: &Snapshot,
        there: &BTreeSet<String>,
    ) -> Vec<&'a Producer> {
        let is_unseen = |producer: &&Arc<Producer>| {
            let same = |one: &Arc<Producer>| one.uid == producer.uid;
            let is_going =
                self.orders.get(&producer.name).is_some_and(|order| order.removal.uid == producer.uid);
            producer.brokers.delete
                && !runs.producers.get(&producer.name).is_some_and(same)
                && !there.contains(&producer.uid)
                && !self.stay.contains(&producer.uid)
                && !is_going
        };
        ran.producers.values().filter(is_unseen).map(AsRef::as_ref).collect()
    }
}

/// Whether a Producer's topics go with it: both what ran of it and what it said last have to say so, and the topics have to be
/// those that nobody else can have.
fn goes(prefix: &str, ran: &Producer, deleted: &Stored) -> bool {
    let says = |spec: &str| {
        let spec: Option<Value> = serde_json::from_str(spec).ok();
        spec.is_some_and(|spec| {
            spec.pointer("/topic/deletionPolicy").is_some_and(|policy| policy == "Delete")
        })
    };
    ran.uid == deleted.uid
        && ran.brokers.delete
        && !ran.brokers.adopt
        && !deleted.asked.pause
        && deleted.spec.as_deref().is_some_and(says)
        && ran.topic == names::events(prefix, &ran.name)
        && ran.due_topic == names::due(prefix, &ran.name)
}

/// Whether every dataplane says that it is done, and what one of them says otherwise.
fn judge(fleet: &Fleet, name: &Name, since: Option<Generation>) -> (bool, Option<String>) {
    let Some(since) = since else { return (false, None) };
    match fleet.state(Kind::Producer, name, since) {
        State::Ready => (true, None),
        State::Unready { replica, reason } => (false, Some(format!("{reason} (said by {replica})"))),
        State::Nobody | State::Behind { .. } | State::Gathering | State::Refused { .. } => (false, None),
    }
}
