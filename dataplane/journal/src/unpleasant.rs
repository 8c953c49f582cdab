//! A log that behaves as badly as it may, at random from a seed: for tests of those who use one.
//!
//! Whatever it does, Kafka does on some day: answers come late and in another order, offsets have gaps, writes end unknown
//! though they were applied, or were not, or are refused; reads bring less than was asked for, and members are made to
//! give everything up for nothing. It breaks no promise of [`Journal`]; who relies on more than those finds out here.

use std::{
    future::Future,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use evhub_event::Record;
use tokio::time::sleep;

use crate::{
    CommitError, Committed, Error, Journal, Link, Place, Polled, Position, Producer, Refusal, Slice, Tail,
    TopicPartition, TopicSettings, TransactError, Transaction, WriteError,
};

/// How often each thing happens, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// An answer, or something to know, comes late.
    pub late: u64,
    /// Offsets are used up where a topic is made or joined, as an aborted transaction does.
    pub gaps: u64,
    /// A write is refused.
    pub refused: u64,
    /// A write ends unknown: every other one was applied.
    pub unknown: u64,
    /// A read brings less than it could.
    pub short: u64,
    /// Before a poll, a member comes and goes again.
    pub rebalance: u64,
}

/// The wrapped log.
#[derive(Clone, Debug)]
pub struct Unpleasant<J> {
    log: J,
    faults: Faults,
    dice: Arc<AtomicU64>,
}

/// A member that has a bad time.
#[derive(Debug)]
pub struct UnpleasantTail<J: Journal> {
    of: Unpleasant<J>,
    tail: J::Tail,
    group: String,
    topics: Vec<String>,
    /// Polled, and not told yet.
    late: Option<Polled>,
}

/// A producer that has one.
#[derive(Debug)]
pub struct UnpleasantProducer<J: Journal> {
    of: Unpleasant<J>,
    producer: J::Producer,
    spent: bool,
}

impl Faults {
    /// What nobody can notice who relies on nothing but the promises: nothing fails.
    pub fn mild() -> Self {
        Self { late: 200, gaps: 500, ..Self::default() }
    }

    /// Everything.
    pub fn harsh() -> Self {
        Self { late: 200, gaps: 500, refused: 50, unknown: 50, short: 300, rebalance: 20 }
    }
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Fine,
    Refused,
    Applied,
    Forgotten,
}

const PLANTED: &str = "planted";

impl<J: Journal> Unpleasant<J> {
    /// Wraps a log. The same seed and the same calls in the same order have the same faults.
    pub fn new(log: J, seed: u64, faults: Faults) -> Self {
        Self { log, faults, dice: Arc::new(AtomicU64::new(seed)) }
    }

