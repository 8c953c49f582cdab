//! What every surface does with the timers of a Producer: list, look up, cancel, reschedule. Asks the ledger.

use std::{future::Future, sync::Arc, time::Duration};

use evhub_event::controls::When;
use evhub_journal::{ClusterSettings, Journal};
use evhub_ledger::{Answer, Command, Listed, TimerId, Trouble, command::Verb};
use evhub_routing::{Name, Producer};
use tokio::time::timeout;

use crate::{
    Hub,
    ingest::{self, schedule::refused},
    problem::{Problem, reason},
};

/// How long whoever asks waits for the ledger; clients wait 30 s and should hear from us first.
const DEADLINE: Duration = Duration::from_secs(20);

/// The timers of one Producer.
pub(crate) struct Timers<'a, J: Journal> {
    hub: &'a Hub<J>,
    producer: Arc<Producer>,
}

/// A page of them, and where the next one begins.
pub(crate) type Page = (Vec<Listed>, Option<String>);

impl<'a, J: Journal> Timers<'a, J> {
    /// Those of the Producer of this name.
    pub(crate) fn of(hub: &'a Hub<J>, name: &Name) -> Result<Self, Problem> {
        Ok(Self { hub, producer: ingest::find(hub, name)? })
    }

    /// The pending ones, soonest first.
    pub(crate) async fn list(&self, after: Option<&str>, limit: usize) -> Result<Page, Problem> {
        let after = after.map(place).transpose()?;
        let listed = in_time(self.hub.ledger.list(&self.producer.uid, after, limit)).await?;
        let next = listed.last().filter(|_| listed.len() == limit);
        let next = next.map(|((due, seq), listed)| format!("{due}.{seq}.{}", listed.id.shard()));
        Ok((listed.into_iter().map(|(_, listed)| listed).collect(), next))
    }

    /// A pending one.
    pub(crate) async fn look(&self, timer: &str) -> Result<Listed, Problem> {
        let id: TimerId = timer.parse().map_err(|_| refused(&Answer::Unknown))?;
        match in_time(self.hub.ledger.look(id)).await? {
            Ok(listed) if *listed.producer == *self.producer.uid => Ok(listed),
            Ok(_) => Err(refused(&Answer::Unknown)),
            Err(answer) => Err(refused(&answer)),
        }
    }

    /// Cancels one, or has done so before.
    pub(crate) async fn cancel(&self, timer: &str) -> Result<(), Problem> {
        let listed = match self.look(timer).await {
            Ok(listed) => listed,
            Err(problem) if problem.reason == reason::ALREADY_CANCELLED => return Ok(()),
            Err(problem) => return Err(problem),
        };
        match self.ask(listed.id, Verb::Cancel).await? {
            Answer::Cancelled => Ok(()),
            answer => Err(refused(&answer)),
        }
    }

    /// Lets one fire at another time.
    pub(crate) async fn reschedule(&self, timer: &str, when: When) -> Result<Listed, Problem> {
        let listed = self.look(timer).await?;
        match self.ask(listed.id, Verb::Reschedule(when)).await? {
            Answer::Scheduled(due) => Ok(Listed { due, ..listed }),
            answer => Err(refused(&answer)),
        }
    }

    async fn ask(&self, id: TimerId, verb: Verb) -> Result<Answer, Problem> {
        in_time(self.hub.ledger.ask(Command { id, verb }, 0, ClusterSettings::default())).await
    }
}

/// What the ledger says, if it says it in time.
pub(crate) async fn in_time<T>(asking: impl Future<Output = Result<T, Trouble>>) -> Result<T, Problem> {
    let late = |_| {
        let detail = "nobody leads this part of the ledger now, so it may or may not be done: asking again does no harm";
        Problem::new(reason::LOG_UNAVAILABLE, detail).unknown().retry_after(1)
    };
    Ok(timeout(DEADLINE, asking).await.map_err(late)??)
}

/// A place in a list, as a page names it.
pub(crate) fn place(text: &str) -> Result<((i64, u64), u32), Problem> {
    let mut parts = text.splitn(3, '.');
    let parsed = (|| {
        let (due, seq, shard) = (parts.next()?, parts.next()?, parts.next()?);
        Some(((due.parse().ok()?, seq.parse().ok()?), shard.parse().ok()?))
    })();
    parsed.ok_or_else(|| Problem::new(reason::INVALID_QUERY, "after is what a page's next says").at("after"))
}
