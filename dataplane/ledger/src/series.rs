//! A schedule as the ledger keeps it: when it fires, how far it has come, and what one of its runs is as a record. Pure.
//!
//! It is a timer that is put again when it has fired, in the same transaction: so each run fires once, whoever leads. The
//! timer's instant is that of the next run; of one that has none, [`NEVER`].

use std::time::Duration;

use bytes::Bytes;
use evhub_cron::{Beat, Dialect, End, MissedRuns, Policy, Progress, Rule as Read, Run, Runs, Schedule};
use evhub_event::{
    Header, Record,
    record::{DUE, OCCURRENCE, TIMER},
};
use jiff::Timestamp;
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

use crate::{TimerId, state::Unreadable, wire};

/// The instant of what is not due at all.
pub const NEVER: i64 = i64::MAX;

/// Which snapshot asked for it: one that is older does not count any more.
pub type Generation = (u64, u64);

/// Of whoever may end a schedule whichever snapshot it is of.
pub const ANY: Generation = (u64::MAX, u64::MAX);

/// How many schedules may be put for one Producer, beside those that it declares.
pub const MOST_DYNAMIC: usize = 1_000;

/// When a schedule fires, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What repeats.
    pub pace: Pace,
    /// No run is before this instant.
    pub start: Option<i64>,
    /// When it ends.
    pub end: Option<End>,
    /// What becomes of runs that nobody was there for.
    pub missed: MissedRuns,
    /// How much later than its instant a run may be.
    pub jitter: Duration,
    /// Whether there are none for now.
    pub suspended: bool,
}

/// What repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pace {
    /// A crontab of the standard dialect, and a time zone.
    Cron(String, String),
    /// So many milliseconds after each other, from an instant on.
    Every(i64, u64),
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The uid of its Producer.
    pub producer: String,
    /// Its name.
    pub name: String,
    /// As it is written.
    pub rule: Rule,
    /// How far it has come.
    pub progress: Progress,
    /// Which snapshot asked for it, or was known to whoever put it.
    pub generation: Generation,
    /// Somebody put it: its Producer does not declare it.
    pub dynamic: bool,
    runs: Runs,
}

/// A schedule that somebody put, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dynamic {
    /// When it fires.
    pub series: Series,
    /// What its runs have in common, where that was asked for.
    pub record: Option<Record>,
}

/// A schedule that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which it is.
    pub id: TimerId,
    /// The uid of its Producer.
    pub producer: String,
    /// When its next run is due; [`NEVER`] if it has none.
    pub due: i64,
    /// How far it has come.
    pub progress: Progress,
    /// Its name, if somebody put it.
    pub dynamic: Option<String>,
}

// === impl Series ===

impl Series {
    /// A schedule of a Producer that begins now; `None` if its rule cannot be read.
    pub fn begun(producer: &str, name: &str, rule: Rule, generation: Generation, now: i64) -> Option<Self> {
        let runs = runs(&format!("{producer}/{name}"), &rule)?;
        let (producer, name) = (producer.to_owned(), name.to_owned());
        let (progress, dynamic) = (Progress::begun(now), false);
        Some(Self { producer, name, rule, progress, generation, dynamic, runs })
    }

    /// The same, which somebody put or which its Producer declares.
    #[must_use]
    pub fn put(self, dynamic: bool) -> Self {
        Self { dynamic, ..self }
    }

    /// The same, asked for by this snapshot.
    #[must_use]
    pub fn as_of(self, generation: Generation) -> Self {
        Self { generation, ..self }
    }

    /// The same, having come so far.
    #[must_use]
    pub fn at(self, progress: Progress) -> Self {
        Self { progress, ..self }
    }

    /// When the next run is due.
    pub fn due(&self) -> i64 {
        self.runs.next(self.progress).map_or(NEVER, |run| run.due)
    }

    /// The run that fires now, if one does, and the schedule behind it.
    pub fn step(&self, now: i64) -> (Option<Run>, Self) {
        let step = self.runs.step(self.progress, now);
        (step.fires, self.clone().at(step.progress))
    }

    /// The instants of the runs that are to come, if all fire; none while it is suspended.
    pub fn upcoming(&self) -> impl Iterator<Item = i64> {
        let Progress { done, fired, .. } = self.progress;
        let instants = (!self.rule.suspended).then(|| self.runs.schedule.after(done, fired));
        instants.into_iter().flatten()
    }

    /// An event besides the runs, and its id: of the command at this offset, which the log took then.
    pub(crate) fn once_more(&self, template: &Record, (offset, taken): (u64, i64)) -> (String, Record) {
        let namespace = Uuid::new_v5(&Uuid::NAMESPACE_URL, self.producer.as_bytes());
        let event = format!("fired{}\n{}\n{taken}\n{offset}", self.mark(), self.name);
        let event = Uuid::new_v5(&namespace, event.as_bytes()).to_string();
        let time = Timestamp::from_millisecond(taken).map(|at| format!("{at:.3}")).unwrap_or_default();
        let header = |name: &str, value: String| Header { name: name.to_owned(), value: Bytes::from(value) };
        let mut record = template.clone();
        record.headers.extend([header("ce_id", event.clone()), header("ce_time", time)]);
        (event, record)
    }

