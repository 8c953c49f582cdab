//! The log of `evhub dev`: in one folder, in one process. Does I/O.
//!
//! - [`open`]: what can be set, and what can go wrong; [`core`]: what the parts share; [`lock`]: one process per folder
//! - [`writer`]: the one thread that writes; [`queue`] before it, [`request`]s in it, [`plan`] what it decides, [`groups`]
//!   who owns what
//! - [`registry`]: topics, groups and members as they are durable
//! - [`producer`], [`tail`]: who writes transactions, members of groups
//! - [`codec`], [`notes`], [`frame`]: records, bookkeeping and both together as bytes; [`probe`]: any bytes, given to these
//! - [`segment`], [`index`], [`log`], [`manifest`]: files of frames, where in them what is, reading across them, which there
//!   are; [`recover`]: what is there after a crash
//! - [`clean`]: what goes away, in the background
//!
//! Everything is in one sequence of frames, one frame and one fdatasync for each group commit: so whatever one frame holds,
//! of however many partitions, together with offsets and generations, is there whole or not at all.
//!
//! Reads run on the task that asks, not on the blocking pool: they are bounded by their caller, come from the page cache
//! in all but rare cases, and take a few microseconds there, less than the two thread hops would.

mod clean;
mod codec;
mod core;
mod frame;
mod groups;
mod index;
mod lock;
mod log;
mod manifest;
mod notes;
mod open;
mod plan;
pub mod probe;
mod producer;
mod queue;
mod recover;
mod registry;
mod request;
mod segment;
mod tail;
mod writer;

use std::{
    fmt,
    future::Future,
    io,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use evhub_event::Record;
use tokio::sync::{oneshot, watch};

use self::{
    clean::Cleaner,
    codec::{Corrupt, Draft, Part},
    core::Core,
    lock::Lock,
    notes::Mark,
    request::{Noted, Reply, Request, Tidy},
    writer::Writer,
};
pub use self::{
    open::{OpenError, Options},
    producer::EmbeddedProducer,
    tail::{EmbeddedMember, EmbeddedTail},
};
use crate::{
    CommitError, Committed, Error, Journal, Link, MAX_METADATA, Place, Position, Refusal, Slice,
    TopicPartition, TopicSettings, WriteError,
};

/// The format this code reads and writes. 1 was kept by a storage engine.
const FORMAT: u64 = 2;

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
    cleaner: Cleaner,
    /// Closed when the writer's thread ends.
    working: watch::Receiver<()>,
    /// Given up last, after the files are closed.
    _lock: Lock,
}

