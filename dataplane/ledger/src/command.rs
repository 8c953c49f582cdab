//! What anybody may ask of the ledger, as records of its command topic. Pure.
//!
//! Reading is total: a record that is no command is said to be unreadable and passed over, whoever wrote it.

use std::time::Duration;

use bytes::Bytes;
use evhub_event::Record;
pub use evhub_event::controls::{Repeat, When};
use prost::Message as _;
use xxhash_rust::xxh3::Xxh3;

use crate::{
    TimerId,
    claim::Claim,
    half::{Checked, Decision, Prepare},
    series::{Generation, Rule},
    wire::{self, VERSION},
};

/// Something that is to be done about one timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Which timer.
    pub id: TimerId,
    /// What.
    pub verb: Verb,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// An event is to come due.
    Submit(Box<Submit>),
    /// It is not to come due after all.
    Cancel,
    /// It is to come due at another time.
    Reschedule(When),
    /// A schedule is to be as is said, whether it is there or not.
    Keep(Box<Keep>),
    /// A schedule is not to be any more.
    Drop(Generation),
    /// An event is to be published, unless it was under this key.
    Claim(Box<Claim>),
    /// A repeated event is not to come to a Processor any more.
    Mute(Mute),
    /// A schedule is to fire once more, now.
    Fire,
    /// An event is prepared, and appears once it is committed.
    Prepare(Box<Prepare>),
    /// A half message is decided on.
    Decide(Box<Decision>),
    /// The publisher of a half message was asked about it.
    Checked(Box<Checked>),
}

/// Who wants no more of a repeated event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mute {
    /// The uid of the Processor.
    pub processor: String,
    /// The uids of all that receive from its Producer: when none is left, it ends.
    pub all: Vec<String>,
}

/// A schedule that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The uid of its Producer.
    pub producer: String,
    /// The topic that its runs appear in.
    pub topic: String,
    /// Its name.
    pub name: String,
    /// What its runs have in common.
    pub record: Record,
    /// When it fires.
    pub rule: Rule,
    /// Which snapshot says so, or is known to whoever puts it.
    pub generation: Generation,
    /// Somebody puts it: its Producer does not declare it.
    pub dynamic: bool,
    /// Tells this from any other: see [`series::digest`](crate::series::digest).
    pub digest: u64,
}

/// An event that is to come due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submit {
    /// The uid of its Producer.
    pub producer: String,
    /// The topic that it is to appear in.
    pub topic: String,
    /// The event's own id.
    pub event_id: String,
    /// The event.
    pub record: Record,
    /// When.
    pub when: When,
    /// How it comes again, if it does.
    pub repeat: Option<Repeat>,
    /// The longest delay that the Producer allows.
    pub max_delay: Duration,
    /// How many timers of the Producer may be pending.
    pub max_pending: u64,
    /// Tells this from anything else that is asked for under the same id: see [`digest`].
    pub digest: u64,
}

/// Why a record is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It has no value.
    #[error("the record is empty")]
    Empty,
    /// It is not what is written here.
    #[error("the record is no command")]
    Malformed,
    /// It lacks something.
    #[error("the command has no {0}")]
    Missing(&'static str),
    /// A later version wrote it.
    #[error("the command is of version {0}, and {VERSION} is the latest known here")]
    Version(u32),
}

/// Tells events and times apart: what was asked for, and not how often or by which way it came.
pub fn digest(record: &Record, when: When) -> u64 {
    let mut hash = Xxh3::new();
    let mut part = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(record.key.as_deref().unwrap_or_default());
    part(record.value.as_deref().unwrap_or_default());
    for header in &record.headers {
        part(header.name.as_bytes());
        part(&header.value);
    }
    match when {
        When::After(delay) => part(&delay.as_millis().to_le_bytes()),
        When::At(instant) => part(&instant.to_le_bytes()),
    }
    hash.digest()
}

