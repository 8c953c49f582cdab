//! Producer: a named stream that applications publish to.

#![expect(unreachable_pub, reason = "the derive repeats each type inside a function")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Condition, Duration, Quantity,
    rules::{self, Violation},
};

/// What a Producer says. Publishing begins when the Producer is accepted; a refused one takes no events.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "evhub.dev",
    version = "v1alpha1",
    kind = "Producer",
    namespaced,
    derive = "PartialEq",
    status = "ProducerStatus",
    shortname = "evp",
    category = "evhub",
    doc = "A Producer is a named stream that applications publish events to.",
    validation = rules::name(),
    printcolumn(name = "Topic", type_ = "string", json_path = ".status.topic.name"),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".spec.topic.partitions"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::evhub_immutable())]
pub struct ProducerSpec {
    /// How EvHub's own clients call this Producer. Immutable, and unique in the hub: of two the older one counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evhub: Option<EvhubName>,
    /// Where the events are kept.
    #[serde(default)]
    pub topic: Topic,
    /// What publishing is held to. An event beyond a limit is refused before it is accepted, never cut or dropped.
    #[serde(default)]
    pub limits: Limits,
}

/// How EvHub's own clients call a Producer.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EvhubName {
    /// Their `app_id`: the namespace, if it is not given. Another one only where the administrator allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[A-Za-z0-9._-]+$"))]
    pub app_id: Option<String>,
    /// Their `topic_id`: the Producer's name, if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[A-Za-z0-9._-]+$"))]
    pub topic_id: Option<String>,
}

/// Where the events are kept.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::partitions_never_shrink())]
pub struct Topic {
    /// How many partitions the topic has: the most dispatchers that can share one Processor's work. It may grow and
    /// never shrink. Growing sends keys to other partitions, so it is refused while a Processor that keeps order by
    /// key is attached, unless this Producer is annotated `evhub.dev/allow-order-break: "true"`. The Producers of one
    /// Processor must have equally many.
    #[serde(default = "default_partitions")]
    #[schemars(range(min = 1, max = 1000))]
    pub partitions: u32,
    /// How long events are kept at the least, between 1m and 87600h; longer by what is thrown away at once. A Processor that
    /// is further behind than that does not receive what is gone, and says so in its log. What is parked keeps its own
    /// copy of the event and is not concerned.
    #[serde(default = "default_retention")]
    #[x_kube(validation = rules::duration(rules::RETENTION))]
    pub retention: Duration,
    /// How many bytes of events are kept at the least, all partitions together, between 1Mi and 1Pi; each partition has an
    /// equal share. Without it there is no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::quantity(rules::RETENTION_BYTES))]
    pub retention_bytes: Option<Quantity>,
}

/// What publishing is held to.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The largest event, attributes and data together, between 1Ki and 8Mi. A larger one is refused with
    /// `413 Content Too Large`. Lowering it does not touch events that were accepted before.
    #[serde(default = "default_event_bytes")]
    #[x_kube(validation = rules::quantity(rules::EVENT_BYTES))]
    pub event_bytes: Quantity,
    /// How many events one batch may have. A larger one is refused whole with `413 Content Too Large`.
    #[serde(default = "default_batch_events")]
    #[schemars(range(min = 1, max = 10_000))]
    pub batch_events: u32,
    /// The largest body of a batch, between 1Ki and 32Mi. A larger one is refused whole with `413 Content Too Large`; each
    /// event of a batch is held to `eventBytes` besides.
    #[serde(default = "default_batch_bytes")]
    #[x_kube(validation = rules::quantity(rules::BATCH_BYTES))]
    pub batch_bytes: Quantity,
    /// How many events a second each dataplane lets in, over all publishers. What comes faster is refused with `429 Too
    /// Many Requests` and `Retry-After`; a second's worth may come at once, and a larger batch is let in whole and paid off
    /// afterwards. Without it there is no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub events_per_second: Option<u32>,
}

/// What has become of a Producer.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProducerStatus {
    /// The generation that this status speaks of; -1 before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where to publish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// The topic as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<TopicStatus>,
    /// How it is doing: `Ready`, `Accepted`, `ResolvedRefs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Where to publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Address {
    /// A `CloudEvents` sink.
    #[schemars(length(max = 2048))]
    pub url: String,
}

/// A topic as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TopicStatus {
    /// Its name in the log.
    #[schemars(length(max = 249))]
    pub name: String,
    /// How many partitions it has.
    pub partitions: u32,
}

// === impl ProducerSpec ===

impl ProducerSpec {
    /// The rules that this spec breaks by itself.
    pub fn violations(&self) -> Vec<Violation> {
        let Limits { event_bytes, batch_bytes, batch_events: _, events_per_second: _ } = self.limits;
        let Topic { partitions: _, retention, retention_bytes } = self.topic;
        [
            rules::RETENTION.check("topic.retention", retention),
            retention_bytes.and_then(|bytes| rules::RETENTION_BYTES.check("topic.retentionBytes", bytes)),
            rules::EVENT_BYTES.check("limits.eventBytes", event_bytes),
            rules::BATCH_BYTES.check("limits.batchBytes", batch_bytes),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Default for Topic {
    fn default() -> Self {
        Self { partitions: default_partitions(), retention: default_retention(), retention_bytes: None }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_bytes: default_event_bytes(),
            batch_events: default_batch_events(),
            batch_bytes: default_batch_bytes(),
            events_per_second: None,
        }
    }
}

fn default_partitions() -> u32 {
    12
}

fn default_retention() -> Duration {
    Duration::from_secs(168 * 3600)
}

fn default_event_bytes() -> Quantity {
    Quantity::from_bytes(1 << 20)
}

fn default_batch_events() -> u32 {
    1000
}

fn default_batch_bytes() -> Quantity {
    Quantity::from_bytes(8 << 20)
}