impl Embedded {
    /// Opens the log in a folder, making it first where there is none, and recovers whatever was acknowledged.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        Self::start(options, Writer::run)
    }

    fn start(options: Options, work: impl FnOnce(Writer) + Send + 'static) -> Result<Self, OpenError> {
        let (lock, core, opened) = open::open(options)?;
        let core = Arc::new(core);
        let writer = Writer::new(Arc::clone(&core), opened);
        let (working, ended) = watch::channel(());
        let desk = Desk { core: Arc::clone(&core), _working: working };
        let io = |source| OpenError::Io { dir: core.options.dir.clone(), source };
        let thread = thread::Builder::new().name("evhub-log".into()).spawn(move || {
            let _desk = desk;
            work(writer);
        });
        let writer = Mutex::new(Some(thread.map_err(io)?));
        let cleaner = Cleaner::start(Arc::clone(&core)).map_err(io)?;
        Ok(Self(Arc::new(Handle { core, writer, cleaner, working: ended, _lock: lock })))
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

    /// Has retention and compaction look now, thoroughly: everything written before is looked at, and whatever can go
    /// goes, be it little.
    pub async fn clean(&self) -> Result<(), Error> {
        self.0.cleaner.clean().await
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
        self.core().ask(request)
    }

    /// Checks offsets that are to be committed.
    fn offsets(&self, offsets: Vec<Committed>) -> Result<Vec<Noted>, CommitError> {
        let check = |Committed { partition: at, offset, metadata }: Committed| {
            if metadata.len() > MAX_METADATA {
                let len = metadata.len();
                return Err(CommitError::Rejected(format!(
                    "{len} bytes of metadata are over {MAX_METADATA}"
                )));
            }
            let found = self.core().registry.partition(&at);
            let (part, _) = found.map_err(|error| CommitError::Rejected(error.to_string()))?;
            Ok(Noted { part, mark: Mark { offset, metadata: metadata.into() } })
        };
        offsets.into_iter().map(check).collect()
    }

    /// Checks a record, and says where it goes and whether it may use the reserve.
    fn draft(&self, topic: &str, place: &Place, record: &Record) -> Result<(Part, bool, Draft), Refusal> {
        let topic =
            self.core().registry.topic(topic).ok_or_else(|| Refusal::UnknownTopic(topic.to_owned()))?;
        let part = topic.place(place, record.key.as_deref())?;
        let (size, limit) = (record.size(), topic.settings.max_record_bytes);
        if size > limit {
            return Err(Refusal::TooLarge { size, limit });
        }
        if topic.settings.compacted && record.key.is_none() {
            return Err(Refusal::NoKey(topic.name.clone()));
        }
        Ok((part, topic.settings.reserved || topic.settings.compacted, Draft::new(record)))
    }

    fn queue_append(
        &self,
        topic: &str,
        place: &Place,
        record: &Record,
    ) -> Result<oneshot::Receiver<Result<Position, WriteError>>, Refusal> {
        let link = place.link().cloned();
        if link.as_ref().is_some_and(|link| !link.holds()) {
            return Err(Refusal::Behind);
        }
        let drafted = self.draft(topic, place, record);
        let (part, reserved, draft) = drafted.inspect_err(|_| link.iter().for_each(Link::tear))?;
        Ok(self.ask(|reply| Request::Append { part, reserved, draft, link, reply }))
    }

    fn read_now(
        &self,
        at: &TopicPartition,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Slice, Error> {
        let (part, bounds) = self.core().registry.partition(at)?;
        let (_, end) = bounds.within(from)?;
        let found = self.core().reading(|log| log.read(part, from, end, max_records, max_bytes))?;
        // It may have gone while it was read.
        bounds.within(from)?;
        let next = match found.records.last() {
            Some(last) if found.more => last.offset + 1,
            None if found.more => from,
            _ => from.max(end),
        };
        Ok(Slice { records: found.records, next, end })
    }

    fn offset_at_now(&self, at: &TopicPartition, instant: i64) -> Result<u64, Error> {
        let (part, bounds) = self.core().registry.partition(at)?;
        let (start, end) = (bounds.start(), bounds.end());
        let found = self.core().reading(|log| log.first_at(part, instant, start..end))?;
        Ok(found.unwrap_or(end))
    }

    fn committed_now(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Committed>, Error> {
        let registry = &self.core().registry;
        let parts = partitions.iter().map(|at| registry.partition(at).map(|(part, _)| part));
        let parts: Vec<_> = parts.collect::<Result<_, Error>>()?;
        let pairs = partitions.iter().zip(registry.committed(group, &parts));
        let committed = pairs.filter_map(|(at, found)| {
            let Mark { offset, metadata } = found?;
            Some(Committed { partition: at.clone(), offset, metadata: (*metadata).to_owned() })
        });
        Ok(committed.collect())
    }
}

impl Journal for Embedded {
    type Tail = EmbeddedTail;
    type Member = EmbeddedMember;
    type Producer = EmbeddedProducer;

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

    async fn look_up(&self, topic: &str) -> Result<Option<u32>, Error> {
        Ok(self.partitions(topic))
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
        let queued = self.queue_append(topic, &place, &record);
        async move {
            match queued.map_err(WriteError::Rejected)?.await {
                Ok(answer) => answer,
                Err(_) => Err(WriteError::Unknown(gone().to_string())),
            }
        }
    }

    async fn producer(&self, id: &str) -> Result<Self::Producer, Error> {
        EmbeddedProducer::new(self.clone(), id).await
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

    async fn start(&self, at: &TopicPartition) -> Result<u64, Error> {
        Ok(self.core().registry.partition(at)?.1.start())
    }

    async fn trim(&self, at: &TopicPartition, before: u64) -> Result<(), Error> {
        let (part, bounds) = self.core().registry.partition(at)?;
        let before = before.min(bounds.end());
        if before <= bounds.start() {
            return Ok(());
        }
        let tidy = Tidy::Trim(vec![(part, before)]);
        self.ask(|reply| Request::Tidy { tidy, reply }).await.unwrap_or_else(|_| Err(gone()))
    }

    async fn end(&self, at: &TopicPartition) -> Result<u64, Error> {
        Ok(self.core().registry.partition(at)?.1.end())
    }

    async fn offset_at(&self, at: &TopicPartition, instant: i64) -> Result<u64, Error> {
        self.offset_at_now(at, instant)
    }

    async fn join(&self, group: &str, topics: &[String]) -> Result<Self::Tail, Error> {
        let mut counts = Vec::new();
        for name in topics {
            let topic = self.core().registry.topic(name).ok_or_else(|| Error::UnknownTopic(name.clone()))?;
            counts.push((name, topic.settings.partitions));
        }
        if let Some((first, rest)) = counts.split_first()
            && let Some((other, has)) = rest.iter().find(|(_, count)| *count != first.1)
        {
            let problem = format!("has {has} partitions, but {} has {}", first.0, first.1);
            return Err(Error::Settings { topic: (*other).clone(), problem });
        }
        EmbeddedTail::join(self.clone(), group, topics.to_vec()).await
    }

    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Committed>, Error> {
        self.committed_now(group, partitions)
    }
}

impl Handle {
    fn close(&self) {
        self.cleaner.stop();
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
        f.debug_struct("Handle").field("dir", &self.core.options.dir).finish_non_exhaustive()
    }
}

/// Why the files could not be read or written.
#[derive(Debug, thiserror::Error)]
enum StoreError {
    #[error("i/o failed")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    #[error("the folder has format {0}")]
    Format(u64),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt(corrupt) => Self::Damaged(corrupt.to_string()),
            error => Self::Unavailable(chain(&error)),
        }
    }
}

/// An error with its causes, as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The writer ended without an answer.
fn gone() -> Error {
    Error::Unavailable("its writer has ended".into())
}

#[cfg(test)]
mod tests;
