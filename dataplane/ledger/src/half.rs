//! Half messages: events that are prepared, and published when their publishers say so. Pure.
//!
//! One is prepared, then committed or rolled back, once; the first decision counts, whoever made it. Meanwhile its publisher is
//! asked from time to time, by whoever leads its shard.

use std::{collections::HashSet, sync::Arc, time::Duration};

use evhub_event::Record;
use xxhash_rust::xxh3::Xxh3;

use crate::{TimerId, When, command::Repeat, timer::Timer};

/// How many times as long as at first is waited between two questions at the most, and how long in milliseconds, unless the
/// first time is longer.
const GROWS: (u32, i64) = (3, 24 * 3_600_000);

/// A half message that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepare {
    /// The uid of its Producer.
    pub producer: String,
    /// The topic that it appears in when it is committed.
    pub topic: String,
    /// The event's own id.
    pub event_id: String,
    /// The event.
    pub record: Record,
    /// When it appears, counted from its commit, unless that says otherwise.
    pub when: Option<When>,
    /// The longest delay that the Producer allows.
    pub max_delay: Duration,
    /// How many half messages and timers of the Producer may be pending.
    pub max_pending: u64,
    /// How long is waited before its publisher is asked.
    pub interval: Duration,
    /// Who is asked, where that is not the Producer's to say.
    pub callback: Option<Callback>,
    /// Tells this from anything else that is asked for under the same id: see [`digest`].
    pub digest: u64,
}

/// Who is asked about one half message alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Callback {
    /// How: a number that whoever asks knows.
    pub way: u32,
    /// Where.
    pub url: String,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long is waited before the first question.
    pub interval: Duration,
}

/// What is decided on one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decide {
    /// It is published.
    Commit(Commit),
    /// It is forgotten.
    Rollback,
}

/// How one is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// When; otherwise as it was prepared, which is at once if nothing was said.
    pub when: Option<When>,
    /// How long Processors with each of these keys wait, in place of what it was prepared with, if any.
    pub delay_keys: Vec<(String, Duration)>,
    /// How it comes again, if it does.
    pub repeat: Option<Repeat>,
}

/// A decision that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The uid of the Producer whose half message it must be; empty for that of any.
    pub producer: String,
    /// What it is.
    pub decide: Decide,
}

/// What came of a question to the publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// How many questions had been asked before.
    pub checks: u32,
    /// What it decided; `None` if it did not.
    pub decide: Option<Decide>,
    /// How long is waited before the first question, as the Producer says now.
    pub interval: Duration,
    /// How many questions are asked.
    pub max_checks: u32,
    /// What becomes of it after the last one.
    pub on_exhausted: Exhausted,
}

/// What becomes of a half message that nobody decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// It is rolled back.
    Rollback,
    /// It is committed.
    Commit,
    /// It stays, and nobody is asked any more.
    Hold,
}

/// How a half message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody has decided.
    Prepared,
    /// It is published, or will be.
    Committed,
    /// It is not.
    RolledBack,
}

/// What is said of one to who asked for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How it is.
    pub state: State,
    /// When it was prepared, or decided on.
    pub at: i64,
    /// When it is published, once it is committed.
    pub due: i64,
    /// Whether what was asked for made it so, and nothing before.
    pub first: bool,
}

/// A half message, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Half {
    /// Which it is.
    pub id: TimerId,
    /// What it becomes when it is committed. Until then it is due when it was prepared.
    pub timer: Timer,
    /// As [`Prepare::when`].
    pub when: Option<When>,
    /// What is waited for.
    pub waits: Waits,
}

/// How often the publisher of a half message was asked, and when it is asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits {
    /// How often.
    pub checks: u32,
    /// When; [`NEVER`](crate::series::NEVER) if it is not any more.
    pub next: i64,
    /// As [`Prepare::callback`].
    pub callback: Option<Arc<Callback>>,
}

/// What is kept for a while of one that was decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Whether it was committed.
    pub committed: bool,
    /// The offset of the command that decided.
    pub by: u64,
    /// When.
    pub at: i64,
    /// When it is published, if it is.
    pub due: i64,
    /// As [`Prepare::digest`].
    pub digest: u64,
    /// The uid of its Producer.
    pub producer: Arc<str>,
}

