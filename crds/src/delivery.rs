//! How deliveries are made: order, limits, retries, and what becomes of an event that is not tried again.
//!
//! The words of each enumeration are explained at the field that takes them: a schema describes fields only.

#![expect(unreachable_pub, reason = "the derive repeats each type inside a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Duration, Quantity,
    rules::{self, Violation},
};

/// How deliveries are made.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::parked_per_key_within_parked())]
pub struct Delivery {
    /// What order is kept. `Key`: events with the same partition key are delivered one after the other, the next one
    /// only when the one before is delivered or dead-lettered; other keys, and events without one, do not wait.
    /// `KeyFirstAttempt`: only the first attempts of one key's events are in order; an event that failed is tried again
    /// while later ones go on. `Partition`: all events of a partition are delivered one after the other, and a failing
    /// one holds all that come after it. `None`: every event is delivered by itself.
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
    /// How many bytes of events may be parked, between 1Mi and 1Ti. Beyond it, as beyond `maxParked`, no further events
    /// are taken from the log.
    #[serde(default = "default_max_parked_bytes")]
    #[x_kube(validation = rules::quantity(rules::PARKED_BYTES))]
    pub max_parked_bytes: Quantity,
    /// How many events of one key may be parked, not more than `maxParked`. When so many are, the key holds all that
    /// comes after it in its partition, other keys included.
    #[serde(default = "default_max_parked_per_key")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_parked_per_key: u32,
    /// How many attempts may begin in how much time, first attempts and further ones together. Events beyond it wait in
    /// the log. Without it there is no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// When and how often to try again.
    #[serde(default)]
    pub retry: Retry,
    /// What happens to an event when its attempts are used up or the service's answer says that trying again is
    /// useless. `DeadLetter`: it is kept with the reason and every cause, and can be delivered again from there; the
    /// event counts as resolved only when the dead letter is durable. `Suspend`: it stays first in line, and the
    /// Processor delivers nothing more until it is resumed. `Drop`: it is discarded and counted. A record that is no
    /// event becomes a dead letter always.
    #[serde(default)]
    pub on_exhausted: OnExhausted,
    /// What happens to dead letters.
    #[serde(default)]
    pub dead_letter: DeadLetter,
}

/// What happens to dead letters.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// How long a dead letter is kept at the least, between 1m and 87600h; after that it can no longer be delivered again.
    #[serde(default = "default_dead_letter_retention")]
    #[x_kube(validation = rules::duration(rules::RETENTION))]
    pub retention: Duration,
}

/// What order is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Order {
    /// None at all.
    None,
    /// By partition key.
    #[default]
    Key,
    /// By partition key, of first attempts alone.
    KeyFirstAttempt,
    /// By partition.
    Partition,
}

/// How many attempts may begin in how much time.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// How many attempts.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub events: u32,
    /// In how long, between 100ms and 1h; 1s if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::duration(rules::PER))]
    pub per: Option<Duration>,
    /// How many attempts may begin at once after a pause; as many as `events` if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
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
    /// How long after its first attempt an event may be tried again, between 1s and 9600h. An attempt that would come
    /// later is not made.
    #[serde(default = "default_max_age")]
    #[x_kube(validation = rules::duration(rules::AGE))]
    pub max_age: Duration,
    /// How long to wait between attempts.
    #[serde(default)]
    pub backoff: Backoff,
    /// What the service's own `Retry-After` counts for.
    #[serde(default)]
    pub retry_after: RetryAfter,
    /// Which failures are tried again. All others are final.
    #[serde(default)]
    pub retry_on: RetryOn,
}

/// How long to wait between attempts.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::initial_within_max())]
pub struct Backoff {
    /// How the wait grows. `Exponential`: each wait is `multiplier` times the one before, at most `max`. `Linear`: each
    /// wait is longer than the one before by `initial`, at most `max`. `Fixed`: every wait is `initial`.
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
    /// By a step.
    Linear,
    /// Not at all.
    Fixed,
}

/// What the service's own `Retry-After` counts for.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryAfter {
    /// Whether a failing answer's `Retry-After` lengthens the wait before the next attempt; over gRPC, its status'
    /// `google.rpc.RetryInfo` or its ack's `retry_after`. A `429`, or `RESOURCE_EXHAUSTED`, that carries one uses up no
    /// attempt.
    #[serde(default = "default_true")]
    pub honor: bool,
    /// The longest wait that it can ask for, between 1ms and 24h. A longer one is cut to this.
    #[serde(default = "default_retry_after_max")]
    #[x_kube(validation = rules::duration(rules::WAIT))]
    pub max: Duration,
}

