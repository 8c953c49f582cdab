//! A repeated event of EvHub's: one timer that is put again when it has fired, until its end. Pure.
//!
//! Its first firing is where it begins, or at once; the others follow at a fixed rate or by its crontab, whatever becomes of
//! each. All have the event's id. A Processor that cancels it gets no more of it, and when all have, it ends.

use std::time::Duration;

use bytes::Bytes;
use evhub_cron::{
    Dialect, Recurrence, Zone,
    recurrence::{Ends, Firing, Invalid},
};
use evhub_event::{
    Header,
    controls::{Pace, Repeat, Until},
    record::{CHAIN, OCCURRENCE},
};

use crate::{state::Unreadable, wire};

/// How many Processors may cancel a chain that goes on.
pub const MOST_MUTED: usize = 256;

/// A chain, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// As it was asked for.
    pub repeat: Repeat,
    /// When its first firing is.
    pub first: i64,
    /// How many came before the one that is due.
    pub repeats: u32,
    /// The uids of Processors that have cancelled it.
    pub muted: Vec<String>,
    recurrence: Recurrence,
}

/// Why there can be no such chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The crontab cannot be read, or never fires.
    #[error("the crontab {0}")]
    Crontab(evhub_cron::Invalid),
    /// It would end before it begins, or its interval is none.
    #[error(transparent)]
    Chain(#[from] Invalid),
}

impl Chain {
    /// A chain whose first firing is then.
    pub fn begun(repeat: Repeat, first: i64) -> Result<Self, Wrong> {
        let ends = match repeat.until {
            Until::First => Ends::Once,
            Until::Count(count) => Ends::Count(count),
            Until::Time(time) => Ends::Time(time),
        };
        let recurrence = match &repeat.pace {
            Pace::Every(period) => Recurrence::every(first, None, *period, ends)?,
            Pace::Crontab(text) => {
                let expression = Dialect::Evhub.parse(text).map_err(Wrong::Crontab)?;
                Recurrence::new(first, None, expression, Zone::utc(), ends)?
            }
        };
        Ok(Self { repeat, first, repeats: 0, muted: Vec::new(), recurrence })
    }

    /// The chain behind the firing that was due then and fires now, and when its next one is due; `None` at its end.
    pub fn after(&self, due: i64, now: i64) -> Option<(Self, i64)> {
        let next = self.recurrence.after(Firing { due, repeat: self.repeats }, now)?;
        Some((Self { repeats: next.repeat, ..self.clone() }, next.due))
    }

    /// The same for all but one Processor more. Says whether any of these is left that gets it, and whether there was room.
    pub fn without(&self, processor: &str, all: &[String]) -> (Self, bool, bool) {
        let mut chain = self.clone();
        if !chain.muted.iter().any(|known| known == processor) {
            if chain.muted.len() >= MOST_MUTED {
                return (chain, true, false);
            }
            chain.muted.push(processor.to_owned());
        }
        let goes_on = all.iter().any(|one| !chain.muted.contains(one));
        (chain, goes_on, true)
    }

    /// What a firing has that tells it from the others.
    pub(crate) fn headers(&self) -> [Header; 2] {
        let header = |name: &str, value: String| Header { name: name.to_owned(), value: Bytes::from(value) };
        [header(OCCURRENCE, (u64::from(self.repeats) + 1).to_string()), header(CHAIN, self.muted.join(","))]
    }
}

// === on the wire ===

impl From<Repeat> for wire::Repeat {
    fn from(Repeat { pace, until }: Repeat) -> Self {
        let (text, period) = match pace {
            Pace::Crontab(text) => (text, 0),
            Pace::Every(period) => (String::new(), u64::try_from(period.as_millis()).unwrap_or(u64::MAX)),
        };
        let (end, count, time) = match until {
            Until::First => (1, 0, None),
            Until::Count(count) => (2, count, None),
            Until::Time(time) => (3, 0, time),
        };
        Self { text, period, end, count, time }
    }
}

impl TryFrom<wire::Repeat> for Repeat {
    type Error = Unreadable;

    fn try_from(wire::Repeat { text, period, end, count, time }: wire::Repeat) -> Result<Self, Unreadable> {
        let until = match end {
            1 => Until::First,
            2 => Until::Count(count),
            3 => Until::Time(time),
            _ => return Err(Unreadable::Malformed),
        };
        let pace =
            if text.is_empty() { Pace::Every(Duration::from_millis(period)) } else { Pace::Crontab(text) };
        Ok(Self { pace, until })
    }
}

impl From<Chain> for wire::Chain {
    fn from(Chain { repeat, first, repeats, muted, recurrence: _ }: Chain) -> Self {
        Self { repeat: Some(repeat.into()), first, repeats, muted }
    }
}

impl TryFrom<wire::Chain> for Chain {
    type Error = Unreadable;

    fn try_from(wire::Chain { repeat, first, repeats, muted }: wire::Chain) -> Result<Self, Unreadable> {
        let repeat = repeat.ok_or(Unreadable::Malformed)?.try_into()?;
        let begun = Self::begun(repeat, first).map_err(|_| Unreadable::Malformed)?;
        Ok(Self { repeats, muted, ..begun })
    }
}
