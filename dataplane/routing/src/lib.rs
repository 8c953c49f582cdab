//! What a dataplane can be told: which Producers exist, which Processors receive from them, and how to deliver.
//!
//! In: nothing; these are values. Out: [`Snapshot`], complete and consistent, made by `compile` and run by the
//! dataplane. Values here are `Eq`, so that a change is a difference; they know neither Kubernetes nor any log.
//!
//! - [`filter`]: which events a Processor receives
//! - [`target`]: where deliveries go; [`tls`]: how a target proves who it is
//! - [`policy`]: how they are made
//! - [`ledger`]: what a Producer wants decided exactly once
//! - [`egress`]: addresses that an administrator allows
//! - [`wire`]: all of it on its way between processes

pub mod egress;
pub mod filter;
pub mod ledger;
pub mod policy;
pub mod target;
pub mod tls;
pub mod wire;

pub use filter::{Cel, Filter, TypePattern, Unclear};
pub use ledger::{
    CheckBack, CheckProtocol, Crontab, Deduplication, DeduplicationKey, Ledger, Pace, Schedule,
    ScheduledData, ScheduledEvent, Undecided,
};
pub use policy::{
    Backoff, Growth, GrpcCode, OnExhausted, Order, Policy, RateLimit, Retry, RetryAfter, RetryOn,
    StatusPattern,
};
pub use target::{Protocol, Target};
pub use tls::{CaBundle, ServerName, Tls};

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

/// The total order of snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Generation {
    /// Who speaks: rises with every new speaker.
    pub epoch: u64,
    /// What it said: rises with every change.
    pub revision: u64,
}

/// The namespace and name of a resource, each a DNS label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// All that a dataplane needs to work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Which snapshot this is.
    pub generation: Generation,
    /// The accepted Producers.
    pub producers: BTreeMap<Name, Arc<Producer>>,
    /// The accepted and resolved Processors.
    pub processors: BTreeMap<Name, Arc<Processor>>,
    /// The topics that are to be deleted, by the name of the Producer that had them. That a Producer is not there says nothing
    /// of its topic: it may be refused, or not known yet.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub removals: BTreeMap<Name, Arc<Removal>>,
}

/// The topics of a Producer that was deleted, and said that they go with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Removal {
    /// The Producer's name, which another one may have by now.
    pub name: Name,
    /// Its identity, which that one does not share.
    pub uid: String,
    /// The topic that held its events.
    pub topic: String,
    /// The topic that held those that had come due; it may not be there.
    pub due_topic: String,
}

/// A named stream that applications publish to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Producer {
    /// Its name.
    pub name: Name,
    /// Its identity, which a new Producer of the same name does not share.
    pub uid: String,
    /// How EvHub's clients call it; no other Producer of the hub is called so.
    pub evhub: EvhubName,
    /// The topic that holds its events.
    pub topic: String,
    /// How many partitions that topic has.
    pub partitions: u32,
    /// How long that topic keeps an event at the least; `None` is for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Duration>,
    /// How many bytes that topic keeps at the least, all partitions together; `None` is any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_bytes: Option<u64>,
    /// The largest event it takes: attributes and data, in bytes.
    pub event_bytes: usize,
    /// How many events one batch may have.
    pub batch_events: usize,
    /// The largest body of a batch, in bytes.
    pub batch_bytes: usize,
    /// How many events a second each dataplane lets in; `None` is as many as come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<u32>,
    /// The longest delay that a publisher may set.
    pub max_delay: Duration,
    /// What it wants decided exactly once.
    #[serde(skip_serializing_if = "Ledger::says_nothing")]
    pub ledger: Ledger,
    /// The topic that holds its events once they have come due; made when first needed.
    pub due_topic: String,
    /// How many of its events may wait for their time.
    pub pending_timers: u64,
    /// What brokers are told of the topic; a log without brokers has no use for it.
    pub brokers: Brokers,
}

