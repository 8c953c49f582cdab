//! Reading what is durable of a partition before claiming it. I/O.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use evhub_journal::{Error, Journal, Stored, TopicPartition};
use evhub_routing::Start;
use tracing::{error, warn};

use super::{lane::Lane, shared::Shared, slot::Rest};
use crate::{
    Progress,
    dead::{DeadLetter, Reason},
    parked::{self, HELD, Parked, is_resumed},
    protocol::{Claiming, Committed, Loaded, Loading, Metadata, Place, StateKey},
    shelf::Shelf,
};

/// How many `.state` records, and about how many bytes of them, one read brings.
const READ: (usize, usize) = (512, 4 << 20);

/// How often, and at what distance, it is looked whether a committed offset really lies behind its log's end. A broker that led
/// the partition until a moment ago may not know of the newest records.
const LOOKS: (u32, Duration) = (4, Duration::from_secs(1));

/// Clocks of different machines differ; a Processor's creation time is taken to be this much earlier.
const SKEW_MS: i64 = 5_000;

/// What was read. A record that was removed again is not kept: a log that was not compacted for long has many.
pub(super) struct Taken {
    loading: Loading<Lane>,
    /// What the worker must know of each, by its offset.
    rests: Shelf<u64, Rest>,
    /// Where somebody last wanted the Processor to go on.
    resumed: Option<u64>,
}

/// What a `.state` record says.
enum Body {
    Parked(Loaded<Lane>, Rest),
    Unreadable,
    Gone,
}

impl Taken {
    /// What is to be claimed, and what is known of the deliveries that are kept. Those that were held may be attempted at
    /// once, if somebody wanted the Processor to go on after that.
    pub(super) fn finish(self) -> (Claiming<Lane>, Shelf<Place, Rest>) {
        let Self { loading, rests, resumed } = self;
        let claiming = loading.finish();
        let parked = claiming.kept().filter_map(|(place, at)| {
            let rest = *rests.get(at)?;
            let freed = rest.not_before == HELD && resumed.is_some_and(|resumed| at < resumed);
            Some((place, Rest { not_before: if freed { 0 } else { rest.not_before }, ..rest }))
        });
        let parked = parked.collect();
        (claiming, parked)
    }
}

/// Takes what is durable, for as long as the log does not answer anew each time: what of this partition nobody leads for a while
/// must keep no other one from being worked.
pub(super) async fn await_taken<J: Journal>(
    shared: Arc<Shared<J>>,
    partition: u32,
    sources: Vec<String>,
) -> Result<Taken, Error> {
    let mut failures = 0_u32;
    loop {
        match take(Arc::clone(&shared), partition, sources.clone()).await {
            Err(error @ Error::Unavailable(_)) => {
                failures += 1;
                if failures.is_power_of_two() {
                    warn!(processor = %shared.name, partition, %error, failures, "cannot take a partition over; trying again");
                }
                shared.progress.troubled(format!("partition {partition} cannot be taken over: {error}"));
                shared.pause(failures).await;
            }
            taken => return taken,
        }
    }
}

/// Reads a partition's commits and its `.state` topic, in the order that the protocol prescribes.
async fn take<J: Journal>(
    shared: Arc<Shared<J>>,
    partition: u32,
    sources: Vec<String>,
) -> Result<Taken, Error> {
    let committed = committed(&shared, partition, sources).await?;
    let state = shared.state(partition);
    let end = end(&shared, &state).await?;
    let loading = Loading::new(shared.rules(), fastrand::u64(..), &committed, end)
        .map_err(|short| Error::Unavailable(short.to_string()))?;
    let mut taken = Taken { loading, rests: Shelf::default(), resumed: None };
    let mut unreadable = BTreeMap::new();
    let (from, to) = taken.loading.range();
    read(&shared, &state, from..to, &mut taken, &mut unreadable).await?;
    let now = self::end(&shared, &state).await?;
    read(&shared, &state, to..now, &mut taken, &mut unreadable).await?;
    bury_unreadable(&shared, &state, &taken.loading, &unreadable).await?;
    let records = taken.rests.len() + unreadable.len();
    if !taken.loading.has_claim() && records > 0 {
        warn!(processor = %shared.name, partition, records, "no claim: keeping every parked record");
    }
    Ok(taken)
}

/// The topic's end; 0 while it has not been made. The log is asked: another process may have made it, and parked there.
async fn end<J: Journal>(shared: &Shared<J>, state: &TopicPartition) -> Result<u64, Error> {
    match shared.journal.look_up(&state.topic).await? {
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
        let log = shared.journal.identity(&at.topic).await?;
        shared.topics.is_log(&at, log);
        committed.push(match known.iter().find(|committed| committed.partition == at) {
            Some(known) => {
                let (metadata, was) = without_log(&known.metadata);
                let is_anew = log != 0 && was.is_some_and(|was| was != log);
                let metadata = Metadata::decode(metadata, known.offset);
                if let Err(error) = &metadata {
                    error!(processor = %shared.name, partition = %at, %error, "going on from the offset alone");
                }
                found(shared, known, metadata.ok(), is_anew).await?
            }
            None => Committed { offset: start(shared, &at).await?, metadata: None },
        });
    }
    Ok(committed)
}

/// Committed metadata, and behind it for which of all topics of its name it is.
pub(super) fn with_log(metadata: String, log: u64) -> String {
    if log == 0 { metadata } else { format!("{metadata}~{log:x}") }
}

