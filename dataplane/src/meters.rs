//! What every surface counts. Written on the way of a request, read by `/metrics`; no I/O.
//!
//! Labels are names of resources that run here, names of our listeners, and words of ours: never input.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
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
    flows: RwLock<BTreeMap<Name, Arc<Flow>>>,
    append: Appends,
    untraced: Counter,
    connections: Family<Listener, Gauge>,
    turned_away: Family<Listener, Counter>,
    requests: Family<Answered, Counter>,
    panics: Counter,
}

#[derive(Debug)]
struct Appends(Histogram);

/// What was published to one Producer.
#[derive(Debug, Default)]
pub struct Flow {
    accepted: AtomicU64,
    rejected: AtomicU64,
    unknown: AtomicU64,
    bytes: AtomicU64,
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
        self.flow(producer).of(ending).fetch_add(1, Relaxed);
    }

    /// An append of so many bytes was acknowledged after so many seconds.
    pub fn appended(&self, producer: &Name, bytes: usize, seconds: f64) {
        self.flow(producer).bytes.fetch_add(bytes as u64, Relaxed);
        self.0.append.0.observe(seconds);
    }

    /// What was published to a Producer that runs here.
    pub fn flow(&self, producer: &Name) -> Arc<Flow> {
        let flows = &self.0.flows;
        if let Some(flow) = flows.read().unwrap_or_else(PoisonError::into_inner).get(producer) {
            return Arc::clone(flow);
        }
        let mut flows = flows.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(flows.entry(producer.clone()).or_default())
    }

    /// Forgets the Producers that do not run here any more.
    pub fn keep(&self, runs: impl Fn(&Name) -> bool) {
        self.0.flows.write().unwrap_or_else(PoisonError::into_inner).retain(|name, _| runs(name));
    }

    /// What a publisher said of its trace makes no sense.
    pub fn untraced(&self) {
        self.0.untraced.inc();
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
        registry.register_with_unit(
            "ingest_append",
            "From the whole event to the log's acknowledgement",
            seconds,
            inner.append.0.clone(),
        );
        let help = "What publishers said of traces that was ignored because it is malformed";
        registry.register("ingest_traces_ignored", help, inner.untraced.clone());
        registry.register("http_connections", "Connections open", inner.connections.clone());
        registry.register("http_connections_refused", "Connections turned away", inner.turned_away.clone());
        registry.register("http_requests", "Requests answered", inner.requests.clone());
        registry.register("http_panics", "Handlers that panicked", inner.panics.clone());
    }
}

// === impl Flow ===

impl Flow {
    /// How many events ended like this.
    pub fn ended(&self, ending: Ending) -> u64 {
        self.of(ending).load(Relaxed)
    }

    /// How many bytes of events the log has acknowledged.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    fn of(&self, ending: Ending) -> &AtomicU64 {
        match ending {
            Ending::Accepted => &self.accepted,
            Ending::Rejected => &self.rejected,
            Ending::Unknown => &self.unknown,
        }
    }
}

// === impl Ending ===

impl Ending {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Accepted, Self::Rejected, Self::Unknown];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }
}

impl Default for Appends {
    /// From half a millisecond, faster than any disk syncs, to half a minute, when requests are given up.
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(0.0005, 2.0, 16)))
    }
}
