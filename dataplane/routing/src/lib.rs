//! What a dataplane can be told: which Producers exist, which Processors receive from them, and how to deliver.
//!
//! In: nothing; these are values. Out: [`Snapshot`], complete and consistent, made by `compile` and run by the
//! dataplane. Values here are `Eq`, so that a change is a difference; they know neither Kubernetes nor any log.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use serde::Serialize;

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
}

/// A named stream that applications publish to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Producer {
    /// Its name.
    pub name: Name,
    /// Its identity, which a new Producer of the same name does not share.
    pub uid: String,
    /// The topic that holds its events.
    pub topic: String,
    /// How many partitions that topic has.
    pub partitions: u32,
    /// The largest event it takes: attributes and data, in bytes.
    pub event_bytes: usize,
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
    /// Where deliveries go.
    pub target: Target,
    /// How deliveries are made.
    pub policy: Policy,
    /// Where a partition without a committed offset begins.
    pub start: Start,
}

/// One Producer's events to one Processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The Producer.
    pub producer: Name,
    /// Its topic.
    pub topic: String,
}

/// Where deliveries go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// An absolute `http` URL.
    #[serde(serialize_with = "display")]
    pub url: http::Uri,
    /// How to speak to it.
    pub protocol: Protocol,
    /// How long one attempt may take, from connecting to the last byte of the answer.
    pub timeout: Duration,
}

/// How to speak to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Protocol {
    /// CloudEvents over HTTP, binary mode.
    CloudEvents,
}

/// How deliveries are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// What order is kept.
    pub order: Order,
    /// How many attempts may be under way at once.
    pub max_in_flight: u32,
    /// How many deliveries may be parked before intake stops.
    pub max_parked: u32,
    /// When and how often to try again.
    pub retry: Retry,
    /// What happens to an event that will not be tried again.
    pub on_exhausted: OnExhausted,
}

/// What order is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Order {
    /// None: every event flows by itself.
    None,
    /// Events of one key are delivered one after the other.
    Key,
}

/// When and how often to try again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// How many attempts an event gets; the first one counts.
    pub max_attempts: u32,
    /// How long to wait before each further attempt.
    pub backoff: Backoff,
}

/// How long to wait before the next attempt. Checked when compiled: `initial` is positive and at most `max`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// How the wait grows.
    pub growth: Growth,
    /// The wait after the first failure.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
    /// By how many percent a wait may be shorter or longer than computed.
    pub jitter_percent: u8,
}

/// How waits grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Growth {
    /// Every wait is the initial one.
    Fixed,
    /// Each wait is so many times the one before.
    Exponential {
        /// The factor, at least 1.
        multiplier: u32,
    },
}

/// What happens to an event that will not be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum OnExhausted {
    /// It becomes a dead letter.
    DeadLetter,
}

/// Where a partition without a committed offset begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Start {
    /// At the first event the log took at or after the Processor's creation.
    Latest,
    /// At the first event there is.
    Earliest,
}

/// What a record may carry beside its event: CloudEvents headers, and ours.
const ENVELOPE: usize = 128 << 10;

/// The largest record that an event of at most so many bytes can make, in whichever topic of ours it comes to lie.
pub const fn derived_record_bytes(event_bytes: usize) -> usize {
    event_bytes.saturating_add(ENVELOPE)
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
