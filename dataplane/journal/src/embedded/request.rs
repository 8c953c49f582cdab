//! What the writer is asked, and how each request ends. No I/O.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{
    codec::{Draft, Part},
    groups::MemberId,
    notes::Mark,
    segment::Segment,
};
use crate::{CommitError, Error, Link, Position, Refusal, TopicSettings, TransactError, WriteError};

/// Where an answer goes.
pub(super) type Reply<T, E> = oneshot::Sender<Result<T, E>>;

/// What the writer is asked.
#[derive(Debug)]
pub(super) enum Request {
    Append {
        part: Part,
        reserved: bool,
        draft: Draft,
        link: Option<Link>,
        reply: Reply<Position, WriteError>,
    },
    Transact {
        work: Work,
        reply: Reply<Vec<Position>, TransactError>,
    },
    Produce {
        id: String,
        reply: Reply<u64, Error>,
    },
    Commit {
        commit: Commit,
        reply: Reply<(), CommitError>,
    },
    Join {
        group: String,
        member: MemberId,
        topics: Vec<String>,
        reply: Reply<(), Error>,
    },
    Release {
        group: String,
        member: MemberId,
        partitions: Vec<u32>,
    },
    Leave {
        group: String,
        member: MemberId,
        reply: Option<Reply<(), Error>>,
    },
    Evict {
        group: String,
    },
    Ensure {
        topic: String,
        settings: TopicSettings,
        reply: Reply<(), Error>,
    },
    Tidy {
        tidy: Tidy,
        reply: Reply<(), Error>,
    },
}

/// A transaction.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) id: String,
    pub(super) epoch: u64,
    pub(super) records: Vec<(Part, Draft)>,
    pub(super) offsets: Option<Commit>,
}

/// Offsets, in the name of a generation.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) group: String,
    pub(super) generation: u64,
    pub(super) offsets: Vec<Noted>,
}

/// One offset of a commit.
#[derive(Debug)]
pub(super) struct Noted {
    pub(super) part: Part,
    pub(super) mark: Mark,
}

/// What the cleaner wants.
#[derive(Debug)]
pub(super) enum Tidy {
    /// These partitions begin later now.
    Trim(Vec<(Part, u64)>),
    /// What was written so far shall be in sealed segments.
    Roll,
    /// These sealed segments are replaced by one that holds what is left of them, or by none.
    Swap { old: Vec<Arc<Segment>>, new: Option<Arc<Segment>> },
}

/// An answer that waits for the sync.
#[derive(Debug)]
pub(super) enum Pending {
    Append(Position, Option<Link>, Reply<Position, WriteError>),
    Transact(Vec<Position>, Reply<Vec<Position>, TransactError>),
    Produce(u64, Reply<u64, Error>),
    Commit(Reply<(), CommitError>),
    Done(Reply<(), Error>),
}

impl Request {
    /// How many bytes it occupies while it waits.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Append { draft, .. } => draft.len(),
            Self::Transact { work, .. } => {
                let records: usize = work.records.iter().map(|(_, draft)| draft.len()).sum();
                records + work.offsets.as_ref().map_or(0, Commit::size)
            }
            Self::Commit { commit, .. } => commit.size(),
            Self::Join { group: name, .. }
            | Self::Ensure { topic: name, .. }
            | Self::Produce { id: name, .. } => name.len() + 64,
            Self::Tidy { tidy: Tidy::Trim(starts), .. } => starts.len() * 24,
            Self::Release { .. } | Self::Leave { .. } | Self::Evict { .. } | Self::Tidy { .. } => 64,
        }
    }

    /// Whether it helps to finish what was begun, and so goes before new events when room is scarce.
    pub(super) fn urgent(&self) -> bool {
        !matches!(self, Self::Append { reserved: false, .. })
    }

    /// Whether it stands behind what was not taken, and must not pass it.
    pub(super) fn is_behind(&self) -> bool {
        matches!(self, Self::Append { link: Some(link), .. } if !link.holds())
    }

    /// Whether it must not be refused: who asks for it does not ask twice.
    pub(super) fn must_arrive(&self) -> bool {
        matches!(self, Self::Release { .. } | Self::Leave { .. })
    }

    /// Answers that nothing of it was or will be written.
    pub(super) fn refuse(self, refusal: &Refusal) {
        let error = || Error::Unavailable(refusal.to_string());
        match self {
            Self::Append { link, reply, .. } => {
                link.iter().for_each(Link::tear);
                drop(reply.send(Err(WriteError::Rejected(refusal.clone()))));
            }
            Self::Transact { reply, .. } => drop(reply.send(Err(TransactError::Rejected(refusal.clone())))),
            Self::Commit { reply, .. } => drop(reply.send(Err(CommitError::Rejected(refusal.to_string())))),
            Self::Produce { reply, .. } => drop(reply.send(Err(error()))),
            Self::Join { reply, .. }
            | Self::Ensure { reply, .. }
            | Self::Tidy { reply, .. }
            | Self::Leave { reply: Some(reply), .. } => drop(reply.send(Err(error()))),
            Self::Leave { reply: None, .. } | Self::Release { .. } | Self::Evict { .. } => {}
        }
    }
}

impl Commit {
    fn size(&self) -> usize {
        self.offsets.iter().map(|offset| self.group.len() + offset.mark.metadata.len() + 32).sum()
    }
}

impl Pending {
    /// Answers that it is durable.
    pub(super) fn acknowledge(self) {
        match self {
            Self::Append(position, _, reply) => drop(reply.send(Ok(position))),
            Self::Transact(positions, reply) => drop(reply.send(Ok(positions))),
            Self::Produce(epoch, reply) => drop(reply.send(Ok(epoch))),
            Self::Commit(reply) => drop(reply.send(Ok(()))),
            Self::Done(reply) => drop(reply.send(Ok(()))),
        }
    }

    /// Answers that nothing of it was written.
    pub(super) fn refuse(self, why: &str) {
        let refusal = Refusal::Unavailable(why.to_owned());
        match self {
            Self::Append(_, link, reply) => {
                link.iter().for_each(Link::tear);
                drop(reply.send(Err(WriteError::Rejected(refusal))));
            }
            Self::Transact(_, reply) => drop(reply.send(Err(TransactError::Rejected(refusal)))),
            Self::Produce(_, reply) => drop(reply.send(Err(Error::Unavailable(why.to_owned())))),
            Self::Commit(reply) => drop(reply.send(Err(CommitError::Rejected(refusal.to_string())))),
            Self::Done(reply) => drop(reply.send(Err(Error::Unavailable(why.to_owned())))),
        }
    }

    /// Answers that it may have been written.
    pub(super) fn leave_unknown(self, why: &str) {
        match self {
            Self::Append(_, link, reply) => {
                link.iter().for_each(Link::tear);
                drop(reply.send(Err(WriteError::Unknown(why.to_owned()))));
            }
            Self::Transact(_, reply) => drop(reply.send(Err(TransactError::Unknown(why.to_owned())))),
            Self::Produce(_, reply) => drop(reply.send(Err(Error::Unavailable(why.to_owned())))),
            Self::Commit(reply) => drop(reply.send(Err(CommitError::Unknown(why.to_owned())))),
            Self::Done(reply) => drop(reply.send(Err(Error::Unavailable(why.to_owned())))),
        }
    }
}
