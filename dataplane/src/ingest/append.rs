//! From events to their positions in the log. Appends.

use std::{collections::HashMap, future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use evhub_event::{Controls, Event, Record, kafka};
use evhub_journal::{Chain, Journal, Place, Position, Refusal, WriteError};
use evhub_routing::Producer;
use evhub_telemetry::Context;
use tokio::time::{Instant, timeout};

use super::{
    door::Charge,
    trace::{self, Asked, Publishing},
};
use crate::{
    Hub,
    meters::{Ending, Meters},
    problem::{Problem, reason},
};

/// How long a publisher waits for the log; clients wait 30 s and should hear from us first.
const DEADLINE: Duration = Duration::from_secs(20);

type Write = Pin<Box<dyn Future<Output = Result<Position, WriteError>> + Send>>;

/// Appends an event to its Producer's topic. The write outlives the request: a publisher that goes away cannot tear it.
pub(crate) async fn append<J: Journal>(
    hub: &Hub<J>,
    producer: &Producer,
    (event, controls): &(Event, Controls),
    charge: Charge,
    asked: &Asked,
) -> Result<Position, Problem> {
    let (note, bytes) = (Note::new(&hub.meters, producer), event.size());
    let (mut publishing, places) = Publishing::begin(hub, producer, &[event], asked);
    let place = places.first().and_then(Option::as_ref);
    let write = hub.journal.append(&producer.topic, Place::ByKey, record(event, controls, place));
    let mut appending = publishing.append(hub, producer);
    let task = tokio::spawn(async move {
        let result = write.await;
        drop(charge);
        note.ended(&result, bytes);
        let result = result.map_err(Problem::from);
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
) -> Vec<Result<Position, Problem>> {
    let (note, count) = (Note::new(&hub.meters, producer), events.len());
    let all: Vec<&Event> = events.iter().map(|(event, _)| event).collect();
    let (mut publishing, places) = Publishing::begin(hub, producer, &all, asked);
    // Here and not in the task, so that batches are in the log in the order in which this is first polled.
    let offered = offer(hub, producer, &events, &places).await;
    let mut appending = publishing.append(hub, producer);
    let task = tokio::spawn(async move {
        let mut results = Vec::with_capacity(events.len());
        for (write, (event, _)) in offered.into_iter().zip(events.iter()) {
            let result = match write {
                Offered::Waiting(write) => write.await,
                Offered::Ended(result) => result,
            };
            note.ended(&result, event.size());
            results.push(result.map_err(Problem::from));
        }
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

/// An append that the log has been asked for.
enum Offered {
    Waiting(Write),
    Ended(Result<Position, WriteError>),
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
    for ((event, controls), place) in events.iter().zip(places) {
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

fn record(event: &Event, controls: &Controls, place: Option<&Context>) -> Record {
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
