//! What everybody may know without asking the engine: topics, how far they are durable, groups' generations, and whom to
//! wake. No I/O. Only the writer changes it, and only to what is durable.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use super::{
    codec::TopicNote,
    store::{Image, Tip},
};
use crate::{Error, Place, Refusal, TopicPartition, TopicSettings, murmur2};

/// Topics and groups by name.
#[derive(Debug, Default)]
pub(super) struct Registry {
    topics: RwLock<BTreeMap<String, Arc<Topic>>>,
    by_id: RwLock<BTreeMap<u32, Arc<Topic>>>,
    groups: RwLock<BTreeMap<String, Arc<Group>>>,
}

/// A topic as it is now; replaced when it changes.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) id: u32,
    pub(super) settings: TopicSettings,
    /// The durable end of each partition.
    ends: Vec<Arc<AtomicU64>>,
    /// The partition for the next record without a key.
    turn: AtomicU32,
    pub(super) listeners: Arc<Listeners>,
}

/// A group, which outlives its members.
#[derive(Debug, Default)]
pub(super) struct Group {
    generation: AtomicU64,
    pub(super) listeners: Listeners,
}

/// Members to wake. `Notify` keeps one permit, so a member that was just about to wait does not.
#[derive(Debug, Default)]
pub(super) struct Listeners(Mutex<Vec<Weak<Notify>>>);

impl Registry {
    pub(super) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The topic and the durable end of a partition of it.
    pub(super) fn partition(&self, at: &TopicPartition) -> Result<(Arc<Topic>, Arc<AtomicU64>), Error> {
        let topic = self.topic(&at.topic).ok_or_else(|| Error::UnknownTopic(at.topic.clone()))?;
        let end = topic.ends.get(at.partition as usize).cloned();
        Ok((topic, end.ok_or_else(|| Error::UnknownPartition(at.topic.clone(), at.partition))?))
    }

    pub(super) fn group(&self, name: &str) -> Arc<Group> {
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(groups.entry(name.to_owned()).or_default())
    }

    /// Makes known what has become durable: a topic, new or changed.
    pub(super) fn publish_topic(&self, name: &str, note: TopicNote, tips: &[Tip]) {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let old = topics.get(name);
        let mut ends = old.map(|topic| topic.ends.clone()).unwrap_or_default();
        ends.resize_with(note.settings.partitions as usize, Arc::default);
        let topic = Topic {
            name: name.to_owned(),
            id: note.id,
            settings: note.settings,
            ends,
            turn: AtomicU32::new(old.map_or(0, |topic| topic.turn.load(Ordering::Relaxed))),
            listeners: old.map(|topic| Arc::clone(&topic.listeners)).unwrap_or_default(),
        };
        topic.publish_ends(tips);
        let topic = Arc::new(topic);
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).insert(note.id, Arc::clone(&topic));
        topics.insert(name.to_owned(), Arc::clone(&topic));
        drop(topics);
        topic.listeners.wake();
    }

    /// Makes known how far topics are durable, and wakes those who wait for it.
    pub(super) fn publish_ends<'a>(&self, grown: impl Iterator<Item = (u32, &'a [Tip])>) {
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        for (id, tips) in grown {
            if let Some(topic) = by_id.get(&id) {
                topic.publish_ends(tips);
                topic.listeners.wake();
            }
        }
    }

    /// Makes known that a group has a new generation, and tells its older members.
    pub(super) fn publish_generation(&self, name: &str, generation: u64) {
        let group = self.group(name);
        group.generation.store(generation, Ordering::Release);
        group.listeners.wake();
    }

    /// Makes known what the engine holds after it was opened (again). What was durable before must still be there.
    pub(super) fn publish(&self, image: &Image) -> Result<(), Error> {
        for topic in self.topics.read().unwrap_or_else(PoisonError::into_inner).values() {
            let tips = image.tips.get(&topic.id).map_or(&[][..], Vec::as_slice);
            let lost = (topic.ends.iter().enumerate())
                .any(|(i, end)| tips.get(i).is_none_or(|tip| tip.next < end.load(Ordering::Acquire)));
            if lost {
                return Err(Error::Damaged(format!("acknowledged records of {} are gone", topic.name)));
            }
        }
        for (name, note) in &image.topics {
            self.publish_topic(name, *note, image.tips.get(&note.id).map_or(&[], Vec::as_slice));
        }
        for (name, generation) in &image.groups {
            self.publish_generation(name, *generation);
        }
        self.wake_all();
        Ok(())
    }

    pub(super) fn wake_all(&self) {
        for topic in self.topics.read().unwrap_or_else(PoisonError::into_inner).values() {
            topic.listeners.wake();
        }
        for group in self.groups.read().unwrap_or_else(PoisonError::into_inner).values() {
            group.listeners.wake();
        }
    }
}

impl Topic {
    /// Which partition a record goes to.
    pub(super) fn place(&self, place: Place, key: Option<&[u8]>) -> Result<u32, Refusal> {
        let partitions = self.settings.partitions;
        match (place, key) {
            (Place::Partition(partition), _) if partition >= partitions => {
                Err(Refusal::UnknownPartition(self.name.clone(), partition))
            }
            (Place::Partition(partition), _) => Ok(partition),
            (Place::ByKey, Some(key)) => Ok(murmur2::partition(key, partitions)),
            (Place::ByKey, None) => Ok(self.turn.fetch_add(1, Ordering::Relaxed) % partitions),
        }
    }

    /// Makes known how far the partitions are durable.
    fn publish_ends(&self, tips: &[Tip]) {
        for (end, tip) in self.ends.iter().zip(tips) {
            end.store(tip.next, Ordering::Release);
        }
    }
}

impl Group {
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

impl Listeners {
    pub(super) fn add(&self, listener: &Arc<Notify>) {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(listener));
    }

    pub(super) fn wake(&self) {
        let listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for listener in listeners.iter().filter_map(Weak::upgrade) {
            listener.notify_one();
        }
    }
}
