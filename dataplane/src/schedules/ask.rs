//! What every surface does with the schedules of a Producer: list, look up, put, delete, fire now. Asks the ledger.

use std::sync::Arc;

use evhub_journal::{ClusterSettings, Journal};
use evhub_ledger::{
    Answer, Command, Keep, TimerId,
    command::Verb,
    series::{self, Dynamic, MOST_DYNAMIC},
};
use evhub_routing::{
    Name, Producer, Schedule, derived_record_bytes,
    written::{Fault, Written},
};

use super::{
    id,
    template::{restored, rule, template},
};
use crate::{
    Hub,
    api::instant,
    ingest,
    problem::{Problem, reason},
    provision,
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
    /// Whether its Producer declares it; else somebody put it.
    pub(crate) declared: bool,
    /// When it fires next, in milliseconds since the Unix epoch; not at all while it is suspended.
    pub(crate) next: Vec<i64>,
    /// How often it has fired.
    pub(crate) fired: u64,
    /// How many runs were passed over.
    pub(crate) skipped: u64,
    /// Whether it fires not for now.
    pub(crate) suspended: bool,
}

/// A schedule, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// As it can be written.
    pub(crate) written: Written,
    /// What it has in store.
    pub(crate) upcoming: Upcoming,
}

impl<'a, J: Journal> Schedules<'a, J> {
    /// Those of the Producer of this name.
    pub(crate) fn of(hub: &'a Hub<J>, name: &Name) -> Result<Self, Problem> {
        Ok(Self { hub, producer: ingest::find(hub, name)? })
    }

    /// All: those that the Producer declares, in the order in which they are written, and then those that somebody put, by name.
    pub(crate) async fn list(&self) -> Result<Vec<Upcoming>, Problem> {
        let mut all = self.declared().await?;
        let put = in_time(self.hub.ledger.dynamic(&self.producer.uid)).await?;
        all.extend(put.iter().map(Upcoming::of));
        Ok(all)
    }

    /// Those that the Producer declares, as far as the ledger keeps them.
    pub(crate) async fn declared(&self) -> Result<Vec<Upcoming>, Problem> {
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
            let (name, declared, next) = (schedule.name.clone(), true, next.collect());
            let (fired, skipped, suspended) = (progress.fired, progress.skipped, schedule.suspend);
            Some(Upcoming { name, declared, next, fired, skipped, suspended })
        };
        Ok(schedules.iter().filter_map(upcoming).collect())
    }

    /// One, and what it is.
    pub(crate) async fn look(&self, name: &str) -> Result<Shown, Problem> {
        if let Some(schedule) = self.declares(name) {
            let found = self.declared().await?.into_iter().find(|upcoming| upcoming.name == name);
            let upcoming = found.ok_or_else(|| {
                let detail = "the ledger does not know the schedule yet, which was written a moment ago";
                Problem::new(reason::LOG_UNAVAILABLE, detail).retry_after(1)
            })?;
            return Ok(Shown { written: schedule.into(), upcoming });
        }
        self.known(name).await?.map(|known| Shown::of(&known)).ok_or_else(unknown)
    }

    /// Puts one, or another one in its place, and tells whether it is new.
    pub(crate) async fn put(&self, written: Written) -> Result<(Shown, bool), Problem> {
        if self.declares(&written.name).is_some() {
            return Err(declared());
        }
        let (name, known) = (written.name.clone(), self.known(&written.name).await?);
        let since = known.as_ref().and_then(|known| anchor(known, &written));
        let since = since.unwrap_or_else(|| self.hub.ledger.clock().now());
        let schedule = written.schedule(since, self.producer.event_bytes).map_err(refused)?;
        provision::due(self.hub, &self.producer).await?;
        match self.ask(Verb::Keep(Box::new(self.keep(&schedule))), &name).await? {
            Answer::Scheduled(_) => {}
            Answer::TooMany => {
                let detail = format!(
                    "this Producer has {MOST_DYNAMIC} schedules that were put, which is as many as it may"
                );
                return Err(Problem::new(reason::TOO_MANY_SCHEDULES, detail));
            }
            answer => return Err(unexpected(&answer)),
        }
        // Whoever deleted it meanwhile had the last word, and this is what was asked for before.
        let found = self.known(&name).await?.ok_or_else(unknown)?;
        Ok((Shown::of(&found), known.is_none()))
    }

    /// Deletes one that was put, or has done so before.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), Problem> {
        if self.declares(name).is_some() {
            return Err(declared());
        }
        match in_time(self.hub.ledger.end_dynamic(&self.producer.uid, name)).await? {
            Answer::Cancelled => Ok(()),
            Answer::Unknown => Err(unknown()),
            answer => Err(unexpected(&answer)),
        }
    }

    /// Has one fire once more, now. Tells the id of the event.
    pub(crate) async fn fire(&self, name: &str) -> Result<String, Problem> {
        let id = match self.declares(name) {
            Some(schedule) => id(self.hub, &self.producer, schedule),
            None if self.known(name).await?.is_some() => self.dynamic_id(name),
            None => return Err(unknown()),
        };
        let command = Command { id, verb: Verb::Fire };
        match in_time(self.hub.ledger.ask(command, 0, ClusterSettings::default())).await? {
            Answer::Claimed(receipt) => Ok(receipt.event_id),
            Answer::Stuck => {
                let detail = "this Producer's topic takes nothing now, and as many events wait for it as may";
                Err(Problem::new(reason::LOG_UNAVAILABLE, detail).retry_after(1))
            }
            // It was written or deleted a moment ago; or the answer was lost, which leaves nothing behind that could tell.
            _ => {
                let detail = "the ledger does not know the schedule yet, or not any more whether it fired: \
                              asking again may fire it a second time";
                Err(Problem::new(reason::LOG_UNAVAILABLE, detail).unknown().retry_after(1))
            }
        }
    }

    fn declares(&self, name: &str) -> Option<&Schedule> {
        self.producer.ledger.schedules.iter().find(|schedule| schedule.name == name)
    }

    async fn known(&self, name: &str) -> Result<Option<Dynamic>, Problem> {
        in_time(self.hub.ledger.look_dynamic(&self.producer.uid, name)).await
    }

    fn dynamic_id(&self, name: &str) -> TimerId {
        self.hub.ledger.dynamic_id(&self.producer.uid, name)
    }

    fn keep(&self, schedule: &Schedule) -> Keep {
        let (record, rule) = (template(&self.producer.name, &schedule.event), rule(schedule));
        let generation = self.hub.running().generation;
        Keep {
            producer: self.producer.uid.clone(),
            topic: self.producer.due_topic.clone(),
            name: schedule.name.clone(),
            digest: series::digest(&record, &rule),
            record,
            rule,
            generation: (generation.epoch, generation.revision),
            dynamic: true,
        }
    }

    async fn ask(&self, verb: Verb, name: &str) -> Result<Answer, Problem> {
        let command = Command { id: self.dynamic_id(name), verb };
        let (largest, brokers) = (derived_record_bytes(self.producer.event_bytes), &self.producer.brokers);
        let copies = ClusterSettings::copies(brokers.replicas, brokers.min_in_sync_replicas);
        in_time(self.hub.ledger.ask(command, largest, copies)).await
    }
}

