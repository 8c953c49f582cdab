//! Publishing later: an event becomes a timer. Asks the ledger.

use evhub_event::{Controls, Event, Invalid, Reason, controls::When};
use evhub_journal::{ClusterSettings, Journal};
use evhub_ledger::{Answer, Command, Submit, TimerId, Trouble, command};
use evhub_routing::{Producer, derived_record_bytes};
use evhub_telemetry::Context;

use super::{append::record, trace};
use crate::{
    Hub,
    problem::{Problem, reason},
    provision,
};

/// An event that will be published, unless somebody cancels it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scheduled {
    /// Its timer.
    pub(crate) timer: TimerId,
    /// When, in milliseconds since the Unix epoch.
    pub(crate) due: i64,
}

/// Schedules an event. The same event again is the same timer; the command outlives the request.
pub(super) fn schedule<J: Journal>(
    hub: &Hub<J>,
    producer: &Producer,
    event: &Event,
    controls: &Controls,
    (when, place): (When, Option<&Context>),
) -> impl Future<Output = Result<Scheduled, Problem>> + Send + use<J> {
    let (hub, producer) = (hub.clone(), producer.clone());
    // What was asked for, and not which request asked.
    let asked = record(event, controls, None);
    let digest = command::digest(&asked, when);
    let id = hub.ledger.id(&producer.uid, asked.key.as_deref(), &event.source, &event.id);
    let mut record = asked;
    record.headers.extend(place.into_iter().flat_map(trace::headers));
    let submit = Submit {
        producer: producer.uid.clone(),
        topic: producer.due_topic.clone(),
        event_id: event.id.clone(),
        record,
        when,
        repeat: controls.repeat.clone(),
        max_delay: producer.max_delay,
        max_pending: producer.pending_timers,
        digest,
    };
    async move {
        provision::due(&hub, &producer).await?;
        let command = Command { id, verb: command::Verb::Submit(Box::new(submit)) };
        let largest = derived_record_bytes(producer.event_bytes);
        let copies =
            ClusterSettings::copies(producer.brokers.replicas, producer.brokers.min_in_sync_replicas);
        let answer = hub.ledger.ask(command, largest, copies).await;
        match answer.map_err(Problem::from)? {
            Answer::Scheduled(due) => Ok(Scheduled { timer: id, due }),
            answer => Err(refused(&answer)),
        }
    }
}

/// Why the ledger did not do what it was asked for.
pub(crate) fn refused(answer: &Answer) -> Problem {
    match answer {
        Answer::Conflict => {
            let detail = "another event of this source and id is scheduled, or this one for another time: \
                          give it an id of its own, or reschedule the timer";
            Problem::new(reason::TIMER_CONFLICT, detail)
        }
        Answer::TooMany => {
            let detail = "this Producer has as many pending timers as its limits.pendingTimers allows";
            Problem::new(reason::TOO_MANY_TIMERS, detail).retry_after(60)
        }
        Answer::TooLong => {
            let detail = "the delay is longer than this Producer's limits.maxDelay allows";
            Invalid::whole(Reason::DelayTooLong, detail).into()
        }
        Answer::Cancelled => {
            Problem::new(reason::ALREADY_CANCELLED, "the timer was cancelled, and will not fire")
        }
        Answer::AlreadyFired => Problem::new(reason::ALREADY_FIRED, "the timer has fired"),
        Answer::TooLate => {
            let detail = "the event's repeats would end before they begin";
            Invalid::whole(Reason::InvalidControl, detail).into()
        }
        Answer::Unknown => Problem::new(reason::UNKNOWN_TIMER, "this Producer has no timer of this id"),
        Answer::Scheduled(_)
        | Answer::Half(_)
        | Answer::Unreadable
        | Answer::Claimed(_)
        | Answer::TooManyKeys
        | Answer::Stuck => Problem::new(reason::INTERNAL, "the ledger could not read what it was asked for"),
    }
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Rejected(refusal) => refusal.into(),
            Trouble::Unknown(_) => {
                let detail =
                    "the log did not answer, so the ledger may or may not do it: asking again does no harm";
                Self::new(reason::LOG_UNAVAILABLE, detail).unknown().retry_after(1)
            }
            Trouble::Unavailable(_) => {
                Self::new(reason::LOG_UNAVAILABLE, "the ledger is not available now").retry_after(1)
            }
        }
    }
}
