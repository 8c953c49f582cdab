//! Resuming: a Processor that suspended itself goes on. Tells its worker.

use axum::extract::State;
use evhub_journal::Journal;
use http::{StatusCode, Uri};

use super::Api;
use crate::{
    problem::Problem,
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
    api.hub.resume(&processor.name);
    Ok(StatusCode::NO_CONTENT)
}
