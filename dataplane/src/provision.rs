//! Topics of Producers, made before anybody publishes to them, and grown behind what is read beside them. I/O.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use evhub_dispatch::topics;
use evhub_journal::{BrokerSettings, ClusterSettings, Error, Journal, TopicSettings};
use evhub_routing::{Processor, Producer, Snapshot, derived_record_bytes};

use crate::Hub;

/// Makes sure that every Producer's topic exists as its Producer says. What Processors need is made when first needed.
pub async fn provision<J: Journal>(journal: &J, snapshot: &Snapshot) -> Result<(), Error> {
    for producer in snapshot.producers.values() {
        one(journal, snapshot, producer, BTreeSet::new()).await?;
    }
    Ok(())
}

/// Makes sure of one Producer's topic. What it once asked of brokers and asks no more is unset.
pub async fn one<J: Journal>(
    journal: &J,
    snapshot: &Snapshot,
    producer: &Producer,
    unset: BTreeSet<String>,
) -> Result<(), Error> {
    let (topic, settings) = (&producer.topic, settings(producer));
    let brokers = BrokerSettings { set: producer.brokers.config.clone(), unset };
    let count = journal.look_up(topic).await?;
    if let Some(partitions) = count.filter(|count| *count < producer.partitions) {
        // Whatever may be refused is refused before anything has grown: topics that are read together and differ are read by
        // nobody.
        journal.ensure_with(topic, TopicSettings { partitions, ..settings }, &brokers).await?;
        journal.may_grow(topic, producer.partitions).await?;
        for (beside, settings) in beside(snapshot, producer) {
            grow(journal, beside, settings).await?;
        }
    }
    // First what is read beside it, so that nobody finds it smaller.
    grow(journal, &producer.due_topic, due_settings(producer)).await?;
    journal.ensure_with(topic, settings, &brokers).await
}

/// Makes sure of the topic of a Producer's events that have come due, and tells those who read it.
pub async fn due<J: Journal>(hub: &Hub<J>, producer: &Producer) -> Result<(), Error> {
    let topic = &producer.due_topic;
    if hub.journal.partitions(topic).is_none_or(|count| count < producer.partitions) {
        hub.journal.ensure(topic, due_settings(producer)).await?;
    }
    hub.dues.made(topic);
    Ok(())
}

/// Has a topic that is there no fewer partitions than this.
async fn grow<J: Journal>(journal: &J, topic: &str, settings: TopicSettings) -> Result<(), Error> {
    if journal.look_up(topic).await?.is_some_and(|count| count < settings.partitions) {
        journal.ensure(topic, settings).await?;
    }
    Ok(())
}

/// What grows before a Producer's topics do, in this order: where the deliveries of all who read it are parked, so that whoever
/// is assigned a new partition can take it over; then what is read together with it.
fn beside<'a>(snapshot: &'a Snapshot, producer: &Producer) -> Vec<(&'a str, TopicSettings)> {
    let reads = |processor: &Processor| processor.routes.iter().any(|route| route.producer == producer.name);
    let readers = || snapshot.processors.values().filter(|processor| reads(processor));
    let states = readers().map(|processor| (&*processor.state_topic, topics::state(processor)));
    let inboxes = readers().map(|processor| (&*processor.inbox_topic, topics::inbox(processor)));
    states.chain(inboxes).collect()
}

/// As long as events are kept that are published at once, and never somebody else's.
fn due_settings(producer: &Producer) -> TopicSettings {
    let settings = settings(producer);
    let cluster = ClusterSettings { adopt: false, ..settings.cluster };
    TopicSettings { cluster, reserved: true, ..settings }
}

fn settings(producer: &Producer) -> TopicSettings {
    TopicSettings {
        partitions: producer.partitions,
        max_record_bytes: derived_record_bytes(producer.event_bytes),
        retention: producer.retention,
        // Kafka counts by partition.
        retention_bytes: producer
            .retention_bytes
            .map(|bytes| bytes.div_ceil(producer.partitions.max(1).into())),
        cluster: ClusterSettings {
            adopt: producer.brokers.adopt,
            ..ClusterSettings::copies(producer.brokers.replicas, producer.brokers.min_in_sync_replicas)
        },
        ..TopicSettings::default()
    }
}
