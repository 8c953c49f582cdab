//! What an operator counts, for `/metrics`. No I/O.

use std::sync::atomic::AtomicU64;

use evhub_control::Rollout;
use evhub_routing::Generation;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// What is counted.
#[derive(Debug)]
pub struct Meters {
    registry: Registry,
    /// 1 while this operator leads.
    pub leads: Gauge,
    /// How often it was decided what is to run.
    pub compiled: Counter,
    /// How many statuses were written.
    pub writes: Counter,
    /// How many were not, because somebody else had written meanwhile.
    pub conflicts: Counter,
    /// How many could not be written.
    pub failed_writes: Counter,
    /// How often a watch failed.
    pub watch_failures: Counter,
    epoch: Gauge<u64, AtomicU64>,
    revision: Gauge<u64, AtomicU64>,
    producers: Gauge,
    processors: Gauge,
    replicas: Gauge,
}

impl Default for Meters {
    fn default() -> Self {
        let meters = Self {
            registry: Registry::default(),
            leads: Gauge::default(),
            compiled: Counter::default(),
            writes: Counter::default(),
            conflicts: Counter::default(),
            failed_writes: Counter::default(),
            watch_failures: Counter::default(),
            epoch: Gauge::default(),
            revision: Gauge::default(),
            producers: Gauge::default(),
            processors: Gauge::default(),
            replicas: Gauge::default(),
        };
        meters.registered()
    }
}

impl Meters {
    fn registered(mut self) -> Self {
        let all = self.registry.sub_registry_with_prefix("evhub_operator");
        all.register("leads", "Whether this operator leads", self.leads.clone());
        all.register("compilations", "How often it was decided what is to run", self.compiled.clone());
        all.register("status_writes", "Statuses that were written", self.writes.clone());
        all.register(
            "status_conflicts",
            "Statuses that somebody else had written meanwhile",
            self.conflicts.clone(),
        );
        all.register("status_failures", "Statuses that could not be written", self.failed_writes.clone());
        all.register("watch_failures", "How often a watch failed", self.watch_failures.clone());
        all.register("generation_epoch", "The epoch of what is to run", self.epoch.clone());
        all.register("generation_revision", "The revision of what is to run", self.revision.clone());
        all.register("producers", "Producers that run", self.producers.clone());
        all.register("processors", "Processors that run", self.processors.clone());
        all.register("dataplanes", "Dataplanes that are connected", self.replicas.clone());
        self
    }

    /// This is to run.
    pub fn generation(&self, generation: Generation, producers: usize, processors: usize) {
        self.epoch.set(generation.epoch);
        self.revision.set(generation.revision);
        self.producers.set(i64::try_from(producers).unwrap_or(i64::MAX));
        self.processors.set(i64::try_from(processors).unwrap_or(i64::MAX));
    }

    /// These are connected.
    pub fn replicas(&self, rollout: &Rollout) {
        self.replicas.set(i64::try_from(rollout.replicas().count()).unwrap_or(i64::MAX));
    }

    /// The page.
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a text does not fail.
        let _ = encode(&mut page, &self.registry);
        page
    }
}
