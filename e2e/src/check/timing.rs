//! What the hub can have known of an attempt, and when: it and its target share no clock but ours. Pure.

use std::time::Duration;

use super::index::{Attempt, Index, Window};
use crate::{
    history::{Answer, Mono},
    model::Owners,
};

/// What the hub must have made of an attempt, if it lived to see its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Success,
    Failure,
    Either,
    /// The target never answered: a failure once the time-out has passed.
    Unanswered,
}

impl<'a> Index<'a> {
    /// What the hub must have made of an attempt.
    pub(super) fn ending(&self, attempt: &Attempt<'_>) -> Ending {
        match attempt.done {
            Some((Answer::Success, _, done)) if !self.late(attempt, done) => Ending::Success,
            Some((Answer::Success | Answer::Ambiguous, ..)) => Ending::Either,
            Some((Answer::Failure(_) | Answer::Asked(..) | Answer::Cut, ..)) => Ending::Failure,
            Some((Answer::PeerGone, ..)) | None => Ending::Unanswered,
        }
    }

    /// Whether the time-out may have passed before the hub could read an answer that left at `done`.
    fn late(&self, attempt: &Attempt<'_>, done: Mono) -> bool {
        let deadline = self.deadline(attempt);
        let read = done + nanos(self.model.slack.reading);
        done > deadline || self.pauses.iter().any(|pause| pause.from <= read && pause.until >= deadline)
    }

    /// Whether the hub may have given up on an attempt by then.
    pub(super) fn expired(&self, attempt: &Attempt<'_>, by: Mono) -> bool {
        by >= self.deadline(attempt)
    }

    /// The earliest instant at which the time-out may pass. What arrives right after a pause may have begun before it.
    fn deadline(&self, attempt: &Attempt<'_>) -> Mono {
        let margin = self.margin(attempt);
        let held = self
            .pauses
            .iter()
            .filter(|pause| pause.from <= attempt.recv && pause.until + margin >= attempt.recv);
        let begun = held.map(|pause| pause.from).min().unwrap_or(attempt.recv);
        begun + nanos(self.timeout(attempt)) - margin
    }

    /// Whether the hub stood still at some time between these.
    pub(super) fn paused(&self, from: Mono, until: Mono) -> bool {
        self.pauses.iter().any(|pause| pause.from <= until && pause.until >= from)
    }

    /// Whether an attempt of this Processor between these may have ended before its target saw it: the hub stood still, or
    /// nobody listened.
    pub(super) fn unseen(&self, processor: &str, from: Mono, until: Mono) -> bool {
        let away = |(name, window): &(&str, Window<'_>)| {
            *name == processor && window.from <= until && window.until >= from
        };
        self.paused(from, until) || self.aways.iter().any(away)
    }

    /// Whether an attempt can neither have been answered nor have timed out by then.
    pub(super) fn under_way(&self, attempt: &Attempt<'_>, by: Mono) -> bool {
        attempt.answered().is_none_or(|from| from > by) && !self.expired(attempt, by)
    }

    /// The earliest instant at which an attempt may have been over for the hub, as far as that is known.
    pub(super) fn over(&self, attempt: &Attempt<'_>) -> Mono {
        attempt.done.map_or(Mono::MAX, |(_, from, _)| from).min(self.deadline(attempt))
    }

    /// How long the hub stood still between these, or could not be sure of its log.
    pub(super) fn standstill(&self, from: Mono, until: Mono) -> u64 {
        let recovery = nanos(self.model.slack.recovery);
        let overlap = |from_: Mono, until_: Mono| until_.min(until).saturating_sub(from_.max(from));
        let paused = self.pauses.iter().map(|pause| overlap(pause.from, pause.until));
        paused.chain(self.logs.iter().map(|log| overlap(log.from, log.until + recovery))).sum()
    }

    /// Whether the log's brokers were in trouble at that time, or had been just before.
    pub(super) fn in_doubt(&self, at: Mono) -> bool {
        self.logs.iter().any(|log| log.from <= at && at <= log.until + nanos(self.model.slack.recovery))
    }

    /// Whether somebody who stood still when a new owner began may at that time not have heard of it.
    pub(super) fn wakes(&self, began: Mono, at: Mono) -> bool {
        let waking = nanos(self.model.slack.waking);
        self.pauses
            .iter()
            .any(|pause| pause.from <= began && (pause.from..=pause.until + waking).contains(&at))
    }

    /// The ends of processes that may have been the attempt's owner, before a later attempt: the first, or each of them where
    /// there were several processes.
    pub(super) fn ends_between(&self, earlier: Mono, later: Mono) -> Vec<&Window<'a>> {
        let mut ends: Vec<_> =
            self.ends.iter().filter(|end| end.until >= earlier && end.from <= later).collect();
        if self.model.owners == Owners::One {
            ends.truncate(1);
        }
        ends
    }

    /// Whether a process ended before what an attempt came to must have been durable: its successor may know nothing of it.
    pub(super) fn may_be_forgotten(&self, attempt: &Attempt<'_>) -> bool {
        let Some((_, _, done)) = attempt.done else { return true };
        let worked = |end: &Window<'_>| {
            end.from.saturating_sub(done).saturating_sub(self.standstill(done, end.from.max(done)))
        };
        let ends = self.ends.iter().filter(|end| end.until >= done);
        ends.map(worked).any(|worked| worked <= nanos(self.model.slack.durable))
    }

    fn timeout(&self, attempt: &Attempt<'_>) -> Duration {
        self.model.processor(attempt.processor).map_or(Duration::ZERO, |processor| processor.timeout)
    }

    /// Never more than half the time-out.
    fn margin(&self, attempt: &Attempt<'_>) -> u64 {
        nanos(self.model.slack.margin).min(nanos(self.timeout(attempt)) / 2)
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
