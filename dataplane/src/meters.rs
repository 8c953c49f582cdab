//! What every surface counts. Written on the way of a request, read by `/metrics`; no I/O.
//!
//! Labels are names of resources that run here, names of our listeners, and words of ours: never input.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use evhub_routing::Name;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// The counters of one dataplane; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Meters(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    events: Family<Published, Counter>,
    bytes: Family<Producer, Counter>,
    /// Each Producer's own, found without making its labels anew for each event.
    producers: RwLock<BTreeMap<Name, Arc<Counts>>>,
    append: Appends,
    connections: Family<Listener, Gauge>,
    turned_away: Family<Listener, Counter>,
    requests: Family<Answered, Counter>,
    panics: Counter,
}

#[derive(Debug)]
struct Appends(Histogram);

/// What is counted of one Producer.
#[derive(Debug)]
struct Counts {
    accepted: Counter,
    rejected: Counter,
    unknown: Counter,
    bytes: Counter,
}

/// How publishing an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is in the log.
    Accepted,
    /// It is not, and never will be.
    Rejected,
    /// It may be.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Producer {
    namespace: String,
    producer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Published {
    namespace: String,
    producer: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Listener {
    listener: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    listener: &'static str,
    status: u16,
}

// === impl Meters ===

impl Meters {
    /// An event's publishing has ended. The Producer must be one that runs here.
    pub fn published(&self, producer: &Name, ending: Ending) {
        self.counts(producer).ended(ending).inc();
    }

    /// An append of so many bytes was acknowledged after so many seconds.
    pub fn appended(&self, producer: &Name, bytes: usize, seconds: f64) {
        self.counts(producer).bytes.inc_by(bytes as u64);
        self.0.append.0.observe(seconds);
    }

    fn counts(&self, producer: &Name) -> Arc<Counts> {
        let known = self.0.producers.read().unwrap_or_else(PoisonError::into_inner).get(producer).cloned();
        known.unwrap_or_else(|| {
            let mut producers = self.0.producers.write().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Counts::new(&self.0, producer));
            Arc::clone(producers.entry(producer.clone()).or_insert_with(new))
        })
    }

    /// The gauge of a listener's open connections.
    pub fn connections(&self, listener: &'static str) -> Gauge {
        self.0.connections.get_or_create_owned(&Listener { listener })
    }

    /// The counter of a listener's connections turned away because there were too many.
    pub fn turned_away(&self, listener: &'static str) -> Counter {
        self.0.turned_away.get_or_create_owned(&Listener { listener })
    }

    /// A request was answered.
    pub fn answered(&self, listener: &'static str, status: u16) {
        self.0.requests.get_or_create(&Answered { listener, status }).inc();
    }

    /// A handler panicked.
    pub fn panicked(&self) {
        self.0.panics.inc();
    }

    /// Shows these counters.
    pub fn register(&self, registry: &mut Registry) {
        let inner = &self.0;
        let seconds = Unit::Seconds;
        registry.register("ingest_events", "Events published, by how it ended", inner.events.clone());
        registry.register_with_unit(
            "ingest",
            "Bytes of events acknowledged by the log",
            Unit::Bytes,
            inner.bytes.clone(),
        );
        registry.register_with_unit(
            "ingest_append",
            "From the whole event to the log's acknowledgement",
            seconds,
            inner.append.0.clone(),
        );
        registry.register("http_connections", "Connections open", inner.connections.clone());
        registry.register("http_connections_refused", "Connections turned away", inner.turned_away.clone());
        registry.register("http_requests", "Requests answered", inner.requests.clone());
        registry.register("http_panics", "Handlers that panicked", inner.panics.clone());
    }
}

// === impl Counts ===

impl Counts {
    fn new(inner: &Inner, Name { namespace, name }: &Name) -> Self {
        let events = |outcome| {
            let (namespace, producer) = (namespace.clone(), name.clone());
            inner.events.get_or_create_owned(&Published { namespace, producer, outcome })
        };
        let labels = Producer { namespace: namespace.clone(), producer: name.clone() };
        Self {
            accepted: events("accepted"),
            rejected: events("rejected"),
            unknown: events("unknown"),
            bytes: inner.bytes.get_or_create_owned(&labels),
        }
    }

    fn ended(&self, ending: Ending) -> &Counter {
        match ending {
            Ending::Accepted => &self.accepted,
            Ending::Rejected => &self.rejected,
            Ending::Unknown => &self.unknown,
        }
    }
}

impl Default for Appends {
    /// From half a millisecond, faster than any disk syncs, to half a minute, when requests are given up.
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(0.0005, 2.0, 16)))
    }
}