/// What Kafka's brokers are told of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Brokers {
    /// On how many of them it lies.
    pub replicas: u32,
    /// How many of these must have an event before it is accepted.
    pub min_in_sync_replicas: u32,
    /// Its other settings, by Kafka's names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// Whether it may be there already; it is then used as it is, and never deleted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub adopt: bool,
    /// Whether it goes when its Producer is deleted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub delete: bool,
}

/// How EvHub's clients call a Producer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EvhubName {
    /// The application.
    pub app_id: String,
    /// The topic.
    pub topic_id: String,
}

/// A service that receives events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Processor {
    /// Its name.
    pub name: Name,
    /// Its identity, which a new Processor of the same name does not share.
    pub uid: String,
    /// The generation of its resource, echoed with every attempt.
    pub generation: i64,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created: i64,
    /// What EvHub's administrators call it; no other Processor of the hub is called so.
    pub dispatcher_id: String,
    /// The consumer group that reads for it.
    pub group: String,
    /// Where its parked deliveries are kept.
    pub state_topic: String,
    /// Where its dead letters go.
    pub dead_topic: String,
    /// Where deliveries for this Processor alone are kept; the topic is made when first needed.
    pub inbox_topic: String,
    /// What it subscribes to; every topic has the same number of partitions.
    pub routes: Vec<Route>,
    /// How many partitions each of those topics has.
    pub partitions: u32,
    /// The largest event of any of its Producers, in bytes.
    pub event_bytes: usize,
    /// On how many brokers its own topics lie: as many as any of its Producers' does.
    pub replicas: u32,
    /// How many of these must have a record before it counts, likewise.
    pub min_in_sync_replicas: u32,
    /// Which events it receives; `None` is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Which of an event's delays by key is this Processor's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_key: Option<String>,
    /// Where deliveries go.
    pub target: Target,
    /// How deliveries are made.
    pub policy: Policy,
    /// Where a partition without a committed offset begins.
    pub start: Start,
    /// Whether its author wants nothing delivered for now; backlog and offsets are kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// What was held before this instant, because it was exhausted, gets one more attempt; in milliseconds since the Unix
    /// epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<i64>,
}

/// One Producer's events to one Processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The Producer.
    pub producer: Name,
    /// Its topic.
    pub topic: String,
    /// The topic of those of its events that have come due; it may not be there.
    pub due_topic: String,
}

/// Where a partition without a committed offset begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Start {
    /// At the first event the log took after the Processor's creation, less a little for clocks that differ.
    Latest,
    /// At the first event there is.
    Earliest,
    /// Where its group has committed; a partition of which it has not begins as with `Latest`.
    Committed,
    /// At the first event the log took at or after an instant, in milliseconds since the Unix epoch, which may be still to come.
    At(i64),
}

/// What a record may carry beside its event: CloudEvents headers, and ours.
const ENVELOPE: usize = 128 << 10;

/// The largest record that an event of at most so many bytes can make, in whichever topic of ours it comes to lie.
pub const fn derived_record_bytes(event_bytes: usize) -> usize {
    event_bytes.saturating_add(ENVELOPE)
}

// === impl Processor ===

/// How long the inbox keeps what was redriven, at the least: as long as a Producer keeps its events where nothing is said.
const INBOX_RETENTION: Duration = Duration::from_hours(7 * 24);

impl Processor {
    /// How long the inbox keeps a record at the least. What was redriven waits there while the target is away or the
    /// Processor suspended, however short its dead letters are kept.
    pub fn inbox_retention(&self) -> Duration {
        self.policy.dead_letter_retention.max(INBOX_RETENTION)
    }
}

// === impl Brokers ===

impl Default for Brokers {
    fn default() -> Self {
        Self { replicas: 3, min_in_sync_replicas: 2, config: BTreeMap::new(), adopt: false, delete: false }
    }
}

// === impl Name ===

impl Name {
    /// A name from its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.revision)
    }
}

fn display<S: serde::Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
