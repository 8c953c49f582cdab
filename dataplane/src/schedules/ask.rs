//! What every surface does with the schedules of a Producer: lists them, and fires one now. Asks the ledger.

use std::sync::Arc;

use evhub_journal::{ClusterSettings, Journal};
use evhub_ledger::{Answer, Command, command::Verb};
use evhub_routing::{Name, Producer, Schedule};

use super::id;
use crate::{
    Hub,
    api::instant,
    ingest,
    problem::{Problem, reason},
    timers::ask::in_time,
};

/// So many of the next runs are told.
const RUNS: usize = 10;

/// The schedules of one Producer.
pub(crate) struct Schedules<'a, J: Journal> {
    hub: &'a Hub<J>,
    producer: Arc<Producer>,
}

/// A schedule, and what it has in store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upcoming {
    /// Its name.
    pub(crate) name: String,
    /// When it fires next, in milliseconds since the Unix epoch; not at all while it is suspended.
    pub(crate) next: Vec<i64>,
    /// How often it has fired.
    pub(crate) fired: u64,
    /// How many runs were passed over.
    pub(crate) skipped: u64,
    /// Whether it fires not for now.
    pub(crate) suspended: bool,
}

impl<'a, J: Journal> Schedules<'a, J> {
    /// Those of the Producer of this name.
    pub(crate) fn of(hub: &'a Hub<J>, name: &Name) -> Result<Self, Problem> {
        Ok(Self { hub, producer: ingest::find(hub, name)? })
    }

    /// All that the ledger keeps, in the order in which they are written.
    pub(crate) async fn list(&self) -> Result<Vec<Upcoming>, Problem> {
        let schedules = &self.producer.ledger.schedules;
        if schedules.is_empty() {
            return Ok(Vec::new());
        }
        let kept = in_time(self.hub.ledger.series()).await?;
        let upcoming = |schedule: &Schedule| {
            let id = id(self.hub, &self.producer, schedule);
            let progress = kept.iter().find(|kept| kept.id == id)?.progress;
            let instants = schedule.instants().filter(|_| !schedule.suspend);
            let next = instants.into_iter().flat_map(|instants| {
                instants.after(progress.done, progress.fired).take(RUNS).collect::<Vec<_>>()
            });
            let (name, next) = (schedule.name.clone(), next.collect());
            let (fired, skipped, suspended) = (progress.fired, progress.skipped, schedule.suspend);
            Some(Upcoming { name, next, fired, skipped, suspended })
        };
        Ok(schedules.iter().filter_map(upcoming).collect())
    }

    /// Has one fire once more, now. Tells the id of the event.
    pub(crate) async fn fire(&self, name: &str) -> Result<String, Problem> {
        let found = self.producer.ledger.schedules.iter().find(|schedule| schedule.name == name);
        let schedule = found.ok_or_else(|| {
            Problem::new(reason::UNKNOWN_SCHEDULE, "this Producer has no schedule of this name")
        })?;
        let command = Command { id: id(self.hub, &self.producer, schedule), verb: Verb::Fire };
        match in_time(self.hub.ledger.ask(command, 0, ClusterSettings::default())).await? {
            Answer::Claimed(receipt) => Ok(receipt.event_id),
            Answer::Stuck => {
                let detail = "this Producer's topic takes nothing now, and as many events wait for it as may";
                Err(Problem::new(reason::LOG_UNAVAILABLE, detail).retry_after(1))
            }
            // It was written a moment ago; or the answer was lost, which leaves nothing behind that could tell.
            _ => {
                let detail = "the ledger does not know the schedule yet, or not any more whether it fired: \
                              asking again may fire it a second time";
                Err(Problem::new(reason::LOG_UNAVAILABLE, detail).unknown().retry_after(1))
            }
        }
    }
}

impl Upcoming {
    /// Its next runs, as they are shown.
    pub(crate) fn instants(&self) -> Vec<String> {
        self.next.iter().filter_map(|next| instant(*next)).collect()
    }
}
