//! A Processor of a scenario: as a manifest for the hub, and a second time as what the checks hold it to. Pure.

use std::time::Duration;

use crate::{
    model::{Growth, Order, Processor, Retry, Start},
    script::Mode,
};

/// The Producer of every run.
pub const PRODUCER: &str = "shop/orders";
/// How many partitions it has.
pub const PARTITIONS: u32 = 4;

/// A Processor, and how its target behaves.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name, in the namespace `shop`.
    pub name: String,
    /// How its target behaves.
    pub modes: Vec<(Mode, u64)>,
    /// What order it keeps.
    pub order: Order,
    /// When and how often it tries again.
    pub retry: Retry,
    /// Where it begins.
    pub start: Start,
    /// When an unanswered attempt has failed.
    pub timeout: Duration,
    /// Attempts at once, at most.
    pub max_in_flight: usize,
    /// What happens to an event that is not tried again.
    pub on_exhausted: &'static str,
    /// Deliveries parked, at most.
    pub max_parked: u32,
    /// Whether its author has suspended it.
    pub suspended: bool,
    /// A number that nothing depends on, so that an edit can change the spec and no behaviour.
    pub edition: u32,
}

impl Plan {
    /// A Processor that keeps order by key and retries soon.
    pub fn new(name: &str, modes: &[(Mode, u64)]) -> Self {
        Self {
            name: name.to_owned(),
            modes: modes.to_vec(),
            order: Order::Key,
            retry: Retry::default(),
            start: Start::Earliest,
            timeout: Duration::from_secs(1),
            max_in_flight: 64,
            on_exhausted: "DeadLetter",
            max_parked: 100_000,
            suspended: false,
            edition: 0,
        }
    }

    /// Its name with its namespace.
    pub fn full_name(&self) -> String {
        format!("shop/{}", self.name)
    }

    /// What the checks hold it to.
    pub fn model(&self) -> Processor {
        Processor {
            name: self.full_name(),
            producer: PRODUCER.to_owned(),
            kinds: Vec::new(),
            start: self.start,
            order: self.order,
            max_in_flight: self.max_in_flight,
            timeout: self.timeout,
            retry: self.retry,
        }
    }

    fn manifest(&self, port: u16) -> String {
        let Self { name, order, retry, timeout, max_in_flight, on_exhausted, max_parked, suspended, .. } =
            self;
        let start = if self.start == Start::Earliest { "Earliest" } else { "Latest" };
        let (policy, multiplier) = match retry.growth {
            Growth::Fixed => ("Fixed", ""),
            Growth::Linear => ("Linear", ""),
            Growth::Doubled => ("Exponential", "multiplier: 2, "),
        };
        format!(
            "apiVersion: evhub.dev/v1alpha1\nkind: Processor\nmetadata: {{ name: {name}, namespace: shop }}\n\
             spec:\n  producers: [ {{ name: orders }} ]\n  startFrom: {start}\n  suspend: {suspended}\n  target: {{ url: \
             \"http://127.0.0.1:{port}/events\", timeout: {timeout} }}\n  delivery:\n    order: {order:?}\n    \
             maxInFlight: {max_in_flight}\n    maxParked: {max_parked}\n    maxParkedPerKey: {per_key}\n    \
             onExhausted: {on_exhausted}\n    retry:\n      maxAttempts: {attempts}\n      maxAge: {age}\n      \
             retryAfter: {{ honor: true, max: {asked} }}\n      backoff: {{ policy: {policy}, initial: {initial}, \
             max: {max}, {multiplier}jitterPercent: {jitter} }}\n",
            timeout = written(*timeout),
            per_key = max_parked - self.edition,
            attempts = retry.max_attempts,
            age = written(retry.max_age),
            asked = written(retry.asked),
            initial = written(retry.initial),
            max = written(retry.max),
            jitter = retry.jitter,
        )
    }
}

/// A duration as manifests say it.
fn written(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    format!("{}h{}m{}s{millis}ms", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// How many brokers keep each event, and how many of them must have it before it is acknowledged; what the hub chooses where
/// it is not said.
pub type Copies = Option<(u16, u16)>;

/// The manifests of a Producer and of these Processors, each with its target's port.
pub fn manifests<'p>(copies: Copies, plans: impl IntoIterator<Item = (&'p Plan, u16)>) -> String {
    let copies = copies.map_or_else(String::new, |(replicas, in_sync)| {
        format!(", replicas: {replicas}, minInSyncReplicas: {in_sync}")
    });
    let producer = format!(
        "apiVersion: evhub.dev/v1alpha1\nkind: Producer\nmetadata: {{ name: orders, namespace: shop }}\n\
         spec: {{ topic: {{ partitions: {PARTITIONS}{copies} }} }}\n"
    );
    let processors = plans.into_iter().map(|(plan, port)| plan.manifest(port));
    std::iter::once(producer).chain(processors).collect::<Vec<_>>().join("---\n")
}
