//! The vacuity gate: a run in which nothing happened proves nothing, and fails.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use crate::history::{Answer, Fault, History, Outcome, Rec};

/// What a scenario must have seen to count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gate {
    /// Acknowledged publishes.
    pub acked: usize,
    /// Publishes that ended without a word.
    pub unknown: usize,
    /// Rises of an epoch, per Processor and epoch.
    pub changes: usize,
    /// Attempts that a new owner repeated with their number.
    pub repeats: usize,
    /// Attempts other than the first that succeeded.
    pub recovered: usize,
    /// Dead letters.
    pub dead: usize,
    /// Faults scheduled. Each must have taken effect.
    pub faults: usize,
}

/// What a run saw, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Acknowledged publishes.
    pub acked: usize,
    /// Publishes that ended without a word.
    pub unknown: usize,
    /// Refused publishes.
    pub rejected: usize,
    /// Attempts.
    pub attempts: usize,
    /// Attempts that a new owner repeated with their number.
    pub repeats: usize,
    /// Rises of an epoch, per Processor and epoch.
    pub changes: usize,
    /// Attempts other than the first that succeeded.
    pub recovered: usize,
    /// Dead letters.
    pub dead: usize,
    /// Faults, and how many took effect.
    pub faults: (usize, usize),
    /// Faults without effect, by name.
    pub idle: Vec<String>,
}

impl Figures {
    /// Counts.
    pub fn of(history: &History) -> Self {
        let mut figures = Self::default();
        let mut epochs: HashMap<&str, HashSet<u64>> = HashMap::new();
        let mut numbers: HashMap<u64, u32> = HashMap::new();
        let mut seen: HashSet<(&str, &str, u32)> = HashSet::new();
        for entry in &history.0 {
            match &entry.rec {
                Rec::Complete { outcome: Outcome::Acked { .. }, .. } => figures.acked += 1,
                Rec::Complete { outcome: Outcome::Unknown(_), .. } => figures.unknown += 1,
                Rec::Complete { outcome: Outcome::Rejected(_), .. } => figures.rejected += 1,
                Rec::Recv { attempt, processor, id, number, epoch, .. } => {
                    figures.attempts += 1;
                    figures.repeats += usize::from(!seen.insert((processor, id, *number)));
                    epochs.entry(processor).or_default().insert(*epoch);
                    numbers.insert(*attempt, *number);
                }
                Rec::Dead { .. } => figures.dead += 1,
                Rec::Fault { fault, effect, .. } => figures.fault(fault, *effect),
                _ => {}
            }
        }
        figures.changes = epochs.values().map(|epochs| epochs.len().saturating_sub(1)).sum();
        figures.recovered = recovered(history, &numbers);
        figures
    }

    fn fault(&mut self, fault: &Fault, effect: u64) {
        self.faults.0 += 1;
        if effect > 0 {
            self.faults.1 += 1;
        } else {
            self.idle.push(format!("{fault:?}"));
        }
    }
}

fn recovered(history: &History, numbers: &HashMap<u64, u32>) -> usize {
    let late = |attempt: &u64| numbers.get(attempt).is_some_and(|number| *number > 1);
    let successes = history.0.iter().filter(
        |entry| matches!(&entry.rec, Rec::Done { attempt, answer: Answer::Success, .. } if late(attempt)),
    );
    successes.count()
}

impl Gate {
    /// What is missing for the run to count; empty when it does.
    pub fn missing(&self, figures: &Figures) -> Vec<String> {
        let floors = [
            ("acknowledged publishes", figures.acked, self.acked),
            ("unknown outcomes", figures.unknown, self.unknown),
            ("changes of owner", figures.changes, self.changes),
            ("repeated attempts", figures.repeats, self.repeats),
            ("retries that succeeded", figures.recovered, self.recovered),
            ("dead letters", figures.dead, self.dead),
            ("faults", figures.faults.0, self.faults),
        ];
        let short = floors.iter().filter(|(_, got, want)| got < want);
        let mut missing: Vec<_> = short.map(|(what, got, want)| format!("{got} {what} of {want}")).collect();
        missing.extend(figures.idle.iter().map(|fault| format!("no effect of {fault}")));
        missing
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acked, unknown, rejected, attempts, repeats, changes, recovered, dead, faults, idle: _ } =
            self;
        let (all, took) = faults;
        write!(
            f,
            "events {acked} acked, {unknown} unknown, {rejected} rejected; attempts {attempts}, of them {repeats} \
             repeats and {recovered} recoveries; dead letters {dead}; faults {took} of {all} took effect; ownership \
             changes {changes}"
        )
    }
}
