//! Processor: a service that receives events.
//!
//! The words of each enumeration are explained at the field that takes them: a schema describes fields only.

#![expect(unreachable_pub, reason = "the derive repeats each type inside a function")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Condition, Duration,
    rules::{self, Violation},
};

/// What a Processor says. A refused one, or one whose Producers cannot be resolved, receives nothing; its place in the
/// log is kept.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "evhub.dev",
    version = "v1alpha1",
    kind = "Processor",
    namespaced,
    derive = "PartialEq",
    status = "ProcessorStatus",
    shortname = "evr",
    category = "evhub",
    doc = "A Processor delivers the events of its Producers to a service, each at least once.",
    validation = rules::name(),
    printcolumn(name = "Sources", type_ = "string", json_path = ".status.sources"),
    printcolumn(name = "Target", type_ = "string", json_path = ".status.target"),
    printcolumn(name = "Order", type_ = "string", json_path = ".spec.delivery.order", priority = 1),
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
#[x_kube(validation = rules::start_from_immutable())]
pub struct ProcessorSpec {
    /// The Producers whose events are delivered, all in the Processor's own namespace, with equally many partitions.
    /// While one of them is missing the Processor receives nothing from any; it starts by itself when the Producer
    /// appears.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub producers: Vec<ProducerRef>,
    /// Where deliveries go.
    pub target: Target,
    /// How deliveries are made.
    #[serde(default)]
    pub delivery: Delivery,
    /// Where a Processor begins that has not read yet: with `Latest`, at the events published since it was created;
    /// with `Earliest`, at the first event that its Producers still have. Immutable.
    #[serde(default)]
    pub start_from: StartFrom,
}

/// A Producer by its name.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProducerRef {
    /// The Producer's name.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
}

/// Where deliveries go.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// An absolute `http` URL without user or fragment, for example `http://127.0.0.1:8089/events`. Only where the
    /// administrator allows it; `evhub dev` allows loopback. Redirects are not followed: they count as failures.
    #[schemars(length(max = 2048), regex(pattern = URL_PATTERN), extend("example" = "http://127.0.0.1:8089/events"))]
    pub url: String,
    /// How to speak to the service. `CloudEvents`: a `POST` in the HTTP binding's binary mode for each attempt; any 2xx
    /// answer is success, and its body is ignored.
    #[serde(default)]
    pub protocol: Protocol,
    /// How long one attempt may take, from connecting to the last byte of the answer, between 1ms and 10m. An attempt
    /// that takes longer has failed, although the service may have done its work; it will see the event again.
    #[serde(default = "default_timeout")]
    #[x_kube(validation = rules::duration(rules::TIMEOUT))]
    pub timeout: Duration,
}

/// How to speak to a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// The HTTP binding's binary mode.
    #[default]
    CloudEvents,
}

/// How deliveries are made.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// What order is kept. `Key`: events with the same partition key are delivered one after the other, the next one
    /// only when the one before is delivered or dead-lettered; other keys, and events without one, do not wait. `None`:
    /// every event is delivered by itself.
    #[serde(default)]
    pub order: Order,
    /// How many attempts of the whole Processor may be under way at once. Events beyond it wait in the log.
    #[serde(default = "default_max_in_flight")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_in_flight: u32,
    /// How many events may be parked, waiting for their next attempt or behind one of their key. When so many are, no
    /// further events are taken from the log until some are resolved; nothing is lost.
    #[serde(default = "default_max_parked")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_parked: u32,
    /// When and how often to try again.
    #[serde(default)]
    pub retry: Retry,
    /// What happens to an event when its attempts are used up or the service's answer says that trying again is
    /// useless. `DeadLetter`: it is kept with the reason and every cause, and can be delivered again from there; the
    /// event counts as resolved only when the dead letter is durable.
    #[serde(default)]
    pub on_exhausted: OnExhausted,
}

/// What order is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Order {
    /// By partition key.
    #[default]
    Key,
    /// None at all.
    None,
}

