//! What one group commit will write, and what each request will hear. Pure: requests, what is known, the time and the
//! free space in; writes and answers out.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::oneshot;

use super::{
    codec::{self, Draft, LogKey, NoteKey, TopicNote},
    store::{Image, Tip, Writes},
};
use crate::{CommitError, Error, Position, Refusal, TopicSettings, WriteError};

/// Where an answer goes.
pub(super) type Reply<T, E> = oneshot::Sender<Result<T, E>>;

/// What the writer is asked.
#[derive(Debug)]
pub(super) enum Request {
    Append { topic: u32, partition: u32, reserved: bool, draft: Draft, reply: Reply<Position, WriteError> },
    Commit { group: String, generation: u64, offsets: Vec<Noted>, reply: Reply<(), CommitError> },
    Join { group: String, reply: Reply<u64, Error> },
    Ensure { topic: String, settings: TopicSettings, reply: Reply<(), Error> },
}

/// One offset of a commit.
#[derive(Debug)]
pub(super) struct Noted {
    pub(super) topic: u32,
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) metadata: String,
}

/// An answer that waits for the sync.
#[derive(Debug)]
pub(super) enum Pending {
    Append(Position, Reply<Position, WriteError>),
    Commit(Reply<(), CommitError>),
    Join(u64, Reply<u64, Error>),
    Ensure(Reply<(), Error>),
}

/// How much may be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    /// Bytes that the file system still has for us.
    pub(super) free: u64,
    /// Bytes that must stay free: for the engine's own housekeeping, and to finish what was begun.
    pub(super) reserve: u64,
}

/// One group commit.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) writes: Writes,
    pub(super) pending: Vec<Pending>,
    /// Topics that get records.
    pub(super) grown: BTreeSet<u32>,
    /// Topics that are new or changed.
    pub(super) ensured: BTreeSet<String>,
    /// Groups that get a new generation.
    pub(super) joined: BTreeMap<String, u64>,
    bytes: u64,
}

/// What each write costs beside its own bytes: keys, frames and the engine's index.
const OVERHEAD: u64 = 128;

impl Plan {
    /// Plans these requests in order, answering at once those that are refused. `image` becomes what will be true when
    /// the plan is written.
    pub(super) fn new(requests: Vec<Request>, image: &mut Image, now: i64, space: Space) -> Self {
        let mut plan = Self::default();
        for request in requests {
            plan.add(request, image, now, space);
        }
        plan
    }

    fn add(&mut self, request: Request, image: &mut Image, now: i64, space: Space) {
        let room = self.room(&request, space);
        match (request, room) {
            (request, Err(why)) => request.refuse(&Refusal::Full(why)),
            (Request::Append { topic, partition, draft, reply, .. }, Ok(())) => {
                self.append((topic, partition), draft, reply, image, now);
            }
            (Request::Commit { group, generation, offsets, reply }, Ok(())) => {
                let current = image.groups.get(&group).copied().unwrap_or(0);
                if generation == current {
                    self.commit(&group, offsets);
                    self.pending.push(Pending::Commit(reply));
                } else {
                    let _ = reply.send(Err(CommitError::Stale { mine: generation, current }));
                }
            }
            (Request::Join { group, reply }, Ok(())) => {
                let generation = image.groups.get(&group).copied().unwrap_or(0) + 1;
                self.writes.notes.insert(NoteKey::Group(&group).encode(), codec::encode_number(generation));
                self.joined.insert(group.clone(), generation);
                image.groups.insert(group, generation);
                self.pending.push(Pending::Join(generation, reply));
            }
            (Request::Ensure { topic, settings, reply }, Ok(())) => {
                match self.ensure(&topic, settings, image) {
                    Ok(()) => self.pending.push(Pending::Ensure(reply)),
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
        }
    }

    /// Takes the request's share of the free space, if there is room for it.
    fn room(&mut self, request: &Request, space: Space) -> Result<(), String> {
        let (size, floor) = match request {
            Request::Append { draft, reserved: false, .. } => (draft.len() as u64, space.reserve),
            request => (request.size() as u64, space.reserve / 2),
        };
        let planned = self.bytes + size + OVERHEAD;
        if space.free < floor.saturating_add(planned) {
            return Err(format!("{} bytes are free, of which {floor} are kept in reserve", space.free));
        }
        self.bytes = planned;
        Ok(())
    }

    fn append(
        &mut self,
        (topic, partition): (u32, u32),
        draft: Draft,
        reply: Reply<Position, WriteError>,
        image: &mut Image,
        now: i64,
    ) {
        let tip = image.tips.get_mut(&topic).and_then(|tips| tips.get_mut(partition as usize));
        let Some(tip) = tip else {
            // Its creation was not to last: the engine failed before it was durable.
            let _ = reply.send(Err(WriteError::Rejected(Refusal::UnknownTopic(format!("number {topic}")))));
            return;
        };
        let key = LogKey { topic, partition, offset: tip.next };
        let timestamp = tip.timestamp.max(now);
        *tip = Tip { next: tip.next + 1, timestamp };
        self.writes.records.push((key, draft.seal(key, timestamp)));
        self.grown.insert(topic);
        self.pending.push(Pending::Append(Position { partition, offset: key.offset }, reply));
    }

    fn commit(&mut self, group: &str, offsets: Vec<Noted>) {
        for Noted { topic, partition, offset, metadata } in offsets {
            let key = NoteKey::Offset(group, topic, partition).encode();
            self.writes.notes.insert(key, codec::encode_offset(offset, &metadata));
        }
    }

    fn ensure(&mut self, topic: &str, settings: TopicSettings, image: &mut Image) -> Result<(), Error> {
        let problem = |problem: String| Error::Settings { topic: topic.to_owned(), problem };
        let settings = image.topics.get(topic).map_or(settings, |note| settings.within(note.settings));
        let note = match image.topics.get(topic) {
            _ if settings.partitions == 0 => return Err(problem("needs at least one partition".into())),
            None => {
                let id = image.topics.values().map(|note| note.id).max().map_or(1, |id| id + 1);
                TopicNote { id, settings }
            }
            Some(note) if note.settings == settings => return Ok(()),
            Some(note) if settings.partitions < note.settings.partitions => {
                let (has, asked) = (note.settings.partitions, settings.partitions);
                return Err(problem(format!("has {has} partitions and cannot shrink to {asked}")));
            }
            Some(note) if note.settings.compacted != settings.compacted => {
                return Err(problem("cannot change between compacted and not".into()));
            }
            Some(note) => TopicNote { id: note.id, settings },
        };
        self.writes.notes.insert(NoteKey::Topic(topic).encode(), note.encode());
        image.tips.entry(note.id).or_default().resize(settings.partitions as usize, Tip::default());
        image.topics.insert(topic.to_owned(), note);
        self.ensured.insert(topic.to_owned());
        Ok(())
    }
}

impl Request {
    /// How many bytes it occupies while it waits.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Append { draft, .. } => draft.len(),
            Self::Commit { group, offsets, .. } => {
                offsets.iter().map(|offset| group.len() + offset.metadata.len() + 32).sum()
            }
            Self::Join { group: name, .. } | Self::Ensure { topic: name, .. } => name.len() + 32,
        }
    }

