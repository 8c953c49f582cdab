//! One member of a group. What the group's user calls is here; the thread that polls is in [`poller`].
//!
//! A thread of its own polls the client, because only a poll hears of a rebalance, and because a commit must be made by whoever
//! polls: the client puts *its present* generation on a commit, so one made beside a rebalance would speak for a generation that
//! its caller has not heard of. The thread is told by commands and tells by events; it is never kept waiting.
//!
//! Partitions are assigned paused; a seek begins to read. What was read before a seek carries an older number, and is dropped
//! here.

mod group;
mod poller;
mod pulse;

pub(crate) use self::poller::list_of;

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use evhub_journal::{CommitError, Committed, Error, Journal as _, MAX_METADATA, Polled, TopicPartition};
use rdkafka::consumer::ConsumerGroupMetadata;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use self::poller::{Command, Event, Poller, Told};
use crate::{Kafka, Parts};

/// How long a partition is at its end before it is looked at whether that end has moved without a record.
const QUIET: Duration = Duration::from_secs(1);

/// Whose offsets a transaction commits.
#[derive(Clone)]
pub struct Member {
    pub(crate) generation: u64,
    pub(crate) metadata: Option<Arc<ConsumerGroupMetadata>>,
}

/// One member of a group.
pub struct Tail {
    kafka: Kafka,
    poller: poller::Handle,
    events: mpsc::UnboundedReceiver<Event>,
    member: Member,
    topics: Vec<String>,
    owned: Vec<u32>,
    places: BTreeMap<TopicPartition, Place>,
    /// The partition that is being looked at whether its end has moved. It is asked once, however often a poll is dropped.
    looking: Option<JoinHandle<Looked>>,
    /// Why the brokers do not have it as a member.
    refused: Option<Error>,
}

/// Where a partition was to be read next, and where it is if its end has moved since.
struct Looked {
    at: TopicPartition,
    next: u64,
    end: Option<u64>,
}

/// What is known of one partition.
#[derive(Default)]
struct Place {
    /// Which seek the events that count belong to.
    seek: u64,
    paused: bool,
    /// What came while it was paused.
    held: VecDeque<Told>,
    /// Where it is to be read next.
    next: u64,
    /// Since when it has been at an end that may have moved.
    quiet: Option<Instant>,
    /// What was to be read is gone.
    gone: bool,
}

impl Tail {
    pub(crate) fn join(parts: Arc<Parts>, group: &str, topics: &[String]) -> Result<Self, Error> {
        let (tell, events) = mpsc::unbounded_channel();
        let poller = Poller::start(parts.current.clone(), group, topics, tell)?;
        Ok(Self {
            kafka: Kafka(parts),
            poller,
            events,
            member: Member { generation: 0, metadata: None },
            topics: topics.to_vec(),
            owned: Vec::new(),
            places: BTreeMap::new(),
            looking: None,
            refused: None,
        })
    }

    /// What was held back and need not be any more.
    fn held(&mut self) -> Option<Polled> {
        let place = self.places.iter_mut().find(|(_, place)| !place.paused && !place.held.is_empty());
        let (at, told) = place.and_then(|(at, place)| Some((at.clone(), place.held.pop_front()?)))?;
        Some(self.hand_out(at, told))
    }

    fn hand_out(&mut self, at: TopicPartition, told: Told) -> Polled {
        let place = self.places.entry(at.clone()).or_default();
        match told {
            Told::Records(records) => {
                place.next = records.last().map_or(place.next, |last| last.offset + 1);
                place.quiet = None;
                Polled::Records(at, records)
            }
            Told::End => {
                place.quiet = Some(Instant::now());
                Polled::End(at, place.next)
            }
        }
    }

    /// What an event means to the caller, if it means anything.
    fn understand(&mut self, event: Event) -> Option<Polled> {
        match event {
            Event::Assigned { generation, metadata, partitions } => {
                self.member = Member { generation, metadata };
                self.owned.clone_from(&partitions);
                Some(Polled::Assigned { generation, partitions })
            }
            Event::Refused(error) => {
                self.refused = Some(error);
                None
            }
            Event::Revoked(partitions) => Some(Polled::Revoked(partitions)),
            Event::Lost(partitions) => {
                // In whose name it could speak is no member any more.
                self.member.metadata = None;
                self.forget(&partitions);
                Some(Polled::Lost(partitions))
            }
            Event::Told { at, seek, told } => {
                self.poller.taken(&told);
                let place = self.places.get_mut(&at).filter(|place| place.seek == seek)?;
                if place.paused {
                    place.held.push_back(told);
                    return None;
                }
                Some(self.hand_out(at, told))
            }
            Event::Gone { at, seek } => {
                let place = self.places.get_mut(&at).filter(|place| place.seek == seek)?;
                place.gone = true;
                None
            }
        }
    }

    fn forget(&mut self, partitions: &[u32]) {
        self.owned.retain(|owned| !partitions.contains(owned));
        self.places.retain(|at, _| !partitions.contains(&at.partition));
    }

    /// The partition that has been at its end for longest, and from when on it may be looked at again.
    fn quietest(&self) -> Option<(Instant, TopicPartition, u64)> {
        let quiet = self.places.iter().filter(|(_, place)| !place.paused);
        let quiet = quiet.filter_map(|(at, place)| Some((place.quiet? + QUIET, at.clone(), place.next)));
        quiet.min_by_key(|(when, ..)| *when)
    }

