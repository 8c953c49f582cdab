//! The log of `evhub dev`: in one folder, on one storage engine, in one process. Does I/O.
//!
//! - [`open`]: what can be set, and what can go wrong; [`core`]: what the parts share
//! - [`writer`]: the one thread that writes; [`queue`] before it, [`plan`] what it decides
//! - [`registry`]: topics and groups as they are durable
//! - [`tail`]: members of groups
//! - [`store`]: the engine; [`codec`] the bytes in it; [`mend`] its files after a power cut
//! - [`lock`]: one process per folder
//!
//! Reads run on the task that asks, not on the blocking pool: they are bounded by their caller, come from memory or the
//! page cache in all but rare cases, and take a few microseconds there, less than the two thread hops would.

mod codec;
mod core;
mod lock;
mod mend;
mod open;
mod plan;
mod queue;
mod registry;
mod store;
mod tail;
mod writer;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread::{self, JoinHandle},
};

pub use self::{
    open::{OpenError, Options},
    tail::EmbeddedTail,
};
use evhub_event::Record;
use tokio::sync::{Notify, oneshot, watch};

use self::{
    codec::{Draft, LogKey},
    core::Core,
    lock::Lock,
    plan::{Reply, Request},
    writer::Writer,
};
use crate::{
    CommitError, Committed, Error, Journal, MAX_METADATA, Place, Position, Refusal, Slice, TopicPartition,
    TopicSettings, WriteError,
};

/// The embedded log; clones share it. Closed when the last clone and the last member are gone.
#[derive(Clone, Debug)]
pub struct Embedded(Arc<Handle>);

/// What the writer leaves behind however it ends: nobody waits for it in vain. Appends that it had not answered end
/// unknown, later ones are refused.
struct Desk {
    core: Arc<Core>,
    /// Given up last, so that whoever hears of the end finds it complete.
    _working: watch::Sender<()>,
}

struct Handle {
    core: Arc<Core>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Closed when the writer's thread ends.
    working: watch::Receiver<()>,
    /// Given up last, after the engine's files are closed.
    _lock: Lock,
}

