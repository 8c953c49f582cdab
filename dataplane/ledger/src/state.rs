//! What is durable of a shard: the records of its partition of the state topic. Pure.
//!
//! One record a timer, whole, so that this topic alone is enough to begin anew; what a timer leaves behind takes its key.
//! One record says how far commands are applied. Only the shard's leader writes here.

use std::sync::Arc;

use bytes::Bytes;
use evhub_event::Record;
use prost::Message as _;

use crate::{
    TimerId,
    claim::Claimed,
    half::{Decided, Half},
    timer::{End, Ended, Timer},
    wire::{self, VERSION},
};

const TIMER: u8 = b't';
const HALF: u8 = b'h';
const PROGRESS: &[u8] = b"p";
const STANDING: &[u8] = b"s";
const KEY: u8 = b'k';

/// How far a shard has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The first command that is not applied.
    pub applied: u64,
    /// How often the shard was taken over.
    pub term: u64,
    /// Where whoever leads it can be asked.
    pub leader: String,
    /// Up to which instant timers were fired: a successor whose clock is behind knows it.
    pub watermark: i64,
}

/// What a record of the state topic says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The timer is pending.
    Pending(Box<Timer>),
    /// It has ended.
    Ended(TimerId, Ended),
    /// Nothing is kept of it any more.
    Gone(TimerId),
    /// How far the shard has come.
    Progress(Progress),
    /// Somebody was about to lead: where this lies told it whether it had read everything. It changes nothing, for it may have
    /// not.
    Standing,
    /// A key is taken.
    Claimed(TimerId, Box<Claimed>),
    /// It is free.
    Free(TimerId),
    /// The half message is prepared.
    Half(Box<Half>),
    /// It was decided on.
    Decided(TimerId, Decided),
    /// Nothing is kept of it any more.
    HalfGone(TimerId),
}

/// Why a record of the state topic says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is not what is written here.
    #[error("the record is no state")]
    Malformed,
    /// A later version wrote it: to go on without would be to forget it.
    #[error("the state is of version {0}, and {VERSION} is the latest known here")]
    Version(u32),
}

impl Entry {
    /// The key of whatever is said of a timer.
    pub fn key(id: TimerId) -> Bytes {
        [&[TIMER], &id.as_bytes()[..]].concat().into()
    }

    /// The key of whatever is said of a half message.
    fn half_key(id: TimerId) -> Bytes {
        [&[HALF], &id.as_bytes()[..]].concat().into()
    }

    /// The record.
    pub fn encode(self) -> Record {
        let (key, kind) = match self {
            Self::Pending(timer) => (Self::key(timer.id), Some(wire::Kind::Timer((*timer).into()))),
            Self::Ended(id, Ended { how, due, at, digest }) => {
                let fired = how == End::Fired;
                (Self::key(id), Some(wire::Kind::Ended(wire::Ended { fired, due, at, digest })))
            }
            Self::Gone(id) => (Self::key(id), None),
            Self::Claimed(id, claimed) => (key_of(id), Some(wire::Kind::Claimed((*claimed).into()))),
            Self::Free(id) => (key_of(id), None),
            Self::Half(half) => (Self::half_key(half.id), Some(wire::Kind::Half((*half).into()))),
            Self::Decided(id, decided) => (Self::half_key(id), Some(wire::Kind::Decided(decided.into()))),
            Self::HalfGone(id) => (Self::half_key(id), None),
            Self::Standing => (Bytes::from_static(STANDING), None),
            Self::Progress(Progress { applied, term, leader, watermark }) => {
                let progress = wire::Progress { applied, term, leader, watermark };
                (Bytes::from_static(PROGRESS), Some(wire::Kind::Progress(progress)))
            }
        };
        let value =
            kind.map(|kind| wire::State { version: VERSION, kind: Some(kind) }.encode_to_vec().into());
        Record { key: Some(key), value, headers: Vec::new() }
    }

