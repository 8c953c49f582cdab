//! Reading what is durable of a partition before claiming it. I/O.

use std::{collections::HashMap, sync::Arc};

use evhub_event::Record;
use evhub_journal::{Error, Journal, Stored, TopicPartition};
use evhub_routing::Start;
use tracing::{error, warn};

use super::{lane::Lane, shared::Shared};
use crate::{
    Progress,
    dead::{DeadLetter, Reason},
    parked::{self, HELD, Parked, is_resumed},
    protocol::{Committed, Kind, Loading, Metadata, StateKey},
};

/// How many `.state` records, and about how many bytes of them, one read brings.
const READ: (usize, usize) = (512, 4 << 20);

/// Clocks of different machines differ; a Processor's creation time is taken to be this much earlier.
const SKEW_MS: i64 = 5_000;

/// What was read. A record that was removed again is not kept: a log that was not compacted for long has many.
pub(super) struct Taken {
    pub(super) loading: Loading<Lane>,
    pub(super) found: HashMap<StateKey, Found>,
    /// Where somebody last wanted the Processor to go on.
    resumed: Option<u64>,
}

/// One `.state` record.
pub(super) struct Found {
    pub(super) at: u64,
    pub(super) body: Body,
}

pub(super) enum Body {
    Parked {
        topic: String,
        offset: u64,
        lane: Option<Lane>,
        kind: Kind,
        attempts: u32,
        not_before: i64,
        bytes: u64,
    },
    /// With the record as it is.
    Unreadable(Record),
}

impl Taken {
    /// When what was found there may be attempted: at once if it was held, and somebody wanted it to go on after that.
    pub(super) fn due(&self, at: u64, not_before: i64) -> i64 {
        if not_before == HELD && self.resumed.is_some_and(|resumed| at < resumed) { 0 } else { not_before }
    }
}

/// Reads a partition's commits and its `.state` topic, in the order that the protocol prescribes.
pub(super) async fn take<J: Journal>(
    shared: Arc<Shared<J>>,
    partition: u32,
    sources: Vec<String>,
) -> Result<Taken, Error> {
    let committed = committed(&shared, partition, sources).await?;
    let state = shared.state(partition);
    let end = end(&shared, &state).await?;
    let mut taken = Taken {
        loading: Loading::new(shared.rules(), fastrand::u64(..), &committed, end),
        found: HashMap::new(),
        resumed: None,
    };
    let (from, to) = taken.loading.range();
    read(&shared, &state, from, to, &mut taken).await?;
    let now = self::end(&shared, &state).await?;
    read(&shared, &state, to, now, &mut taken).await?;
    bury_unreadable(&shared, &state, &taken).await;
    let records = taken.found.len();
    if !taken.loading.has_claim() && records > 0 {
        warn!(processor = %shared.name, partition, records, "no claim: keeping every parked record");
    }
    Ok(taken)
}

/// The topic's end; 0 while it has not been made.
async fn end<J: Journal>(shared: &Shared<J>, state: &TopicPartition) -> Result<u64, Error> {
    match shared.journal.partitions(&state.topic) {
        Some(_) => shared.journal.end(state).await,
        None => Ok(0),
    }
}

async fn committed<J: Journal>(
    shared: &Shared<J>,
    partition: u32,
    sources: Vec<String>,
) -> Result<Vec<Committed>, Error> {
    let at: Vec<_> = sources.into_iter().map(|topic| TopicPartition { topic, partition }).collect();
    let known = shared.journal.committed(&shared.joined.group, &at).await?;
    let mut committed = Vec::new();
    for at in at {
        committed.push(match known.iter().find(|committed| committed.partition == at) {
            Some(known) => {
                let metadata = Metadata::decode(&known.metadata, known.offset);
                if let Err(error) = &metadata {
                    error!(processor = %shared.name, partition = %at, %error, "going on from the offset alone");
                }
                found(shared, known, metadata.ok()).await?
            }
            None => Committed { offset: start(shared, &at).await?, metadata: None },
        });
    }
    Ok(committed)
}

/// What was committed, unless retention has overtaken it: then the partition begins where one without a commit does, and
/// what was lost is said loudly.
async fn found<J: Journal>(
    shared: &Shared<J>,
    known: &evhub_journal::Committed,
    metadata: Option<Metadata>,
) -> Result<Committed, Error> {
    let (at, lost) = (&known.partition, shared.journal.start(&known.partition).await?);
    if known.offset >= lost {
        return Ok(Committed { offset: known.offset, metadata });
    }
    let offset = start(shared, at).await?.max(lost);
    error!(processor = %shared.name, partition = %at, committed = known.offset, offset, "retention has overtaken the Processor: events that it was to receive are gone");
    // What is resolved of what is left stays resolved.
    let cut = |(from, to): (u64, u64)| (to > offset).then_some((from.max(offset), to));
    let metadata = metadata.map(|metadata| Metadata {
        completed: metadata.completed.into_iter().filter_map(cut).collect(),
        ..metadata
    });
    Ok(Committed { offset, metadata })
}

