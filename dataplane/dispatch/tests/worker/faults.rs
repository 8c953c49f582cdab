//! The embedded log with a will of its own: it refuses, forgets to answer and revokes where a test says so.

use std::{
    collections::{BTreeSet, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use evhub_event::Record;
use evhub_journal::{
    CommitError, Committed, Embedded, Error, Journal, Link, Place, Polled, Position, Refusal, Slice, Tail,
    TopicPartition, TopicSettings, WriteError,
};
use tokio::sync::{Notify, watch};

/// What happens to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Refused; nothing is written.
    Rejected,
    /// Written, but the answer is lost.
    UnknownApplied,
    /// Not written, and nobody knows.
    UnknownLost,
    /// Another generation owns the group. Commits only.
    Stale,
}

type OnAppend = Box<dyn FnMut(&str, &Record) -> Option<Fault> + Send>;
type Answer = Pin<Box<dyn Future<Output = Result<(), CommitError>> + Send>>;
type OnCommit = Box<dyn FnMut(&[Committed]) -> Option<Fault> + Send>;

#[derive(Default)]
struct Plan {
    append: Option<OnAppend>,
    commit: Option<OnCommit>,
    polled: VecDeque<Polled>,
    released: Vec<u32>,
    commits: Vec<Vec<Committed>>,
    /// While it says true, `.state` topics' ends are not told.
    held: Option<watch::Receiver<bool>>,
    holds: u32,
    /// Partitions that nobody leads, of whatever topic.
    away: BTreeSet<u32>,
    /// How many reads of `.state` find a log that ends where they begin.
    behind: u32,
    /// How many that ask where `.state` ends are told that it is there.
    early: (u32, u64),
    /// Which topics of their names they are.
    identity: u64,
}

#[derive(Clone)]
pub(crate) struct Faulty {
    pub(crate) log: Embedded,
    plan: Arc<Mutex<Plan>>,
    wake: Arc<Notify>,
}

pub(crate) struct FaultyTail {
    tail: <Embedded as Journal>::Tail,
    of: Faulty,
}

impl Faulty {
    pub(crate) fn new(log: Embedded) -> Self {
        Self { log, plan: Arc::default(), wake: Arc::default() }
    }

    /// Asks about every append from now on.
    pub(crate) fn on_append(&self, hook: impl FnMut(&str, &Record) -> Option<Fault> + Send + 'static) {
        self.plan().append = Some(Box::new(hook));
    }

    /// Asks about every commit from now on.
    pub(crate) fn on_commit(&self, hook: impl FnMut(&[Committed]) -> Option<Fault> + Send + 'static) {
        self.plan().commit = Some(Box::new(hook));
    }

    /// Has the next poll return this.
    pub(crate) fn poll_next(&self, polled: Polled) {
        self.plan().polled.push_back(polled);
        self.wake.notify_one();
    }

    /// Keeps the ends of topics from being told until the gate is open.
    pub(crate) fn hold_ends(&self, gate: watch::Receiver<bool>) {
        self.plan().held = Some(gate);
    }

    /// So many reads of `.state` are answered by a broker that does not know yet what was written last.
    pub(crate) fn is_behind(&self, reads: u32) {
        self.plan().behind = reads;
    }

    /// So many that ask where `.state` ends are told so by a broker that does not know yet what was written behind.
    pub(crate) fn ends_early(&self, answers: u32, end: u64) {
        self.plan().early = (answers, end);
    }

    /// From now on all topics are others of the same names.
    pub(crate) fn is_remade(&self, identity: u64) {
        self.plan().identity = identity;
    }

    /// From now on nobody leads these partitions.
    pub(crate) fn nobody_leads(&self, partitions: impl IntoIterator<Item = u32>) {
        self.plan().away = partitions.into_iter().collect();
    }

    fn is_led(&self, at: &TopicPartition) -> Result<(), Error> {
        if self.plan().away.contains(&at.partition) {
            return Err(Error::Unavailable(format!("nobody leads {at}")));
        }
        Ok(())
    }

    /// How often an end was asked for while it was held.
    pub(crate) fn holds(&self) -> u32 {
        self.plan().holds
    }

    pub(crate) fn released(&self) -> Vec<u32> {
        self.plan().released.clone()
    }

    /// What was to be committed so far, whatever came of it.
    pub(crate) fn commits(&self) -> Vec<Vec<Committed>> {
        self.plan().commits.clone()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fires once, at the `n`-th time, from 1.
pub(crate) fn once(mut n: u32, fault: Fault) -> impl FnMut() -> Option<Fault> {
    move || {
        n = n.saturating_sub(1);
        let fires = n == 0;
        n = if fires { u32::MAX } else { n };
        fires.then_some(fault)
    }
}

impl Journal for Faulty {
    type Tail = FaultyTail;
    type Member = <Embedded as Journal>::Member;
    type Producer = <Embedded as Journal>::Producer;

    async fn ensure(&self, topic: &str, settings: TopicSettings) -> Result<(), Error> {
        self.log.ensure(topic, settings).await
    }

    fn partitions(&self, topic: &str) -> Option<u32> {
        self.log.partitions(topic)
    }

    async fn look_up(&self, topic: &str) -> Result<Option<u32>, Error> {
        self.log.look_up(topic).await
    }

    async fn identity(&self, _: &str) -> Result<u64, Error> {
        Ok(self.plan().identity)
    }

    fn append(
        &self,
        topic: &str,
        place: Place,
        record: Record,
    ) -> impl Future<Output = Result<Position, WriteError>> + Send + 'static {
        let fault = self.plan().append.as_mut().and_then(|hook| hook(topic, &record));
        let sent = !matches!(fault, Some(Fault::Rejected | Fault::UnknownLost));
        if fault.is_some() {
            place.link().into_iter().for_each(Link::tear);
        }
        let written = sent.then(|| self.log.append(topic, place, record));
        async move {
            let answer = match written {
                Some(written) => Some(written.await),
                None => None,
            };
            match (fault, answer) {
                (None, Some(answer)) => answer,
                (Some(Fault::Rejected), _) => Err(WriteError::Rejected(Refusal::Full("planted".into()))),
                _ => Err(WriteError::Unknown("planted".into())),
            }
        }
    }

    async fn producer(&self, id: &str) -> Result<Self::Producer, Error> {
        self.log.producer(id).await
    }

    async fn trim(&self, at: &TopicPartition, before: u64) -> Result<(), Error> {
        self.log.trim(at, before).await
    }

    async fn start(&self, at: &TopicPartition) -> Result<u64, Error> {
        self.is_led(at)?;
        self.log.start(at).await
    }

    async fn read(
        &self,
        at: &TopicPartition,
        from: u64,
        records: usize,
        bytes: usize,
    ) -> Result<Slice, Error> {
        self.is_led(at)?;
        let behind = {
            let mut plan = self.plan();
            let behind = plan.behind > 0 && at.topic == crate::world::STATE;
            plan.behind -= u32::from(behind);
            behind
        };
        if behind {
            return Ok(Slice { records: Vec::new(), next: from, end: from });
        }
        self.log.read(at, from, records, bytes).await
    }

    async fn end(&self, at: &TopicPartition) -> Result<u64, Error> {
        let held = self.plan().held.clone();
        self.plan().holds += u32::from(held.is_some());
        if let Some(mut gate) = held {
            let _ = gate.wait_for(|open| *open).await;
        }
        self.is_led(at)?;
        if at.topic == crate::world::STATE {
            let (answers, early) = &mut self.plan().early;
            if *answers > 0 {
                *answers -= 1;
                return Ok(*early);
            }
        }
        self.log.end(at).await
    }

    async fn offset_at(&self, at: &TopicPartition, instant: i64) -> Result<u64, Error> {
        self.is_led(at)?;
        self.log.offset_at(at, instant).await
    }

    async fn join(&self, group: &str, topics: &[String]) -> Result<Self::Tail, Error> {
        Ok(FaultyTail { tail: self.log.join(group, topics).await?, of: self.clone() })
    }

    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Committed>, Error> {
        self.log.committed(group, partitions).await
    }
}

impl Tail for FaultyTail {
    type Member = <Embedded as Journal>::Member;

    fn member(&self) -> Self::Member {
        self.tail.member()
    }

    async fn poll(&mut self) -> Result<Polled, Error> {
        loop {
            let planted = self.of.plan().polled.pop_front();
            if let Some(polled) = planted {
                return Ok(polled);
            }
            tokio::select! {
                () = self.of.wake.notified() => {}
                polled = self.tail.poll() => return polled,
            }
        }
    }

    fn seek(&mut self, at: &TopicPartition, offset: u64) {
        self.tail.seek(at, offset);
    }

    fn pause(&mut self, at: &TopicPartition, paused: bool) {
        self.tail.pause(at, paused);
    }

    fn commit(
        &mut self,
        offsets: Vec<Committed>,
    ) -> impl Future<Output = Result<(), CommitError>> + Send + 'static {
        let fault = {
            let mut plan = self.of.plan();
            plan.commits.push(offsets.clone());
            plan.commit.as_mut().and_then(|hook| hook(&offsets))
        };
        let sent = matches!(fault, None | Some(Fault::UnknownApplied));
        let written: Option<Answer> = sent.then(|| Box::pin(self.tail.commit(offsets)) as Answer);
        async move {
            let answer = match written {
                Some(written) => Some(written.await),
                None => None,
            };
            match (fault, answer) {
                (None, Some(answer)) => answer,
                (Some(Fault::Rejected), _) => Err(CommitError::Rejected("planted".into())),
                (Some(Fault::Stale), _) => Err(CommitError::Stale { mine: 1, current: 2 }),
                _ => Err(CommitError::Unknown("planted".into())),
            }
        }
    }

    fn release(&mut self, partitions: &[u32]) {
        self.of.plan().released.extend_from_slice(partitions);
        self.tail.release(partitions);
    }

    async fn leave(self) {
        self.tail.leave().await;
    }
}
