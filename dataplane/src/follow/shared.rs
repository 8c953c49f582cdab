//! The last good copy in the log, for a dataplane that starts while nobody serves control and whose disk is empty. I/O.
//!
//! Any replica may write it. Whoever does becomes the one producer of a transactional id first, which fences all others, and
//! looks again then: so nobody ever puts a lower generation in the place of a higher one, and no election is needed. The
//! parts are written in one transaction; which of what compaction has left belong together their generation says.
//!
//! What targets are sent beside events is most likely a credential, and everybody who may read topics would read it. So
//! Processors with headers are left out: they begin when control is served again, and lose nothing by waiting.

use std::collections::BTreeMap;

use bytes::Bytes;
use evhub_event::Record;
use evhub_journal::{
    ClusterSettings, Error, Journal, Place, Producer as _, TopicPartition, TopicSettings, TransactError,
    Transaction,
};
use evhub_routing::{
    Brokers, Generation, Snapshot,
    wire::{self, Invalid, MAX_BYTES, PART, Update},
};
use prost::Message as _;
use tracing::{info, warn};

/// The copy cannot be read, or not be written.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The log cannot be asked.
    #[error("could not use topic {topic}")]
    Log {
        /// The topic.
        topic: String,
        /// Why.
        source: Error,
    },
    /// It could not be written.
    #[error("could not write topic {topic}")]
    Written {
        /// The topic.
        topic: String,
        /// Why.
        source: TransactError,
    },
    /// It is larger than any copy.
    #[error("topic {0} holds more than any snapshot is")]
    TooLarge(String),
}

/// How many records, and about how many bytes, are read at once.
const READ: (usize, usize) = (64, 4 << 20);

/// What the topic holds: the newest value of each key.
#[derive(Default)]
struct Held {
    parts: BTreeMap<Bytes, Update>,
    bytes: usize,
}

/// The copy, if there is one.
pub async fn load<J: Journal>(journal: &J, prefix: &str) -> Result<Option<Snapshot>, Failed> {
    let at = at(prefix);
    let held = read(journal, &at).await?;
    match held.snapshot() {
        Some(Ok(snapshot)) => Ok(Some(snapshot)),
        Some(Err(error)) => {
            // Another version's: this one waits for control.
            warn!(topic = at.topic, %error, "the copy in the log cannot be read by this version");
            Ok(None)
        }
        None => Ok(None),
    }
}

/// Keeps a copy, unless there is one of the same or of a higher generation.
pub async fn keep<J: Journal>(journal: &J, prefix: &str, snapshot: &Snapshot) -> Result<(), Failed> {
    let at = at(prefix);
    let log = |source| Failed::Log { topic: at.topic.clone(), source };
    let is_there = journal.look_up(&at.topic).await.map_err(log)?.is_some();
    let settings = TopicSettings {
        partitions: 1,
        // A part that holds one resource alone may be larger than parts are filled up to.
        max_record_bytes: 4 * PART,
        compacted: true,
        reserved: true,
        cluster: if is_there { ClusterSettings::default() } else { copies(snapshot) },
        ..TopicSettings::default()
    };
    journal.ensure(&at.topic, settings).await.map_err(log)?;
    if read(journal, &at).await?.generation() >= snapshot.generation {
        return Ok(());
    }
    let mut producer = journal.producer(&format!("{prefix}-config")).await.map_err(log)?;
    // Nobody else writes any more. What somebody wrote until now is seen.
    let held = read(journal, &at).await?;
    if held.generation() >= snapshot.generation {
        return Ok(());
    }
    let (shown, left_out) = without_credentials(snapshot);
    let records = held.replaced_by(wire::parts(None, &shown));
    let records = records.map(|record| (at.topic.clone(), Place::Partition(0), record)).collect();
    let written = producer.commit(Transaction { records, offsets: None }).await;
    written.map_err(|source| Failed::Written { topic: at.topic.clone(), source })?;
    let generation = snapshot.generation;
    info!(%generation, topic = at.topic, left_out, "a copy of what runs is kept in the log");
    Ok(())
}

