//! What tools ask for: status, the log, events as they come, dead letters and their redrive; publishing as well. Reads and
//! appends. What it answers and how much of it is in `docs/tools.md`.
//!
//! This listener asks nobody who they are: being able to reach it is the permission, so it listens on loopback.

mod conditions;
mod dead;
mod letters;
mod local;
mod log;
mod readers;
mod replay;
mod replays;
mod resume;
mod status;
mod tail;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};
use evhub_journal::Journal;
use evhub_routing::{Name, Processor};
use serde::Serialize;
use tokio::sync::Semaphore;

pub use self::local::local;
use self::{letters::Letters, readers::Readers, replays::Replays};
use crate::{
    Hub, ingest,
    problem::{self, Problem, reason},
};

/// How many items a list has when nobody says how many, and the most it may have.
pub(crate) const PAGE: (usize, usize) = (100, 1000);
/// About how many bytes of records one page reads: enough for any page of usual events, and little beside what the door
/// holds.
const PAGE_BYTES: usize = 8 << 20;

/// What the handlers share.
#[derive(Clone)]
struct Api<J: Journal> {
    hub: Hub<J>,
    letters: Letters,
    readers: Readers,
    replays: Replays,
    /// Room for those who watch.
    watchers: Arc<Semaphore>,
}

/// One page of a list; `next` leads to the following one.
#[derive(Debug, Serialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// The listener for tools.
pub fn router<J: Journal>(hub: Hub<J>) -> Router {
    let watchers = Arc::new(Semaphore::new(tail::WATCHERS));
    let (letters, readers, replays) = (Letters::default(), Readers::default(), Replays::default());
    let api = Api { hub: hub.clone(), letters, readers, replays, watchers };
    Router::new()
        .route("/namespaces", get(status::namespaces::<J>))
        .route("/namespaces/{namespace}/producers", get(status::producers::<J>))
        .route("/namespaces/{namespace}/producers/{name}", get(status::producer::<J>))
        .route("/namespaces/{namespace}/producers/{name}/events", get(log::events::<J>))
        .route("/namespaces/{namespace}/producers/{name}/tail", get(tail::tail::<J>))
        .route("/namespaces/{namespace}/processors", get(status::processors::<J>))
        .route("/namespaces/{namespace}/processors/{name}", get(status::processor::<J>))
        .route("/namespaces/{namespace}/processors/{name}/dead", get(dead::list::<J>))
        .route("/namespaces/{namespace}/processors/{name}/dead/{id}", get(dead::show::<J>))
        .route("/namespaces/{namespace}/processors/{name}/replays", post(replay::replay::<J>))
        .route(
            "/namespaces/{namespace}/processors/{name}/replays/{id}",
            get(replays::show::<J>).delete(replays::stop::<J>),
        )
        .route("/namespaces/{namespace}/processors/{name}/resume", post(resume::resume::<J>))
        .with_state(api)
        .merge(ingest::routes().with_state(Arc::new(hub)))
        .method_not_allowed_fallback(problem::method_not_allowed)
        .fallback(problem::not_found)
}

/// An instant as clients read it: RFC 3339, UTC, milliseconds.
pub(crate) fn instant(millis: i64) -> Option<String> {
    jiff::Timestamp::from_millisecond(millis).ok().map(|instant| format!("{instant:.3}"))
}

/// A record's key where it is text, and where it is not.
pub(crate) fn text_or_base64(bytes: Option<&bytes::Bytes>) -> (Option<String>, Option<String>) {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| STANDARD.encode(bytes))) {
        None => (None, None),
        Some(Ok(text)) => (Some(text.to_owned()), None),
        Some(Err(base64)) => (None, Some(base64)),
    }
}

// === impl Api ===

impl<J: Journal> Api<J> {
    fn processor(&self, name: &Name) -> Result<Arc<Processor>, Problem> {
        let missing = || Problem::new(reason::UNKNOWN_PROCESSOR, "no Processor of this name runs here");
        self.hub.running().processors.get(name).cloned().ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_have_milliseconds() {
        assert_eq!(instant(0).as_deref(), Some("1970-01-01T00:00:00.000Z"));
        assert_eq!(instant(1_700_000_000_120).as_deref(), Some("2023-11-14T22:13:20.120Z"));
        assert_eq!(instant(i64::MAX), None);
    }

    #[test]
    fn keys_are_text_where_they_can_be() {
        assert_eq!(text_or_base64(None), (None, None));
        assert_eq!(text_or_base64(Some(&"é".into())), (Some("é".to_owned()), None));
        assert_eq!(text_or_base64(Some(&vec![0xff, 0].into())), (None, Some("/wA=".to_owned())));
    }
}