impl Command {
    /// The command as a record, whose partition is the shard.
    pub fn encode(self) -> Record {
        let command = wire::Command::from(self);
        let (key, value) = (command.id.clone(), command.encode_to_vec().into());
        Record { key: Some(key), value: Some(value), headers: Vec::new() }
    }

    /// Reads a command.
    pub fn decode(record: &Record) -> Result<Self, Unreadable> {
        let value = record.value.clone().ok_or(Unreadable::Empty)?;
        wire::Command::decode(value).map_err(|_| Unreadable::Malformed)?.try_into()
    }

    /// The same without the event itself: enough to ask what became of it.
    pub(crate) fn without_event(mut self) -> Self {
        match &mut self.verb {
            Verb::Submit(submit) => submit.record = Record::default(),
            Verb::Claim(claim) => claim.submit.record = Record::default(),
            Verb::Prepare(prepare) => prepare.record = Record::default(),
            Verb::Keep(keep) => keep.record = Record::default(),
            _ => {}
        }
        self
    }
}

impl From<Command> for wire::Command {
    fn from(Command { id, verb }: Command) -> Self {
        let verb = match verb {
            Verb::Submit(submit) => wire::Verb::Submit((*submit).into()),
            Verb::Cancel => wire::Verb::Cancel(wire::Cancel {}),
            Verb::Reschedule(when) => wire::Verb::Reschedule(wire::Reschedule { when: Some(when.into()) }),
            Verb::Keep(keep) => wire::Verb::Keep((*keep).into()),
            Verb::Drop((epoch, revision)) => wire::Verb::Drop(wire::Drop { epoch, revision }),
            Verb::Claim(claim) => wire::Verb::Claim((*claim).into()),
            Verb::Mute(Mute { processor, all }) => wire::Verb::Mute(wire::Mute { processor, all }),
            Verb::Fire => wire::Verb::Fire(wire::Empty {}),
            Verb::Prepare(prepare) => wire::Verb::Prepare((*prepare).into()),
            Verb::Decide(decision) => wire::Verb::Decide((*decision).into()),
            Verb::Checked(checked) => wire::Verb::Checked((*checked).into()),
        };
        Self { version: VERSION, id: Bytes::copy_from_slice(id.as_bytes()), verb: Some(verb) }
    }
}

impl TryFrom<wire::Command> for Command {
    type Error = Unreadable;