/// Where an interval is counted from that says no start itself: from where the one is that it takes the place of, so that the same
/// again is the same.
fn anchor(known: &Dynamic, written: &Written) -> Option<i64> {
    let rule = &known.series.rule;
    match rule.pace {
        series::Pace::Every(anchor, _) if rule.start.is_none() && written.start.is_none() => Some(anchor),
        _ => None,
    }
}

/// Why it is no schedule: the first of what is wrong.
pub(super) fn refused(faults: Vec<Fault>) -> Problem {
    let Some(Fault { field, message, .. }) = faults.into_iter().next() else {
        return Problem::new(reason::INVALID_SCHEDULE, "never fires");
    };
    let problem = Problem::new(reason::INVALID_SCHEDULE, message);
    if field.is_empty() { problem } else { problem.at(field) }
}

fn unknown() -> Problem {
    Problem::new(reason::UNKNOWN_SCHEDULE, "this Producer has no schedule of this name")
}

fn declared() -> Problem {
    let detail = "this Producer declares a schedule of this name: edit the Producer, or take another name";
    Problem::new(reason::SCHEDULE_DECLARED, detail)
}

fn unexpected(answer: &Answer) -> Problem {
    tracing::error!(?answer, "the ledger says what it does not say of schedules");
    Problem::new(reason::INTERNAL, "the ledger could not read what it was asked for")
}

impl Upcoming {
    /// What one has in store that somebody put.
    fn of(Dynamic { series, .. }: &Dynamic) -> Self {
        Self {
            name: series.name.clone(),
            declared: false,
            next: series.upcoming().take(RUNS).collect(),
            fired: series.progress.fired,
            skipped: series.progress.skipped,
            suspended: series.rule.suspended,
        }
    }

    /// Its next runs, as they are shown.
    pub(crate) fn instants(&self) -> Vec<String> {
        self.next.iter().filter_map(|next| instant(*next)).collect()
    }
}

impl Shown {
    fn of(dynamic: &Dynamic) -> Self {
        Self { written: restored(dynamic), upcoming: Upcoming::of(dynamic) }
    }
}