fn without_log(metadata: &str) -> (&str, Option<u64>) {
    let Some((metadata, log)) = metadata.split_once('~') else { return (metadata, None) };
    (metadata, u64::from_str_radix(log, 16).ok())
}

/// What was committed, unless retention has overtaken it: then the partition begins where one without a commit does, and
/// what was lost is said loudly.
async fn found<J: Journal>(
    shared: &Shared<J>,
    known: &evhub_journal::Committed,
    metadata: Option<Metadata>,
    is_anew: bool,
) -> Result<Committed, Error> {
    let (at, lost) = (&known.partition, shared.journal.start(&known.partition).await?);
    if is_anew || is_beyond(shared, known).await? {
        let offset = start(shared, at).await?;
        error!(processor = %shared.name, partition = %at, committed = known.offset, offset, is_anew, "the log is not the one that was committed for: it was made anew, or has lost its end; what it holds now is delivered from where the Processor starts");
        // What was resolved lay in the log that is gone.
        let metadata = metadata.map(|metadata| Metadata { completed: Vec::new(), ..metadata });
        return Ok(Committed { offset, metadata });
    }
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

/// Whether a committed offset lies behind the end of its log, however often one looks.
async fn is_beyond<J: Journal>(shared: &Shared<J>, known: &evhub_journal::Committed) -> Result<bool, Error> {
    for look in 1..=LOOKS.0 {
        if known.offset <= shared.journal.end(&known.partition).await? {
            return Ok(false);
        }
        if look < LOOKS.0 {
            tokio::time::sleep(LOOKS.1).await;
        }
    }
    Ok(true)
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

/// Records that cannot be read, by their keys.
type Unreadable = BTreeMap<StateKey, u64>;

async fn read<J: Journal>(
    shared: &Shared<J>,
    state: &TopicPartition,
    Range { start: mut from, end: to }: Range<u64>,
    Taken { loading, rests, resumed }: &mut Taken,
    unreadable: &mut Unreadable,
) -> Result<(), Error> {
    while from < to {
        let slice = shared.journal.read(state, from, READ.0, READ.1).await?;
        if slice.next <= from {
            // What was told of its end came from another broker than this one.
            return Err(Error::Unavailable(format!("{state} is read up to {from}, and ends at {to}")));
        }
        from = slice.next;
        // The log may answer at once, each time; others want to run as well.
        tokio::task::yield_now().await;
        for stored in slice.records.iter().take_while(|stored| stored.offset < to) {
            let at = stored.offset;
            if stored.record.key.as_deref().is_some_and(|key| is_resumed(&shared.joined.uid, key)) {
                *resumed = Some(at);
            }
            match understand(shared, state.partition, stored) {
                Some((_, Body::Parked(loaded, rest))) => {
                    let ours = loading.record(loaded);
                    if ours {
                        rests.insert(at, rest);
                    }
                }
                Some((key, Body::Unreadable)) => {
                    loading.unreadable(at, key);
                    unreadable.insert(key, at);
                }
                Some((key, Body::Gone)) => {
                    unreadable.remove(&key);
                    if let Some(at) = loading.tombstone(key) {
                        rests.remove(at);
                    }
                }
                None => {}
            }
        }
    }
    Ok(())
}

/// A record's key and what it says. `None` for a record of another Processor, which had this one's name before it.
fn understand<J: Journal>(shared: &Shared<J>, partition: u32, stored: &Stored) -> Option<(StateKey, Body)> {
    let key = parked::decode_key(&shared.joined.uid, stored.record.key.as_deref()?)?;
    let at = stored.offset;
    if stored.record.value.is_none() {
        return Some((key, Body::Gone));
    }
    let body = match Parked::decode(&stored.record) {
        Ok(Parked { kind, topic, offset, log, attempts, mut not_before, causes, event, .. }) => {
            if not_before == HELD && shared.is_freed(&causes) {
                not_before = 0;
            }
            let place = Place { source: shared.topics.number_of(&topic, log, partition), offset };
            let lane = shared.lane(event.key.as_ref());
            let rest = Rest { not_before, kind, bytes: event.size() as u32 };
            Body::Parked(Loaded { at, key, place, lane, kind, attempts }, rest)
        }
        Err(error) => {
            error!(processor = %shared.name, at, %error, "a parked delivery cannot be read; it becomes a dead letter");
            Body::Unreadable
        }
    };
    Some((key, body))
}

/// Makes dead letters of what cannot be read, unless an earlier owner did. This is the one thing that is written before the
/// claim: a dead letter decides nothing about who owns what, and repeats of it are told by its position.
async fn bury_unreadable<J: Journal>(
    shared: &Shared<J>,
    state: &TopicPartition,
    loading: &Loading<Lane>,
    unreadable: &Unreadable,
) -> Result<(), Error> {
    let (_, end) = loading.range();
    for (key, at) in unreadable.iter().filter(|(key, at)| **at < end && !loading.is_void(**at, **key)) {
        // Read again, as it is: there are few, and it may be large. Compaction keeps what no tombstone removes.
        let slice = shared.journal.read(state, *at, 1, 1).await?;
        let Some(stored) = slice.records.into_iter().find(|stored| stored.offset == *at) else {
            warn!(processor = %shared.name, at, ?key, "an unreadable record is gone");
            continue;
        };
        Progress::add(&shared.progress.poisoned, 1);
        super::task::bury(shared, poison(shared, state, *at).encode(stored.record)).await;
        Progress::add(&shared.progress.dead_lettered, 1);
    }
    Ok(())
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
