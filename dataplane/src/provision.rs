//! Topics of Producers, made before anybody publishes to them. I/O.

use evhub_journal::{ClusterSettings, Error, Journal, TopicSettings};
use evhub_routing::{Producer, Snapshot, derived_record_bytes};

use crate::Hub;

/// Makes sure that every Producer's topic exists as its Producer says. What Processors need is made when first needed.
pub async fn provision<J: Journal>(journal: &J, snapshot: &Snapshot) -> Result<(), Error> {
    for producer in snapshot.producers.values() {
        one(journal, producer).await?;
    }
    Ok(())
}

/// Makes sure of one Producer's topic.
pub async fn one<J: Journal>(journal: &J, producer: &Producer) -> Result<(), Error> {
    // First what is read beside it, so that nobody finds it smaller.
    if journal.look_up(&producer.due_topic).await?.is_some_and(|count| count < producer.partitions) {
        journal.ensure(&producer.due_topic, due_settings(producer)).await?;
    }
    journal.ensure(&producer.topic, settings(producer)).await
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
