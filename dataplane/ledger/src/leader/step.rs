//! What a leader has done for it, and what it hears of that. Pure.

use evhub_event::Record;
use evhub_journal::{Place, Position, Stored};

use crate::{Answer, TimerId, state::Unreadable, timer::Timer};

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// It is the producer of the transactional id.
    Became,
    /// The state's partition begins and ends here.
    Ends(u64, u64),
    /// Records of the state, and where to read on.
    Read(Vec<Stored>, u64),
    /// Commands, in their order.
    Commands(Vec<Stored>),
    /// Events that were read back; `None` is one that cannot be.
    Fetched(Vec<(TimerId, Option<Timer>)>),
    /// Events that were read back before they are due, with their places; maybe not all.
    Came(Vec<(u64, Timer)>),
    /// The transaction is committed; its records lie here.
    Committed(Vec<Position>),
    /// A step failed, or ended nobody knows how.
    Failed(Cause),
    /// Time has passed.
    Woken,
}

/// Why a step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Somebody else has the transactional id.
    Fenced,
    /// Nothing of the transaction will be seen: one of its topics may be at fault.
    Refused,
    /// Anything else.
    Doubt,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Become the producer of the shard's transactional id.
    Become,
    /// Ask where the state's partition begins and ends.
    Ask,
    /// Read the state from here.
    Read(u64),
    /// Hand commands over from here on, and none that were read before.
    Follow(u64),
    /// Read these events back.
    Fetch(Vec<(TimerId, u64)>),
    /// Read these back beside everything else: nothing waits for them.
    Ahead(Vec<(TimerId, u64)>),
    /// Commit these as one transaction.
    Commit(Vec<(String, Spot, Record)>),
    /// Say this to whoever appended the command at this offset.
    Answer(u64, Answer),
    /// Give up the commands before this one: they are applied.
    Trim(u64),
    /// A record cannot be read; it is passed over.
    Passed(u64, String),
    /// The state goes on behind the end that was told: it failed, and is to be read anew.
    Behind(Behind),
    /// The shard cannot be led by this version.
    Refuse(Unreadable),
}

/// The end of the state that a broker told, and where the record lies that was to be the first behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a broker is behind: it told that the state ends at {told}, and the next record lies at {lies}")]
pub struct Behind {
    pub(super) told: u64,
    pub(super) lies: u64,
}

/// Where a record of a transaction goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// As its key says, and anywhere without one.
    ByKey,
    /// This partition.
    Partition(u32),
}

impl From<Spot> for Place {
    fn from(place: Spot) -> Self {
        match place {
            Spot::ByKey => Self::ByKey,
            Spot::Partition(partition) => Self::Partition(partition),
        }
    }
}
