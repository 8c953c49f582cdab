//! A member of a group: tells what it owns, hands out records, commits in its own name.
//!
//! The newest member of a group owns every partition; an older one hears [`Polled::Lost`], and the writer refuses its
//! commits from the moment the newer one's generation is in the log's order. Reads happen on the polling task: each is
//! bounded, and nearly always answered from memory or the page cache in microseconds, where a thread of the blocking
//! pool would cost more than it saves.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use super::{Embedded, codec::LogKey, plan, registry::Group};
use crate::{CommitError, Committed, Error, Polled, Refusal, Stored, Tail, TopicPartition};

/// What one poll hands out at most: enough to keep the reader's cost per record low, little enough that partitions take
/// turns quickly.
const POLL_RECORDS: usize = 256;
const POLL_BYTES: usize = 1 << 20;

/// A member of a group on the embedded log.
#[derive(Debug)]
pub struct EmbeddedTail {
    log: Embedded,
    name: String,
    group: Arc<Group>,
    generation: u64,
    topics: Vec<String>,
    /// How many partitions this member was told of; none before the first poll.
    assigned: u32,
    lost: bool,
    readers: BTreeMap<TopicPartition, Reader>,
    /// Whose turn it is: the partition after the one that was served last.
    served: Option<TopicPartition>,
    wake: Arc<Notify>,
}

#[derive(Debug)]
struct Reader {
    topic: u32,
    end: Arc<AtomicU64>,
    /// Where to read on; nothing is read before a seek.
    next: Option<u64>,
    paused: bool,
    /// The end that was handed out last.
    told: Option<u64>,
}

impl EmbeddedTail {
    pub(super) fn new(
        log: Embedded,
        name: &str,
        group: Arc<Group>,
        generation: u64,
        topics: Vec<String>,
        wake: Arc<Notify>,
    ) -> Self {
        let name = name.to_owned();
        let (readers, served) = (BTreeMap::new(), None);
        Self { log, name, group, generation, topics, assigned: 0, lost: false, readers, served, wake }
    }

    #[cfg(test)]
    pub(super) fn wake(&self) -> &Arc<Notify> {
        &self.wake
    }

    /// What there is to say now, if anything.
    fn look(&mut self) -> Result<Option<Polled>, Error> {
        if self.log.is_closed() {
            return Err(Error::Unavailable("the log is closed".into()));
        }
        if self.lost {
            return Ok(None);
        }
        if self.group.generation() != self.generation {
            self.lost = true;
            self.readers.clear();
            return Ok(Some(Polled::Lost((0..self.assigned).collect())));
        }
        if let Some(more) = self.assign() {
            return Ok(Some(more));
        }
        self.serve()
    }

    fn assign(&mut self) -> Option<Polled> {
        let counts = self.topics.iter().map(|topic| self.log.count(topic).unwrap_or(0));
        let count = counts.min().unwrap_or(0);
        let partitions: Vec<u32> = (self.assigned..count).collect();
        (!partitions.is_empty()).then(|| {
            self.assigned = count;
            Polled::Assigned { generation: self.generation, partitions }
        })
    }

    /// Serves the first partition that has something, beginning after the one served last.
    fn serve(&mut self) -> Result<Option<Polled>, Error> {
        let after = |at: &TopicPartition| self.served.as_ref().is_some_and(|served| at <= served);
        let mut order: Vec<&TopicPartition> = self.readers.keys().collect();
        order.sort_by_key(|at| after(at));
        let ready = order.into_iter().find(|at| self.readers.get(*at).is_some_and(Reader::ready)).cloned();
        let Some(at) = ready else { return Ok(None) };
        let Some(reader) = self.readers.get_mut(&at) else { return Ok(None) };
        let polled = reader.read(&self.log, &at)?;
        self.served = Some(at);
        Ok(polled)
    }

    fn reader(&mut self, at: &TopicPartition) -> Option<&mut Reader> {
        if self.lost || !self.topics.contains(&at.topic) {
            return None;
        }
        if !self.readers.contains_key(at) {
            let (topic, end) = self.log.core().registry.partition(at).ok()?;
            let reader = Reader { topic: topic.id, end, next: None, paused: false, told: None };
            self.readers.insert(at.clone(), reader);
        }
        self.readers.get_mut(at)
    }
}

impl Reader {
    fn ready(&self) -> bool {
        let Some(next) = self.next.filter(|_| !self.paused) else { return false };
        let end = self.end.load(Ordering::Acquire);
        next < end || self.told != Some(end)
    }

    /// `None` while the engine is being opened again; whoever does that wakes us.
    fn read(&mut self, log: &Embedded, at: &TopicPartition) -> Result<Option<Polled>, Error> {
        let end = self.end.load(Ordering::Acquire);
        let next = self.next.unwrap_or(end);
        if next < end {
            let key = LogKey { topic: self.topic, partition: at.partition, offset: next };
            let read = log.core().try_reading(|store| store.read(key, end, POLL_RECORDS, POLL_BYTES))?;
            let Some(records) = read else { return Ok(None) };
            if let Some(Stored { offset, .. }) = records.last() {
                self.next = Some(offset + 1);
                return Ok(Some(Polled::Records(at.clone(), records)));
            }
            // Nothing is left of what lay between.
            self.next = Some(end);
        }
        self.told = Some(end);
        Ok(Some(Polled::End(at.clone(), end)))
    }
}

impl Tail for EmbeddedTail {
    async fn poll(&mut self) -> Result<Polled, Error> {
        loop {
            if let Some(polled) = self.look()? {
                return Ok(polled);
            }
            // A wake-up that came since we looked is kept, so it is not lost.
            self.wake.notified().await;
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
            let (group, generation) = (self.name.clone(), self.generation);
            self.log.ask(|reply| plan::Request::Commit { group, generation, offsets, reply })
        });
        async move {
            match queued?.await {
                Ok(answer) => answer,
                Err(gone) => Err(CommitError::Unknown(gone.to_string())),
            }
        }
    }

    /// Nothing to do: partitions are never revoked here, only lost to a newer member.
    fn release(&mut self, _partitions: &[u32]) {}

    async fn leave(self) {}
}

impl From<Refusal> for CommitError {
    fn from(refusal: Refusal) -> Self {
        Self::Rejected(refusal.to_string())
    }
}

#[cfg(test)]
mod tests;
