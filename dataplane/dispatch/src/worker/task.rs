//! What is under way for a worker: each future ends in one [`Done`]. I/O.

use std::{str::FromStr, sync::Arc, time::Instant};

use bytes::Bytes;
use evhub_event::{
    Controls, Event, Record, kafka,
    record::{CHAIN, DUE, OCCURRENCE, ORIGIN, TIMER},
};
use evhub_journal::{CommitError, Journal, Place as Where, Refusal, WriteError};
use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;
use tracing::warn;

use super::{
    current::Current,
    guard,
    shared::{Shared, now},
    takeover::Taken,
    trace,
};
use crate::{
    dead::{Cause, Reason},
    outcome::Answer,
    pace::Permit,
    parked::{HELD, Parked},
    protocol::{Place, Start, StateKey},
    sender::{Delivery, Identity, Reply},
};

/// An event and what its attempts came to so far.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) record: Record,
    pub(super) first_attempt: Option<i64>,
    pub(super) causes: Vec<Cause>,
    pub(super) throttled: u32,
    pub(super) pass_back: Option<Bytes>,
    /// What it takes of the room for events.
    pub(super) held: Held,
    /// Its Processor was suspended because of it, and somebody wants it attempted however old it is.
    pub(super) resumed: bool,
    /// Why it cannot be told what is to become of it.
    pub(super) broken: Option<String>,
}

/// What an event takes of the room for those in memory, until it is finished or written elsewhere.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Of the room for what was read from sources.
    pub(super) bytes: usize,
    /// Of the room for what was read back from where it is parked; given back when dropped.
    _reread: Option<OwnedSemaphorePermit>,
}

/// What an attempt came to.
#[derive(Debug)]
pub(super) struct Attempted {
    pub(super) start: Start,
    pub(super) payload: Payload,
    pub(super) answer: Answer,
    pub(super) began: (i64, Instant),
    pub(super) permit: Permit,
}

/// Something that was under way for a partition has ended.
pub(super) enum Done {
    Taken(Result<Taken, evhub_journal::Error>),
    /// Of the record there, with where its tombstone lies.
    Swept(u64, Result<u64, WriteError>),
    Claimed(Result<(), CommitError>),
    Attempted(Box<Attempted>),
    /// With what it held of the room until then.
    Parked(Place, Held, Result<u64, WriteError>),
    /// Likewise.
    Buried(Place, Held),
    /// Of the record there, with where its tombstone lies.
    Cleared(u64, Result<u64, WriteError>),
    Committed(Result<(), CommitError>),
}

/// Makes one attempt. A parked delivery's event is read back from where it is parked, when there is room for it.
pub(super) async fn attempt<J: Journal>(
    shared: Arc<Shared<J>>,
    current: Arc<Current>,
    (partition, epoch): (u32, u64),
    (start, topic): (Start, Arc<str>),
    (payload, parked_bytes): (Option<Payload>, u32),
    permit: Permit,
) -> Attempted {
    let (mut payload, unreadable) = match (payload, start.state) {
        (Some(payload), _) => (payload, None),
        (None, Some(at)) => {
            let room = shared.room_for(parked_bytes).await;
            let (payload, unreadable) = read_parked(&shared, partition, at).await;
            (Payload { held: Held { bytes: 0, _reread: room }, ..payload }, unreadable)
        }
        (None, None) => (Payload::of(Record::default()), Some("the event's record is gone".to_owned())),
    };
    let began = (now(), Instant::now());
    let reply = match unreadable {
        Some(text) => Answer::Poison(Reason::PoisonState, text).into(),
        None if payload.broken.is_some() => {
            Answer::Poison(Reason::PoisonProcessing, payload.broken.clone().unwrap_or_default()).into()
        }
        None if is_too_old(&current, &payload) => Answer::TooOld.into(),
        None => {
            let sending = send(&shared, &current, (epoch, start.attempt), &topic, &payload);
            guard::over(sending).await.unwrap_or_else(|panicked| Answer::Broken(panicked).into())
        }
    };
    if let Some(given) = reply.pass_back {
        payload.pass_back = Some(given).filter(|given| !given.is_empty());
    }
    Attempted { start, payload, answer: reply.answer, began, permit }
}

/// Whether an event is older than its attempts may be: the hub was down, or its turn came late.
fn is_too_old(current: &Current, payload: &Payload) -> bool {
    let max_age = current.policy().retry.max_age.as_millis();
    let age = payload.first_attempt.map_or(0, |first| now().saturating_sub(first).max(0));
    !payload.resumed && u128::from(age.unsigned_abs()) > max_age
}