    /// The event that a run is: the same however often it is tried, and whoever fires it.
    pub fn record(&self, id: TimerId, template: &Record, run: Run) -> Record {
        let namespace = Uuid::new_v5(&Uuid::NAMESPACE_URL, self.producer.as_bytes());
        let event = format!("schedule{}\n{}\n{}", self.mark(), self.name, run.nominal);
        let event = Uuid::new_v5(&namespace, event.as_bytes());
        let time = Timestamp::from_millisecond(run.nominal).map(|at| format!("{at:.3}")).unwrap_or_default();
        let header = |name: &str, value: String| Header { name: name.to_owned(), value: Bytes::from(value) };
        let mut record = template.clone();
        record.headers.extend([
            header("ce_id", event.to_string()),
            header("ce_time", time),
            header(TIMER, id.to_string()),
            header(DUE, run.nominal.to_string()),
            header(OCCURRENCE, run.occurrence.to_string()),
        ]);
        record
    }

    /// Tells the events of one that somebody put from those of one that its Producer declares under the same name.
    const fn mark(&self) -> &'static str {
        if self.dynamic { "/dynamic" } else { "" }
    }
}

fn runs(uid: &str, rule: &Rule) -> Option<Runs> {
    let beat = match &rule.pace {
        Pace::Cron(text, zone) => {
            let Read::Cron(cron) = Dialect::Standard.parse(text).ok()?.rule else { return None };
            Beat::Cron(cron, zone.parse().ok()?)
        }
        Pace::Every(anchor, period) => Beat::every(*anchor, Duration::from_millis(*period)).ok()?,
    };
    let Rule { pace: _, start, end, missed, jitter, suspended } = *rule;
    let schedule = Schedule { beat, start, end };
    Some(Runs { uid: uid.to_owned(), schedule, missed, jitter, suspended })
}

/// Tells one schedule from another: what is published, and when.
pub fn digest(record: &Record, rule: &Rule) -> u64 {
    let mut hash = Xxh3::new();
    let mut part = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(record.key.as_deref().unwrap_or_default());
    part(record.value.as_deref().unwrap_or_default());
    for header in &record.headers {
        part(header.name.as_bytes());
        part(&header.value);
    }
    part(&prost::Message::encode_to_vec(&wire::Rule::from(rule.clone())));
    hash.digest()
}

// === on the wire ===

impl From<Rule> for wire::Rule {
    fn from(rule: Rule) -> Self {
        let Rule { pace, start, end, missed, jitter, suspended } = rule;
        let (text, zone, anchor, period) = match pace {
            Pace::Cron(text, zone) => (text, zone, 0, 0),
            Pace::Every(anchor, period) => (String::new(), String::new(), anchor, period),
        };
        let (end_time, end_count) = match end {
            Some(End::Time(time)) => (Some(time), None),
            Some(End::Count(count)) => (None, Some(count)),
            None => (None, None),
        };
        let policy = match missed.policy {
            Policy::Skip => 1,
            Policy::Latest => 2,
            Policy::All => 3,
        };
        let (deadline, jitter) = (missed.deadline.as_millis() as u64, jitter.as_millis() as u64);
        let max = missed.max;
        Self {
            text,
            zone,
            anchor,
            period,
            start,
            end_time,
            end_count,
            policy,
            max,
            deadline,
            jitter,
            suspended,
        }
    }
}

impl TryFrom<wire::Rule> for Rule {
    type Error = Unreadable;

    fn try_from(rule: wire::Rule) -> Result<Self, Unreadable> {
        let wire::Rule { text, zone, anchor, period, start, end_time, end_count, .. } = rule;
        let policy = match rule.policy {
            1 => Policy::Skip,
            2 => Policy::Latest,
            3 => Policy::All,
            _ => return Err(Unreadable::Malformed),
        };
        Ok(Self {
            pace: if text.is_empty() { Pace::Every(anchor, period) } else { Pace::Cron(text, zone) },
            start,
            end: end_time.map(End::Time).or(end_count.map(End::Count)),
            missed: MissedRuns { policy, max: rule.max, deadline: Duration::from_millis(rule.deadline) },
            jitter: Duration::from_millis(rule.jitter),
            suspended: rule.suspended,
        })
    }
}

impl From<Series> for wire::Series {
    fn from(series: Series) -> Self {
        let Series { producer, name, rule, progress, generation, dynamic, runs: _ } = series;
        let (Progress { done, fired, skipped }, (epoch, revision)) = (progress, generation);
        Self { producer, name, rule: Some(rule.into()), done, fired, skipped, epoch, revision, dynamic }
    }
}

impl TryFrom<wire::Series> for Series {
    type Error = Unreadable;

    fn try_from(series: wire::Series) -> Result<Self, Unreadable> {
        let wire::Series { producer, name, rule, done, fired, skipped, epoch, revision, dynamic } = series;
        let rule = rule.ok_or(Unreadable::Malformed)?.try_into()?;
        let read =
            Self::begun(&producer, &name, rule, (epoch, revision), done).ok_or(Unreadable::Malformed)?;
        Ok(read.put(dynamic).at(Progress { done, fired, skipped }))
    }
}
