//! The checks: pure functions from a history and a model to a verdict, one file each. No I/O, no clock.

mod aborted;
mod at_once;
mod attempts;
mod completeness;
mod durability;
mod freshness;
pub mod gate;
mod index;
mod ingest_order;
mod integrity;
mod isolation;
mod key_order;
mod offsets;
mod retry_policy;
mod serial;
mod timing;

use std::fmt;

use crate::{
    history::{Entry, History},
    model::Model,
};

use index::Index;

/// What one check found.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing wrong.
    Valid,
    /// These are wrong.
    Invalid(Vec<Anomaly>),
    /// The history does not hold what the check needs.
    Unknown(String),
}

/// One thing that the promises forbid.
#[derive(Clone, Debug, PartialEq)]
pub struct Anomaly {
    /// What kind of thing.
    pub class: Class,
    /// What happened, in words.
    pub text: String,
    /// The smallest part of the history that shows it.
    pub slice: Vec<Entry>,
}

/// The kinds of anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// C-01: an acknowledged record is not in the log.
    LostAck,
    /// C-01: another record lies where the receipt points.
    WrongRecord,
    /// C-01: one position was given to two events.
    InconsistentOffset,
    /// C-01: one publish left two records.
    Copied,
    /// C-02: a rejected event appeared.
    AbortedWrite,
    /// C-04: an event was seen with other attributes, key or bytes.
    Corrupt,
    /// C-04: an event was seen that nobody published.
    Invented,
    /// C-06: sequential publishes lie in another order.
    IngestReorder,
    /// C-06: one key lies in two partitions.
    IngestSplit,
    /// C-07: neither delivered nor a dead letter.
    Lost,
    /// C-07: not resolved when the run ended.
    Pending,
    /// C-07: a dead letter without the failures that would explain it.
    SpuriousDead,
    /// C-07: a dead letter that tells another story than the target.
    WrongDead,
    /// C-07: delivered although the log does not hold it.
    Phantom,
    /// C-07: delivered although the filter does not match.
    Unmatched,
    /// C-08: a record was skipped.
    Gap,
    /// C-08: a later record went before an earlier one had ended.
    Reorder,
    /// C-08: an attempt below what was committed.
    Regress,
    /// C-08: an attempt of an older owner began after a newer owner's first.
    StaleStart,
    /// C-08: a delivered record was attempted again by the same owner.
    RetryAfterSuccess,
    /// C-09: one owner had two attempts of a lane under way.
    Overlap,
    /// More attempts under way at once than the Processor's author allows.
    TooManyAtOnce,
    /// C-10: a committed offset fell.
    OffsetFell,
    /// C-11: an attempt's number does not follow from those before.
    WrongNumber,
    /// C-11: one owner used a number twice.
    SameEpochRepeat,
    /// C-11: delivered twice by one owner.
    RepeatAfterSuccess,
    /// C-11: an attempt with a lower epoch than one before.
    StaleEpoch,
    /// C-11: an attempt repeated although its outcome must have been durable.
    DurableRepeated,
    /// C-11: a clean stop repeated an attempt that had been answered.
    RepeatedByCleanStop,
    /// C-11: more repeats at one change of owner than P-13 permits.
    TooManyRepeats,
    /// C-11: the idempotency key changed, or two deliveries share one.
    DeliveryKey,
    /// C-12: more attempts than the policy permits.
    TooManyAttempts,
    /// C-12: an attempt before the wait was over that the policy, or the target, asks for.
    TooSoon,
    /// C-12: an attempt long after it was due.
    TooLate,
    /// C-12: an attempt when the event was older than the policy permits.
    TooOld,
    /// C-13: others were slower while one target was in trouble.
    Disturbed,
    /// C-15: an attempt began under an older generation than the one that was said to run.
    StaleGeneration,
    /// C-15: an attempt began while its Processor was said to be suspended.
    WhileSuspended,
    /// C-15: an attempt began after its Processor was said to be gone.
    AfterRemoval,
    /// C-15: an event was published to a Processor that was said to be ready, and never came.
    Unheard,
}

/// A check's name and verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// As in the catalogue.
    pub name: &'static str,
    /// What it found.
    pub verdict: Verdict,
}

/// Runs every check.
pub fn all(history: &History, model: &Model) -> Vec<Report> {
    let index = Index::new(history, model);
    [
        ("C-01 durability", durability::check(&index)),
        ("C-02 aborted write", aborted::check(&index)),
        ("C-04 integrity", integrity::check(&index)),
        ("C-06 ingest order", ingest_order::check(&index)),
        ("C-07 completeness", completeness::check(&index)),
        ("C-08 per-key order", key_order::check(&index)),
        ("C-09 serial per key", serial::check(&index)),
        ("maxInFlight", at_once::check(&index)),
        ("C-10 offsets", offsets::check(&index)),
        ("C-11 duplicates", attempts::check(&index)),
        ("C-12 retry policy", retry_policy::check(&index)),
        ("C-13 isolation", isolation::check(&index)),
        ("C-15 configuration freshness", freshness::check(&index)),
    ]
    .map(|(name, verdict)| Report { name, verdict })
    .to_vec()
}

/// How the others fared while one target was in trouble, in words.
pub fn isolation(history: &History, model: &Model) -> Result<String, String> {
    isolation::compare(&Index::new(history, model)).map(|compared| compared.to_string())
}

/// Every anomaly of these reports.
pub fn anomalies(reports: &[Report]) -> Vec<&Anomaly> {
    let of = |report: &'_ Report| match &report.verdict {
        Verdict::Invalid(found) => found.len(),
        _ => 0,
    };
    let mut all = Vec::with_capacity(reports.iter().map(of).sum());
    for report in reports {
        if let Verdict::Invalid(found) = &report.verdict {
            all.extend(found);
        }
    }
    all
}

impl Verdict {
    fn of(anomalies: Vec<Anomaly>) -> Self {
        if anomalies.is_empty() { Self::Valid } else { Self::Invalid(anomalies) }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}: {}", self.class, self.text)?;
        for entry in &self.slice {
            writeln!(f, "    {:>12.6} {:?}", entry.at as f64 / 1e9, entry.rec)?;
        }
        Ok(())
    }
}