    /// A new seed, or the one in `EVHUB_TEST_SEED`. Print it.
    pub fn seed() -> u64 {
        let given = std::env::var("EVHUB_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        given.unwrap_or_else(|| RandomState::new().build_hasher().finish())
    }

    fn roll(&self) -> u64 {
        // splitmix64.
        let state = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn happens(&self, thousandths: u64) -> bool {
        self.roll() % 1_000 < thousandths
    }

    fn fate(&self) -> Fate {
        match self.roll() % 1_000 {
            dice if dice < self.faults.refused => Fate::Refused,
            dice if dice < self.faults.refused + self.faults.unknown => {
                if self.roll().is_multiple_of(2) {
                    Fate::Applied
                } else {
                    Fate::Forgotten
                }
            }
            _ => Fate::Fine,
        }
    }

    /// How long an answer is held back.
    fn delay(&self) -> Option<Duration> {
        self.happens(self.faults.late).then(|| Duration::from_micros(self.roll() % 2_000))
    }

    /// Uses up offsets of some partitions.
    async fn leave_gaps(&self, topic: &str) -> Result<(), Error> {
        for partition in 0..self.log.partitions(topic).unwrap_or(0) {
            if self.happens(self.faults.gaps) {
                let mut fenced = self.log.producer("unpleasant").await?;
                let _successor = self.log.producer("unpleasant").await?;
                let record = Record { key: Some("unpleasant".into()), ..Record::default() };
                let records = vec![(topic.to_owned(), Place::Partition(partition), record)];
                let _ = fenced.commit(Transaction { records, offsets: None }).await;
            }
        }
        Ok(())
    }
}

async fn late(delay: Option<Duration>) {
    if let Some(delay) = delay {
        sleep(delay).await;
    }
}

/// Waits for what was written, if anything was, and says how it ended or is said to have.
async fn told<T, E>(
    (fate, delay): (Fate, Option<Duration>),
    written: Option<impl Future<Output = Result<T, E>>>,
    refused: E,
    unknown: E,
) -> Result<T, E> {
    let answer = match written {
        Some(written) => Some(written.await),
        None => None,
    };
    late(delay).await;
    match (fate, answer) {
        (Fate::Fine, Some(answer)) => answer,
        (Fate::Refused, _) => Err(refused),
        _ => Err(unknown),
    }
}

impl<J: Journal> Journal for Unpleasant<J> {
    type Tail = UnpleasantTail<J>;
    type Member = J::Member;
    type Producer = UnpleasantProducer<J>;

    async fn ensure(&self, topic: &str, settings: TopicSettings) -> Result<(), Error> {
        self.log.ensure(topic, settings).await?;
        self.leave_gaps(topic).await
    }

    fn partitions(&self, topic: &str) -> Option<u32> {
        self.log.partitions(topic)
    }

    async fn look_up(&self, topic: &str) -> Result<Option<u32>, Error> {
        self.log.look_up(topic).await
    }

    async fn identity(&self, topic: &str) -> Result<u64, Error> {
        self.log.identity(topic).await
    }

    fn waiting(&self) -> Option<(usize, usize)> {
        self.log.waiting()
    }

    fn append(
        &self,
        topic: &str,
        place: Place,
        record: Record,
    ) -> impl Future<Output = Result<Position, WriteError>> + Send + 'static {
        let (fate, delay) = (self.fate(), self.delay());
        let link = place.link().cloned();
        let behind = link.as_ref().is_some_and(|link| !link.holds());
        let fate = if behind { Fate::Refused } else { fate };
        let written =
            matches!(fate, Fate::Fine | Fate::Applied).then(|| self.log.append(topic, place, record));
        if fate != Fate::Fine {
            link.iter().for_each(Link::tear);
        }
        let refused = WriteError::Rejected(if behind { Refusal::Behind } else { Refusal::Busy });
        told((fate, delay), written, refused, WriteError::Unknown(PLANTED.into()))
    }

    async fn producer(&self, id: &str) -> Result<Self::Producer, Error> {
        let producer = self.log.producer(id).await?;
        late(self.delay()).await;
        Ok(UnpleasantProducer { of: self.clone(), producer, spent: false })
    }

    async fn read(
        &self,
        at: &TopicPartition,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Slice, Error> {
        let short = self.happens(self.faults.short) && max_records > 1;
        let most = if short { 1 + (self.roll() as usize) % 3 } else { max_records };
        self.log.read(at, from, most.min(max_records), max_bytes).await
    }

    async fn trim(&self, at: &TopicPartition, before: u64) -> Result<(), Error> {
        self.log.trim(at, before).await
    }

    async fn start(&self, at: &TopicPartition) -> Result<u64, Error> {
        self.log.start(at).await
    }

    async fn end(&self, at: &TopicPartition) -> Result<u64, Error> {
        self.log.end(at).await
    }

    async fn offset_at(&self, at: &TopicPartition, instant: i64) -> Result<u64, Error> {
        self.log.offset_at(at, instant).await
    }

    async fn join(&self, group: &str, topics: &[String]) -> Result<Self::Tail, Error> {
        for topic in topics {
            self.leave_gaps(topic).await?;
        }
        let tail = self.log.join(group, topics).await?;
        let (group, topics) = (group.to_owned(), topics.to_vec());
        Ok(UnpleasantTail { of: self.clone(), tail, group, topics, late: None })
    }

    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Committed>, Error> {
        self.log.committed(group, partitions).await
    }
}

impl<J: Journal> Tail for UnpleasantTail<J> {
    type Member = J::Member;

    fn member(&self) -> J::Member {
        self.tail.member()
    }

    async fn poll(&mut self) -> Result<Polled, Error> {
        if self.of.happens(self.of.faults.rebalance) {
            drop(self.of.log.join(&self.group, &self.topics).await);
        }
        if self.late.is_none() {
            self.late = Some(self.tail.poll().await?);
            // Whoever stops polling here hears it the next time.
            late(self.of.delay()).await;
        }
        self.late.take().ok_or_else(|| Error::Unavailable(PLANTED.into()))
    }

    fn seek(&mut self, at: &TopicPartition, offset: u64) {
        self.forget(at);
        self.tail.seek(at, offset);
    }

    fn pause(&mut self, at: &TopicPartition, paused: bool) {
        self.tail.pause(at, paused);
    }

    fn commit(
        &mut self,
        offsets: Vec<Committed>,
    ) -> impl Future<Output = Result<(), CommitError>> + Send + 'static {
        let (fate, delay) = (self.of.fate(), self.of.delay());
        let written = matches!(fate, Fate::Fine | Fate::Applied).then(|| self.tail.commit(offsets));
        let (refused, unknown) =
            (CommitError::Rejected(PLANTED.into()), CommitError::Unknown(PLANTED.into()));
        told((fate, delay), written, refused, unknown)
    }

    fn release(&mut self, partitions: &[u32]) {
        self.tail.release(partitions);
    }

    async fn leave(self) {
        self.tail.leave().await;
    }
}

impl<J: Journal> UnpleasantTail<J> {
    /// What was read before a seek is of no use after it.
    fn forget(&mut self, sought: &TopicPartition) {
        if matches!(&self.late, Some(Polled::Records(at, _) | Polled::End(at, _)) if at == sought) {
            self.late = None;
        }
    }
}

impl<J: Journal> Producer for UnpleasantProducer<J> {
    type Member = J::Member;

    async fn commit(&mut self, transaction: Transaction<J::Member>) -> Result<Vec<Position>, TransactError> {
        if self.spent {
            return Err(TransactError::Rejected(Refusal::Unavailable(PLANTED.into())));
        }
        let (fate, delay) = (self.of.fate(), self.of.delay());
        self.spent = fate != Fate::Fine;
        let answer = match fate {
            Fate::Fine | Fate::Applied => self.producer.commit(transaction).await,
            Fate::Refused => Err(TransactError::Rejected(Refusal::Busy)),
            Fate::Forgotten => Err(TransactError::Unknown(PLANTED.into())),
        };
        late(delay).await;
        if fate == Fate::Applied { Err(TransactError::Unknown(PLANTED.into())) } else { answer }
    }
}
