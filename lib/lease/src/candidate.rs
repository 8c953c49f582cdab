//! What a candidate makes of the Lease as it sees it: take it, renew it, wait. Pure; the time is handed in.

use std::time::Duration;

/// How long everything takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a Lease must stay the same before another candidate takes it.
    pub duration: Duration,
    /// For how long after a renewal began the holder leads. Shorter than `duration`, so that it has stopped when another one
    /// begins, even if its clock is slower by what lies between.
    pub leads: Duration,
    /// How often is looked, and renewed.
    pub retry: Duration,
}

/// A Lease, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its resource version, which every write changes.
    pub version: String,
    /// Who has it; nobody after it was released.
    pub holder: Option<String>,
    /// How often it has been taken.
    pub transitions: u32,
}

/// What to write, under the condition that the Lease is still as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A new Lease, held by us; there is none.
    Create {
        /// How often it has been taken, this time included.
        transitions: u32,
    },
    /// The Lease of this version, held by us.
    Replace {
        /// The version that it must still have.
        version: String,
        /// How often it has been taken, this time included.
        transitions: u32,
    },
}

/// What a candidate knows.
#[derive(Clone, Debug)]
pub struct Candidate {
    me: String,
    timing: Timing,
    /// The version that was seen last (none where there was no Lease), and when it was seen first.
    seen: Option<(Option<String>, Duration)>,
    /// The highest count of transitions that was seen: a Lease that was deleted does not begin anew.
    transitions: u32,
    /// Since when we lead: the moment before the write was sent that succeeded last.
    leads: Option<Duration>,
}

impl Timing {
    /// Another candidate takes over after 10 s; a holder that cannot renew stops after 6 s.
    pub const USUAL: Self = Self {
        duration: Duration::from_secs(10),
        leads: Duration::from_secs(6),
        retry: Duration::from_millis(1_500),
    };
}

impl Candidate {
    /// Somebody who has seen nothing yet. No two candidates ever have the same name.
    pub fn new(me: String, timing: Timing) -> Self {
        Self { me, timing, seen: None, transitions: 0, leads: None }
    }

    /// What to write, if anything, after the Lease was looked at.
    pub fn look(&mut self, now: Duration, record: Option<&Record>) -> Option<Wish> {
        let version = record.map(|record| record.version.clone());
        let is_first = self.seen.is_none();
        let since = match &self.seen {
            Some((known, since)) if *known == version => *since,
            _ => now,
        };
        self.seen = Some((version, since));
        self.transitions = self.transitions.max(record.map_or(0, |record| record.transitions));
        let has_waited = now.saturating_sub(since) >= self.timing.duration;
        match record {
            // Whoever had one that was deleted meanwhile may still believe in it.
            None => (is_first || has_waited).then(|| Wish::Create { transitions: self.next() }),
            Some(record) if record.holder.as_deref() == Some(&*self.me) => {
                // Something of it was changed by somebody else, or an answer of ours was lost. Only who leads goes on: who
                // does not has been told so, and begins as anybody else.
                let transitions = if self.is_leader(now) { record.transitions } else { self.next() };
                Some(Wish::Replace { version: record.version.clone(), transitions })
            }
            Some(record) => {
                self.leads = None;
                let is_free = record.holder.as_deref().is_none_or(str::is_empty) || has_waited;
                is_free.then(|| Wish::Replace { version: record.version.clone(), transitions: self.next() })
            }
        }
    }

    /// A write that was sent at this moment has succeeded, and the Lease is now as it says.
    pub fn wrote(&mut self, sent: Duration, record: &Record) {
        self.transitions = self.transitions.max(record.transitions);
        self.seen = Some((Some(record.version.clone()), sent));
        self.leads = Some(sent);
    }

    /// Whether we lead.
    pub fn is_leader(&self, now: Duration) -> bool {
        self.until().is_some_and(|until| now < until)
    }

    /// Until when we lead, unless the Lease is renewed before.
    pub fn until(&self) -> Option<Duration> {
        self.leads.map(|since| since + self.timing.leads)
    }

    /// From now on we do not.
    pub fn step_down(&mut self) {
        self.leads = None;
    }

    /// So many transitions there were at the least, wherever that is known from.
    pub fn at_least(&mut self, transitions: u32) {
        self.transitions = self.transitions.max(transitions);
    }

    /// The count that goes with the next change.
    pub fn next(&self) -> u32 {
        // The field is a signed one of 32 bits.
        self.transitions.saturating_add(1).min(i32::MAX as u32)
    }
}

#[cfg(test)]
mod tests;
