//! A member of a group: tells what it owns, hands out records, commits in its own name.
//!
//! What it owns is decided by the writer's thread, in the log's order, and arrives at its seat. Reads happen on the
//! polling task: each is bounded, and nearly always answered from the page cache in microseconds, where a thread of the
//! blocking pool would cost more than it saves.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
};

use tokio::time::Instant;

use super::{
    Embedded,
    codec::Part,
    gone,
    groups::Said,
    registry::{Bounds, Seat},
    request::{Commit, Request},
};
use crate::{CommitError, Committed, Error, Polled, Refusal, Tail, TopicPartition};

/// What one poll hands out at most: enough to keep the reader's cost per record low, little enough that partitions take
/// turns quickly.
const POLL_RECORDS: usize = 256;
const POLL_BYTES: usize = 1 << 20;

/// A member of a group on the embedded log.
#[derive(Debug)]
pub struct EmbeddedTail {
    log: Embedded,
    group: Arc<str>,
    seat: Arc<Seat>,
    /// Of the latest assignment heard of; none before the first.
    generation: u64,
    topics: Vec<String>,
    standing: Standing,
    readers: BTreeMap<TopicPartition, Reader>,
    /// Whose turn it is: the partition after the one that was served last.
    served: Option<TopicPartition>,
    left: bool,
}

/// In whose name a transaction commits offsets.
#[derive(Clone, Debug)]
pub struct EmbeddedMember {
    pub(super) group: Arc<str>,
    pub(super) generation: u64,
}

#[derive(Debug)]
enum Standing {
    /// Waits for an assignment, since then.
    Waiting(Instant),
    /// Owns what it was assigned; these are asked back.
    Member(BTreeSet<u32>),
    Lost,
}

#[derive(Debug)]
struct Reader {
    part: Part,
    bounds: Arc<Bounds>,
    /// Where to read on; nothing is read before a seek.
    next: Option<u64>,
    paused: bool,
    /// The end that was handed out last.
    told: Option<u64>,
}

impl EmbeddedTail {
    pub(super) async fn join(log: Embedded, group: &str, topics: Vec<String>) -> Result<Self, Error> {
        let seat = log.core().registry.seat();
        for topic in topics.iter().filter_map(|name| log.core().registry.topic(name)) {
            topic.listeners.add(&seat.wake);
        }
        let (name, member, read) = (group.to_owned(), seat.id, topics.clone());
        let joining = log.ask(|reply| Request::Join { group: name, member, topics: read, reply });
        // Made before it is answered: who stops waiting for the answer has left again.
        let tail = Self::new(log, group, seat, topics);
        joining.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(tail)
    }

    pub(super) fn new(log: Embedded, group: &str, seat: Arc<Seat>, topics: Vec<String>) -> Self {
        let (group, standing) = (group.into(), Standing::Waiting(Instant::now()));
        let (readers, served) = (BTreeMap::new(), None);
        Self { log, group, seat, generation: 0, topics, standing, readers, served, left: false }
    }

    #[cfg(test)]
    pub(super) fn wake(&self) -> &Arc<tokio::sync::Notify> {
        &self.seat.wake
    }

    /// What there is to say now, if anything.
    fn look(&mut self) -> Result<Option<Polled>, Error> {
        if self.log.is_closed() {
            return Err(Error::Unavailable("the log is closed".into()));
        }
        match self.seat.hear() {
            Some(said) => Ok(Some(self.heard(said))),
            None if matches!(self.standing, Standing::Lost) => Ok(None),
            None => self.serve(),
        }
    }

    fn heard(&mut self, said: Said) -> Polled {
        match said {
            Said::Assigned { generation, partitions } => {
                self.generation = generation;
                self.standing = Standing::Member(BTreeSet::new());
                Polled::Assigned { generation, partitions }
            }
            Said::Revoked(partitions) => {
                // What was read of them is still drained; more of it would only be handed out twice.
                self.readers.retain(|at, _| !partitions.contains(&at.partition));
                self.standing = Standing::Member(partitions.iter().copied().collect());
                Polled::Revoked(partitions)
            }
            Said::Lost(partitions) => {
                self.readers.clear();
                self.standing = Standing::Lost;
                Polled::Lost(partitions)
            }
        }
    }

    /// Serves the first partition that has something, beginning after the one served last.
    fn serve(&mut self) -> Result<Option<Polled>, Error> {
        let after = |at: &TopicPartition| self.served.as_ref().is_some_and(|served| at <= served);
        let mut order: Vec<&TopicPartition> = self.readers.keys().collect();
        order.sort_by_key(|at| after(at));
        let ready = order.into_iter().find(|at| self.readers.get(*at).is_some_and(Reader::ready)).cloned();
        let Some(at) = ready else { return Ok(None) };
        let Some(reader) = self.readers.get_mut(&at) else { return Ok(None) };
        let polled = reader.read(&self.log, &at);
        // Also when it failed: the others have their turn all the same.
        self.served = Some(at);
        polled.map(Some)
    }