    fn try_from(wire::Command { version, id, verb }: wire::Command) -> Result<Self, Unreadable> {
        if version > VERSION {
            return Err(Unreadable::Version(version));
        }
        let id = TimerId::from_bytes(&id).ok_or(Unreadable::Missing("timer"))?;
        let verb = match verb.ok_or(Unreadable::Missing("verb"))? {
            wire::Verb::Submit(submit) => Verb::Submit(Box::new(submit.try_into()?)),
            wire::Verb::Cancel(wire::Cancel {}) => Verb::Cancel,
            wire::Verb::Reschedule(wire::Reschedule { when }) => {
                Verb::Reschedule(when.ok_or(Unreadable::Missing("time"))?.into())
            }
            wire::Verb::Keep(keep) => Verb::Keep(Box::new(keep.try_into()?)),
            wire::Verb::Drop(wire::Drop { epoch, revision }) => Verb::Drop((epoch, revision)),
            wire::Verb::Claim(claim) => Verb::Claim(Box::new(claim.try_into()?)),
            wire::Verb::Mute(wire::Mute { processor, all }) => Verb::Mute(Mute { processor, all }),
            wire::Verb::Fire(wire::Empty {}) => Verb::Fire,
            wire::Verb::Prepare(prepare) => Verb::Prepare(Box::new(prepare.try_into()?)),
            wire::Verb::Decide(decision) => Verb::Decide(Box::new(decision.into())),
            wire::Verb::Checked(checked) => Verb::Checked(Box::new(checked.try_into()?)),
        };
        Ok(Self { id, verb })
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

impl From<When> for wire::When {
    fn from(when: When) -> Self {
        match when {
            When::After(delay) => Self::After(millis(delay) as u64),
            When::At(instant) => Self::At(instant),
        }
    }
}

impl From<wire::When> for When {
    fn from(when: wire::When) -> Self {
        match when {
            wire::When::After(delay) => Self::After(Duration::from_millis(delay)),
            wire::When::At(instant) => Self::At(instant),
        }
    }
}

impl From<Submit> for wire::Submit {
    fn from(submit: Submit) -> Self {
        let Submit { producer, topic, event_id, record, when, repeat, max_delay, max_pending, digest } =
            submit;
        Self {
            producer,
            topic,
            event_id,
            event: Some(record.into()),
            when: Some(when.into()),
            max_delay: millis(max_delay) as u64,
            max_pending,
            digest,
            repeat: repeat.map(Into::into),
        }
    }
}

impl TryFrom<wire::Submit> for Submit {
    type Error = Unreadable;

    fn try_from(submit: wire::Submit) -> Result<Self, Unreadable> {
        let wire::Submit { producer, topic, event_id, event, when, max_delay, max_pending, digest, repeat } =
            submit;
        if topic.is_empty() {
            return Err(Unreadable::Missing("topic"));
        }
        Ok(Self {
            producer,
            topic,
            event_id,
            record: event.ok_or(Unreadable::Missing("event"))?.into(),
            when: when.ok_or(Unreadable::Missing("time"))?.into(),
            repeat: repeat.map(|repeat| repeat.try_into().map_err(|_| Unreadable::Malformed)).transpose()?,
            max_delay: Duration::from_millis(max_delay),
            max_pending,
            digest,
        })
    }
}

impl From<Keep> for wire::Keep {
    fn from(keep: Keep) -> Self {
        let Keep { producer, topic, name, record, rule, generation: (epoch, revision), dynamic, digest } =
            keep;
        let rule = Some(rule.into());
        let series =
            wire::Series { producer, name, rule, epoch, revision, dynamic, ..wire::Series::default() };
        Self { topic, event: Some(record.into()), series: Some(series), digest }
    }
}

impl TryFrom<wire::Keep> for Keep {
    type Error = Unreadable;

    fn try_from(keep: wire::Keep) -> Result<Self, Unreadable> {
        let wire::Keep { topic, event, series, digest } = keep;
        let wire::Series { producer, name, rule, epoch, revision, dynamic, .. } =
            series.ok_or(Unreadable::Missing("schedule"))?;
        if topic.is_empty() {
            return Err(Unreadable::Missing("topic"));
        }
        let rule = rule.ok_or(Unreadable::Missing("rule"))?;
        Ok(Self {
            producer,
            topic,
            name,
            record: event.ok_or(Unreadable::Missing("event"))?.into(),
            rule: rule.try_into().map_err(|_| Unreadable::Malformed)?,
            generation: (epoch, revision),
            dynamic,
            digest,
        })
    }
}

impl From<Claim> for wire::Claim {
    fn from(claim: Claim) -> Self {
        let Claim { submit, timer, window, digest } = claim;
        let timer = timer.map(|timer| Bytes::copy_from_slice(timer.as_bytes()));
        Self { submit: Some(submit.into()), timer, window: millis(window) as u64, digest }
    }
}

impl TryFrom<wire::Claim> for Claim {
    type Error = Unreadable;

    fn try_from(claim: wire::Claim) -> Result<Self, Unreadable> {
        let wire::Claim { submit, timer, window, digest } = claim;
        let timer =
            timer.map(|timer| TimerId::from_bytes(&timer).ok_or(Unreadable::Missing("timer"))).transpose()?;
        let submit = submit.ok_or(Unreadable::Missing("event"))?.try_into()?;
        Ok(Self { submit, timer, window: Duration::from_millis(window), digest })
    }
}
