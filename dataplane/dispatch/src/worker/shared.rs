//! What all futures of one worker share: the log, the Processor, and topics made when first needed. I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::RandomState,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use evhub_backoff::Backoff;
use evhub_journal::{ClusterSettings, Error, Journal, TopicPartition, TopicSettings};
use evhub_routing::{Order, Processor, derived_record_bytes};
use evhub_telemetry::Tracer;
use tokio::{
    sync::{OnceCell, OwnedSemaphorePermit, Semaphore, watch},
    time::sleep,
};
use tracing::warn;
use uuid::Uuid;

use super::{Assignment, Work, lane::Lane, room::Share};
use crate::{
    Progress,
    chains::{Cancelled, Chains},
    dead::Cause,
    exchange::{Ear, Exchange},
    protocol::{Behind, Planted, Rules},
    topics,
};

/// The topics that a worker's places name by number.
#[derive(Debug, Default)]
pub(super) struct Topics(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// With which topic of its name each is, of those that are gone.
    topics: Vec<(Arc<str>, Option<u64>)>,
    /// Which topic of its name each was when a partition was taken over.
    logs: BTreeMap<(u16, u32), u64>,
}

/// Events that are read back may take this part of what those may that are read from sources.
const REREAD: usize = 2;

pub(super) struct Shared<J> {
    pub(super) journal: J,
    /// Where it is said what part of the allowance is whose.
    pub(super) exchange: Exchange<J>,
    /// Who is told that the target wants no more of a repeated event.
    pub(super) chains: Option<Arc<dyn Chains>>,
    /// Those that it wants no more of.
    pub(super) cancelled: Cancelled,
    /// The Processor as it was when its group was joined. Only what lasts as long as that is read of it here; the rest is
    /// [`Current`](super::current::Current)'s.
    pub(super) joined: Arc<Processor>,
    pub(super) progress: Arc<Progress>,
    pub(super) inbox: watch::Receiver<bool>,
    pub(super) dues: watch::Receiver<Arc<BTreeSet<String>>>,
    pub(super) tracer: Tracer,
    /// Where events came from: first what is read, in its order.
    pub(super) topics: Topics,
    /// What this worker may have in memory.
    pub(super) share: Share,
    /// The part of it that is left for events that are read back from where they are parked: they are bounded apart, so
    /// that those that are read from sources cannot keep them away.
    reread: Arc<Semaphore>,
    /// How much that is in all.
    reread_most: u32,
    /// Makes lanes of keys.
    lanes: RandomState,
    /// The Processor's name as attempts carry it.
    pub(super) name: String,
    /// The namespace of its deliveries' idempotency keys.
    identity: Uuid,
    state: OnceCell<()>,
    dead: OnceCell<()>,
}

impl<J: Journal> Shared<J> {
    pub(super) fn new(assignment: &Assignment<J>, work: &Work) -> Self {
        let Assignment {
            journal,
            work: _,
            progress,
            senders: _,
            inbox,
            dues,
            resume: _,
            tracer,
            room,
            exchange,
            chains,
        } = assignment;
        let share = room.share();
        let reread_most = u32::try_from(share.events() / REREAD).unwrap_or(u32::MAX);
        let joined = Arc::clone(&work.processor);
        Self {
            journal: journal.clone(),
            exchange: exchange.clone(),
            chains: chains.clone(),
            cancelled: Cancelled::default(),
            progress: Arc::clone(progress),
            inbox: inbox.clone(),
            dues: dues.clone(),
            tracer: tracer.clone(),
            topics: Topics::new(joined.routes.iter().map(|route| &*route.topic)),
            reread: Arc::new(Semaphore::new(reread_most as usize)),
            reread_most,
            share,
            lanes: RandomState::new(),
            name: joined.name.to_string(),
            identity: Uuid::new_v5(&Uuid::NAMESPACE_URL, joined.uid.as_bytes()),
            state: OnceCell::new(),
            dead: OnceCell::new(),
            joined,
        }
    }

    /// The stable idempotency key of an event's delivery to this Processor: the same for every attempt, whoever makes
    /// it, and different for events of the same id from different sources, and for firings of a repeated one.
    pub(super) fn delivery(&self, source: &str, id: &str, firing: Option<u64>) -> String {
        let firing = firing.map(|firing| format!("\n{firing}")).unwrap_or_default();
        Uuid::new_v5(&self.identity, format!("{source}\n{id}{firing}").as_bytes()).to_string()
    }