    fn reader(&mut self, at: &TopicPartition) -> Option<&mut Reader> {
        if matches!(self.standing, Standing::Lost) || !self.topics.contains(&at.topic) {
            return None;
        }
        if !self.readers.contains_key(at) {
            let (part, bounds) = self.log.core().registry.partition(at).ok()?;
            let reader = Reader { part, bounds, next: None, paused: false, told: None };
            self.readers.insert(at.clone(), reader);
        }
        self.readers.get_mut(at)
    }

    /// Waits to be woken. Who has waited for long says so: others may be holding what it waits for.
    async fn wait(&mut self) {
        let patience = self.log.core().options.rebalance;
        // A wake-up that came since we looked is kept, so it is not lost.
        let woken = self.seat.wake.notified();
        let Standing::Waiting(since) = self.standing else { return woken.await };
        if tokio::time::timeout_at(since + patience, woken).await.is_err() {
            self.log.core().tell(Request::Evict { group: self.group.to_string() });
            self.standing = Standing::Waiting(Instant::now());
        }
    }
}

impl Reader {
    fn ready(&self) -> bool {
        let Some(next) = self.next.filter(|_| !self.paused) else { return false };
        let end = self.bounds.end();
        next < end || self.told != Some(end)
    }

    fn read(&mut self, log: &Embedded, at: &TopicPartition) -> Result<Polled, Error> {
        let next = self.next.unwrap_or_default();
        let (_, end) = self.bounds.within(next)?;
        if next < end {
            let part = self.part;
            let found = log.core().reading(|log| log.read(part, next, end, POLL_RECORDS, POLL_BYTES))?;
            // It may have gone while it was read.
            self.bounds.within(next)?;
            if let Some(last) = found.records.last() {
                self.next = Some(if found.more { last.offset + 1 } else { end });
                return Ok(Polled::Records(at.clone(), found.records));
            }
            // Nothing is left of what lay between.
            self.next = Some(end);
        }
        self.told = Some(end);
        Ok(Polled::End(at.clone(), end))
    }
}

impl Tail for EmbeddedTail {
    type Member = EmbeddedMember;

    fn member(&self) -> EmbeddedMember {
        EmbeddedMember { group: Arc::clone(&self.group), generation: self.generation }
    }

    async fn poll(&mut self) -> Result<Polled, Error> {
        loop {
            if let Some(polled) = self.look()? {
                return Ok(polled);
            }
            self.wait().await;
        }
    }

    fn seek(&mut self, at: &TopicPartition, offset: u64) {
        if let Some(reader) = self.reader(at) {
            (reader.next, reader.told) = (Some(offset), None);
        }
    }

    fn pause(&mut self, at: &TopicPartition, paused: bool) {
        if let Some(reader) = self.reader(at) {
            reader.paused = paused;
        }
    }

    fn commit(
        &mut self,
        offsets: Vec<Committed>,
    ) -> impl Future<Output = Result<(), CommitError>> + Send + 'static {
        let queued = self.log.offsets(offsets).map(|offsets| {
            let commit = Commit { group: self.group.to_string(), generation: self.generation, offsets };
            self.log.ask(|reply| Request::Commit { commit, reply })
        });
        async move {
            match queued?.await {
                Ok(answer) => answer,
                Err(gone) => Err(CommitError::Unknown(gone.to_string())),
            }
        }
    }

    fn release(&mut self, partitions: &[u32]) {
        let Standing::Member(asked) = &mut self.standing else { return };
        let given: Vec<u32> =
            partitions.iter().copied().filter(|partition| asked.remove(partition)).collect();
        if given.is_empty() {
            return;
        }
        if asked.is_empty() {
            self.standing = Standing::Waiting(Instant::now());
        }
        let group = self.group.to_string();
        self.log.core().tell(Request::Release { group, member: self.seat.id, partitions: given });
    }

    async fn leave(mut self) {
        self.left = true;
        let (group, member) = (self.group.to_string(), self.seat.id);
        let _ = self.log.ask(|reply| Request::Leave { group, member, reply: Some(reply) }).await;
    }
}

impl Drop for EmbeddedTail {
    fn drop(&mut self) {
        if !self.left {
            let group = self.group.to_string();
            self.log.core().tell(Request::Leave { group, member: self.seat.id, reply: None });
        }
    }
}

impl From<Refusal> for CommitError {
    fn from(refusal: Refusal) -> Self {
        Self::Rejected(refusal.to_string())
    }
}

#[cfg(test)]
mod tests;
