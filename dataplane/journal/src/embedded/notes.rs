//! Bookkeeping: what the log knows beside records, and how it is written down. Pure.
//!
//! Notes travel in the same frames as records, so whatever must be atomic is. [`Image`] is what they add up to; a whole
//! one, as notes again, is what the manifest keeps so that old notes may go.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Buf;

use super::codec::{Corrupt, Part, put};
use crate::TopicSettings;

/// One thing to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// A topic, new or changed.
    Topic(String, TopicNote),
    /// A group's generation.
    Group(String, u64),
    /// What a group has committed for a partition.
    Offset(String, Part, Mark),
    /// The epoch of a transactional id.
    Producer(String, u64),
    /// The first offset that a partition keeps.
    Start(Part, u64),
    /// A partition's last record. Only a manifest says so: elsewhere the records themselves do.
    Tip(Part, u64, i64),
}

/// A topic as the log keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TopicNote {
    pub(super) id: u32,
    pub(super) settings: TopicSettings,
}

/// Where a partition begins and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tip {
    /// The first offset that it keeps.
    pub(super) start: u64,
    /// The offset that the next record gets.
    pub(super) next: u64,
    /// The timestamp that the next record gets at the least.
    pub(super) timestamp: i64,
}

/// What a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) offset: u64,
    pub(super) metadata: Arc<str>,
}

/// What a group has committed.
pub(super) type Offsets = BTreeMap<Part, Mark>;

/// All that a writer must know before it writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) topics: BTreeMap<String, TopicNote>,
    pub(super) tips: BTreeMap<u32, Vec<Tip>>,
    pub(super) groups: BTreeMap<String, u64>,
    pub(super) offsets: BTreeMap<String, Offsets>,
    pub(super) producers: BTreeMap<String, u64>,
}

impl Image {
    pub(super) fn tip(&mut self, part: Part) -> Option<&mut Tip> {
        self.tips.get_mut(&part.topic).and_then(|tips| tips.get_mut(part.partition as usize))
    }

    /// Adds what a note says.
    pub(super) fn apply(&mut self, note: Note) {
        match note {
            Note::Topic(name, note) => {
                let count = note.settings.partitions as usize;
                let tips = self.tips.entry(note.id).or_default();
                // A frame may be read again over a manifest that knows more: partitions only ever grow.
                tips.resize(count.max(tips.len()), Tip::default());
                self.topics.insert(name, note);
            }
            Note::Group(name, generation) => drop(self.groups.insert(name, generation)),
            Note::Offset(group, part, mark) => {
                self.offsets.entry(group).or_default().insert(part, mark);
            }
            Note::Producer(id, epoch) => drop(self.producers.insert(id, epoch)),
            Note::Start(part, start) => {
                if let Some(tip) = self.tip(part) {
                    tip.start = tip.start.max(start);
                }
            }
            Note::Tip(part, next, timestamp) => self.grow(part, next, timestamp),
        }
    }

    /// A partition has got records up to an offset.
    pub(super) fn grow(&mut self, part: Part, next: u64, timestamp: i64) {
        if let Some(tip) = self.tip(part) {
            tip.next = tip.next.max(next);
            tip.timestamp = tip.timestamp.max(timestamp);
        }
    }

    /// Notes that add up to this.
    pub(super) fn notes(&self) -> Vec<Note> {
        let mut notes: Vec<Note> =
            self.topics.iter().map(|(name, note)| Note::Topic(name.clone(), *note)).collect();
        for (topic, tips) in &self.tips {
            for (partition, tip) in (0..).zip(tips) {
                let part = Part { topic: *topic, partition };
                notes.extend([Note::Tip(part, tip.next, tip.timestamp), Note::Start(part, tip.start)]);
            }
        }
        notes.extend(self.groups.iter().map(|(name, generation)| Note::Group(name.clone(), *generation)));
        for (group, offsets) in &self.offsets {
            let note = |(part, mark): (&Part, &Mark)| Note::Offset(group.clone(), *part, mark.clone());
            notes.extend(offsets.iter().map(note));
        }
        notes.extend(self.producers.iter().map(|(id, epoch)| Note::Producer(id.clone(), *epoch)));
        notes
    }
}

