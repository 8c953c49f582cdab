//! Run after run of a schedule: which one fires now, which are passed over, which is next. Pure.
//!
//! Whoever fires keeps a [`Progress`] and nothing else, durably and together with what it fires: then a run fires once, however
//! often it is tried and by whom. Everything else follows from the schedule. A run is known by its nominal instant.

use std::time::Duration;

use crate::{jitter, missed::MissedRuns, schedule::Schedule};

/// A schedule, and how its runs are made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Runs {
    /// Who it is: of two with the same instants each has a jitter of its own.
    pub uid: String,
    /// When.
    pub schedule: Schedule,
    /// What becomes of runs that nobody was there for.
    pub missed: MissedRuns,
    /// How much later than its instant a run may be.
    pub jitter: Duration,
    /// Whether there are none for now.
    pub suspended: bool,
}

/// How far a schedule has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    /// All runs up to this instant are done: fired, or passed over.
    pub done: i64,
    /// How many fired.
    pub fired: u64,
    /// How many were passed over, as far as they were counted.
    pub skipped: u64,
}

/// One run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// Its instant, which is who it is.
    pub nominal: i64,
    /// When it fires.
    pub due: i64,
    /// Which one it is of those that fire, from 1.
    pub occurrence: u64,
}

/// What is to be done at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The run that fires.
    pub fires: Option<Run>,
    /// How far the schedule has come then.
    pub progress: Progress,
    /// How many runs were passed over for it.
    pub skipped: u32,
    /// Whether there were more than counted.
    pub more: bool,
}

// === impl Progress ===

impl Progress {
    /// Of a schedule that begins now.
    pub const fn begun(now: i64) -> Self {
        Self { done: now, fired: 0, skipped: 0 }
    }

    /// After an edit, or when nothing is suspended any more: what was before is done with, and what has fired stays so even if
    /// the clock is behind it.
    #[must_use]
    pub fn resumed(self, now: i64) -> Self {
        Self { done: self.done.max(now), ..self }
    }
}

// === impl Runs ===

impl Runs {
    /// The next run, if no time passes before it.
    pub fn next(&self, progress: Progress) -> Option<Run> {
        self.run_after(progress.done, progress)
    }

    /// What is to be done now. One run at a time: it is asked again until nothing fires.
    pub fn step(&self, progress: Progress, now: i64) -> Step {
        let nothing = Step { fires: None, progress, skipped: 0, more: false };
        if self.suspended {
            // What comes to pass meanwhile is never made up for.
            return Step { progress: progress.resumed(now), ..nothing };
        }
        let next = |after| self.schedule.next(after, progress.fired);
        // A run that its jitter holds back is not late by it.
        let missed = MissedRuns { deadline: self.missed.deadline.saturating_add(self.jitter), ..self.missed };
        let plan = missed.plan(progress.done, now, next);
        let skipped = progress.skipped.saturating_add(plan.skipped.into());
        let progress =
            Progress { done: if plan.skipped > 0 { plan.after } else { progress.done }, skipped, ..progress };
        let step = Step { fires: None, progress, skipped: plan.skipped, more: plan.more };
        match self.run_after(plan.after, progress).filter(|run| run.due <= now) {
            None => step,
            Some(run) => {
                let progress =
                    Progress { done: run.nominal, fired: progress.fired.saturating_add(1), ..progress };
                Step { fires: Some(run), progress, ..step }
            }
        }
    }

    fn run_after(&self, after: i64, progress: Progress) -> Option<Run> {
        if self.suspended {
            return None;
        }
        let nominal = self.schedule.next(after, progress.fired)?;
        let then = self.schedule.next(nominal, progress.fired);
        let due = jitter::due(&self.uid, nominal, then, self.jitter);
        Some(Run { nominal, due, occurrence: progress.fired.saturating_add(1) })
    }
}

#[cfg(test)]
mod tests;
