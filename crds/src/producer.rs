//! Producer: a named stream that applications publish to.

#![expect(unreachable_pub, reason = "the derive repeats each type inside a function")]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Condition, Duration, Quantity, Stands,
    rules::{self, Violation},
    schedule::{Schedule, ScheduleStatus},
    transaction::Transaction,
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
    selectable = ".spec.evhub.appId",
    selectable = ".spec.topic.name",
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
    /// Who else may have its events, beside the Producer's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Publishing that is safe to repeat: what came already is not published again.
    #[serde(default)]
    pub deduplication: Deduplication,
    /// Half messages: events that are prepared, and published when their publisher says so. Without it, EvHub's clients name
    /// whom to ask with each of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<Transaction>,
    /// Events that this Producer publishes by itself, again and again. When one is changed, its next run is the first after now
    /// and after the last one that fired; no instant fires twice. A removed one fires no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub schedules: Vec<Schedule>,
}

/// Publishing that is safe to repeat.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deduplication {
    /// What two publishes are the same by. `IdempotencyKey`: the key that the publisher gives (`Idempotency-Key`,
    /// `evhubidempotencykey`); without one, an event is published as it comes. `SourceAndId`: the event's `source` and `id`; every
    /// publish pays for it.
    #[serde(default)]
    pub by: DeduplicationKey,
    /// For how long, between 1s and 168h. The same again within that time gets the first one's receipt; the same key with
    /// other content is refused with `409 Conflict`.
    #[serde(default = "default_window")]
    #[x_kube(validation = rules::duration(rules::WINDOW))]
    pub window: Duration,
}

/// What two publishes are the same by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeduplicationKey {
    /// A key of the publisher's.
    #[default]
    IdempotencyKey,
    /// The event's own identity.
    SourceAndId,
}

/// Who else may have a Producer's events.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// The Processors of other namespaces that may read it. Processors of its own namespace always may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processors: Option<ProcessorAccess>,
}

/// The Processors of other namespaces that may read a Producer.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessorAccess {
    /// Their namespaces; `"*"` is any, an empty list none. When one is taken away, its Processors stop within seconds and
    /// keep their place in the log; given again, they go on there.
    #[schemars(length(max = 64), inner(length(min = 1, max = 63), regex(pattern = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?|[*])$")), extend("x-kubernetes-list-type" = "set"))]
    pub namespaces: Vec<String>,
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
#[x_kube(validation = rules::topic_immutable())]
#[x_kube(validation = rules::copies_within_replicas())]
#[x_kube(validation = rules::adopt_needs_name())]
pub struct Topic {
    /// What the topic is called, instead of `evhub.NAMESPACE.NAME`: for one that is there already, or that others know by
    /// this name. Only where the administrator allows it (`evhub dev` allows any), never one that begins with `evhub.` or
    /// `__`, and never that of another Producer. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249), regex(pattern = "^[A-Za-z0-9._-]+$"))]
    #[x_kube(validation = rules::topic_not_ours())]
    pub name: Option<String>,
    /// Whether a topic of that `name` may be there already. It is then used as it is and never deleted; without it, one
    /// that is there and was not made for this Producer is left alone, and the Producer is not ready. On the embedded log
    /// a topic is this hub's in any case.
    #[serde(default)]
    pub adopt: bool,
    /// How many partitions the topic has: the most dispatchers that can share one Processor's work. It may grow and
    /// never shrink. Growing sends keys to other partitions, so it is refused while a Processor that keeps order by
    /// key is attached, unless this Producer is annotated `evhub.dev/allow-order-break: "true"`. The Producers of one
    /// Processor must have equally many.
    #[serde(default = "default_partitions")]
    #[schemars(range(min = 1, max = 1000))]
    pub partitions: u32,
    /// On how many of Kafka's brokers the topic lies. The embedded log has one copy, whatever this says.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: u32,
    /// How many of these must have an event before it is accepted, not more than `replicas`. While fewer are there, events
    /// are refused. The embedded log has one copy, whatever this says.
    #[serde(default = "default_min_in_sync_replicas")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_in_sync_replicas: u32,
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
    /// Other settings of the topic in Kafka, by Kafka's names, such as `compression.type: zstd`; a number or a boolean in
    /// quotes. None that evhub manages: they follow from the fields above. One that brokers refuse is told by `TopicReady`, and
    /// the topic is as it was before. One that is taken out is again as the brokers' own setting says. Of an adopted topic they
    /// are only compared, and never changed. The embedded log has none of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = { "type": "string", "maxLength": 1024 }))]
    #[x_kube(validation = rules::config_not_managed())]
    pub config: BTreeMap<String, String>,
    /// What becomes of the topic when this Producer is deleted. `Retain`: it stays, with its events. `Delete`: it goes, with
    /// all events that were not delivered yet, when the operator sees the deletion; what nobody saw, and a topic with a
    /// `name` of its own, stays. Another Producer of this name waits until it is gone, and begins empty. The embedded log
    /// keeps it until its events are as old as `retention` says; `evhub control` keeps it in any case.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// What becomes of a topic whose Producer is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays.
    #[default]
    Retain,
    /// It goes.
    Delete,
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
    /// The longest delay that a publisher may set, between 1s and 87600h. An event with a longer one is refused with
    /// `400 Bad Request` and `DELAY_TOO_LONG`.
    #[serde(default = "default_max_delay")]
    #[x_kube(validation = rules::duration(rules::DELAY))]
    pub max_delay: Duration,
    /// How many events may wait for their time. One more is refused with `429 Too Many Requests` and `TOO_MANY_TIMERS`. Where
    /// several processes lead the ledger, each counts what it leads and reckons that the others have as many.
    #[serde(default = "default_pending_timers")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub pending_timers: u32,
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
    /// What it said when it was accepted last, and runs as, while what it says now is not obeyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands: Option<Stands>,
    /// When its schedules fire next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub schedules: Vec<ScheduleStatus>,
    /// How it is doing: `Ready` sums up `Accepted`, `ResolvedRefs`, `TopicReady` and `Programmed`; `Stalled` is there where
    /// only its author can mend it.
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
        let Limits { event_bytes, batch_bytes, max_delay, .. } = self.limits;
        let Topic { retention, retention_bytes, .. } = self.topic;
        let amounts = [
            rules::RETENTION.check("topic.retention", retention),
            retention_bytes.and_then(|bytes| rules::RETENTION_BYTES.check("topic.retentionBytes", bytes)),
            rules::EVENT_BYTES.check("limits.eventBytes", event_bytes),
            rules::BATCH_BYTES.check("limits.batchBytes", batch_bytes),
            rules::DELAY.check("limits.maxDelay", max_delay),
            rules::WINDOW.check("deduplication.window", self.deduplication.window),
        ];
        let schedules = self.schedules.iter().enumerate();
        amounts
            .into_iter()
            .flatten()
            .chain(self.topic.violations())
            .chain(self.transaction.iter().flat_map(Transaction::violations))
            .chain(
                schedules.flat_map(|(index, schedule)| schedule.violations(&format!("schedules[{index}]"))),
            )
            .collect()
    }
}

