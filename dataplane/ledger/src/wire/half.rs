//! Half messages as protobuf, and back. Pure.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;

use super::{Event, Slot, Timer, When};
use crate::{
    TimerId, command, half,
    half::{Callback, Commit, Decide, Decided, Decision, Exhausted, HalfListed, Standing, Waits},
    state,
};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PrepareHalf {
    #[prost(string, tag = "1")]
    producer: String,
    #[prost(string, tag = "2")]
    topic: String,
    #[prost(string, tag = "3")]
    event_id: String,
    #[prost(message, optional, tag = "4")]
    event: Option<Event>,
    #[prost(oneof = "When", tags = "5, 6")]
    when: Option<When>,
    #[prost(uint64, tag = "7")]
    max_delay: u64,
    #[prost(uint64, tag = "8")]
    max_pending: u64,
    #[prost(fixed64, tag = "9")]
    digest: u64,
    #[prost(uint64, tag = "10")]
    interval: u64,
    #[prost(message, optional, tag = "11")]
    callback: Option<CallbackOf>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CallbackOf {
    #[prost(uint32, tag = "1")]
    way: u32,
    #[prost(string, tag = "2")]
    url: String,
    #[prost(uint64, tag = "3")]
    timeout: u64,
    #[prost(uint64, tag = "4")]
    interval: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CommitHow {
    #[prost(oneof = "When", tags = "5, 6")]
    when: Option<When>,
    #[prost(message, repeated, tag = "1")]
    delay_keys: Vec<DelayKey>,
    #[prost(message, optional, tag = "20")]
    repeat: Option<super::Repeat>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DelayKey {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(uint64, tag = "2")]
    delay: u64,
}

/// No commit is a rollback.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DecideHalf {
    #[prost(message, optional, tag = "1")]
    commit: Option<CommitHow>,
    #[prost(string, tag = "2")]
    producer: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckedHalf {
    #[prost(uint32, tag = "1")]
    checks: u32,
    #[prost(message, optional, tag = "2")]
    decide: Option<DecideHalf>,
    #[prost(uint64, tag = "3")]
    interval: u64,
    #[prost(uint32, tag = "4")]
    max_checks: u32,
    #[prost(uint32, tag = "5")]
    on_exhausted: u32,
}

/// A half message in the state.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HalfOf {
    #[prost(message, optional, tag = "1")]
    timer: Option<Timer>,
    #[prost(oneof = "When", tags = "5, 6")]
    when: Option<When>,
    #[prost(uint32, tag = "2")]
    checks: u32,
    #[prost(sint64, tag = "3")]
    next: i64,
    #[prost(message, optional, tag = "4")]
    callback: Option<CallbackOf>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DecidedOf {
    #[prost(bool, tag = "1")]
    committed: bool,
    #[prost(uint64, tag = "2")]
    by: u64,
    #[prost(sint64, tag = "3")]
    at: i64,
    #[prost(sint64, tag = "4")]
    due: i64,
    #[prost(fixed64, tag = "5")]
    digest: u64,
    #[prost(string, tag = "6")]
    producer: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct StandingOf {
    #[prost(uint32, tag = "1")]
    state: u32,
    #[prost(sint64, tag = "2")]
    at: i64,
    #[prost(sint64, tag = "3")]
    due: i64,
    #[prost(bool, tag = "4")]
    first: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ListHalves {
    #[prost(string, tag = "1")]
    pub(crate) producer: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) after: Option<Slot>,
    #[prost(uint64, tag = "3")]
    pub(crate) most: u64,
    #[prost(uint32, tag = "4")]
    pub(crate) which: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HalvesListed {
    #[prost(message, repeated, tag = "1")]
    pub(crate) halves: Vec<HalfListedOf>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HalfListedOf {
    #[prost(message, optional, tag = "1")]
    slot: Option<Slot>,
    #[prost(bytes = "bytes", tag = "2")]
    id: Bytes,
    #[prost(string, tag = "3")]
    producer: String,
    #[prost(string, tag = "4")]
    event_id: String,
    #[prost(bytes = "bytes", optional, tag = "5")]
    key: Option<Bytes>,
    #[prost(message, optional, tag = "6")]
    standing: Option<StandingOf>,
    #[prost(uint32, tag = "7")]
    checks: u32,
    #[prost(sint64, tag = "8")]
    next: i64,
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

const MISSING: fn(&'static str) -> command::Unreadable = command::Unreadable::Missing;

// === commands ===

impl From<half::Prepare> for PrepareHalf {
    fn from(prepare: half::Prepare) -> Self {
        let half::Prepare {
            producer,
            topic,
            event_id,
            record,
            when,
            max_delay,
            max_pending,
            interval,
            callback,
            digest,
        } = prepare;
        Self {
            producer,
            topic,
            event_id,
            event: Some(record.into()),
            when: when.map(Into::into),
            max_delay: millis(max_delay),
            max_pending,
            digest,
            interval: millis(interval),
            callback: callback.map(|callback| (&callback).into()),
        }
    }
}

impl TryFrom<PrepareHalf> for half::Prepare {
    type Error = command::Unreadable;

    fn try_from(prepare: PrepareHalf) -> Result<Self, command::Unreadable> {
        let PrepareHalf {
            producer,
            topic,
            event_id,
            event,
            when,
            max_delay,
            max_pending,
            digest,
            interval,
            callback,
        } = prepare;
        if topic.is_empty() {
            return Err(MISSING("topic"));
        }
        Ok(Self {
            producer,
            topic,
            event_id,
            record: event.ok_or(MISSING("event"))?.into(),
            when: when.map(Into::into),
            max_delay: Duration::from_millis(max_delay),
            max_pending,
            interval: Duration::from_millis(interval),
            callback: callback.map(Into::into),
            digest,
        })
    }
}

impl From<Decision> for DecideHalf {
    fn from(Decision { producer, decide }: Decision) -> Self {
        let commit = match decide {
            Decide::Commit(Commit { when, delay_keys, repeat }) => {
                let key = |(key, delay)| DelayKey { key, delay: millis(delay) };
                let delay_keys = delay_keys.into_iter().map(key).collect();
                Some(CommitHow { when: when.map(Into::into), delay_keys, repeat: repeat.map(Into::into) })
            }
            Decide::Rollback => None,
        };
        Self { commit, producer }
    }
}

impl From<DecideHalf> for Decision {
    fn from(DecideHalf { commit, producer }: DecideHalf) -> Self {
        let decide = match commit {
            Some(CommitHow { when, delay_keys, repeat }) => {
                let key = |DelayKey { key, delay }| (key, Duration::from_millis(delay));
                let delay_keys = delay_keys.into_iter().map(key).collect();
                let repeat = repeat.and_then(|repeat| repeat.try_into().ok());
                Decide::Commit(Commit { when: when.map(Into::into), delay_keys, repeat })
            }
            None => Decide::Rollback,
        };
        Self { producer, decide }
    }
}

impl From<half::Checked> for CheckedHalf {
    fn from(checked: half::Checked) -> Self {
        let half::Checked { checks, decide, interval, max_checks, on_exhausted } = checked;
        Self {
            checks,
            decide: decide.map(|decide| Decision { producer: String::new(), decide }.into()),
            interval: millis(interval),
            max_checks,
            on_exhausted: match on_exhausted {
                Exhausted::Rollback => 1,
                Exhausted::Commit => 2,
                Exhausted::Hold => 3,
            },
        }
    }
}

impl TryFrom<CheckedHalf> for half::Checked {
    type Error = command::Unreadable;

    fn try_from(checked: CheckedHalf) -> Result<Self, command::Unreadable> {
        let CheckedHalf { checks, decide, interval, max_checks, on_exhausted } = checked;
        Ok(Self {
            checks,
            decide: decide.map(|decide| Decision::from(decide).decide),
            interval: Duration::from_millis(interval),
            max_checks,
            on_exhausted: match on_exhausted {
                1 => Exhausted::Rollback,
                2 => Exhausted::Commit,
                3 => Exhausted::Hold,
                _ => return Err(MISSING("policy")),
            },
        })
    }
}

impl From<&Callback> for CallbackOf {
    fn from(Callback { way, url, timeout, interval }: &Callback) -> Self {
        Self { way: *way, url: url.clone(), timeout: millis(*timeout), interval: millis(*interval) }
    }
}

impl From<CallbackOf> for Callback {
    fn from(CallbackOf { way, url, timeout, interval }: CallbackOf) -> Self {
        let (timeout, interval) = (Duration::from_millis(timeout), Duration::from_millis(interval));
        Self { way, url, timeout, interval }
    }
}

// === state ===

impl From<half::Half> for HalfOf {
    fn from(half::Half { id: _, timer, when, waits }: half::Half) -> Self {
        let Waits { checks, next, callback } = waits;
        let (timer, callback) = (Some(timer.into()), callback.as_deref().map(Into::into));
        Self { timer, when: when.map(Into::into), checks, next, callback }
    }
}

impl HalfOf {
    pub(crate) fn of(self, id: TimerId) -> Result<half::Half, state::Unreadable> {
        let Self { timer, when, checks, next, callback } = self;
        let timer = state::timer_of(id.published(), timer.ok_or(state::Unreadable::Malformed)?)?;
        let callback = callback.map(|callback| Arc::new(callback.into()));
        let waits = Waits { checks, next, callback };
        Ok(half::Half { id, timer, when: when.map(Into::into), waits })
    }
}

impl From<Decided> for DecidedOf {
    fn from(Decided { committed, by, at, due, digest, producer }: Decided) -> Self {
        Self { committed, by, at, due, digest, producer: producer.to_string() }
    }
}

impl From<DecidedOf> for Decided {
    fn from(DecidedOf { committed, by, at, due, digest, producer }: DecidedOf) -> Self {
        Self { committed, by, at, due, digest, producer: producer.into() }
    }
}

// === answers ===

impl From<Standing> for StandingOf {
    fn from(Standing { state, at, due, first }: Standing) -> Self {
        let state = match state {
            half::State::Prepared => 1,
            half::State::Committed => 2,
            half::State::RolledBack => 3,
        };
        Self { state, at, due, first }
    }
}

impl StandingOf {
    pub(crate) fn read(self) -> Option<Standing> {
        let Self { state, at, due, first } = self;
        let state = match state {
            1 => half::State::Prepared,
            2 => half::State::Committed,
            3 => half::State::RolledBack,
            _ => return None,
        };
        Some(Standing { state, at, due, first })
    }
}

impl From<(crate::ledger::Slot, HalfListed)> for HalfListedOf {
    fn from(((due, seq), listed): (crate::ledger::Slot, HalfListed)) -> Self {
        let HalfListed { id, producer, event_id, key, standing, checks, next } = listed;
        let (slot, id) = (Some(Slot { due, seq }), Bytes::copy_from_slice(id.as_bytes()));
        Self { slot, id, producer, event_id, key, standing: Some(standing.into()), checks, next }
    }
}

impl HalfListedOf {
    pub(crate) fn read(self) -> Option<(crate::ledger::Slot, HalfListed)> {
        let Self { slot, id, producer, event_id, key, standing, checks, next } = self;
        let (Slot { due, seq }, id) = (slot?, TimerId::from_bytes(&id)?);
        let listed = HalfListed { id, producer, event_id, key, standing: standing?.read()?, checks, next };
        Some(((due, seq), listed))
    }
}

impl From<half::Which> for u32 {
    fn from(which: half::Which) -> Self {
        match which {
            half::Which::Prepared => 0,
            half::Which::InDoubt => 1,
            half::Which::Held => 2,
        }
    }
}

/// The list that this number means.
pub(crate) fn which(number: u32) -> Option<half::Which> {
    Some(match number {
        0 => half::Which::Prepared,
        1 => half::Which::InDoubt,
        2 => half::Which::Held,
        _ => return None,
    })
}