/// Whether the publisher wanted an event delivered by an instant before this one.
fn has_expired(event: &Event, now: i64) -> bool {
    let expiry = event.extension("expirytime").and_then(|text| text.parse::<Timestamp>().ok());
    expiry.is_some_and(|expiry| expiry.as_millisecond() <= now)
}

/// What the ledger says of what it published: when it was due, or which run it is.
fn told<T: FromStr>(record: &Record, header: &str) -> Option<T> {
    record.header(header).and_then(|value| std::str::from_utf8(value).ok()?.parse().ok())
}

async fn send<J: Journal>(
    shared: &Shared<J>,
    current: &Current,
    (epoch, attempt): (u64, u32),
    topic: &str,
    payload: &Payload,
) -> Reply {
    let event = match kafka::decode(&payload.record) {
        Ok(event) => event,
        Err(poison @ kafka::Poison::Empty) => {
            return Answer::Poison(Reason::PoisonEmpty, poison.to_string()).into();
        }
        Err(kafka::Poison::Decode(why)) => {
            return Answer::Poison(Reason::PoisonDecode, why.to_string()).into();
        }
    };
    if has_expired(&event, now()) {
        return Answer::Expired.into();
    }
    let (due, occurrence) = (told(&payload.record, DUE), told(&payload.record, OCCURRENCE));
    let chain = chain(&payload.record);
    if chain.is_some_and(|timer| shared.cancelled.has(timer)) {
        return Answer::Cancelled.into();
    }
    let controls = Controls::of(&payload.record);
    let processor = &current.processor;
    let identity = Identity {
        delivery: shared.delivery(&event.source, &event.id, occurrence.filter(|_| chain.is_some())),
        attempt,
        epoch,
        processor: &shared.name,
        generation: processor.generation,
    };
    let origin = payload.record.header(ORIGIN).and_then(|topic| std::str::from_utf8(topic).ok());
    let topic = origin.unwrap_or(topic);
    let Some(producer) = current.producer(topic) else {
        return Answer::Failed("it is not known where the event came from".to_owned()).into();
    };
    let place = trace::place(&payload.record, &event);
    let mut span =
        shared.tracer.begin(place.as_ref(), || trace::attempt(processor, topic, &event, &identity));
    // Without a span the target is told the place as it came, which is what others know it by.
    let trace = span.context().or(place);
    let (tags, pass_back, trace) = (&controls.tags, payload.pass_back.as_ref(), trace.as_ref());
    let delivery = Delivery { event: &event, tags, producer, pass_back, identity, trace, due, occurrence };
    let target = &processor.target;
    let timeout = controls.timeout.map_or(target.timeout, |allowed| allowed.min(target.timeout));
    let mut reply = current.sender.attempt(target, &delivery, timeout).await;
    trace::tell(&mut span, &reply.answer);
    if let (Answer::Cancelled, Some(timer)) = (&reply.answer, chain) {
        reply.answer = cancel(shared, current, topic, timer).await;
    }
    reply
}

/// The timer of the repeated event that a record is a firing of, if it is one.
fn chain(record: &Record) -> Option<&str> {
    record.header(CHAIN)?;
    std::str::from_utf8(record.header(TIMER)?).ok()
}

/// The target wants no more of a repeated event: that counts once it is written down.
async fn cancel<J: Journal>(shared: &Shared<J>, current: &Current, topic: &str, timer: &str) -> Answer {
    if let Some(chains) = &shared.chains
        && let Err(why) = chains.cancel(&current.processor, topic, timer).await
    {
        return Answer::Failed(format!(
            "that the target cancelled the repeated event is not written down: {why}"
        ));
    }
    shared.cancelled.add(timer);
    Answer::Cancelled
}

