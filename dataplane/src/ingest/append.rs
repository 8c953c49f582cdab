//! From events to their positions in the log, or to what the ledger makes of them. Appends.

use std::{
    collections::HashMap,
    future::{poll_fn, ready},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use evhub_event::{Controls, Event, Record, kafka};
use evhub_journal::{Chain, Journal, Place, Position, Refusal, WriteError};
use evhub_ledger::claim::Receipt;
use evhub_routing::Producer;
use evhub_telemetry::Context;
use futures_util::future::join_all;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    claim::{self, by},
    door::Charge,
    schedule::{Scheduled, schedule},
    trace::{self, Asked, Publishing},
};
use crate::{
    Hub,
    meters::{Ending, Meters},
    problem::{self, Problem, reason},
};

/// How long a publisher waits for the log; clients wait 30 s and should hear from us first.
const DEADLINE: Duration = Duration::from_secs(20);

type Write = Pin<Box<dyn Future<Output = Result<Position, WriteError>> + Send>>;
pub(super) type Wait = Pin<Box<dyn Future<Output = Result<Landed, Problem>> + Send>>;

/// What became of an event that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Landed {
    /// It is published, and lies here.
    At(Position),
    /// It is published later.
    Later(Scheduled),
    /// It is published under its key, now or then, by this or by an earlier one.
    Once(Box<Receipt>),
}

/// Appends an event to its Producer's topic. The write outlives the request: a publisher that goes away cannot tear it.
pub(crate) async fn append<J: Journal>(
    hub: &Hub<J>,
    producer: &Producer,
    (event, controls): &(Event, Controls),
    charge: Charge,
    asked: &Asked,
) -> Result<Landed, Problem> {
    let (note, bytes) = (Note::new(&hub.meters, producer), event.size());
    let (mut publishing, places) = Publishing::begin(hub, producer, &[event], asked);
    let place = places.first().and_then(Option::as_ref);
    let offered = match decided(hub, producer, (event, controls), place) {
        None => {
            let record = record(event, controls, place);
            Offered::Waiting(Box::pin(hub.journal.append(&producer.topic, Place::ByKey, record)))
        }
        Some(wait) => Offered::Decided(wait),
    };
    let mut appending = publishing.append(hub, producer);
    let task = tokio::spawn(async move {
        let result = offered.ended(&note, bytes).await;
        drop(charge);
        appending.ended(std::slice::from_ref(&result));
        result
    });
    let result = match timeout(DEADLINE, task).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(given_up()),
        Err(_) => Err(late()),
    };
    publishing.ended(std::slice::from_ref(&result));
    result
}

/// Appends the events of a batch in their order, and says of each what became of it. Those of one key are a chain: none is
/// taken behind one that was not, so that no later event of a key passes an earlier one. Once the log takes no more, those
/// after it are not offered.
pub(crate) async fn append_all<J: Journal>(
    hub: &Hub<J>,
    producer: &Arc<Producer>,
    events: Arc<[(Event, Controls)]>,
    charge: Charge,
    asked: &Asked,
) -> Vec<Result<Landed, Problem>> {
    let (note, count) = (Note::new(&hub.meters, producer), events.len());
    let all: Vec<&Event> = events.iter().map(|(event, _)| event).collect();
    let (mut publishing, places) = Publishing::begin(hub, producer, &all, asked);
    // Here and not in the task, so that batches are in the log in the order in which this is first polled.
    let offered = offer(hub, producer, &events, &places).await;
    let mut appending = publishing.append(hub, producer);
    let task = tokio::spawn(async move {
        let each = offered.into_iter().zip(events.iter());
        let results = join_all(each.map(|(offered, (event, _))| offered.ended(&note, event.size()))).await;
        drop(charge);
        appending.ended(&results);
        results
    });
    let results = match timeout(DEADLINE, task).await {
        Ok(Ok(results)) => results,
        Ok(Err(_)) => vec![Err(given_up()); count],
        Err(_) => vec![Err(late()); count],
    };
    publishing.ended(&results);
    results
}

/// An append that the log has been asked for, or the ledger.
enum Offered {
    Waiting(Write),
    Ended(Result<Position, WriteError>),
    Decided(Wait),
}

impl Offered {
    async fn ended(self, note: &Note, bytes: usize) -> Result<Landed, Problem> {
        let result = match self {
            Self::Decided(wait) => {
                let result = wait.await;
                note.decided(&result);
                return result;
            }
            Self::Waiting(write) => write.await,
            Self::Ended(result) => result,
        };
        note.ended(&result, bytes);
        result.map(Landed::At).map_err(Problem::from)
    }
}

