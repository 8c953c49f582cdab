//! Replays by their ids: how far each is, and an end to one that is under way. Memory alone, of this process: the last replay
//! of each Processor.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Json, extract::State};
use evhub_journal::Journal;
use evhub_routing::Name;
use http::{StatusCode, Uri};
use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::Api;
use crate::{
    problem::{Problem, reason},
    request::{Identified, Query},
};

/// How many parts a second of replaying has at the most: what is replayed slowly comes one by one.
const BEATS: u32 = 10;

/// The replays of a hub; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Replays(Arc<Mutex<BTreeMap<Name, Arc<Replay>>>>);

/// One of them.
#[derive(Debug)]
pub(super) struct Replay {
    /// Its id.
    pub(super) id: String,
    matched: AtomicU64,
    replayed: AtomicU64,
    /// Where it is, and why it failed if it did.
    stage: Mutex<(Stage, Option<String>)>,
    stopped: watch::Sender<bool>,
}

/// At which pace, counted from its first event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    rate: NonZeroU32,
    began: Instant,
}

/// What is told of one.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    id: String,
    state: Stage,
    matched: u64,
    replayed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Where a replay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Stage {
    /// Under way.
    Running,
    /// All is replayed.
    Done,
    /// Somebody wanted no more of it.
    Stopped,
    /// It broke off.
    Failed,
}

/// Tells how far a replay is.
pub(super) async fn show<J: Journal>(
    State(api): State<Api<J>>,
    Identified(name, id): Identified,
    uri: Uri,
) -> Result<Json<Told>, Problem> {
    Query::read(&uri, &[])?;
    api.processor(&name)?;
    Ok(Json(api.replays.find(&name, &id)?.told()))
}

/// Stops a replay. What it has replayed is delivered; one that has ended stays as it is.
pub(super) async fn stop<J: Journal>(
    State(api): State<Api<J>>,
    Identified(name, id): Identified,
    uri: Uri,
) -> Result<StatusCode, Problem> {
    Query::read(&uri, &[])?;
    api.processor(&name)?;
    api.replays.find(&name, &id)?.stopped.send_replace(true);
    Ok(StatusCode::NO_CONTENT)
}

// === impl Replays ===

impl Replays {
    /// A new replay of this Processor, which only one at a time may have.
    pub(super) fn begin(&self, name: &Name, id: String) -> Arc<Replay> {
        let replay = Arc::new(Replay {
            id,
            matched: AtomicU64::new(0),
            replayed: AtomicU64::new(0),
            stage: Mutex::new((Stage::Running, None)),
            stopped: watch::Sender::new(false),
        });
        self.all().insert(name.clone(), Arc::clone(&replay));
        replay
    }

    fn find(&self, name: &Name, id: &str) -> Result<Arc<Replay>, Problem> {
        let missing = || {
            Problem::new(
                reason::UNKNOWN_REPLAY,
                "this is not the last replay of this Processor since the hub began",
            )
        };
        self.all().get(name).filter(|replay| replay.id == id).cloned().ok_or_else(missing)
    }

    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<Name, Arc<Replay>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Replay ===

impl Replay {
    /// It is of so many dead letters.
    pub(super) fn matches(&self, count: u64) {
        self.matched.store(count, Relaxed);
    }

    /// So many more are replayed.
    pub(super) fn advance(&self, count: u64) {
        self.replayed.fetch_add(count, Relaxed);
    }

    /// How many are.
    pub(super) fn replayed(&self) -> u64 {
        self.replayed.load(Relaxed)
    }

    /// Whether somebody wants it to end.
    pub(super) fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// It has ended, and why so if it failed.
    pub(super) fn end(&self, stage: Stage, why: Option<String>) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = (stage, why);
    }

    /// Waits until the next may come at this pace, or until somebody wants no more.
    pub(super) async fn wait(&self, pace: Pace) {
        let due = pace.due(self.replayed());
        let mut stopped = self.stopped.subscribe();
        tokio::select! {
            () = sleep_until(due) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    fn told(&self) -> Told {
        let (state, detail) = self.stage.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (matched, replayed) = (self.matched.load(Relaxed), self.replayed());
        Told { id: self.id.clone(), state, matched, replayed, detail }
    }
}

// === impl Pace ===

impl Pace {
    pub(super) fn new(rate: NonZeroU32) -> Self {
        Self { rate, began: Instant::now() }
    }

    /// How many come at once.
    pub(super) fn part(self) -> usize {
        (self.rate.get() / BEATS).max(1) as usize
    }

    /// When the one after so many may come.
    fn due(self, before: u64) -> Instant {
        let nanos = u128::from(before) * 1_000_000_000 / u128::from(self.rate.get());
        let after = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.began.checked_add(after).unwrap_or(self.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_held_over_the_whole() {
        for (rate, part, before, due) in
            [(1, 1, 0, 0), (1, 1, 3, 3000), (100, 10, 50, 500), (5000, 500, 5000, 1000)]
        {
            let pace = Pace::new(NonZeroU32::new(rate).unwrap());
            let found = (pace.part(), pace.due(before) - pace.began);
            assert_eq!(found, (part, Duration::from_millis(due)), "{rate} a second");
        }
    }

    #[tokio::test]
    async fn only_the_last_replay_of_each_processor_is_known() {
        let (replays, name) = (Replays::default(), Name::new("shop", "billing"));
        let first = replays.begin(&name, "1".to_owned());
        first.matches(3);
        first.advance(1);
        assert_eq!(first.told().state, Stage::Running);
        replays.find(&name, "1").unwrap().stopped.send_replace(true);
        // As long as it takes to be told, and not the hour that the pace would take.
        first.wait(Pace { rate: NonZeroU32::MIN, began: Instant::now() + Duration::from_hours(1) }).await;
        first.end(Stage::Stopped, None);
        assert_eq!(first.told().state, Stage::Stopped);
        replays.begin(&name, "2".to_owned());
        assert_eq!(replays.find(&name, "1").unwrap_err().reason, reason::UNKNOWN_REPLAY);
        assert_eq!(replays.find(&Name::new("shop", "x"), "2").unwrap_err().reason, reason::UNKNOWN_REPLAY);
    }
}