/// The copy is to be as safe as the safest of what it speaks of.
fn copies(snapshot: &Snapshot) -> ClusterSettings {
    let most =
        |of: fn(&Brokers) -> u32| snapshot.producers.values().map(|producer| of(&producer.brokers)).max();
    match (most(|brokers| brokers.replicas), most(|brokers| brokers.min_in_sync_replicas)) {
        (Some(replicas), Some(min_in_sync)) => ClusterSettings::copies(replicas, min_in_sync),
        _ => ClusterSettings::default(),
    }
}

fn at(prefix: &str) -> TopicPartition {
    TopicPartition { topic: format!("{prefix}._config"), partition: 0 }
}

async fn read<J: Journal>(journal: &J, at: &TopicPartition) -> Result<Held, Failed> {
    let log = |source| Failed::Log { topic: at.topic.clone(), source };
    let mut from = match journal.start(at).await {
        Ok(start) => start,
        Err(Error::UnknownTopic(_)) => return Ok(Held::default()),
        Err(error) => return Err(log(error)),
    };
    let end = journal.end(at).await.map_err(log)?;
    let mut held = Held::default();
    while from < end {
        let slice = match journal.read(at, from, READ.0, READ.1).await {
            // Compacted or retained away since; what is left has it all.
            Err(Error::OutOfRange { start, .. }) if start > from => {
                from = start;
                continue;
            }
            read => read.map_err(log)?,
        };
        from = slice.next.max(from + 1);
        for stored in slice.records {
            held.take(stored.record);
        }
        if held.bytes > 2 * MAX_BYTES {
            return Err(Failed::TooLarge(at.topic.clone()));
        }
    }
    Ok(held)
}

/// Without Processors that send headers, and how many these are. A copy has nothing deleted either.
fn without_credentials(snapshot: &Snapshot) -> (Snapshot, usize) {
    let mut shown = snapshot.clone();
    shown.processors.retain(|_, processor| processor.target.headers.is_empty());
    shown.removals.clear();
    let left_out = snapshot.processors.len() - shown.processors.len();
    (shown, left_out)
}

// === impl Held ===

impl Held {
    fn take(&mut self, Record { key, value, .. }: Record) {
        let Some(key) = key else { return };
        let before = match value.as_ref().map(|value| (Update::decode(value.as_ref()), value.len())) {
            Some((Ok(part), length)) => {
                self.bytes += length;
                self.parts.insert(key, part)
            }
            // What somebody else wrote there is not ours to read.
            Some((Err(_), _)) => None,
            None => self.parts.remove(&key),
        };
        self.bytes -= before.map_or(0, |before| before.encoded_len()).min(self.bytes);
    }

    /// The newest of which there is anything.
    fn generation(&self) -> Generation {
        self.parts.values().map(|part| wire::generation_of(part.generation)).max().unwrap_or_default()
    }

    fn snapshot(&self) -> Option<Result<Snapshot, Invalid>> {
        let newest = self.generation();
        let parts = self.parts.values().filter(|part| wire::generation_of(part.generation) == newest);
        (newest != Generation::default()).then(|| wire::whole(parts.cloned()))
    }

    /// What to write so that these parts are held, and nothing else.
    fn replaced_by(self, parts: Vec<Update>) -> impl Iterator<Item = Record> {
        let mut records: BTreeMap<Bytes, Option<Bytes>> =
            self.parts.into_keys().map(|key| (key, None)).collect();
        let named = parts.into_iter().enumerate();
        records.extend(named.map(|(index, part)| {
            (Bytes::from(format!("part-{index:06}")), Some(Bytes::from(part.encode_to_vec())))
        }));
        records.into_iter().map(|(key, value)| Record { key: Some(key), value, headers: Vec::new() })
    }
}
