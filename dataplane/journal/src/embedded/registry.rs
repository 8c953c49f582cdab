//! What everybody may know without asking the files: topics, how far they are durable, what groups have committed, and
//! whom to wake. No I/O. Only the writer changes it, and only to what is durable.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use super::{
    codec::Part,
    groups::{MemberId, Said},
    notes::{Image, Mark, Note, Offsets, Tip, TopicNote},
};
use crate::{Error, Place, Refusal, TopicPartition, TopicSettings, murmur2};

/// Topics, groups and members.
#[derive(Debug, Default)]
pub(super) struct Registry {
    topics: RwLock<BTreeMap<String, Arc<Topic>>>,
    by_id: RwLock<BTreeMap<u32, Arc<Topic>>>,
    offsets: RwLock<BTreeMap<String, Offsets>>,
    seats: Mutex<BTreeMap<MemberId, Weak<Seat>>>,
    members: AtomicU64,
}

/// A topic as it is now; replaced when it changes.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) id: u32,
    pub(super) settings: TopicSettings,
    bounds: Vec<Arc<Bounds>>,
    /// The partition for the next record without a key.
    turn: AtomicU32,
    pub(super) listeners: Arc<Listeners>,
}

/// Where a partition begins and how far it is durable.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    start: AtomicU64,
    end: AtomicU64,
}

/// A member, as the writer speaks to it.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) id: MemberId,
    said: Mutex<VecDeque<Said>>,
    pub(super) wake: Arc<Notify>,
}

/// Members to wake. `Notify` keeps one permit, so a member that was just about to wait does not.
#[derive(Debug, Default)]
pub(super) struct Listeners(Mutex<Vec<Weak<Notify>>>);

impl Registry {
    pub(super) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All topics.
    pub(super) fn topics(&self) -> Vec<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// A partition by number, and its bounds.
    pub(super) fn partition(&self, at: &TopicPartition) -> Result<(Part, Arc<Bounds>), Error> {
        let topic = self.topic(&at.topic).ok_or_else(|| Error::UnknownTopic(at.topic.clone()))?;
        let bounds = topic.bounds.get(at.partition as usize).cloned();
        let bounds = bounds.ok_or_else(|| Error::UnknownPartition(at.topic.clone(), at.partition))?;
        Ok((Part { topic: topic.id, partition: at.partition }, bounds))
    }

    /// What a group has committed for these partitions, all of the same moment.
    pub(super) fn committed(&self, group: &str, parts: &[Part]) -> Vec<Option<Mark>> {
        let offsets = self.offsets.read().unwrap_or_else(PoisonError::into_inner);
        let known = offsets.get(group);
        parts.iter().map(|part| known.and_then(|known| known.get(part).cloned())).collect()
    }

    /// A seat for a new member.
    pub(super) fn seat(&self) -> Arc<Seat> {
        let id = self.members.fetch_add(1, Ordering::Relaxed);
        let seat = Arc::new(Seat { id, said: Mutex::default(), wake: Arc::default() });
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.retain(|_, seat| seat.strong_count() > 0);
        seats.insert(id, Arc::downgrade(&seat));
        seat
    }

    // === the writer's ===

    /// Makes known what has become durable, in this order: records, bookkeeping, what members hear.
    pub(super) fn publish(
        &self,
        image: &Image,
        grown: impl Iterator<Item = u32>,
        notes: &[Note],
        said: Vec<(MemberId, Said)>,
    ) {
        let tips = |id| image.tips.get(&id).map_or(&[][..], Vec::as_slice);
        for note in notes {
            if let Note::Topic(name, note) = note {
                self.publish_topic(name, *note, tips(note.id));
            }
        }
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        let started = notes.iter().filter_map(|note| match note {
            Note::Start(part, _) => Some(part.topic),
            _ => None,
        });
        for id in grown.chain(started) {
            if let Some(topic) = by_id.get(&id) {
                topic.publish_tips(tips(id));
                topic.listeners.wake();
            }
        }
        drop(by_id);
        self.publish_offsets(notes);
        self.tell(said);
    }

    fn publish_offsets(&self, notes: &[Note]) {
        let mut offsets = None;
        for note in notes {
            if let Note::Offset(group, part, mark) = note {
                let offsets = offsets
                    .get_or_insert_with(|| self.offsets.write().unwrap_or_else(PoisonError::into_inner));
                let known = match offsets.get_mut(group) {
                    Some(known) => known,
                    None => offsets.entry(group.clone()).or_default(),
                };
                known.insert(*part, mark.clone());
            }
        }
    }

