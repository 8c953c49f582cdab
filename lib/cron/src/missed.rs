//! Which runs are made up for after nobody was there. Pure.
//!
//! A run is *on time* up to the deadline after its instant, and fires however it comes about. Older ones are *missed*, and the
//! policy decides on them. The answer is an instant: what lies after it fires, in order; what lies before it does not.

use std::time::Duration;

/// What becomes of missed runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// They do not fire.
    Skip,
    /// One stands for all of them: the last, unless one is due that is on time.
    #[default]
    Latest,
    /// They fire, in order; of more than the maximum, the last ones.
    All,
}

/// A policy and its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MissedRuns {
    /// What becomes of missed runs.
    pub policy: Policy,
    /// How many are made up for at the most, at most [`MOST`].
    pub max: u32,
    /// How late a run may be and is not missed.
    pub deadline: Duration,
}

/// The most runs that are made up for.
pub const MOST: u32 = 10_000;

/// What is to be done after nobody was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What is due after this instant fires, in order.
    pub after: i64,
    /// How many runs do not fire, counted up to [`MOST`]: never skipped in silence.
    pub skipped: u32,
    /// Whether there are more of them than counted.
    pub more: bool,
}

impl Default for MissedRuns {
    /// What is meant where nothing is said.
    fn default() -> Self {
        Self { policy: Policy::Latest, max: 1_000, deadline: Duration::from_mins(1) }
    }
}

impl MissedRuns {
    /// What is to be done at `now`, when everything up to `last` is done. `next` gives the first instant after another one; it is
    /// asked at most some ten thousand times a bit of the distance, whatever was missed.
    pub fn plan(&self, last: i64, now: i64, next: impl Fn(i64) -> Option<i64>) -> Plan {
        let due = |after: i64, until: i64| next(after).is_some_and(|instant| instant <= until);
        let deadline = i64::try_from(self.deadline.as_millis()).unwrap_or(i64::MAX);
        // The last instant that is missed, if one is due then.
        let late = now.saturating_sub(deadline).saturating_sub(1).max(last);
        let after = match self.policy {
            Policy::Skip => late,
            Policy::Latest if due(late, now) => late,
            Policy::Latest => furthest(last, late, |after| due(after, late)),
            Policy::All => {
                let most = self.max.min(MOST);
                let enough = |after| count(after, late, most.saturating_add(1), &next) > most;
                if enough(last) { furthest(last, late, enough).saturating_add(1) } else { last }
            }
        };
        let skipped = count(last, after, MOST + 1, &next);
        Plan { after, skipped: skipped.min(MOST), more: skipped > MOST }
    }
}

/// The greatest instant from `low` to `high` of which this holds, as it does of all before it; `low` if it holds of none.
fn furthest(low: i64, high: i64, holds: impl Fn(i64) -> bool) -> i64 {
    let (mut low, mut high) = (low, high);
    while low < high {
        // Never `low` itself, so that two neighbours come to an end.
        let middle = high - ((i128::from(high) - i128::from(low) - 1) / 2) as i64;
        if holds(middle) { low = middle } else { high = middle - 1 }
    }
    low
}

/// How many instants there are after one and up to another, counted up to `most`.
fn count(after: i64, until: i64, most: u32, next: impl Fn(i64) -> Option<i64>) -> u32 {
    let mut at = after;
    for counted in 0..most {
        match next(at) {
            Some(instant) if instant <= until => at = instant,
            _ => return counted,
        }
    }
    most
}
