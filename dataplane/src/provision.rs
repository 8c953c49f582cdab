//! Topics of Producers, made before anybody publishes to them. I/O.

use evhub_journal::{Error, Journal, TopicSettings};
use evhub_routing::{Snapshot, derived_record_bytes};

/// Makes sure that every Producer's topic exists as its Producer says. What Processors need is made when first needed.
pub async fn provision<J: Journal>(journal: &J, snapshot: &Snapshot) -> Result<(), Error> {
    for producer in snapshot.producers.values() {
        let settings = TopicSettings {
            partitions: producer.partitions,
            max_record_bytes: derived_record_bytes(producer.event_bytes),
            retention: producer.retention,
            // Kafka counts by partition.
            retention_bytes: producer
                .retention_bytes
                .map(|bytes| bytes.div_ceil(producer.partitions.max(1).into())),
            ..TopicSettings::default()
        };
        journal.ensure(&producer.topic, settings).await?;
    }
    Ok(())
}