    /// Whether a partition's end has moved without a record, as the end of a transaction moves it.
    async fn look(kafka: Kafka, at: TopicPartition, next: u64) -> Looked {
        let end = match kafka.read(&at, next, 1, 1).await {
            Ok(slice) if slice.records.is_empty() && slice.next > next => Some(slice.next),
            _ => None,
        };
        Looked { at, next, end }
    }

    /// Begins to look at what has been quiet for long enough; says when the next one will have been.
    fn look_around(&mut self) -> Option<Instant> {
        if self.looking.is_some() {
            return None;
        }
        let (when, at, next) = self.quietest()?;
        if when > Instant::now() {
            return Some(when);
        }
        self.looking = Some(tokio::spawn(Self::look(self.kafka.clone(), at, next)));
        None
    }

    /// What was found by looking, if it still matters.
    fn looked(&mut self, looked: Option<Looked>) -> Option<Polled> {
        self.looking = None;
        let Looked { at, next, end } = looked?;
        // Something may have come, or been sought, meanwhile.
        let place = self.places.get_mut(&at).filter(|place| place.next == next && place.quiet.is_some())?;
        place.quiet = None;
        place.next = end?;
        Some(Polled::End(at, place.next))
    }

    /// Says of a partition whose place is gone what the log keeps.
    async fn out_of_range(&self) -> Option<Error> {
        let (at, place) = self.places.iter().find(|(_, place)| place.gone && !place.paused)?;
        Some(match self.kafka.0.readers.bounds(at).await {
            Ok(kept) => Error::OutOfRange { offset: place.next, start: kept.start, end: kept.end },
            Err(error) => error,
        })
    }

    fn check(&self, offsets: &[Committed]) -> Result<(), CommitError> {
        if self.member.metadata.is_none() {
            return Err(CommitError::Stale { mine: self.member.generation, current: self.member.generation });
        }
        for Committed { partition, metadata, .. } in offsets {
            if !self.topics.contains(&partition.topic) || !self.owned.contains(&partition.partition) {
                return Err(CommitError::Rejected(format!("{partition} is not this member's")));
            }
            if metadata.len() > MAX_METADATA {
                let (size, most) = (metadata.len(), MAX_METADATA);
                return Err(CommitError::Rejected(format!("{size} bytes of metadata are more than {most}")));
            }
        }
        Ok(())
    }
}

/// What is being looked at, if anything is.
async fn looking(looking: &mut Option<JoinHandle<Looked>>) -> Option<Looked> {
    match looking {
        Some(looking) => looking.await.ok(),
        None => std::future::pending().await,
    }
}

impl evhub_journal::Tail for Tail {
    type Member = Member;

    fn member(&self) -> Member {
        self.member.clone()
    }

    async fn poll(&mut self) -> Result<Polled, Error> {
        loop {
            if let Some(error) = self.refused.take() {
                return Err(error);
            }
            if let Some(error) = self.out_of_range().await {
                return Err(error);
            }
            if let Some(polled) = self.held() {
                return Ok(polled);
            }
            let later = self.look_around();
            tokio::select! {
                biased;
                event = self.events.recv() => {
                    let event = event.ok_or_else(|| Error::Unavailable("the client has ended".to_owned()))?;
                    if let Some(polled) = self.understand(event) {
                        return Ok(polled);
                    }
                }
                looked = looking(&mut self.looking) => {
                    if let Some(polled) = self.looked(looked) {
                        return Ok(polled);
                    }
                }
                () = sleep_until(later.unwrap_or_else(Instant::now)), if later.is_some() => {}
            }
        }
    }

    fn seek(&mut self, at: &TopicPartition, offset: u64) {
        let place = self.places.entry(at.clone()).or_default();
        let paused = place.paused;
        *place = Place { seek: place.seek + 1, paused, next: offset, ..Place::default() };
        self.poller.tell(Command::Seek { at: at.clone(), offset, seek: place.seek });
    }

    fn pause(&mut self, at: &TopicPartition, paused: bool) {
        let place = self.places.entry(at.clone()).or_default();
        place.paused = paused;
        self.poller.tell(Command::Pause { at: at.clone(), paused });
    }

    fn commit(
        &mut self,
        offsets: Vec<Committed>,
    ) -> impl Future<Output = Result<(), CommitError>> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        match self.check(&offsets) {
            Ok(()) => {
                let generation = self.member.generation;
                self.poller.tell(Command::Commit { generation, offsets, answer });
            }
            Err(refusal) => drop(answer.send(Err(refusal))),
        }
        async move {
            answered.await.unwrap_or_else(|_| Err(CommitError::Unknown("the client has ended".to_owned())))
        }
    }

    fn release(&mut self, partitions: &[u32]) {
        self.forget(partitions);
        self.poller.tell(Command::Release(partitions.to_vec()));
    }

    fn may_own(&self) -> bool {
        self.poller.pulse.is_regular()
    }

    async fn leave(self) {
        self.poller.leave().await;
    }
}

/// How many events with records are on their way: the thread stops at a few.
#[derive(Debug, Default)]
pub(crate) struct Budget(AtomicUsize);

impl Budget {
    const MOST: usize = 4;

    fn has_room(&self) -> bool {
        self.0.load(Relaxed) < Self::MOST
    }

    fn take(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Whether there was none before.
    fn give_back(&self) -> bool {
        self.0.fetch_sub(1, Relaxed) >= Self::MOST
    }
}