/// A half message, as lists have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HalfListed {
    /// Which it is.
    pub id: TimerId,
    /// The uid of its Producer.
    pub producer: String,
    /// The event's own id; nothing once it is decided on.
    pub event_id: String,
    /// The event's key.
    pub key: Option<bytes::Bytes>,
    /// How it is.
    pub standing: Standing,
    /// How often its publisher was asked.
    pub checks: u32,
    /// When it is asked next.
    pub next: i64,
}

/// One whose publisher is to be asked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubtful {
    /// Which it is.
    pub id: TimerId,
    /// The uid of its Producer.
    pub producer: String,
    /// The event.
    pub record: Record,
    /// How often its publisher was asked before.
    pub checks: u32,
    /// Since when that is to be.
    pub next: i64,
    /// Who is asked, where that is not the Producer's to say.
    pub callback: Option<Arc<Callback>>,
}

/// Half messages that wait for the same: those of a Producer that leave it to it who is asked, or those that say that
/// themselves. What is in the way of one line is not in the way of the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// The uid of the Producer.
    pub producer: String,
    /// Whether they say it themselves.
    pub own: bool,
}

/// Those that somebody is about to ask about.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// They are to be asked about by then.
    pub by: i64,
    /// How many of a line and shard at the most.
    pub each: usize,
    /// About how many at the most.
    pub all: usize,
    /// About how many bytes their events have at the most; one that has more comes alone.
    pub bytes: usize,
    /// None of these lines.
    pub except: Vec<Line>,
    /// None of these, which are asked about now.
    pub flying: HashSet<TimerId>,
}

/// Which half messages are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// All that nobody has decided on.
    #[default]
    Prepared,
    /// Those of them whose publishers were asked already.
    InDoubt,
    /// Those whose publishers are not asked any more.
    Held,
}

/// Tells half messages apart: what was asked for, and not how often or by which way it came.
pub fn digest(record: &Record, when: Option<When>, callback: Option<&Callback>) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&crate::command::digest(record, when.unwrap_or(When::At(i64::MIN))).to_le_bytes());
    if let Some(Callback { way, url, timeout, interval }) = callback {
        hash.update(url.as_bytes());
        for part in [u64::from(*way), timeout.as_millis() as u64, interval.as_millis() as u64] {
            hash.update(&part.to_le_bytes());
        }
    }
    hash.digest()
}

/// When a publisher is asked that was asked so often before: after twice as long each time, up to a bound.
pub(crate) fn next_check(interval: Duration, checks: u32, now: i64) -> i64 {
    let first = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
    let grown = first.saturating_mul(1 << checks.min(GROWS.0));
    now.saturating_add(grown.min(GROWS.1.max(first)))
}

impl Doubtful {
    /// Which line it is in.
    pub fn line(&self) -> Line {
        Line { producer: self.producer.clone(), own: self.callback.is_some() }
    }
}

impl Waits {
    /// Whether nobody is asked any more.
    pub fn is_held(&self) -> bool {
        self.next == crate::series::NEVER
    }
}

impl Decided {
    /// As who asked for something is told.
    pub(crate) fn standing(&self, offset: Option<u64>) -> Standing {
        let state = if self.committed { State::Committed } else { State::RolledBack };
        Standing { state, at: self.at, due: self.due, first: offset == Some(self.by) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::next_check;

    #[test]
    fn questions_come_ever_more_rarely_up_to_a_bound() {
        let waits = |seconds| (0..5).map(move |n| next_check(Duration::from_secs(seconds), n, 0) / 1_000);
        assert_eq!(waits(120).collect::<Vec<_>>(), [120, 240, 480, 960, 960]);
        assert_eq!(waits(12 * 3_600).collect::<Vec<_>>(), [43_200, 86_400, 86_400, 86_400, 86_400]);
        assert_eq!(next_check(Duration::from_hours(24), 9, 5), 86_400_005, "never sooner than is said");
    }
}
