//! What every surface does with half messages: prepare, decide, look up, list. Asks the ledger.

use std::sync::Arc;

use evhub_event::{Controls, Event, Invalid, Reason};
use evhub_journal::{ClusterSettings, Journal};
use evhub_ledger::{
    Answer, Command, TimerId,
    command::Verb,
    half::{self, Callback, Commit, Decide, Decision, HalfListed, Prepare, Standing, State, Which},
};
use evhub_routing::{Name, Producer, derived_record_bytes};

use crate::{
    Hub,
    ingest::{
        self, Charge,
        append::{Landed, record},
        schedule::Scheduled,
        trace::{self, Asked, Publishing},
    },
    problem::{Problem, reason},
    provision,
    timers::ask::{in_time, place},
};

/// The half messages of one Producer.
pub(crate) struct Transactions<'a, J: Journal> {
    hub: &'a Hub<J>,
    producer: Arc<Producer>,
}

/// A page of them, and where the next one begins.
pub(crate) type Page = (Vec<HalfListed>, Option<String>);

impl<'a, J: Journal> Transactions<'a, J> {
    /// Those of the Producer of this name.
    pub(crate) fn of(hub: &'a Hub<J>, name: &Name) -> Result<Self, Problem> {
        Ok(Self { hub, producer: ingest::find(hub, name)? })
    }

    /// Prepares one.
    pub(crate) async fn prepare(
        &self,
        event: (Event, Controls),
        charge: Charge,
        asked: &Asked,
    ) -> Result<(TimerId, Standing), Problem> {
        let key = event.0.extension("partitionkey").map(str::as_bytes);
        let id = self.hub.ledger.half(&self.producer.uid, key, &event.0.source, &event.0.id);
        prepare(self.hub, &self.producer, id, event, None, (charge, asked))
            .await
            .map(|standing| (id, standing))
    }

    /// Commits one, or has done so before.
    pub(crate) async fn commit(&self, id: &str, commit: Commit) -> Result<(TimerId, Standing), Problem> {
        self.decide(id, Decide::Commit(commit)).await
    }

    /// Rolls one back, or has done so before.
    pub(crate) async fn roll_back(&self, id: &str) -> Result<(TimerId, Standing), Problem> {
        self.decide(id, Decide::Rollback).await
    }

    /// What is known of one.
    pub(crate) async fn look(&self, id: &str) -> Result<HalfListed, Problem> {
        let found = in_time(self.hub.ledger.look_half(read(id)?)).await?;
        found.filter(|half| *half.producer == *self.producer.uid).ok_or_else(unknown)
    }

