//! What is said to a command, and to a question about what is pending. Pure.

use crate::{TimerId, claim::Receipt, half::Standing};

/// What became of a command. It is durable when it is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The timer fires, or has fired, at this instant.
    Scheduled(i64),
    /// Another event of this id is scheduled, or the same one for another time.
    Conflict,
    /// The Producer has as many pending timers as it may.
    TooMany,
    /// It would fire later than its Producer allows.
    TooLong,
    /// It was cancelled, and will not fire.
    Cancelled,
    /// It had fired by then.
    AlreadyFired,
    /// No such timer is known.
    Unknown,
    /// The command cannot be read; nothing came of it.
    Unreadable,
    /// It is published, now or by an earlier one of its key.
    Claimed(Box<Receipt>),
    /// More keys are remembered than there is room for; nothing came of it.
    TooManyKeys,
    /// The Producer's topic takes nothing, and too much waits for it; nothing came of it.
    Stuck,
    /// It would end before it begins by now; nothing came of it.
    TooLate,
    /// This is how the half message is.
    Half(Standing),
}

/// A pending timer, as lists have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which it is.
    pub id: TimerId,
    /// The uid of its Producer.
    pub producer: String,
    /// The event's own id.
    pub event_id: String,
    /// When it fires.
    pub due: i64,
    /// The event's key.
    pub key: Option<bytes::Bytes>,
}