impl Topic {
    fn violations(&self) -> impl Iterator<Item = Violation> {
        let Self { name, adopt, replicas, min_in_sync_replicas, config, .. } = self;
        let said =
            |field: &'static str, message: &str| Violation { field: field.into(), message: message.into() };
        let ours = name.as_ref().filter(|name| rules::is_topic_of_ours(name));
        let managed = config.keys().filter(|key| !rules::is_free_setting(key)).map(|key| Violation {
            field: format!("topic.config.{}", key.chars().take(64).collect::<String>()).into(),
            message: rules::CONFIG_MANAGED.into(),
        });
        [
            ours.map(|name| said("topic.name", &format!("{} (got {name})", rules::TOPIC_OF_OURS))),
            (*adopt && name.is_none()).then(|| said("topic.adopt", rules::ADOPT_NEEDS_NAME)),
            (min_in_sync_replicas > replicas).then(|| {
                said(
                    "topic.minInSyncReplicas",
                    &format!("{} (got {min_in_sync_replicas} of {replicas})", rules::MIN_OVER_REPLICAS),
                )
            }),
        ]
        .into_iter()
        .flatten()
        .chain(managed.collect::<Vec<_>>())
    }
}

impl Default for Deduplication {
    fn default() -> Self {
        Self { by: DeduplicationKey::default(), window: default_window() }
    }
}

impl Default for Topic {
    fn default() -> Self {
        Self {
            name: None,
            adopt: false,
            partitions: default_partitions(),
            replicas: default_replicas(),
            min_in_sync_replicas: default_min_in_sync_replicas(),
            retention: default_retention(),
            retention_bytes: None,
            config: BTreeMap::new(),
            deletion_policy: DeletionPolicy::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_bytes: default_event_bytes(),
            batch_events: default_batch_events(),
            batch_bytes: default_batch_bytes(),
            events_per_second: None,
            max_delay: default_max_delay(),
            pending_timers: default_pending_timers(),
        }
    }
}

fn default_partitions() -> u32 {
    12
}

fn default_replicas() -> u32 {
    3
}

fn default_min_in_sync_replicas() -> u32 {
    2
}

fn default_max_delay() -> Duration {
    Duration::from_secs(9600 * 3600)
}

fn default_pending_timers() -> u32 {
    1_000_000
}

fn default_retention() -> Duration {
    Duration::from_secs(168 * 3600)
}

fn default_window() -> Duration {
    Duration::from_secs(600)
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
