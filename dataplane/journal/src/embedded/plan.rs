//! What one group commit will write, and what each request will hear. Pure: requests, what is known, the time and the
//! free space in; a frame's content and answers out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    codec::{Draft, Part},
    frame::{self, Chunks},
    groups::{Change, Groups, MemberId, Now, Said},
    notes::{Image, Note, TopicNote},
    request::{Commit, Noted, Pending, Request, Tidy, Work},
};
use crate::{CommitError, Error, Link, Position, Refusal, TopicSettings, TransactError, WriteError};

/// How much may be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    /// Bytes that the file system still has for us.
    pub(super) free: u64,
    /// Bytes that must stay free: for the log's own housekeeping, and to finish what was begun.
    pub(super) reserve: u64,
}

/// What is so while a batch is planned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Milliseconds since the Unix epoch.
    pub(super) now: i64,
    pub(super) instant: Instant,
    pub(super) space: Space,
    /// How long members may take to give partitions up.
    pub(super) patience: Duration,
}

/// One group commit.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) chunks: Chunks,
    pub(super) notes: Vec<Note>,
    pub(super) pending: Vec<Pending>,
    /// What members hear.
    pub(super) said: Vec<(MemberId, Said)>,
    /// What is to be done with the files afterwards.
    pub(super) tidy: Vec<(Tidy, Pending)>,
    /// Groups of which something begins or is said with this.
    pub(super) stirred: BTreeSet<String>,
    /// Why the first request was refused that found no room.
    pub(super) full: Option<String>,
    /// By how much the clock is behind the time of a partition, at the most, in milliseconds.
    pub(super) behind: i64,
    bytes: u64,
}

/// What each write costs beside its own bytes: its share of the frame, and the index.
const OVERHEAD: u64 = 128;

impl Plan {
    /// Plans these requests in order, answering at once those that are refused. `image` and `groups` become what will be
    /// true when the plan is written.
    pub(super) fn new(
        requests: Vec<Request>,
        image: &mut Image,
        groups: &mut Groups,
        moment: Moment,
    ) -> Self {
        let mut planning = Planning { plan: Self::default(), image, groups, moment };
        for request in requests {
            planning.add(request);
        }
        planning.plan
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.notes.is_empty()
    }

    /// Topics that get records.
    pub(super) fn grown(&self) -> BTreeSet<u32> {
        self.chunks.keys().map(|part| part.topic).collect()
    }
}

struct Planning<'a> {
    plan: Plan,
    image: &'a mut Image,
    groups: &'a mut Groups,
    moment: Moment,
}