    /// Reads a record.
    pub fn decode(record: &Record) -> Result<Self, Unreadable> {
        let key = record.key.as_deref().unwrap_or_default();
        let id = key.strip_prefix(&[TIMER]).and_then(TimerId::from_bytes);
        let taken = key.strip_prefix(&[KEY]).and_then(TimerId::from_bytes);
        let half = key.strip_prefix(&[HALF]).and_then(TimerId::from_bytes);
        let Some(value) = record.value.clone() else {
            let standing = (key == STANDING).then_some(Self::Standing);
            let gone = id.map(Self::Gone).or(half.map(Self::HalfGone)).or(taken.map(Self::Free)).or(standing);
            return gone.ok_or(Unreadable::Malformed);
        };
        let wire::State { version, kind } = wire::State::decode(value).map_err(|_| Unreadable::Malformed)?;
        if version > VERSION {
            return Err(Unreadable::Version(version));
        }
        match (kind, id, half) {
            (Some(wire::Kind::Timer(timer)), Some(id), _) => {
                timer_of(id, timer).map(|timer| Self::Pending(Box::new(timer)))
            }
            (Some(wire::Kind::Ended(wire::Ended { fired, due, at, digest })), Some(id), _) => {
                let how = if fired { End::Fired } else { End::Cancelled };
                Ok(Self::Ended(id, Ended { how, due, at, digest }))
            }
            (Some(wire::Kind::Half(wire)), _, Some(id)) => wire.of(id).map(|half| Self::Half(Box::new(half))),
            (Some(wire::Kind::Decided(decided)), _, Some(id)) => Ok(Self::Decided(id, decided.into())),
            (Some(wire::Kind::Progress(progress)), None, None) if key == PROGRESS => {
                let wire::Progress { applied, term, leader, watermark } = progress;
                Ok(Self::Progress(Progress { applied, term, leader, watermark }))
            }
            (Some(wire::Kind::Claimed(claimed)), None, None) => {
                let id = taken.ok_or(Unreadable::Malformed)?;
                claimed_of(claimed).map(|claimed| Self::Claimed(id, Box::new(claimed)))
            }
            _ => Err(Unreadable::Malformed),
        }
    }
}

fn key_of(id: TimerId) -> Bytes {
    [&[KEY], &id.as_bytes()[..]].concat().into()
}

impl From<Claimed> for wire::Claimed {
    fn from(claimed: Claimed) -> Self {
        let Claimed { producer, until, digest, receipt } = claimed;
        Self { producer: producer.to_string(), until, digest, receipt: Some(receipt.into()) }
    }
}

fn claimed_of(claimed: wire::Claimed) -> Result<Claimed, Unreadable> {
    let wire::Claimed { producer, until, digest, receipt } = claimed;
    let receipt = receipt.ok_or(Unreadable::Malformed)?.try_into()?;
    Ok(Claimed { producer: producer.into(), until, digest, receipt })
}

impl From<Timer> for wire::Timer {
    fn from(timer: Timer) -> Self {
        let Timer {
            id: _,
            producer,
            topic,
            due,
            seq,
            generation,
            digest,
            max_delay,
            event_id,
            record,
            series,
            claimed,
            chain,
        } = timer;
        Self {
            producer: producer.to_string(),
            topic: topic.to_string(),
            due,
            seq,
            generation,
            digest,
            max_delay,
            event_id,
            event: Some(record.into()),
            series: series.map(|series| (*series).into()),
            claimed,
            chain: chain.map(|chain| (*chain).into()),
        }
    }
}

pub(crate) fn timer_of(id: TimerId, timer: wire::Timer) -> Result<Timer, Unreadable> {
    let wire::Timer {
        producer,
        topic,
        due,
        seq,
        generation,
        digest,
        max_delay,
        event_id,
        event,
        series,
        claimed,
        chain,
    } = timer;
    Ok(Timer {
        id,
        producer: Arc::from(producer),
        topic: Arc::from(topic),
        due,
        seq,
        generation,
        digest,
        max_delay,
        event_id,
        record: event.ok_or(Unreadable::Malformed)?.into(),
        series: series.map(|series| series.try_into().map(Box::new)).transpose()?,
        claimed,
        chain: chain.map(|chain| chain.try_into().map(Box::new)).transpose()?,
    })
}