    /// Those that nobody has decided on, the oldest first.
    pub(crate) async fn list(
        &self,
        which: Which,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, Problem> {
        let after = after.map(place).transpose()?;
        let listed = in_time(self.hub.ledger.list_halves(&self.producer.uid, which, after, limit)).await?;
        let next = listed.last().filter(|_| listed.len() == limit);
        let next = next.map(|((at, seq), half)| format!("{at}.{seq}.{}", half.id.shard()));
        Ok((listed.into_iter().map(|(_, half)| half).collect(), next))
    }

    async fn decide(&self, id: &str, decide: Decide) -> Result<(TimerId, Standing), Problem> {
        let id = read(id)?;
        let wanted = match decide {
            Decide::Commit(_) => State::Committed,
            Decide::Rollback => State::RolledBack,
        };
        let decision = Decision { producer: self.producer.uid.clone(), decide };
        let command = Command { id, verb: Verb::Decide(Box::new(decision)) };
        match in_time(self.hub.ledger.decide(command)).await? {
            Answer::Half(standing) if standing.state == wanted => Ok((id, standing)),
            answer => Err(refused(&answer)),
        }
    }
}

/// Prepares an event as a half message. The same event again is the same half message; the command outlives the request.
pub(crate) async fn prepare<J: Journal>(
    hub: &Hub<J>,
    producer: &Arc<Producer>,
    id: TimerId,
    (event, controls): (Event, Controls),
    callback: Option<Callback>,
    (charge, asked): (Charge, &Asked),
) -> Result<Standing, Problem> {
    if controls.idempotency.is_some() {
        let detail = "a half message is prepared once under its source and id: it takes no key besides";
        return Err(Invalid::new(Reason::InvalidControl, "evhubidempotencykey", detail).into());
    }
    let interval = callback.as_ref().map(|callback| callback.interval);
    let interval = interval.or(producer.ledger.check_back.as_ref().map(|check_back| check_back.interval));
    let interval = interval.ok_or_else(|| {
        let detail = "nobody could be asked about a half message whose publisher does not come back: say who, in the \
                      Producer's transaction.checkBack";
        Problem::new(reason::NO_CHECK_BACK, detail)
    })?;
    let (mut publishing, places) = Publishing::begin(hub, producer, &[&event], asked);
    let mut record = record(&event, &controls, None);
    // What was asked for, and not which request asked.
    let digest = half::digest(&record, controls.when, callback.as_ref());
    record.headers.extend(places.iter().flatten().flat_map(trace::headers));
    let prepare = Prepare {
        producer: producer.uid.clone(),
        topic: producer.due_topic.clone(),
        event_id: event.id,
        record,
        when: controls.when,
        max_delay: producer.max_delay,
        max_pending: producer.pending_timers,
        interval,
        callback,
        digest,
    };
    let (hub, producer) = (hub.clone(), Arc::clone(producer));
    let task = tokio::spawn(async move {
        let asked = in_time(async {
            provision::due(&hub, &producer)
                .await
                .map_err(|error| evhub_ledger::Trouble::Unavailable(error.to_string()))?;
            let largest = derived_record_bytes(producer.event_bytes);
            let brokers = &producer.brokers;
            let copies = ClusterSettings::copies(brokers.replicas, brokers.min_in_sync_replicas);
            hub.ledger.ask(Command { id, verb: Verb::Prepare(Box::new(prepare)) }, largest, copies).await
        });
        let answer = asked.await;
        drop(charge);
        answer
    });
    let given_up = |_| Problem::new(reason::INTERNAL, "the half message was given up").unknown();
    let prepared = match task.await.map_err(given_up).flatten() {
        Ok(Answer::Half(standing)) => Ok(standing),
        Ok(Answer::Conflict) => {
            let detail = "another half message of this source and id is there: give it an id of its own";
            Err(Problem::new(reason::TRANSACTION_CONFLICT, detail))
        }
        Ok(answer) => Err(refused(&answer)),
        Err(problem) => Err(problem),
    };
    let landed = |standing: &Standing| Landed::Later(Scheduled { timer: id, due: standing.at });
    publishing.ended(&[prepared.as_ref().map(landed).map_err(Clone::clone)]);
    prepared
}

/// Why the ledger did not do what it was asked for.
pub(crate) fn refused(answer: &Answer) -> Problem {
    match answer {
        Answer::Half(Standing { state: State::Committed, .. }) => {
            Problem::new(reason::ALREADY_COMMITTED, "the half message was committed, and is published")
        }
        Answer::Half(Standing { state: State::RolledBack, .. }) => Problem::new(
            reason::ALREADY_ROLLED_BACK,
            "the half message was rolled back, and is not published",
        ),
        Answer::TooMany => {
            let detail =
                "this Producer has as many half messages and timers as its limits.pendingTimers allows";
            Problem::new(reason::TOO_MANY_TIMERS, detail).retry_after(60)
        }
        Answer::TooLong => {
            let detail =
                "the delay is longer than this Producer's limits.maxDelay allows; nothing is decided";
            Invalid::whole(Reason::DelayTooLong, detail).into()
        }
        Answer::Unknown => unknown(),
        _ => Problem::new(reason::INTERNAL, "the ledger could not read what it was asked for"),
    }
}

fn unknown() -> Problem {
    let detail =
        "this Producer has no half message of this id, or had one whose decision is forgotten by now";
    Problem::new(reason::UNKNOWN_TRANSACTION, detail)
}

fn read(id: &str) -> Result<TimerId, Problem> {
    id.parse().map_err(|_| unknown())
}