/// Which failures are tried again.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryOn {
    /// Failing HTTP statuses from 300 on, each by itself or with `xx` all of a hundred. An empty list is none of them.
    #[serde(default = "default_status")]
    #[schemars(length(max = 32), inner(length(max = 3), regex(pattern = "^[345]([0-9]{2}|xx)$")), extend("x-kubernetes-list-type" = "set"))]
    pub status: Vec<String>,
    /// Failing gRPC codes, by their names. An empty list is none of them.
    #[serde(default = "default_grpc")]
    #[schemars(length(max = 16), inner(length(max = 32), regex(pattern = "^[A-Z]+(_[A-Z]+)*$")), extend("x-kubernetes-list-type" = "set"))]
    pub grpc: Vec<String>,
    /// No connection, no answer in time, or none that can be read.
    #[serde(default = "default_true")]
    pub connection: bool,
}

/// What happens to an event that will not be tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnExhausted {
    /// It becomes a dead letter.
    #[default]
    DeadLetter,
    /// It holds the Processor.
    Suspend,
    /// It is discarded.
    Drop,
}

// === impl Delivery ===

impl Delivery {
    /// The rules that it breaks by itself.
    pub(crate) fn violations(&self) -> impl Iterator<Item = Violation> {
        let Retry { max_age, backoff, retry_after, .. } = &self.retry;
        let per = self.rate_limit.as_ref().and_then(|limit| limit.per);
        [
            rules::PARKED_BYTES.check("delivery.maxParkedBytes", self.max_parked_bytes),
            per.and_then(|per| rules::PER.check("delivery.rateLimit.per", per)),
            rules::AGE.check("delivery.retry.maxAge", *max_age),
            rules::WAIT.check("delivery.retry.backoff.initial", backoff.initial),
            rules::WAIT.check("delivery.retry.backoff.max", backoff.max),
            rules::WAIT.check("delivery.retry.retryAfter.max", retry_after.max),
            rules::RETENTION.check("delivery.deadLetter.retention", self.dead_letter.retention),
            self.parked_crossed(),
            backoff.crossed(),
        ]
        .into_iter()
        .flatten()
    }

    fn parked_crossed(&self) -> Option<Violation> {
        let (one, all) = (self.max_parked_per_key, self.max_parked);
        let message = || format!("{} (got {one}, maxParked {all})", rules::PER_KEY_OVER_PARKED);
        (one > all).then(|| Violation { field: "delivery.maxParkedPerKey".into(), message: message() })
    }
}

impl Backoff {
    fn crossed(&self) -> Option<Violation> {
        let Self { initial, max, .. } = self;
        let message = || format!("{} (got initial {initial}, max {max})", rules::INITIAL_OVER_MAX);
        (initial > max).then(|| Violation { field: "delivery.retry.backoff".into(), message: message() })
    }
}

// === defaults ===

impl Default for Delivery {
    fn default() -> Self {
        Self {
            order: Order::default(),
            max_in_flight: default_max_in_flight(),
            max_parked: default_max_parked(),
            max_parked_bytes: default_max_parked_bytes(),
            max_parked_per_key: default_max_parked_per_key(),
            rate_limit: None,
            retry: Retry::default(),
            on_exhausted: OnExhausted::default(),
            dead_letter: DeadLetter::default(),
        }
    }
}

impl Default for DeadLetter {
    fn default() -> Self {
        Self { retention: default_dead_letter_retention() }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: default_max_attempts(),
            max_age: default_max_age(),
            backoff: Backoff::default(),
            retry_after: RetryAfter::default(),
            retry_on: RetryOn::default(),
        }
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

impl Default for RetryAfter {
    fn default() -> Self {
        Self { honor: true, max: default_retry_after_max() }
    }
}

impl Default for RetryOn {
    fn default() -> Self {
        Self { status: default_status(), grpc: default_grpc(), connection: true }
    }
}

fn default_max_in_flight() -> u32 {
    64
}

fn default_max_parked() -> u32 {
    100_000
}

fn default_max_parked_bytes() -> Quantity {
    Quantity::from_bytes(1 << 30)
}

fn default_max_parked_per_key() -> u32 {
    10_000
}

fn default_max_attempts() -> u32 {
    10
}

fn default_dead_letter_retention() -> Duration {
    Duration::from_secs(336 * 3600)
}

fn default_max_age() -> Duration {
    Duration::from_secs(24 * 3600)
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

fn default_grpc() -> Vec<String> {
    ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED", "DEADLINE_EXCEEDED"].map(Into::into).to_vec()
}

fn default_retry_after_max() -> Duration {
    Duration::from_secs(3600)
}

fn default_status() -> Vec<String> {
    ["404", "408", "425", "429", "5xx"].map(Into::into).to_vec()
}

fn default_true() -> bool {
    true
}