impl Planning<'_> {
    fn add(&mut self, request: Request) {
        if request.is_behind() {
            return request.refuse(&Refusal::Behind);
        }
        if let Err(why) = self.room(&request) {
            request.refuse(&Refusal::Full(why.clone()));
            self.plan.full.get_or_insert(why);
            return;
        }
        match request {
            Request::Append { part, draft, link, reply, .. } => match self.append(part, draft) {
                Ok(position) => self.plan.pending.push(Pending::Append(position, link, reply)),
                Err(refusal) => {
                    link.iter().for_each(Link::tear);
                    drop(reply.send(Err(WriteError::Rejected(refusal))));
                }
            },
            Request::Transact { work, reply } => match self.transact(work) {
                Ok(positions) => self.plan.pending.push(Pending::Transact(positions, reply)),
                Err(error) => drop(reply.send(Err(error))),
            },
            Request::Produce { id, reply } => {
                let epoch = self.image.producers.get(&id).copied().unwrap_or(0) + 1;
                self.note(Note::Producer(id, epoch));
                self.plan.pending.push(Pending::Produce(epoch, reply));
            }
            Request::Commit { commit, reply } => match self.stale(&commit) {
                None => {
                    self.commit(commit);
                    self.plan.pending.push(Pending::Commit(reply));
                }
                Some((mine, current)) => drop(reply.send(Err(CommitError::Stale { mine, current }))),
            },
            Request::Join { group, member, topics, reply } => {
                self.regroup(&group, |groups, now| groups.join(&group, member, topics, now));
                self.plan.pending.push(Pending::Done(reply));
            }
            Request::Release { group, member, partitions } => {
                self.regroup(&group, |groups, now| groups.release(&group, member, &partitions, now));
            }
            Request::Leave { group, member, reply } => {
                self.regroup(&group, |groups, now| groups.leave(&group, member, now));
                self.plan.pending.extend(reply.map(Pending::Done));
            }
            Request::Evict { group } => {
                let patience = self.moment.patience;
                self.regroup(&group, |groups, now| groups.evict(&group, patience, now));
            }
            Request::Ensure { topic, settings, reply } => match self.ensure(&topic, settings) {
                Ok(()) => self.plan.pending.push(Pending::Done(reply)),
                Err(error) => drop(reply.send(Err(error))),
            },
            Request::Tidy { tidy: Tidy::Trim(starts), reply } => {
                for (part, start) in starts {
                    self.note(Note::Start(part, start));
                }
                self.plan.pending.push(Pending::Done(reply));
            }
            Request::Tidy { tidy, reply } => self.plan.tidy.push((tidy, Pending::Done(reply))),
        }
    }

    /// Takes the request's share of the free space, if there is room for it. What makes room is never refused.
    fn room(&mut self, request: &Request) -> Result<(), String> {
        let Space { free, reserve } = self.moment.space;
        let floor = match request {
            Request::Append { reserved: false, .. } => reserve,
            Request::Release { .. }
            | Request::Leave { .. }
            | Request::Evict { .. }
            | Request::Tidy { .. } => 0,
            _ => reserve / 2,
        };
        let planned = self.plan.bytes + request.size() as u64 + OVERHEAD;
        if floor > 0 && free < floor.saturating_add(planned) {
            return Err(format!("{free} bytes are free, of which {floor} are kept in reserve"));
        }
        self.plan.bytes = planned;
        Ok(())
    }

    fn note(&mut self, note: Note) {
        self.image.apply(note.clone());
        self.plan.notes.push(note);
    }

    // === records ===

    fn append(&mut self, part: Part, draft: Draft) -> Result<Position, Refusal> {
        // Its creation was not to last: the log failed before it was durable.
        let gone = || Refusal::UnknownTopic(format!("number {}", part.topic));
        let tip = self.image.tip(part).ok_or_else(gone)?;
        let (offset, timestamp) = (tip.next, tip.timestamp.max(self.moment.now));
        self.plan.behind = self.plan.behind.max(timestamp.saturating_sub(self.moment.now));
        (tip.next, tip.timestamp) = (offset + 1, timestamp);
        frame::add(self.plan.chunks.entry(part).or_default(), offset, timestamp, draft);
        Ok(Position { partition: part.partition, offset })
    }

    /// Passes over so many offsets, as the end of a transaction does, and what is left of one that was not to be.
    fn skip(&mut self, part: Part, count: u64) {
        let Some(tip) = self.image.tip(part) else { return };
        let from = tip.next;
        tip.next += count;
        frame::skip(self.plan.chunks.entry(part).or_default(), from, tip.next, tip.timestamp);
    }

    fn transact(&mut self, work: Work) -> Result<Vec<Position>, TransactError> {
        let Work { id, epoch, records, offsets } = work;
        let mut touched: BTreeMap<Part, u64> = BTreeMap::new();
        for (part, _) in &records {
            *touched.entry(*part).or_default() += 1;
        }
        if let Some(part) = touched.keys().copied().find(|part| self.image.tip(*part).is_none()) {
            return Err(TransactError::Rejected(Refusal::UnknownTopic(format!("number {}", part.topic))));
        }
        let fenced = self.image.producers.get(&id) != Some(&epoch);
        let stale = offsets.as_ref().and_then(|offsets| self.stale(offsets));
        let refused = match stale {
            _ if fenced => Some(TransactError::Fenced),
            Some((mine, current)) => Some(TransactError::Stale { mine, current }),
            None => None,
        };
        if let Some(error) = refused {
            // On Kafka its records lie there, aborted and hidden, and a marker behind them.
            for (part, count) in touched {
                self.skip(part, count + 1);
            }
            return Err(error);
        }
        let mut positions = Vec::with_capacity(records.len());
        for (part, draft) in records {
            positions.push(self.append(part, draft).map_err(TransactError::Rejected)?);
        }
        for part in touched.into_keys() {
            self.skip(part, 1);
        }
        if let Some(offsets) = offsets {
            self.commit(offsets);
        }
        Ok(positions)
    }

    // === groups ===

    fn stale(&self, commit: &Commit) -> Option<(u64, u64)> {
        let current = self.image.groups.get(&commit.group).copied().unwrap_or(0);
        (commit.generation != current).then_some((commit.generation, current))
    }

    fn commit(&mut self, commit: Commit) {
        let Commit { group, offsets, .. } = commit;
        for Noted { part, mark } in offsets {
            self.note(Note::Offset(group.clone(), part, mark));
        }
    }

    fn regroup(&mut self, group: &str, change: impl FnOnce(&mut Groups, Now<'_>) -> Change) {
        let (topics, at) = (&self.image.topics, self.moment.instant);
        let partitions = |topic: &str| topics.get(topic).map_or(0, |note| note.settings.partitions);
        let generation = self.image.groups.get(group).copied().unwrap_or(0);
        let change = change(self.groups, Now { at, generation, partitions: &partitions });
        self.changed(group, change);
    }

    fn changed(&mut self, group: &str, change: Change) {
        if !change.said.is_empty() || change.generation.is_some() {
            self.plan.stirred.insert(group.to_owned());
        }
        self.plan.said.extend(change.said);
        if let Some(generation) = change.generation {
            self.note(Note::Group(group.to_owned(), generation));
        }
    }

    // === topics ===

    fn ensure(&mut self, topic: &str, settings: TopicSettings) -> Result<(), Error> {
        let problem = |problem: String| Error::Settings { topic: topic.to_owned(), problem };
        let known = self.image.topics.get(topic).copied();
        let settings = known.map_or(settings, |note| settings.within(note.settings));
        let note = match known {
            _ if settings.partitions == 0 => return Err(problem("needs at least one partition".into())),
            None => {
                let id = self.image.topics.values().map(|note| note.id).max().map_or(1, |id| id + 1);
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
        self.note(Note::Topic(topic.to_owned(), note));
        if known.is_some_and(|known| known.settings.partitions < settings.partitions) {
            self.grown(topic);
        }
        Ok(())
    }

    fn grown(&mut self, topic: &str) {
        let (topics, at) = (&self.image.topics, self.moment.instant);
        let partitions = |topic: &str| topics.get(topic).map_or(0, |note| note.settings.partitions);
        let groups = &self.image.groups;
        let generation = |group: &str| groups.get(group).copied().unwrap_or(0);
        let changed = self.groups.grown(topic, at, &generation, &partitions);
        for (group, change) in changed {
            self.changed(&group, change);
        }
    }
}

#[cfg(test)]
mod tests;