const TOPIC: u8 = 1;
const GROUP: u8 = 2;
const OFFSET: u8 = 3;
const PRODUCER: u8 = 4;
const START: u8 = 5;
const TIP: u8 = 6;
const COMPACTED: u8 = 1;
const RESERVED: u8 = 2;
/// Stands for "for good" and "any number".
const NONE: u64 = u64::MAX;

impl Note {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Topic(name, TopicNote { id, settings }) => {
                begin(out, TOPIC, name);
                let compacted = if settings.compacted { COMPACTED } else { 0 };
                let reserved = if settings.reserved { RESERVED } else { 0 };
                out.push(compacted | reserved);
                out.extend_from_slice(&id.to_be_bytes());
                out.extend_from_slice(&settings.partitions.to_be_bytes());
                long(out, settings.max_record_bytes as u64);
                long(out, settings.retention.map_or(NONE, |retention| retention.as_millis() as u64));
                long(out, settings.retention_bytes.unwrap_or(NONE));
            }
            Self::Group(name, generation) => {
                begin(out, GROUP, name);
                long(out, *generation);
            }
            Self::Offset(group, at, mark) => {
                begin(out, OFFSET, group);
                part(out, *at);
                long(out, mark.offset);
                put(out, mark.metadata.as_bytes());
            }
            Self::Producer(id, epoch) => {
                begin(out, PRODUCER, id);
                long(out, *epoch);
            }
            Self::Start(at, start) => {
                out.push(START);
                part(out, *at);
                long(out, *start);
            }
            Self::Tip(at, next, timestamp) => {
                out.push(TIP);
                part(out, *at);
                long(out, *next);
                out.extend_from_slice(&timestamp.to_be_bytes());
            }
        }
    }

    /// Reads back what [`Note::encode`] wrote, however many there are.
    pub(super) fn decode_all(mut rest: &[u8]) -> Result<Vec<Self>, Corrupt> {
        let mut notes = Vec::new();
        while !rest.is_empty() {
            let note = decode(&mut rest).ok_or_else(|| Corrupt("a note does not decode".into()))?;
            notes.push(note);
        }
        Ok(notes)
    }
}

fn decode(rest: &mut &[u8]) -> Option<Note> {
    Some(match rest.try_get_u8().ok()? {
        TOPIC => {
            let name = text(rest)?;
            let flags = rest.try_get_u8().ok()?;
            let (id, partitions) = (rest.try_get_u32().ok()?, rest.try_get_u32().ok()?);
            let max_record_bytes = usize::try_from(rest.try_get_u64().ok()?).ok()?;
            let bounded = |number: u64| (number != NONE).then_some(number);
            let retention = bounded(rest.try_get_u64().ok()?).map(Duration::from_millis);
            let retention_bytes = bounded(rest.try_get_u64().ok()?);
            let (compacted, reserved) = (flags & COMPACTED != 0, flags & RESERVED != 0);
            let settings = TopicSettings {
                partitions,
                max_record_bytes,
                compacted,
                retention,
                retention_bytes,
                reserved,
                ..TopicSettings::default()
            };
            Note::Topic(name, TopicNote { id, settings })
        }
        GROUP => Note::Group(text(rest)?, rest.try_get_u64().ok()?),
        OFFSET => {
            let (group, at) = (text(rest)?, at(rest)?);
            Note::Offset(group, at, Mark { offset: rest.try_get_u64().ok()?, metadata: text(rest)?.into() })
        }
        PRODUCER => Note::Producer(text(rest)?, rest.try_get_u64().ok()?),
        START => Note::Start(at(rest)?, rest.try_get_u64().ok()?),
        TIP => Note::Tip(at(rest)?, rest.try_get_u64().ok()?, rest.try_get_i64().ok()?),
        _ => return None,
    })
}

fn begin(out: &mut Vec<u8>, tag: u8, name: &str) {
    out.push(tag);
    put(out, name.as_bytes());
}

fn part(out: &mut Vec<u8>, Part { topic, partition }: Part) {
    out.extend_from_slice(&topic.to_be_bytes());
    out.extend_from_slice(&partition.to_be_bytes());
}

fn long(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn at(rest: &mut &[u8]) -> Option<Part> {
    Some(Part { topic: rest.try_get_u32().ok()?, partition: rest.try_get_u32().ok()? })
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let len = rest.try_get_u32().ok()? as usize;
    let (text, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    std::str::from_utf8(text).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests;