    /// Room for an event of so many bytes that is to be read back, once there is some. One that is larger than all there is
    /// takes that.
    pub(super) async fn room_for(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.reread).acquire_many_owned(bytes.min(self.reread_most)).await.ok()
    }

    /// What bounds the work of each partition.
    pub(super) fn rules(&self) -> Rules {
        Rules {
            max_unresolved: 512,
            max_waiting: 64,
            max_parked_in_lane: self.joined.policy.max_parked_per_key as usize,
            behind: match self.joined.policy.order {
                Order::None | Order::Key => Behind::Park,
                Order::KeyFirstAttempt => Behind::Pass,
                Order::Partition => Behind::Wait,
            },
            planted: Planted::NONE,
        }
    }

    /// The lane of an event, by its record's key.
    pub(super) fn lane(&self, key: Option<&bytes::Bytes>) -> Option<Lane> {
        match self.joined.policy.order {
            Order::Partition => Some(Lane::ONLY),
            Order::Key | Order::KeyFirstAttempt => {
                key.filter(|key| !key.is_empty()).map(|key| Lane::of(key, &self.lanes))
            }
            Order::None => None,
        }
    }

    /// Whether what failed so and was then held is to be attempted once more: its author asked for that afterwards. One
    /// instant frees nothing that failed again after it, however often this is asked.
    pub(super) fn is_freed(&self, causes: &[Cause]) -> bool {
        let asked = self.joined.resume.filter(|at| *at <= now());
        asked.zip(causes.last()).is_some_and(|(at, cause)| cause.time < at)
    }

    /// The `.state` topic's partition.
    pub(super) fn state(&self, partition: u32) -> TopicPartition {
        TopicPartition { topic: self.joined.state_topic.clone(), partition }
    }

    /// Hears what others say of their parts of the allowance. Who cannot goes on with what its partitions give it.
    pub(super) async fn listen(&self) -> Option<Ear> {
        let copies = ClusterSettings::copies(self.joined.replicas, self.joined.min_in_sync_replicas);
        self.exchange.listen(&self.joined.uid, copies).await.unwrap_or_else(|error| {
            warn!(processor = %self.name, %error, "this process cannot hear what part of the allowance others leave to it");
            None
        })
    }

    /// Brings the topics that were made up to what the Processor is now. Those that were made for fewer partitions grow: nobody
    /// could take the new ones over before.
    pub(super) async fn grow(&self) -> Result<(), Error> {
        if self.journal.look_up(&self.joined.state_topic).await?.is_some() {
            self.make_state().await?;
        }
        // Whoever grows the Producers' topics has grown it before. Where those cannot grow it must not either: what is read
        // together and differs is read by nobody.
        let inbox = &self.joined.inbox_topic;
        let is_small = self.journal.look_up(inbox).await?.is_some_and(|count| count < self.joined.partitions);
        if is_small && self.have_sources_grown().await? {
            self.journal.ensure(inbox, topics::inbox(&self.joined)).await?;
        }
        // How long letters are kept may have been edited since the last one was written.
        if self.journal.look_up(&self.joined.dead_topic).await?.is_some() {
            self.make_dead().await?;
        }
        Ok(())
    }

    /// Whether the Producers' topics have the partitions that they are to have.
    async fn have_sources_grown(&self) -> Result<bool, Error> {
        for route in &self.joined.routes {
            self.journal.look_up(&route.topic).await?;
        }
        Ok(self.knows_that_sources_have_grown())
    }

    /// The same, as far as that is known here.
    pub(super) fn knows_that_sources_have_grown(&self) -> bool {
        self.joined.routes.iter().all(|route| {
            self.journal.partitions(&route.topic).is_some_and(|count| count >= self.joined.partitions)
        })
    }

    /// Makes the `.state` topic when it is first needed.
    pub(super) async fn make_state(&self) -> Result<(), Error> {
        let topic = &self.joined.state_topic;
        let settings = TopicSettings { compacted: true, ..self.settings(topic, self.joined.partitions) };
        self.state.get_or_try_init(|| self.journal.ensure(topic, settings)).await.copied()
    }

    /// Makes the `.dead` topic when it is first needed.
    pub(super) async fn make_dead(&self) -> Result<(), Error> {
        let retention = Some(self.joined.policy.dead_letter_retention);
        let topic = &self.joined.dead_topic;
        let settings = TopicSettings { retention, ..self.settings(topic, 1) };
        self.dead.get_or_try_init(|| self.journal.ensure(topic, settings)).await.copied()
    }

    /// Lets a topic of this Processor's take records of a size.
    pub(super) async fn widen(&self, topic: &str, size: usize) -> Result<(), Error> {
        let settings = self.settings(topic, self.journal.look_up(topic).await?.unwrap_or(1));
        let compacted = *topic == *self.joined.state_topic;
        // What is not said anew is forgotten: dead letters would be kept for good.
        let retention = (!compacted).then_some(self.joined.policy.dead_letter_retention);
        let max_record_bytes = size.max(settings.max_record_bytes);
        let settings = TopicSettings { compacted, retention, max_record_bytes, ..settings };
        self.journal.ensure(topic, settings).await
    }

    /// How safe a topic is it is made with: afterwards only Kafka's own tools can change it, and a Processor must not stop for
    /// that.
    fn settings(&self, topic: &str, partitions: u32) -> TopicSettings {
        let cluster = match self.journal.partitions(topic) {
            Some(_) => ClusterSettings::default(),
            None => ClusterSettings::copies(self.joined.replicas, self.joined.min_in_sync_replicas),
        };
        TopicSettings {
            partitions,
            max_record_bytes: derived_record_bytes(self.joined.event_bytes),
            reserved: true,
            cluster,
            ..TopicSettings::default()
        }
    }

    /// Waits before asking the log for the same again.
    pub(super) async fn pause(&self, failures: u32) {
        Progress::add(&self.progress.append_waits, 1);
        sleep(retry().wait(failures, fastrand::u64(..))).await;
    }
}