/// The payload, or an empty one and why it cannot be read. Waits for a log that is not available.
async fn read_parked<J: Journal>(shared: &Shared<J>, partition: u32, at: u64) -> (Payload, Option<String>) {
    let state = shared.state(partition);
    let mut failures = 0;
    loop {
        let problem = match shared.journal.read(&state, at, 1, 1).await {
            // It was written, so a log that ends before it is one that whoever tells of it does not know whole: a broker that hung
            // while another one came to lead.
            Ok(slice) if slice.end <= at => {
                failures += 1;
                let end = slice.end;
                warn!(processor = %shared.name, at, end, "the log ends before a parked delivery; trying again");
                shared.pause(failures).await;
                continue;
            }
            Ok(slice) => match slice.records.into_iter().next().filter(|stored| stored.offset == at) {
                Some(stored) => match Parked::decode(&stored.record) {
                    Ok(parked) => return (parked.into(), None),
                    Err(error) => return (Payload::of(stored.record), Some(error.to_string())),
                },
                None => "the parked record is gone".to_owned(),
            },
            // A broker that is behind may not know of the topic for a moment. It is there: it was read.
            Err(
                error @ (evhub_journal::Error::Unavailable(_)
                | evhub_journal::Error::UnknownTopic(_)
                | evhub_journal::Error::UnknownPartition(..)),
            ) => {
                failures += 1;
                warn!(processor = %shared.name, %error, "cannot read a parked delivery; trying again");
                shared.pause(failures).await;
                continue;
            }
            Err(error) => error.to_string(),
        };
        return (Payload::of(Record::default()), Some(problem));
    }
}

/// Appends a parked delivery. Tries again for as long as the log refuses: what is refused will never appear.
pub(super) async fn park<J: Journal>(
    shared: Arc<Shared<J>>,
    partition: u32,
    parked: Parked,
    key: Bytes,
) -> Result<u64, WriteError> {
    append_state(&shared, partition, parked.encode(key)).await
}

/// Appends a tombstone, likewise.
pub(super) async fn clear<J: Journal>(
    shared: Arc<Shared<J>>,
    partition: u32,
    key: StateKey,
) -> Result<u64, WriteError> {
    let key = crate::parked::encode_key(&shared.joined.uid, key);
    let record = Record { key: Some(key), value: None, headers: Vec::new() };
    append_state(&shared, partition, record).await
}

async fn append_state<J: Journal>(
    shared: &Shared<J>,
    partition: u32,
    record: Record,
) -> Result<u64, WriteError> {
    let topic = &shared.joined.state_topic;
    let mut failures = 0;
    loop {
        let problem = match shared.make_state().await {
            Err(error) => error.to_string(),
            Ok(()) => match shared.journal.append(topic, Where::Partition(partition), record.clone()).await {
                Ok(position) => return Ok(position.offset),
                Err(unknown @ WriteError::Unknown(_)) => return Err(unknown),
                Err(WriteError::Rejected(refusal)) => refused(shared, topic, refusal).await,
            },
        };
        failures += 1;
        warn!(processor = %shared.name, topic, problem, failures, "cannot write state; trying again");
        shared.pause(failures).await;
    }
}

/// Why an append was refused. A topic that was made when events were smaller takes larger ones from now on.
async fn refused<J: Journal>(shared: &Shared<J>, topic: &str, refusal: Refusal) -> String {
    match refusal {
        Refusal::TooLarge { size, .. } => match shared.widen(topic, size).await {
            Ok(()) => format!("{refusal}, which is raised now"),
            Err(error) => format!("{refusal}, which cannot be raised: {error}"),
        },
        _ => refusal.to_string(),
    }
}

/// Appends a dead letter, and tries again until it is durable: dispatch of the event waits, it is not dropped. One that
/// was written twice, because an answer was lost, is told by its position.
pub(super) async fn bury<J: Journal>(shared: &Shared<J>, record: Record) {
    let topic = &shared.joined.dead_topic;
    let mut failures = 0;
    loop {
        let problem = match shared.make_dead().await {
            Err(error) => error.to_string(),
            Ok(()) => match shared.journal.append(topic, Where::Partition(0), record.clone()).await {
                Ok(_) => return,
                Err(WriteError::Rejected(refusal)) => refused(shared, topic, refusal).await,
                Err(error) => error.to_string(),
            },
        };
        failures += 1;
        warn!(processor = %shared.name, topic, problem, failures, "cannot write a dead letter; trying again");
        shared.pause(failures).await;
    }
}

impl Payload {
    /// An event that was read from its source.
    pub(super) fn read(record: Record) -> Self {
        Self { held: Held { bytes: record.size(), _reread: None }, ..Self::of(record) }
    }

    fn of(record: Record) -> Self {
        Self {
            record,
            first_attempt: None,
            causes: Vec::new(),
            throttled: 0,
            pass_back: None,
            held: Held::default(),
            resumed: false,
            broken: None,
        }
    }
}

impl From<Parked> for Payload {
    fn from(parked: Parked) -> Self {
        let Parked { event: record, first_attempt, causes, throttled, pass_back, not_before, .. } = parked;
        let resumed = not_before == HELD;
        Self { first_attempt, causes, throttled, pass_back, resumed, ..Self::of(record) }
    }
}