/// Where a partition without a commit begins. An inbox is read whole; what it holds for others is passed over.
async fn start<J: Journal>(shared: &Shared<J>, at: &TopicPartition) -> Result<u64, Error> {
    let processor = &shared.joined;
    let inbox = at.topic == processor.inbox_topic;
    match processor.start {
        Start::Latest if !inbox => shared.journal.offset_at(at, processor.created - SKEW_MS).await,
        Start::At(instant) if !inbox => shared.journal.offset_at(at, instant).await,
        Start::Committed if !inbox => {
            // Asking again brings no commit about. What was published since the Processor is there is its in any case, in a
            // partition that was added, too.
            warn!(processor = %shared.name, partition = %at, "no committed offset; beginning at the creation time");
            shared.journal.offset_at(at, processor.created - SKEW_MS).await
        }
        Start::Latest | Start::Earliest | Start::Committed | Start::At(_) => shared.journal.start(at).await,
    }
}

async fn read<J: Journal>(
    shared: &Shared<J>,
    state: &TopicPartition,
    mut from: u64,
    to: u64,
    taken: &mut Taken,
) -> Result<(), Error> {
    while from < to {
        let slice = shared.journal.read(state, from, READ.0, READ.1).await?;
        from = slice.next.max(from + 1);
        // The log may answer at once, each time; others want to run as well.
        tokio::task::yield_now().await;
        for stored in slice.records.iter().take_while(|stored| stored.offset < to) {
            if stored.record.key.as_deref().is_some_and(|key| is_resumed(&shared.joined.uid, key)) {
                taken.resumed = Some(stored.offset);
            }
            match understand(shared, stored) {
                Some((key, Some(found))) => drop(taken.found.insert(key, found)),
                Some((key, None)) => {
                    taken.loading.tombstone(key);
                    taken.found.remove(&key);
                }
                None => {}
            }
        }
    }
    Ok(())
}

/// A record's key and what it says, which is nothing for a tombstone. `None` for a record of another Processor, which had
/// this one's name before it.
fn understand<J: Journal>(shared: &Shared<J>, stored: &Stored) -> Option<(StateKey, Option<Found>)> {
    let key = parked::decode_key(&shared.joined.uid, stored.record.key.as_deref()?)?;
    let at = stored.offset;
    if stored.record.value.is_none() {
        return Some((key, None));
    }
    let body = match Parked::decode(&stored.record) {
        Ok(Parked { kind, topic, offset, attempts, not_before, event, .. }) => {
            let (lane, bytes) = (shared.lane(event.key.as_ref()), event.size() as u64);
            Body::Parked { topic, offset, lane, kind, attempts, not_before, bytes }
        }
        Err(error) => {
            error!(processor = %shared.name, at, %error, "a parked delivery cannot be read; it becomes a dead letter");
            Body::Unreadable(stored.record.clone())
        }
    };
    Some((key, Some(Found { at, body })))
}

/// Makes dead letters of what cannot be read, unless an earlier owner did. This is the one thing that is written before the
/// claim: a dead letter decides nothing about who owns what, and repeats of it are told by its position.
async fn bury_unreadable<J: Journal>(
    shared: &Shared<J>,
    state: &TopicPartition,
    Taken { loading, found, .. }: &Taken,
) {
    let (_, end) = loading.range();
    for (key, Found { at, body }) in found {
        let Body::Unreadable(record) = body else { continue };
        if *at < end && !loading.is_void(*at, *key) {
            Progress::add(&shared.progress.poisoned, 1);
            super::task::bury(shared, poison(shared, state, *at).encode(record.clone())).await;
            Progress::add(&shared.progress.dead_lettered, 1);
        }
    }
}

fn poison<J: Journal>(shared: &Shared<J>, state: &TopicPartition, offset: u64) -> DeadLetter {
    DeadLetter {
        topic: state.topic.clone(),
        partition: state.partition,
        offset,
        processor_uid: shared.joined.uid.clone(),
        generation: shared.joined.generation,
        reason: Reason::PoisonState,
        attempts: 0,
        first_attempt: None,
        last_attempt: None,
        causes: Vec::new(),
    }
}
