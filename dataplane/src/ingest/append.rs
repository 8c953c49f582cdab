//! From events to their positions in the log. Appends.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use evhub_event::{Controls, Event, Record, kafka};
use evhub_journal::{Journal, Place, Position, Refusal, WriteError};
use evhub_routing::Producer;
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

use super::door::Charge;
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
) -> Result<Position, Problem> {
    let (note, bytes) = (Note::new(&hub.meters, producer), event.size());
    let write = hub.journal.append(&producer.topic, Place::ByKey, record(event, controls));
    let written = Lasting::new(async move {
        let result = write.await;
        drop(charge);
        note.ended(&result, bytes);
        result
    });
    match timeout(DEADLINE, written).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(late()),
    }
}

/// Appends the events of a batch in their order, and says of each what became of it. Once the log takes no
/// more, those after it are not offered, so that no later event of a key passes an earlier one.
pub(crate) async fn append_all<J: Journal>(
    hub: &Hub<J>,
    producer: &Arc<Producer>,
    events: Arc<[(Event, Controls)]>,
    charge: Charge,
) -> Vec<Result<Position, Problem>> {
    let (note, count) = (Note::new(&hub.meters, producer), events.len());
    // Here and not in the task, so that batches are in the log in the order in which this is first polled.
    let offered = offer(hub, producer, &events).await;
    let written = Lasting::new(async move {
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
        results
    });
    timeout(DEADLINE, written).await.unwrap_or_else(|_| vec![Err(late()); count])
}

/// An append that the log has been asked for.
enum Offered {
    Waiting(Write),
    Ended(Result<Position, WriteError>),
}

async fn offer<J: Journal>(hub: &Hub<J>, producer: &Producer, events: &[(Event, Controls)]) -> Vec<Offered> {
    let mut offered = Vec::with_capacity(events.len());
    let mut refused: Option<Refusal> = None;
    for (event, controls) in events {
        if let Some(refusal) = &refused {
            offered.push(Offered::Ended(Err(WriteError::Rejected(refusal.clone()))));
            continue;
        }
        let mut write: Write =
            Box::pin(hub.journal.append(&producer.topic, Place::ByKey, record(event, controls)));
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
        Err(WriteError::Rejected(refusal)) if !matches!(refusal, Refusal::TooLarge { .. }) => Some(refusal),
        _ => None,
    }
}

fn record(event: &Event, controls: &Controls) -> Record {
    let mut record = kafka::encode(event);
    record.headers.extend(controls.headers());
    record
}

fn late() -> Problem {
    let detail = "the log takes too long, so the event may or may not come to be in it";
    Problem::new(reason::LOG_UNAVAILABLE, detail).unknown().retry_after(1)
}

/// A future that nobody can give up: what is left of it when it is dropped goes on in a task of its own. So only those whose
/// publisher has gone pay for a task.
struct Lasting<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> Lasting<F> {
    fn new(future: F) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Lasting<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(future) = &mut self.0 else { return Poll::Pending };
        let output = ready!(future.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(output)
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Lasting<F> {
    fn drop(&mut self) {
        // Without a runtime the process is ending, and with it whoever would hear of the end.
        if let Some(rest) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(rest);
        }
    }
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
