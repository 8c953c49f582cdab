//! What goes away, in the background: retention and compaction. Does I/O.
//!
//! A pass first moves starts, durably: what lies before them is out of range. Then it finds what compaction has made
//! superfluous ([`compact`]), and replaces runs of sealed segments that are mostly dead by one that holds what is left
//! ([`rewrite`]). Each replacement is one new manifest, so a crash leaves the old run or the new one. Offsets stay as they
//! are, gaps and all, and readers of a replaced file read it to its end.

mod compact;
mod rewrite;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::oneshot;

use self::compact::Compaction;
use super::{
    chain,
    codec::Part,
    core::Core,
    gone,
    index::Summary,
    log::Log,
    registry::Topic,
    request::{Request, Tidy},
};
use crate::Error;

/// The cleaner's thread.
pub(super) struct Cleaner {
    orders: mpsc::Sender<oneshot::Sender<Result<(), Error>>>,
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What its thread owns.
struct Work {
    core: Arc<Core>,
    stop: Arc<AtomicBool>,
    compactions: BTreeMap<Part, Compaction>,
    /// Segments that cannot be read through, by number. They stay as they are.
    damaged: BTreeSet<u64>,
}

/// What did not go well in a pass. The rest of the pass goes on.
#[derive(Default)]
struct Trouble(Option<Error>);

impl Cleaner {
    pub(super) fn start(core: Arc<Core>) -> io::Result<Self> {
        let (orders, ordered) = mpsc::channel::<oneshot::Sender<_>>();
        let stop = Arc::new(AtomicBool::new(false));
        let mut work =
            Work { core, stop: Arc::clone(&stop), compactions: BTreeMap::new(), damaged: BTreeSet::new() };
        let thread = thread::Builder::new().name("evhub-log-clean".into()).spawn(move || {
            loop {
                let order = ordered.recv_timeout(work.core.options.clean_every);
                match order {
                    _ if work.stopped() => return,
                    Ok(reply) => drop(reply.send(work.pass(true))),
                    // What went wrong has been said, and is tried again with the next pass.
                    Err(RecvTimeoutError::Timeout) => drop(work.pass(false)),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Self { orders, stop, thread: Mutex::new(Some(thread)) })
    }

    pub(super) async fn clean(&self) -> Result<(), Error> {
        let (reply, done) = oneshot::channel();
        self.orders.send(reply).map_err(|_| gone())?;
        done.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Has the thread end what it is at, and waits for that.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        // Wakes it; nobody waits for the answer.
        let _ = self.orders.send(oneshot::channel().0);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the log's cleaner had panicked");
        }
    }
}

impl Work {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Looks once at everything. A thorough pass takes in what is still being written, and leaves nothing for later. What
    /// fails is said, and keeps nothing else from being done; the first failure is given back.
    fn pass(&mut self, thorough: bool) -> Result<(), Error> {
        let now = now();
        let mut trouble = Trouble::default();
        let topics = self.core.registry.topics();
        if thorough || self.has_expired(&topics, now)? {
            trouble.note("segment", "the one that is written", self.ask(Tidy::Roll));
        }
        trouble.note("starts", "of partitions", self.trim(&topics, now));
        let log = self.core.log()?;
        let mut dead = BTreeMap::new();
        let tombstones = self.core.options.tombstones;
        let rule = compact::Rule { now, tombstones, thorough, stop: &self.stop };
        for topic in topics.iter().filter(|topic| topic.settings.compacted) {
            for (part, _) in topic.partitions() {
                let found = self.compactions.entry(part).or_default().look(&log, part, rule);
                let at = format_args!("{}/{}", topic.name, part.partition);
                dead.extend(trouble.note("partition", at, found).flatten().map(|found| (part, found)));
            }
        }
        self.replace(&log, &topics, &dead, thorough, &mut trouble);
        trouble.0.map_or(Ok(()), Err)
    }

    fn ask(&self, tidy: Tidy) -> Result<(), Error> {
        self.core.ask(|reply| Request::Tidy { tidy, reply }).blocking_recv().unwrap_or_else(|_| Err(gone()))
    }

    // === retention ===

    /// Whether something in the segment that is written should be gone already.
    fn has_expired(&self, topics: &[Arc<Topic>], now: i64) -> Result<bool, Error> {
        let log = self.core.log()?;
        let expired = |topic: &Arc<Topic>| {
            let Some(before) = expiry(topic, now) else { return false };
            topic.partitions().any(|(part, bounds)| {
                log.active.part(part).is_some_and(|it| it.timestamp < before && it.next > bounds.start())
            })
        };
        Ok(topics.iter().any(expired))
    }

    /// Moves the starts of partitions that hold too much or too old.
    fn trim(&self, topics: &[Arc<Topic>], now: i64) -> Result<(), Error> {
        let log = self.core.log()?;
        let mut starts = Vec::new();
        for topic in topics.iter().filter(|topic| !topic.settings.compacted) {
            let (before, most) = (expiry(topic, now), topic.settings.retention_bytes);
            if before.is_none() && most.is_none() {
                continue;
            }
            for (part, bounds) in topic.partitions() {
                let start = bounds.start();
                let moved =
                    kept_from(&log, part, start, before.unwrap_or(i64::MIN), most.unwrap_or(u64::MAX));
                starts.extend((moved > start).then_some((part, moved)));
            }
        }
        if starts.is_empty() { Ok(()) } else { self.ask(Tidy::Trim(starts)) }
    }
}

impl Trouble {
    fn note<T, E: Into<Error>>(
        &mut self,
        what: &str,
        which: impl fmt::Display,
        done: Result<T, E>,
    ) -> Option<T> {
        done.map_err(|error| {
            let error = error.into();
            tracing::warn!(what, %which, error = chain(&error), "not all of the log was cleaned");
            self.0.get_or_insert(error);
        })
        .ok()
    }
}

/// What is older than this goes.
fn expiry(topic: &Topic, now: i64) -> Option<i64> {
    let retention = topic.settings.retention.filter(|_| !topic.settings.compacted)?;
    Some(now.saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX)))
}

/// The first offset that a partition keeps: it gives up what a whole sealed segment has of it, oldest first, while that is
/// too old, or while what stays without it is still enough.
fn kept_from(log: &Log, part: Part, start: u64, before: i64, most: u64) -> u64 {
    let held = log.sealed.iter().filter_map(|segment| segment.part(part));
    let held: Vec<Summary> = held.filter(|held| held.next > start).collect();
    let mut bytes: u64 = held.iter().map(|held| held.bytes).sum();
    bytes += log.active.part(part).map_or(0, |held| held.bytes);
    let mut kept = start;
    for held in held {
        if held.timestamp >= before && bytes - held.bytes < most {
            break;
        }
        bytes -= held.bytes;
        kept = held.next;
    }
    kept
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