    /// Whether it helps to finish what was begun, and so goes before new events when room is scarce.
    pub(super) fn urgent(&self) -> bool {
        !matches!(self, Self::Append { reserved: false, .. })
    }

    /// Answers that nothing of it was or will be written.
    pub(super) fn refuse(self, refusal: &Refusal) {
        match self {
            Self::Append { reply, .. } => drop(reply.send(Err(WriteError::Rejected(refusal.clone())))),
            Self::Commit { reply, .. } => drop(reply.send(Err(CommitError::Rejected(refusal.to_string())))),
            Self::Join { reply, .. } => drop(reply.send(Err(Error::Unavailable(refusal.to_string())))),
            Self::Ensure { reply, .. } => drop(reply.send(Err(Error::Unavailable(refusal.to_string())))),
        }
    }
}

impl Pending {
    /// Answers that it is durable.
    pub(super) fn acknowledge(self) {
        match self {
            Self::Append(position, reply) => drop(reply.send(Ok(position))),
            Self::Commit(reply) => drop(reply.send(Ok(()))),
            Self::Join(generation, reply) => drop(reply.send(Ok(generation))),
            Self::Ensure(reply) => drop(reply.send(Ok(()))),
        }
    }

    /// Answers that nothing of it was written.
    pub(super) fn refuse(self, why: &str) {
        let unavailable = || Refusal::Unavailable(why.to_owned());
        match self {
            Self::Append(_, reply) => drop(reply.send(Err(WriteError::Rejected(unavailable())))),
            Self::Commit(reply) => drop(reply.send(Err(CommitError::Rejected(unavailable().to_string())))),
            Self::Join(_, reply) => drop(reply.send(Err(Error::Unavailable(why.to_owned())))),
            Self::Ensure(reply) => drop(reply.send(Err(Error::Unavailable(why.to_owned())))),
        }
    }

    /// Answers that it may have been written.
    pub(super) fn leave_unknown(self, why: &str) {
        match self {
            Self::Append(_, reply) => drop(reply.send(Err(WriteError::Unknown(why.to_owned())))),
            Self::Commit(reply) => drop(reply.send(Err(CommitError::Unknown(why.to_owned())))),
            Self::Join(_, reply) => drop(reply.send(Err(Error::Unavailable(why.to_owned())))),
            Self::Ensure(reply) => drop(reply.send(Err(Error::Unavailable(why.to_owned())))),
        }
    }
}

#[cfg(test)]
mod tests;
