//! The checks: pure functions from a history and a model to a verdict, one file each. No I/O, no clock.

mod aborted;
mod attempts;
mod completeness;
mod durability;
pub mod gate;
mod index;
mod ingest_order;
mod integrity;
mod key_order;
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
    /// C-08: one owner had two attempts of a key under way.
    Overlap,
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
    /// C-11: more attempts than the policy permits.
    TooManyAttempts,
    /// C-11: the idempotency key changed, or two deliveries share one.
    DeliveryKey,
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
        ("C-11 duplicates", attempts::check(&index)),
    ]
    .map(|(name, verdict)| Report { name, verdict })
    .to_vec()
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
