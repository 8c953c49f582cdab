//! Schedules: events that a Producer publishes by itself, again and again.

#![expect(unreachable_pub, reason = "the derive repeats each type inside a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Duration, Instant,
    rules::{self, Violation},
};

/// An event that is published again and again.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::one_pace())]
#[x_kube(validation = rules::zone_needs_cron())]
#[x_kube(validation = rules::end_after_start())]
pub struct Schedule {
    /// Its name, unique in its Producer. A schedule of another name is another schedule: it has fired nothing yet.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// When it fires, as a crontab: five fields (minute, hour, day of the month, month, day of the week), or six with seconds
    /// before them, or one of `@yearly`, `@monthly`, `@weekly`, `@daily`, `@hourly`. The dialect and its differences to others
    /// are in `docs/schedules.md`. Either this or `every`. One that never fires is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub cron: Option<String>,
    /// How long after each other it fires, between 1s and 87600h, counted from `start`, or else from the Producer's creation: it
    /// does not drift, and knows no time zones. Either this or `cron`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::duration(rules::EVERY))]
    pub every: Option<Duration>,
    /// The clocks that `cron` means, by their IANA name such as `Europe/Berlin`; `UTC` if it is not given. When they are put
    /// forward, what falls into the gap fires once right after it; when they are put back, what comes twice fires the first
    /// time. A crontab with a `*` in seconds, minutes or hours fires at every instant that matches instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// The first instant at which it may fire. With `every` it fires then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::instant())]
    pub start: Option<Instant>,
    /// When it ends; without it, never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// What becomes of runs that nobody was there for.
    #[serde(default)]
    pub missed_runs: MissedRuns,
    /// How much later than its instant a run may fire, up to 24h, so that not everything fires at once. How much that is depends
    /// on the schedule and the instant alone; it is always before the next instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::duration(rules::JITTER))]
    pub jitter: Option<Duration>,
    /// Whether nothing fires for now. Runs of that time are not made up for.
    #[serde(default)]
    pub suspend: bool,
    /// The event.
    pub event: Event,
}

/// When a schedule ends.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::one_end())]
pub struct End {
    /// It fires before this instant only. Either this or `count`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::instant())]
    pub time: Option<Instant>,
    /// It fires so often. Either this or `time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub count: Option<u32>,
}

/// What becomes of runs that nobody was there for.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MissedRuns {
    /// `Skip`: they do not fire. `Latest`: one stands for all of them, the last, unless a run is due that is not missed. `All`:
    /// they fire, in order. What does not fire is counted and told, never passed over in silence.
    #[serde(default)]
    pub policy: MissedPolicy,
    /// With `All`, how many are made up for; of more, the last ones.
    #[serde(default = "default_missed_max")]
    #[schemars(range(min = 0, max = 10_000))]
    pub max: u32,
    /// How late a run may be and is not missed, between 1s and 168h: until then it fires under every policy.
    #[serde(default = "default_missed_deadline")]
    #[x_kube(validation = rules::duration(rules::DEADLINE))]
    pub deadline: Duration,
}

/// What becomes of missed runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MissedPolicy {
    /// They do not fire.
    Skip,
    /// One stands for all.
    #[default]
    Latest,
    /// They fire.
    All,
}

/// The event that a schedule publishes. Its `id` is the run's, the same however often the run is tried, and its `source` the
/// Producer's path.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its `type`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 256), regex(pattern = ATTRIBUTE))]
    pub kind: String,
    /// Its data, as JSON: any value. Not together with `dataBase64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub data: Option<Value>,
    /// Its data, as bytes in base64. Not together with `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 350_000), regex(pattern = BASE64))]
    pub data_base64: Option<String>,
    /// Its `partitionkey`: runs with a key are delivered in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = ATTRIBUTE))]
    pub partition_key: Option<String>,
    /// Its tags, as `evhubtags` says them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128), regex(pattern = "^[^,\\s]([^,]*[^,\\s])?$")), extend("x-kubernetes-list-type" = "set"))]
    pub tags: Vec<String>,
}

/// What is in store for a schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleStatus {
    /// Its name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// When it fires next, at most ten instants. Rewritten when it changes or is used up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(max = 40)))]
    pub next: Vec<String>,
}

/// What CloudEvents allows an attribute: no control characters.
pub(crate) const ATTRIBUTE: &str = "^[^\\x00-\\x1f\\x7f-\\x9f]+$";

/// Bytes in base64, with their padding.
pub(crate) const BASE64: &str = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$";

/// The most data that one has, in bytes: 32 of them must fit into a resource.
const DATA_BYTES: usize = 256 << 10;

// === impl Schedule ===

impl Schedule {
    /// The rules that it breaks by itself; it stands at `path`.
    pub(crate) fn violations(&self, path: &str) -> Vec<Violation> {
        let said =
            |field: &str, message: String| Violation { field: format!("{path}{field}").into(), message };
        let within =
            |field: &str, broken: Option<Violation>| broken.map(|broken| said(field, broken.message));
        let ends = self.end.as_ref().and_then(|end| end.time.as_ref());
        let backwards =
            matches!((&self.start, ends), (Some(start), Some(end)) if end.millis() <= start.millis());
        let bytes = self.event.data.as_ref().map_or(0, |data| data.to_string().len());
        let each = [
            (self.cron.is_some() == self.every.is_some()).then(|| said("", rules::ONE_PACE.into())),
            (self.time_zone.is_some() && self.cron.is_none())
                .then(|| said(".timeZone", rules::ZONE_NEEDS_CRON.into())),
            backwards.then(|| said(".end.time", rules::END_AFTER_START.into())),
            self.end
                .as_ref()
                .filter(|end| end.time.is_some() == end.count.is_some())
                .map(|_| said(".end", rules::ONE_END.into())),
            within(".every", self.every.and_then(|every| rules::EVERY.check("", every))),
            within(".jitter", self.jitter.and_then(|jitter| rules::JITTER.check("", jitter))),
            within(".missedRuns.deadline", rules::DEADLINE.check("", self.missed_runs.deadline)),
            (self.event.data.is_some() && self.event.data_base64.is_some())
                .then(|| said(".event", rules::ONE_DATA.into())),
            (bytes > DATA_BYTES)
                .then(|| said(".event.data", format!("must have at most {DATA_BYTES} bytes (got {bytes})"))),
        ];
        each.into_iter().flatten().collect()
    }
}

impl Default for MissedRuns {
    fn default() -> Self {
        Self {
            policy: MissedPolicy::default(),
            max: default_missed_max(),
            deadline: default_missed_deadline(),
        }
    }
}

fn default_missed_max() -> u32 {
    1000
}

fn default_missed_deadline() -> Duration {
    Duration::from_secs(60)
}

/// Any value, which an API server keeps as it is.
fn anything(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}