// === impl Topics ===

impl Topics {
    fn new<'a>(topics: impl Iterator<Item = &'a str>) -> Self {
        let topics = topics.map(|topic| (Arc::from(topic), None)).collect();
        Self(Mutex::new(Known { topics, logs: BTreeMap::new() }))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a topic, which gets one if it has none.
    pub(super) fn number(&self, topic: &str) -> u16 {
        self.known().number(topic, None)
    }

    /// The number of the topic of that name which a partition's event was in. One that is gone has a number of its own: what
    /// lies in it is none of what lies at the same offsets now.
    pub(super) fn number_of(&self, topic: &str, log: u64, partition: u32) -> u16 {
        let mut known = self.known();
        let number = known.number(topic, None);
        match known.logs.get(&(number, partition)) {
            Some(now) if *now != log && log != 0 => known.number(topic, Some(log)),
            _ => number,
        }
    }

    /// The topic of this number.
    pub(super) fn name(&self, number: u16) -> Arc<str> {
        self.known().topics.get(usize::from(number)).map_or_else(|| "".into(), |(topic, _)| Arc::clone(topic))
    }

    /// Which topic of its name it is; 0 where that is not known.
    pub(super) fn log(&self, number: u16, partition: u32) -> u64 {
        let known = self.known();
        let gone = known.topics.get(usize::from(number)).and_then(|(_, log)| *log);
        gone.or(known.logs.get(&(number, partition)).copied()).unwrap_or(0)
    }

    /// Notes which topic of its name it is, for a partition that is being taken over.
    pub(super) fn is_log(&self, at: &TopicPartition, log: u64) {
        let mut known = self.known();
        let number = known.number(&at.topic, None);
        if log == 0 {
            known.logs.remove(&(number, at.partition));
        } else {
            known.logs.insert((number, at.partition), log);
        }
    }
}

impl Known {
    fn number(&mut self, topic: &str, gone: Option<u64>) -> u16 {
        let known = self.topics.iter().position(|known| *known.0 == *topic && known.1 == gone);
        let number = known.unwrap_or_else(|| {
            self.topics.push((topic.into(), gone));
            self.topics.len() - 1
        });
        number as u16
    }
}

fn retry() -> Backoff {
    let (initial, max) = (Duration::from_millis(50), Duration::from_secs(5));
    Backoff::exponential(initial, max, 2, 20).expect("these constants make a policy")
}

/// Now, in milliseconds since the Unix epoch.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