    /// Has members hear something.
    pub(super) fn tell(&self, said: Vec<(MemberId, Said)>) {
        let seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        for (member, said) in said {
            if let Some(seat) = seats.get(&member).and_then(Weak::upgrade) {
                seat.said.lock().unwrap_or_else(PoisonError::into_inner).push_back(said);
                seat.wake.notify_one();
            }
        }
    }

    fn publish_topic(&self, name: &str, note: TopicNote, tips: &[Tip]) {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let old = topics.get(name);
        let mut bounds = old.map(|topic| topic.bounds.clone()).unwrap_or_default();
        bounds.resize_with(note.settings.partitions as usize, Arc::default);
        let topic = Topic {
            name: name.to_owned(),
            id: note.id,
            settings: note.settings,
            bounds,
            turn: AtomicU32::new(old.map_or(0, |topic| topic.turn.load(Ordering::Relaxed))),
            listeners: old.map(|topic| Arc::clone(&topic.listeners)).unwrap_or_default(),
        };
        topic.publish_tips(tips);
        let topic = Arc::new(topic);
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).insert(note.id, Arc::clone(&topic));
        topics.insert(name.to_owned(), Arc::clone(&topic));
        drop(topics);
        topic.listeners.wake();
    }

    /// Makes known what the files hold after they were opened (again). What was durable before must still be there.
    pub(super) fn reset(&self, image: &Image) -> Result<(), Error> {
        for topic in self.topics() {
            let tips = image.tips.get(&topic.id).map_or(&[][..], Vec::as_slice);
            let lost = (topic.bounds.iter().enumerate())
                .any(|(i, bounds)| tips.get(i).is_none_or(|tip| tip.next < bounds.end()));
            if lost {
                return Err(Error::Damaged(format!("acknowledged records of {} are gone", topic.name)));
            }
        }
        for (name, note) in &image.topics {
            self.publish_topic(name, *note, image.tips.get(&note.id).map_or(&[], Vec::as_slice));
        }
        (*self.offsets.write().unwrap_or_else(PoisonError::into_inner)).clone_from(&image.offsets);
        self.wake_all();
        Ok(())
    }

    pub(super) fn wake_all(&self) {
        for topic in self.topics() {
            topic.listeners.wake();
        }
        let seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        for seat in seats.values().filter_map(Weak::upgrade) {
            seat.wake.notify_one();
        }
    }
}

impl Topic {
    /// Which partition a record goes to.
    pub(super) fn place(&self, place: &Place, key: Option<&[u8]>) -> Result<Part, Refusal> {
        let partitions = self.settings.partitions;
        let partition = match (place, key) {
            (Place::Partition(partition), _) if *partition >= partitions => {
                return Err(Refusal::UnknownPartition(self.name.clone(), *partition));
            }
            (Place::Partition(partition), _) => *partition,
            (Place::ByKey | Place::Behind(_), Some(key)) => murmur2::partition(key, partitions),
            (Place::ByKey | Place::Behind(_), None) => self.turn.fetch_add(1, Ordering::Relaxed) % partitions,
        };
        Ok(Part { topic: self.id, partition })
    }

    /// Its partitions and their bounds.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (Part, &Arc<Bounds>)> {
        (0..).zip(&self.bounds).map(|(partition, bounds)| (Part { topic: self.id, partition }, bounds))
    }

    /// Makes known where the partitions begin and how far they are durable.
    fn publish_tips(&self, tips: &[Tip]) {
        for (bounds, tip) in self.bounds.iter().zip(tips) {
            bounds.end.store(tip.next, Ordering::Release);
            bounds.start.store(tip.start, Ordering::Release);
        }
    }
}

impl Bounds {
    pub(super) fn start(&self) -> u64 {
        self.start.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Whether something is, or may come to be, kept at this offset; the bounds if so.
    pub(super) fn within(&self, offset: u64) -> Result<(u64, u64), Error> {
        let (start, end) = (self.start(), self.end());
        if offset < start { Err(Error::OutOfRange { offset, start, end }) } else { Ok((start, end)) }
    }
}

impl Seat {
    /// The next thing to hear.
    pub(super) fn hear(&self) -> Option<Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
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
