//! From an event to its position in the log. Appends.

use std::time::Duration;

use evhub_event::{Event, kafka};
use evhub_journal::{Journal, Place, Position, WriteError};
use evhub_routing::Producer;
use tokio::time::{Instant, timeout};

use super::door::Charge;
use crate::{
    Hub,
    meters::Ending,
    problem::{Problem, reason},
};

/// How long a publisher waits for the log; clients wait 30 s and should hear from us first.
const DEADLINE: Duration = Duration::from_secs(20);

/// Appends an event to its Producer's topic. The write outlives the request: a publisher that goes away cannot tear it.
pub(super) async fn append<J: Journal>(
    hub: &Hub<J>,
    producer: &Producer,
    event: &Event,
    charge: Charge,
) -> Result<Position, Problem> {
    let record = kafka::encode(event);
    let bytes = event.size();
    let (meters, name) = (hub.meters.clone(), producer.name.clone());
    let began = Instant::now();
    let write = hub.journal.append(&producer.topic, Place::ByKey, record);
    let task = tokio::spawn(async move {
        let result = write.await;
        drop(charge);
        match &result {
            Ok(_) => {
                meters.appended(&name, bytes, began.elapsed().as_secs_f64());
                meters.published(&name, Ending::Accepted);
            }
            Err(WriteError::Rejected(refusal)) => {
                tracing::debug!(producer = %name, %refusal, "the log refused an event");
                meters.published(&name, Ending::Rejected);
            }
            Err(WriteError::Unknown(cause)) => {
                tracing::warn!(producer = %name, cause, "the log did not say whether it took an event");
                meters.published(&name, Ending::Unknown);
            }
        }
        result
    });
    match timeout(DEADLINE, task).await {
        Ok(Ok(result)) => Ok(result?),
        Ok(Err(_)) => Err(Problem::new(reason::INTERNAL, "the write was given up").unknown()),
        Err(_) => {
            let detail = "the log takes too long, so the event may or may not come to be in it";
            Err(Problem::new(reason::LOG_UNAVAILABLE, detail).unknown().retry_after(1))
        }
    }
}
