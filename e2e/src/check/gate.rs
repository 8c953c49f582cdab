//! The vacuity gate: a run in which nothing happened proves nothing, and fails.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    time::Duration,
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
    /// Attempts of one Processor under way at once.
    pub at_once: usize,
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
    /// The most attempts of one Processor under way at once, as its target saw it.
    pub at_once: usize,
    /// Faults, and how many took effect.
    pub faults: (usize, usize),
    /// Faults without effect, by name.
    pub idle: Vec<String>,
    /// The longest time in which no publish was acknowledged, and in which nothing was delivered.
    pub silence: (Duration, Duration),
}

impl Figures {
    /// With those of another run.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        let counts = [
            (&mut self.acked, other.acked),
            (&mut self.unknown, other.unknown),
            (&mut self.rejected, other.rejected),
            (&mut self.attempts, other.attempts),
            (&mut self.repeats, other.repeats),
            (&mut self.changes, other.changes),
            (&mut self.recovered, other.recovered),
            (&mut self.dead, other.dead),
            (&mut self.faults.0, other.faults.0),
            (&mut self.faults.1, other.faults.1),
        ];
        for (mine, theirs) in counts {
            *mine += theirs;
        }
        self.at_once = self.at_once.max(other.at_once);
        self.idle.extend(other.idle.iter().cloned());
        self.silence = (self.silence.0.max(other.silence.0), self.silence.1.max(other.silence.1));
        self
    }

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
        figures.at_once = at_once(history);
        figures.silence = (
            silence(history, |rec| matches!(rec, Rec::Complete { outcome: Outcome::Acked { .. }, .. })),
            silence(history, |rec| matches!(rec, Rec::Done { answer: Answer::Success, .. })),
        );
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

/// The most attempts of one Processor that its target had at once.
fn at_once(history: &History) -> usize {
    let (mut of, mut now): (HashMap<u64, &str>, HashMap<&str, usize>) = Default::default();
    let mut entries: Vec<_> = history.0.iter().collect();
    entries.sort_by_key(|entry| entry.at);
    let mut most = 0;
    for entry in entries {
        match &entry.rec {
            Rec::Recv { attempt, processor, .. } => {
                of.insert(*attempt, processor);
                let now = now.entry(processor).or_default();
                *now += 1;
                most = most.max(*now);
            }
            Rec::Done { attempt, .. } => {
                let now = of.get(attempt).and_then(|processor| now.get_mut(processor));
                if let Some(now) = now {
                    *now = now.saturating_sub(1);
                }
            }
            _ => {}
        }
    }
    most
}

/// The longest time between two such records.
fn silence(history: &History, is_such: impl Fn(&Rec) -> bool) -> Duration {
    let mut all: Vec<u64> =
        history.0.iter().filter(|entry| is_such(&entry.rec)).map(|entry| entry.at).collect();
    all.sort_unstable();
    let longest = all.windows(2).map(|pair| pair[1] - pair[0]).max();
    Duration::from_nanos(longest.unwrap_or_default())
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
            ("attempts at once", figures.at_once, self.at_once),
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
        let Self {
            acked,
            unknown,
            rejected,
            attempts,
            repeats,
            changes,
            recovered,
            dead,
            at_once,
            faults,
            silence,
            ..
        } = self;
        let (all, took) = faults;
        write!(
            f,
            "events {acked} acked, {unknown} unknown, {rejected} rejected; attempts {attempts}, {at_once} at once, of them {repeats} \
             repeats and {recovered} recoveries; dead letters {dead}; faults {took} of {all} took effect; ownership \
             changes {changes}; longest without an acknowledgement {:.1?}, without a delivery {:.1?}",
            silence.0, silence.1
        )
    }
}
