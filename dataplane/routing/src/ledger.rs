//! What a Producer wants decided exactly once: its schedules, publishes by key, and half messages.

use std::{fmt, time::Duration};

use evhub_cron::{Beat, Cron, End, MissedRuns, Zone};
use http::Uri;
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{Name, display};

/// What a Producer wants decided exactly once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// Which publishes are the same.
    pub deduplication: Deduplication,
    /// Who is asked about half messages; `None` where each of them says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_back: Option<CheckBack>,
    /// What it publishes by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<Schedule>,
}

/// Which publishes are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deduplication {
    /// By what.
    pub by: DeduplicationKey,
    /// For how long.
    pub window: Duration,
}

/// What two publishes are the same by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum DeduplicationKey {
    /// A key that the publisher gives.
    IdempotencyKey,
    /// The event's source and id.
    SourceAndId,
}

/// Who is asked about a half message that nobody decided on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckBack {
    /// An absolute `http` or `https` URL.
    #[serde(serialize_with = "display")]
    pub url: Uri,
    /// The Service that it is; `None` where the author wrote the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Name>,
    /// How it is asked.
    pub protocol: CheckProtocol,
    /// How long one question may take.
    pub timeout: Duration,
    /// How long it is waited before each.
    pub interval: Duration,
    /// How often is asked.
    pub max_checks: u32,
    /// What if nobody ever decides.
    pub on_exhausted: Undecided,
}

/// How a publisher is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CheckProtocol {
    /// The event over HTTP.
    CloudEvents,
    /// EvHub's callback as JSON over HTTP.
    EvHubHttp,
    /// EvHub's callback as protobuf over HTTP.
    EvHubHttpProtobuf,
    /// EvHub's callback over gRPC.
    EvHubGrpc,
}

/// What becomes of a half message that nobody decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Undecided {
    /// It is dropped.
    Rollback,
    /// It is published.
    Commit,
    /// It stays, and is listed.
    Hold,
}

/// An event that a Producer publishes again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Its name, unique in its Producer.
    pub name: String,
    /// What repeats.
    pub pace: Pace,
    /// No instant is before this one, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<i64>,
    /// When it ends.
    #[serde(serialize_with = "end", skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// What becomes of runs that nobody was there for.
    #[serde(serialize_with = "missed_runs")]
    pub missed_runs: MissedRuns,
    /// How much later than its instant a run may be.
    #[serde(skip_serializing_if = "Duration::is_zero")]
    pub jitter: Duration,
    /// Whether nothing fires for now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// What is published.
    pub event: ScheduledEvent,
}

/// What repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Pace {
    /// By the clock on the wall of a place.
    Cron(Crontab),
    /// So long after each other.
    Every {
        /// Where it is counted from, in milliseconds since the Unix epoch.
        anchor: i64,
        /// How long.
        period: Duration,
    },
}

/// A crontab as it was written, and as it was read.
#[derive(Clone, Debug)]
pub struct Crontab {
    text: String,
    cron: Cron,
    zone: Zone,
}

/// What a schedule publishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduledEvent {
    /// Its `type`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<ScheduledData>,
    /// Its `partitionkey`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// Its tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// What is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ScheduledData {
    /// A JSON text.
    Json(String),
    /// Bytes of nobody knows what.
    #[serde(serialize_with = "bytes")]
    Binary(Vec<u8>),
}

/// For how long a publish is known where nothing is said.
const WINDOW: Duration = Duration::from_mins(10);

// === impl Ledger ===

impl Default for Ledger {
    fn default() -> Self {
        let deduplication = Deduplication { by: DeduplicationKey::IdempotencyKey, window: WINDOW };
        Self { deduplication, check_back: None, schedules: Vec::new() }
    }
}

impl Ledger {
    /// Whether it is as if nobody had written anything.
    pub fn says_nothing(&self) -> bool {
        *self == Self::default()
    }
}

// === impl Schedule ===

impl Schedule {
    /// When it fires. Nothing that `compile` accepts has no instants; one without a period would have none.
    pub fn instants(&self) -> Option<evhub_cron::Schedule> {
        let beat = match &self.pace {
            Pace::Cron(Crontab { text: _, cron, zone }) => Beat::Cron(cron.clone(), zone.clone()),
            Pace::Every { anchor, period } => Beat::every(*anchor, *period).ok()?,
        };
        Some(evhub_cron::Schedule { beat, start: self.start, end: self.end })
    }

    /// Whether it ends after so many firings, so that its instants alone do not tell which is the last.
    pub fn ends_by_count(&self) -> bool {
        matches!(self.end, Some(End::Count(_)))
    }

    /// The clocks that it means; universal time where it knows none.
    pub fn zone(&self) -> Zone {
        match &self.pace {
            Pace::Cron(crontab) => crontab.zone.clone(),
            Pace::Every { .. } => Zone::utc(),
        }
    }
}

// === impl Crontab ===

impl Crontab {
    /// This text, which was read as `cron` and means the clocks of `zone`.
    pub fn new(text: impl Into<String>, cron: Cron, zone: Zone) -> Self {
        Self { text: text.into(), cron, zone }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The clocks that it means.
    pub const fn zone(&self) -> &Zone {
        &self.zone
    }
}

/// What it was read as follows from the text.
impl PartialEq for Crontab {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, &self.zone) == (&other.text, &other.zone)
    }
}

impl Eq for Crontab {}

impl fmt::Display for Crontab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.text, self.zone)
    }
}

impl Serialize for Crontab {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("text", &self.text)?;
        map.serialize_entry("timeZone", self.zone.name())?;
        map.end()
    }
}

// === as it is shown ===

#[expect(clippy::ref_option, reason = "serde hands a field over so")]
fn end<S: Serializer>(end: &Option<End>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    match end {
        Some(End::Time(time)) => map.serialize_entry("time", time)?,
        Some(End::Count(count)) => map.serialize_entry("count", count)?,
        None => {}
    }
    map.end()
}

fn missed_runs<S: Serializer>(missed: &MissedRuns, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(3))?;
    map.serialize_entry("policy", &format!("{:?}", missed.policy))?;
    map.serialize_entry("max", &missed.max)?;
    map.serialize_entry("deadline", &missed.deadline)?;
    map.end()
}

fn bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{} bytes", bytes.len()))
}