impl Embedded {
    /// Opens the log in a folder, making it first where there is none, and recovers whatever was acknowledged.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        Self::start(options, Writer::run)
    }

    fn start(options: Options, work: impl FnOnce(Writer) + Send + 'static) -> Result<Self, OpenError> {
        let (lock, core, image) = open::open(options)?;
        let core = Arc::new(core);
        let writer = Writer::new(Arc::clone(&core), image);
        let (working, ended) = watch::channel(());
        let desk = Desk { core: Arc::clone(&core), _working: working };
        let thread = thread::Builder::new().name("evhub-log".into()).spawn(move || {
            let _desk = desk;
            work(writer);
        });
        let thread = thread.map_err(|source| OpenError::Io { dir: core.dir.clone(), source })?;
        let writer = Mutex::new(Some(thread));
        Ok(Self(Arc::new(Handle { core, writer, working: ended, _lock: lock })))
    }

    /// Writes what waits, syncs, and closes the files. Later writes are refused. Blocks for as long as that takes.
    pub fn close(&self) {
        self.0.close();
    }

    /// Waits until nothing will be written any more: the log was closed, or its writer failed, which is a defect.
    pub async fn ended(&self) {
        let mut working = self.0.working.clone();
        while working.changed().await.is_ok() {}
    }

    fn core(&self) -> &Core {
        &self.0.core
    }

    fn is_closed(&self) -> bool {
        self.core().queue.is_closed()
    }

    fn count(&self, topic: &str) -> Option<u32> {
        self.core().registry.topic(topic).map(|topic| topic.settings.partitions)
    }

    /// Queues a request, now, and gives back where its answer will arrive. Refusals arrive there as well.
    fn ask<T, E>(&self, request: impl FnOnce(Reply<T, E>) -> Request) -> oneshot::Receiver<Result<T, E>> {
        let (reply, answer) = oneshot::channel();
        let request = request(reply);
        let (size, urgent) = (request.size(), request.urgent());
        if let Err((refusal, request)) = self.core().queue.push(request, size, urgent) {
            request.refuse(&refusal);
        }
        answer
    }

    /// Checks offsets that are to be committed.
    fn offsets(&self, offsets: Vec<Committed>) -> Result<Vec<plan::Noted>, CommitError> {
        let check = |Committed { partition: at, offset, metadata }: Committed| {
            if metadata.len() > MAX_METADATA {
                let len = metadata.len();
                return Err(CommitError::Rejected(format!(
                    "{len} bytes of metadata are over {MAX_METADATA}"
                )));
            }
            let found = self.core().registry.partition(&at);
            let (topic, _) = found.map_err(|error| CommitError::Rejected(error.to_string()))?;
            Ok(plan::Noted { topic: topic.id, partition: at.partition, offset, metadata })
        };
        offsets.into_iter().map(check).collect()
    }

    fn queue_append(
        &self,
        topic: &str,
        place: Place,
        record: &Record,
    ) -> Result<oneshot::Receiver<Result<Position, WriteError>>, Refusal> {
        let topic =
            self.core().registry.topic(topic).ok_or_else(|| Refusal::UnknownTopic(topic.to_owned()))?;
        let partition = topic.place(place, record.key.as_deref())?;
        let (size, limit) = (record.size(), topic.settings.max_record_bytes);
        if size > limit {
            return Err(Refusal::TooLarge { size, limit });
        }
        let (topic, reserved) = (topic.id, topic.settings.reserved || topic.settings.compacted);
        let draft = Draft::new(record);
        Ok(self.ask(|reply| Request::Append { topic, partition, reserved, draft, reply }))
    }

    fn read_now(
        &self,
        at: &TopicPartition,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Slice, Error> {
        let (topic, end) = self.core().registry.partition(at)?;
        let end = end.load(Ordering::Acquire);
        let key = LogKey { topic: topic.id, partition: at.partition, offset: from };
        let records = self.core().reading(|store| store.read(key, end, max_records, max_bytes))?;
        let next = match records.last() {
            Some(last) => last.offset + 1,
            None if max_records > 0 => from.max(end),
            None => from,
        };
        Ok(Slice { records, next, end })
    }

    fn offset_at_now(&self, at: &TopicPartition, instant: i64) -> Result<u64, Error> {
        let (topic, end) = self.core().registry.partition(at)?;
        let end = end.load(Ordering::Acquire);
        self.core().reading(|store| {
            // Timestamps never fall, so everything before `low` is earlier than the instant and nothing from `high` on.
            let (mut low, mut high) = (0, end);
            while low < high {
                let middle = low + (high - low) / 2;
                let key = LogKey { topic: topic.id, partition: at.partition, offset: middle };
                match store.first(key, high)? {
                    Some(found) if found.timestamp < instant => low = found.offset + 1,
                    Some(_) | None => high = middle,
                }
            }
            let key = LogKey { topic: topic.id, partition: at.partition, offset: low };
            Ok(store.first(key, end)?.map_or(end, |found| found.offset))
        })
    }

    fn committed_now(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Committed>, Error> {
        let registry = &self.core().registry;
        let keys = partitions.iter().map(|at| Ok((registry.partition(at)?.0.id, at.partition)));
        let keys: Vec<_> = keys.collect::<Result<_, Error>>()?;
        let found = self.core().reading(|store| store.offsets(group, &keys))?;
        let pairs = partitions.iter().zip(found);
        let committed = pairs.filter_map(|(at, found)| {
            let (offset, metadata) = found?;
            Some(Committed { partition: at.clone(), offset, metadata })
        });
        Ok(committed.collect())
    }
}

impl Journal for Embedded {
    type Tail = EmbeddedTail;

    async fn ensure(&self, topic: &str, settings: TopicSettings) -> Result<(), Error> {
        if self
            .core()
            .registry
            .topic(topic)
            .is_some_and(|topic| settings.within(topic.settings) == topic.settings)
        {
            return Ok(());
        }
        let topic = topic.to_owned();
        self.ask(|reply| Request::Ensure { topic, settings, reply }).await.unwrap_or_else(|_| Err(gone()))
    }

    fn partitions(&self, topic: &str) -> Option<u32> {
        self.count(topic)
    }

    /// What [`Options::max_waiting`] and [`Options::max_waiting_bytes`] bound.
    fn waiting(&self) -> Option<(usize, usize)> {
        Some(self.core().queue.waiting())
    }

    fn append(
        &self,
        topic: &str,
        place: Place,
        record: Record,
    ) -> impl Future<Output = Result<Position, WriteError>> + Send + 'static {
        // Queued here rather than when first polled: appends are in the log in the order of their calls.
        let queued = self.queue_append(topic, place, &record);
        async move {
            match queued.map_err(WriteError::Rejected)?.await {
                Ok(answer) => answer,
                Err(_) => Err(WriteError::Unknown(gone().to_string())),
            }
        }
    }

    async fn read(
        &self,
        at: &TopicPartition,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Slice, Error> {
        let slice = self.read_now(at, from, max_records, max_bytes);
        // Nothing above waits, so a long sequence of reads would keep its thread from everybody else's tasks.
        tokio::task::yield_now().await;
        slice
    }

    async fn end(&self, at: &TopicPartition) -> Result<u64, Error> {
        Ok(self.core().registry.partition(at)?.1.load(Ordering::Acquire))
    }

    async fn offset_at(&self, at: &TopicPartition, instant: i64) -> Result<u64, Error> {
        self.offset_at_now(at, instant)
    }

    async fn join(&self, group: &str, topics: &[String]) -> Result<Self::Tail, Error> {
        let wake = Arc::new(Notify::new());
        let mut counts = Vec::new();
        for name in topics {
            let topic = self.core().registry.topic(name).ok_or_else(|| Error::UnknownTopic(name.clone()))?;
            topic.listeners.add(&wake);
            counts.push((name, topic.settings.partitions));
        }
        if let Some((first, rest)) = counts.split_first()
            && let Some((other, has)) = rest.iter().find(|(_, count)| *count != first.1)
        {
            let problem = format!("has {has} partitions, but {} has {}", first.0, first.1);
            return Err(Error::Settings { topic: (*other).clone(), problem });
        }
        let name = group.to_owned();
        let joined = self.ask(|reply| Request::Join { group: name, reply }).await;
        let generation = joined.unwrap_or_else(|_| Err(gone()))?;
        let shared = self.core().registry.group(group);
        shared.listeners.add(&wake);
        Ok(EmbeddedTail::new(self.clone(), group, shared, generation, topics.to_vec(), wake))
    }

    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Committed>, Error> {
        self.committed_now(group, partitions)
    }
}

impl Handle {
    fn close(&self) {
        self.core.queue.close();
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the log's writer had panicked");
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!("the log's writer failed; nothing is written any more until the next start");
        }
        self.core.queue.abandon();
        self.core.registry.wake_all();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("dir", &self.core.dir).finish_non_exhaustive()
    }
}

/// The writer ended without an answer.
fn gone() -> Error {
    Error::Unavailable("its writer has ended".into())
}

#[cfg(test)]
mod tests;
