//! What all futures of one worker share: the log, the Processor, and topics made when first needed. I/O.

use std::{
    hash::RandomState,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use evhub_backoff::Backoff;
use evhub_journal::{Error, Journal, TopicPartition, TopicSettings};
use evhub_routing::{Order, Processor, derived_record_bytes};
use evhub_telemetry::Tracer;
use tokio::{
    sync::{OnceCell, OwnedSemaphorePermit, Semaphore, watch},
    time::sleep,
};
use uuid::Uuid;

use super::{Assignment, Work, lane::Lane, room::Share};
use crate::{
    Progress,
    protocol::{Behind, Planted, Rules},
};

/// The topics that a worker's places name by number.
#[derive(Debug, Default)]
pub(super) struct Topics(Mutex<Vec<Arc<str>>>);

/// Events that are read back may take this part of what those may that are read from sources.
const REREAD: usize = 2;

pub(super) struct Shared<J> {
    pub(super) journal: J,
    /// The Processor as it was when its group was joined. Only what lasts as long as that is read of it here; the rest is
    /// [`Current`](super::current::Current)'s.
    pub(super) joined: Arc<Processor>,
    pub(super) progress: Arc<Progress>,
    pub(super) inbox: watch::Receiver<bool>,
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
        let Assignment { journal, work: _, progress, senders: _, inbox, resume: _, tracer, room } =
            assignment;
        let share = room.share();
        let reread_most = u32::try_from(share.events() / REREAD).unwrap_or(u32::MAX);
        let joined = Arc::clone(&work.processor);
        Self {
            journal: journal.clone(),
            progress: Arc::clone(progress),
            inbox: inbox.clone(),
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
    /// it, and different for events of the same id from different sources.
    pub(super) fn delivery(&self, source: &str, id: &str) -> String {
        Uuid::new_v5(&self.identity, format!("{source}\n{id}").as_bytes()).to_string()
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

    /// The `.state` topic's partition.
    pub(super) fn state(&self, partition: u32) -> TopicPartition {
        TopicPartition { topic: self.joined.state_topic.clone(), partition }
    }

    /// Grows what was made for fewer partitions than the Processor has now: nobody could take the new ones over before.
    pub(super) async fn grow(&self) -> Result<(), Error> {
        if self.journal.partitions(&self.joined.state_topic).is_some() {
            self.make_state().await?;
        }
        let inbox = &self.joined.inbox_topic;
        if self.journal.partitions(inbox).is_some_and(|count| count < self.joined.partitions) {
            let settings = self.settings(self.joined.partitions);
            // What is replayed came from the dead letters, and need not be kept for longer than they are.
            let retention = Some(self.joined.policy.dead_letter_retention);
            self.journal.ensure(inbox, TopicSettings { reserved: false, retention, ..settings }).await?;
        }
        Ok(())
    }

    /// Makes the `.state` topic when it is first needed.
    pub(super) async fn make_state(&self) -> Result<(), Error> {
        let settings = TopicSettings { compacted: true, ..self.settings(self.joined.partitions) };
        let topic = &self.joined.state_topic;
        self.state.get_or_try_init(|| self.journal.ensure(topic, settings)).await.copied()
    }

    /// Makes the `.dead` topic when it is first needed.
    pub(super) async fn make_dead(&self) -> Result<(), Error> {
        let retention = Some(self.joined.policy.dead_letter_retention);
        let (topic, settings) = (&self.joined.dead_topic, TopicSettings { retention, ..self.settings(1) });
        self.dead.get_or_try_init(|| self.journal.ensure(topic, settings)).await.copied()
    }

    /// Lets a topic of this Processor's take records of a size.
    pub(super) async fn widen(&self, topic: &str, size: usize) -> Result<(), Error> {
        let settings = self.settings(self.journal.partitions(topic).unwrap_or(1));
        let compacted = *topic == *self.joined.state_topic;
        // What is not said anew is forgotten: dead letters would be kept for good.
        let retention = (!compacted).then_some(self.joined.policy.dead_letter_retention);
        let max_record_bytes = size.max(settings.max_record_bytes);
        let settings = TopicSettings { compacted, retention, max_record_bytes, ..settings };
        self.journal.ensure(topic, settings).await
    }

    fn settings(&self, partitions: u32) -> TopicSettings {
        TopicSettings {
            partitions,
            max_record_bytes: derived_record_bytes(self.joined.event_bytes),
            reserved: true,
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
        Self(Mutex::new(topics.map(Arc::from).collect()))
    }

    /// The number of a topic, which gets one if it has none.
    pub(super) fn number(&self, topic: &str) -> u16 {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = topics.iter().position(|known| **known == *topic).unwrap_or_else(|| {
            topics.push(topic.into());
            topics.len() - 1
        });
        number as u16
    }

    /// The topic of this number.
    pub(super) fn name(&self, number: u16) -> Arc<str> {
        let topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        topics.get(usize::from(number)).cloned().unwrap_or_else(|| "".into())
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
