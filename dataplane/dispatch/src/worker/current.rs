//! What attempts are made by: replaced as a whole when somebody edits the Processor, so that each attempt is of one
//! generation and none waits for another.

use std::{collections::BTreeMap, sync::Arc};

use evhub_routing::{EvhubName, Policy, Processor};

use super::Work;
use crate::sender::{Sender, Senders};

/// A Processor as it is now.
pub(super) struct Current {
    pub(super) processor: Arc<Processor>,
    producers: BTreeMap<String, EvhubName>,
    pub(super) sender: Sender,
}

impl Current {
    pub(super) fn new(work: &Work, senders: &Senders) -> Self {
        let sender = senders.to(&work.processor.target);
        Self { processor: Arc::clone(&work.processor), producers: work.producers.clone(), sender }
    }

    /// The same after an edit. The target's connections stay, unless it is another target.
    pub(super) fn edited(&self, work: &Work, senders: &Senders) -> Self {
        let processor = Arc::clone(&work.processor);
        let same = self.processor.target.connects_like(&processor.target);
        let sender = if same { self.sender.clone() } else { senders.to(&processor.target) };
        Self { processor, producers: work.producers.clone(), sender }
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.processor.policy
    }

    /// What EvHub calls the Producer of a topic's events. What came by the inbox was the first one's, as far as anybody
    /// knows.
    pub(super) fn producer(&self, topic: &str) -> Option<&EvhubName> {
        self.producers.get(topic).or_else(|| self.producers.values().next())
    }
}

/// Whether a member of the group that began with one can go on with the other. What it reads and who waits for whom were
/// settled when it joined; everything else may change under its hands.
pub(super) fn goes_on_as(joined: &Processor, next: &Processor) -> bool {
    // Each field is named, so that a new one has to be thought of.
    let Processor {
        name,
        uid,
        generation: _,
        created: _,
        dispatcher_id: _,
        group,
        state_topic,
        dead_topic,
        inbox_topic,
        routes,
        partitions,
        event_bytes,
        // They count when topics are made.
        replicas: _,
        min_in_sync_replicas: _,
        filter: _,
        delay_key: _,
        target: _,
        policy,
        // It counted when the partitions were claimed for the first time.
        start: _,
        suspend: _,
        resume: _,
    } = next;
    let topics = |of: &Processor| [of.state_topic.clone(), of.dead_topic.clone(), of.inbox_topic.clone()];
    (name, uid, group, routes) == (&joined.name, &joined.uid, &joined.group, &joined.routes)
        && [state_topic, dead_topic, inbox_topic].map(Clone::clone) == topics(joined)
        && (*partitions, *event_bytes) == (joined.partitions, joined.event_bytes)
        && policy.order == joined.policy.order
        // The topic of dead letters is made sure of with it when the group is joined, and when the first one is written.
        && policy.dead_letter_retention == joined.policy.dead_letter_retention
}