/// What the ledger is asked for, where the event does not go to the log as it is.
fn decided<J: Journal>(
    hub: &Hub<J>,
    producer: &Producer,
    (event, controls): (&Event, &Controls),
    place: Option<&Context>,
) -> Option<Wait> {
    if let Some(by) = by(producer, event, controls) {
        return Some(Box::pin(claim::claim(hub, producer, (event, controls), (by, place))));
    }
    let wait = schedule(hub, producer, event, controls, (controls.when?, place));
    Some(Box::pin(async move { wait.await.map(Landed::Later) }))
}

async fn offer<J: Journal>(
    hub: &Hub<J>,
    producer: &Producer,
    events: &[(Event, Controls)],
    places: &[Option<Context>],
) -> Vec<Offered> {
    let mut offered = Vec::with_capacity(events.len());
    let mut refused: Option<Refusal> = None;
    let mut chains: HashMap<Bytes, Chain> = HashMap::new();
    let mut claims: HashMap<String, Option<oneshot::Receiver<()>>> = HashMap::new();
    for ((event, controls), place) in events.iter().zip(places) {
        if let Some(mut wait) = decided(hub, producer, (event, controls), place.as_ref()) {
            let key = event.partition_key().map(str::to_owned);
            if let Some(key) = key.filter(|_| by(producer, event, controls).is_some()) {
                wait = claim::behind(claims.entry(key).or_default(), wait);
            }
            // Commands are in the log in the order in which this is first polled, too.
            let now = poll_fn(|context| Poll::Ready(wait.as_mut().poll(context))).await;
            offered.push(Offered::Decided(match now {
                Poll::Pending => wait,
                Poll::Ready(result) => Box::pin(ready(result)),
            }));
            continue;
        }
        if let Some(refusal) = &refused {
            offered.push(Offered::Ended(Err(WriteError::Rejected(refusal.clone()))));
            continue;
        }
        let record = record(event, controls, place.as_ref());
        let place = match &record.key {
            Some(key) => Place::Behind(chains.entry(key.clone()).or_default().link()),
            None => Place::ByKey,
        };
        let mut write: Write = Box::pin(hub.journal.append(&producer.topic, place, record));
        // What is refused at the door is known at once.
        let now = poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await;
        offered.push(match now {
            Poll::Pending => Offered::Waiting(write),
            Poll::Ready(result) => {
                refused = door_wide(&result).cloned();
                Offered::Ended(result)
            }
        });
    }
    offered
}

/// A refusal that would meet any other event as well.
fn door_wide(result: &Result<Position, WriteError>) -> Option<&Refusal> {
    match result {
        Err(WriteError::Rejected(Refusal::TooLarge { .. } | Refusal::Behind)) => None,
        Err(WriteError::Rejected(refusal)) => Some(refusal),
        _ => None,
    }
}

/// The event as a record, with what it is published with and where it belongs in traces.
pub(crate) fn record(event: &Event, controls: &Controls, place: Option<&Context>) -> Record {
    let mut record = kafka::encode(event);
    record.headers.extend(controls.headers());
    record.headers.extend(place.into_iter().flat_map(trace::headers));
    record
}

fn given_up() -> Problem {
    Problem::new(reason::INTERNAL, "the write was given up").unknown()
}

fn late() -> Problem {
    let detail = "the log takes too long, so the event may or may not come to be in it";
    Problem::new(reason::LOG_UNAVAILABLE, detail).unknown().retry_after(1)
}

/// Counts and logs how publishing to one Producer ends.
struct Note {
    meters: Meters,
    name: evhub_routing::Name,
    began: Instant,
}

impl Note {
    fn new(meters: &Meters, producer: &Producer) -> Self {
        Self { meters: meters.clone(), name: producer.name.clone(), began: Instant::now() }
    }

    fn decided(&self, result: &Result<Landed, Problem>) {
        let ending = match result {
            Ok(_) => Ending::Accepted,
            Err(problem) if problem.outcome == problem::Outcome::Rejected => Ending::Rejected,
            Err(_) => Ending::Unknown,
        };
        self.meters.published(&self.name, ending);
    }

    fn ended(&self, result: &Result<Position, WriteError>, bytes: usize) {
        let Self { meters, name, began } = self;
        match result {
            Ok(_) => {
                meters.appended(name, bytes, began.elapsed().as_secs_f64());
                meters.published(name, Ending::Accepted);
            }
            Err(WriteError::Rejected(refusal)) => {
                tracing::debug!(producer = %name, %refusal, "the log refused an event");
                meters.published(name, Ending::Rejected);
            }
            Err(WriteError::Unknown(cause)) => {
                tracing::warn!(producer = %name, cause, "the log did not say whether it took an event");
                meters.published(name, Ending::Unknown);
            }
        }
    }
}
