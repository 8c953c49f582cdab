//! What a Processor's own topics look like, for whoever makes or grows them. Pure.

use evhub_journal::TopicSettings;
use evhub_routing::{Processor, derived_record_bytes};

/// Where its parked deliveries are kept.
pub fn state(processor: &Processor) -> TopicSettings {
    TopicSettings { compacted: true, reserved: true, ..own(processor) }
}

/// Where deliveries for it alone are kept.
pub fn inbox(processor: &Processor) -> TopicSettings {
    TopicSettings { retention: Some(processor.inbox_retention()), ..own(processor) }
}

/// As many partitions as its Producers' topics have, and room for their largest event.
fn own(processor: &Processor) -> TopicSettings {
    TopicSettings {
        partitions: processor.partitions,
        max_record_bytes: derived_record_bytes(processor.event_bytes),
        ..TopicSettings::default()
    }
}
