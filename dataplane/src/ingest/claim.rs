//! Publishing that is safe to repeat: the ledger publishes an event unless it was published under the same key. Asks the
//! ledger.

use evhub_event::{Controls, Event, controls::When};
use evhub_journal::{ClusterSettings, Journal, Refusal};
use evhub_ledger::{
    Answer, Command, Submit, TimerId,
    claim::{self, By, Claim, Receipt, SHORTEST},
    command,
};
use evhub_routing::{DeduplicationKey, Producer, derived_record_bytes};
use evhub_telemetry::Context;
use tokio::sync::oneshot;

use super::{
    append::{Landed, Wait, record},
    schedule, trace,
};
use crate::{
    Hub,
    problem::{Problem, reason},
    provision,
};

/// What an event is the same by as another one, if by anything: the key that it came with, or what its Producer says.
pub(super) fn by<'a>(producer: &Producer, event: &'a Event, controls: &'a Controls) -> Option<By<'a>> {
    match (&controls.idempotency, producer.ledger.deduplication.by) {
        (Some(given), _) => Some(By::Key(&given.key)),
        (None, DeduplicationKey::SourceAndId) => Some(By::Event(&event.source, &event.id)),
        (None, DeduplicationKey::IdempotencyKey) => None,
    }
}

/// Publishes an event, now or when it is due, unless that was done. The command outlives the request.
pub(super) fn claim<J: Journal>(
    hub: &Hub<J>,
    producer: &Producer,
    (event, controls): (&Event, &Controls),
    (by, place): (By<'_>, Option<&Context>),
) -> impl Future<Output = Result<Landed, Problem>> + Send + use<J> {
    let (hub, producer) = (hub.clone(), producer.clone());
    let id = hub.ledger.claim_id(&producer.uid, by);
    let claim = asked(&producer, (event, controls), id, place);
    async move {
        provision::due(&hub, &producer).await?;
        let command = Command { id, verb: command::Verb::Claim(Box::new(claim)) };
        let largest = derived_record_bytes(producer.event_bytes);
        let copies =
            ClusterSettings::copies(producer.brokers.replicas, producer.brokers.min_in_sync_replicas);
        match hub.ledger.ask(command, largest, copies).await.map_err(Problem::from)? {
            Answer::Claimed(receipt) => Ok(Landed::Once(receipt)),
            answer => Err(refused(&answer)),
        }
    }
}

fn asked(
    producer: &Producer,
    (event, controls): (&Event, &Controls),
    id: TimerId,
    place: Option<&Context>,
) -> Claim {
    // What was asked for, and not which request asked.
    let mut asked = record(event, controls, None);
    let digest = claim::digest(&asked, controls.when, controls.repeat.as_ref());
    let when = controls.when.unwrap_or(When::At(0));
    let submitted = command::digest(&asked, when);
    asked.headers.extend(place.into_iter().flat_map(trace::headers));
    let most = producer.ledger.deduplication.window;
    let wished = controls.idempotency.as_ref().and_then(|given| given.window);
    Claim {
        submit: Submit {
            producer: producer.uid.clone(),
            topic: producer.due_topic.clone(),
            event_id: event.id.clone(),
            record: asked,
            when,
            repeat: controls.repeat.clone(),
            max_delay: producer.max_delay,
            max_pending: producer.pending_timers,
            digest: submitted,
        },
        timer: controls.when.map(|_| id.beside(&event.source, &event.id)),
        window: wished.map_or(most, |wished| wished.clamp(SHORTEST, most)),
        digest,
    }
}

/// Why the ledger did not publish it.
fn refused(answer: &Answer) -> Problem {
    match answer {
        Answer::Conflict => {
            let detail = "another event was published under this key, and the window has not passed: \
                          give another event a key of its own";
            Problem::new(reason::IDEMPOTENCY_CONFLICT, detail)
        }
        Answer::TooManyKeys => {
            let detail = "so many keys are remembered that there is no room for one more: \
                          publish less under keys, or with a shorter deduplication.window";
            Problem::new(reason::TOO_MANY_KEYS, detail).retry_after(60)
        }
        Answer::Stuck => {
            let detail = "this Producer's topic takes nothing now, and as many events wait for it as may";
            Problem::new(reason::LOG_UNAVAILABLE, detail).retry_after(1)
        }
        // Its window has passed before anybody could ask again.
        Answer::Unknown => {
            let detail = "the ledger does not know any more what became of the event: it may be published";
            Problem::new(reason::LOG_UNAVAILABLE, detail).unknown()
        }
        answer => schedule::refused(answer),
    }
}

/// Lets an event of a batch wait for the one of its key before it, as keys meet in different shards: none is published
/// behind one that was not.
pub(super) fn behind(before: &mut Option<oneshot::Receiver<()>>, wait: Wait) -> Wait {
    let (accepted, next) = oneshot::channel();
    let before = before.replace(next);
    Box::pin(async move {
        if let Some(before) = before
            && before.await.is_err()
        {
            return Err(Refusal::Behind.into());
        }
        let result = wait.await;
        if result.is_ok() {
            // Nobody may be behind it.
            let _ = accepted.send(());
        }
        result
    })
}

/// Where an event is that was published once: its id and its timer are those of the first one.
pub(crate) fn timer_of(receipt: &Receipt) -> Option<schedule::Scheduled> {
    receipt.timer.map(|(timer, due)| schedule::Scheduled { timer, due })
}