/// When and how often to try again. Retries are durable: neither a restart nor a crash forgets or repeats one that has
/// an outcome.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// How many attempts an event gets. The first one counts, so 1 means no retry.
    #[serde(default = "default_max_attempts")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_attempts: u32,
    /// How long to wait between attempts.
    #[serde(default)]
    pub backoff: Backoff,
}

/// How long to wait between attempts.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::initial_within_max())]
pub struct Backoff {
    /// How the wait grows. `Exponential`: each wait is `multiplier` times the one before, at most `max`. `Fixed`: every
    /// wait is `initial`.
    #[serde(default)]
    pub policy: BackoffPolicy,
    /// The wait after the first failure, between 1ms and 24h.
    #[serde(default = "default_initial")]
    #[x_kube(validation = rules::duration(rules::WAIT))]
    pub initial: Duration,
    /// The longest wait before jitter, between 1ms and 24h, not less than `initial`.
    #[serde(default = "default_max")]
    #[x_kube(validation = rules::duration(rules::WAIT))]
    pub max: Duration,
    /// With `Exponential`, how many times the wait before each wait is.
    #[serde(default = "default_multiplier")]
    #[schemars(range(min = 1, max = 10))]
    pub multiplier: u32,
    /// By how many percent each wait is made shorter or longer at random, so that events that failed together are not
    /// tried again together.
    #[serde(default = "default_jitter")]
    #[schemars(range(min = 0, max = 100))]
    pub jitter_percent: u8,
}

/// How waits grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackoffPolicy {
    /// By a factor.
    #[default]
    Exponential,
    /// Not at all.
    Fixed,
}

/// What happens to an event that will not be tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnExhausted {
    /// It becomes a dead letter.
    #[default]
    DeadLetter,
}

/// Where a Processor begins that has not read yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum StartFrom {
    /// At the Processor's creation.
    #[default]
    Latest,
    /// At the beginning.
    Earliest,
}

/// What has become of a Processor.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessorStatus {
    /// The generation that this status speaks of; -1 before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The Producers, as one text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub sources: Option<String>,
    /// Where deliveries go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub target: Option<String>,
    /// How it is doing: `Ready`, `Accepted`, `ResolvedRefs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// A host name, an IPv4 address or an IPv6 address in brackets; a port; a path with or without a query.
const URL_PATTERN: &str =
    "^http://([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?(/[!-\"$-~]*)?$";

// === impl ProcessorSpec ===

impl ProcessorSpec {
    /// The rules that this spec breaks by itself.
    pub fn violations(&self) -> Vec<Violation> {
        let backoff = &self.delivery.retry.backoff;
        let crossed = (backoff.initial > backoff.max).then(|| Violation {
            field: "delivery.retry.backoff",
            message: format!(
                "{} (got initial {}, max {})",
                rules::INITIAL_OVER_MAX,
                backoff.initial,
                backoff.max
            ),
        });
        [
            rules::TIMEOUT.check("target.timeout", self.target.timeout),
            rules::WAIT.check("delivery.retry.backoff.initial", backoff.initial),
            rules::WAIT.check("delivery.retry.backoff.max", backoff.max),
            crossed,
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            order: Order::default(),
            max_in_flight: default_max_in_flight(),
            max_parked: default_max_parked(),
            retry: Retry::default(),
            on_exhausted: OnExhausted::default(),
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { max_attempts: default_max_attempts(), backoff: Backoff::default() }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            policy: BackoffPolicy::default(),
            initial: default_initial(),
            max: default_max(),
            multiplier: default_multiplier(),
            jitter_percent: default_jitter(),
        }
    }
}

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

fn default_max_in_flight() -> u32 {
    64
}

fn default_max_parked() -> u32 {
    100_000
}

fn default_max_attempts() -> u32 {
    10
}

fn default_initial() -> Duration {
    Duration::from_millis(200)
}

fn default_max() -> Duration {
    Duration::from_secs(5 * 60)
}

fn default_multiplier() -> u32 {
    2
}

fn default_jitter() -> u8 {
    20
}
