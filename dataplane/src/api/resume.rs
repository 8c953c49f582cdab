//! Resuming: a Processor that suspended itself goes on. Writes that down, and tells its worker.
//!
//! What is held lies in the log, and so does the wish that it goes on: were it only told to a worker, one that is started
//! anew would find the same event held, and suspend the Processor again.

use axum::extract::State;
use evhub_dispatch::parked;
use evhub_journal::{Journal, Place, WriteError};
use evhub_routing::Processor;
use futures_util::future::try_join_all;
use http::{StatusCode, Uri};

use super::Api;
use crate::{
    problem::{Problem, reason},
    request::{Named, Query},
};

/// Lets a Processor go on. One that is not suspended is told in vain, so that asking twice does no harm.
pub(super) async fn resume<J: Journal>(
    State(api): State<Api<J>>,
    Named(name): Named,
    uri: Uri,
) -> Result<StatusCode, Problem> {
    Query::read(&uri, &[])?;
    let processor = api.processor(&name)?;
    // Where there is no topic nothing was ever held.
    let partitions = api.hub.journal.look_up(&processor.state_topic).await?.unwrap_or(0);
    write(&api.hub.journal, &processor, partitions).await.map_err(unwritten)?;
    api.hub.resume(&processor.name);
    Ok(StatusCode::NO_CONTENT)
}

/// Makes durable that whatever is held up to now is to be attempted.
async fn write<J: Journal>(journal: &J, processor: &Processor, partitions: u32) -> Result<(), WriteError> {
    let topic = &processor.state_topic;
    let wish =
        |partition| journal.append(topic, Place::Partition(partition), parked::resumed(&processor.uid));
    try_join_all((0..partitions).map(wish)).await?;
    Ok(())
}

fn unwritten(error: WriteError) -> Problem {
    match error {
        WriteError::Rejected(refusal) => refusal.into(),
        WriteError::Unknown(_) => {
            let detail = "the log did not answer, so the Processor may or may not go on: resume it again";
            Problem::new(reason::LOG_UNAVAILABLE, detail).unknown().retry_after(1)
        }
    }
}
