//! `evhub.ingest.v1.Ingest`: events as protobuf messages, checked and appended as on every other surface.

use std::{pin::Pin, sync::Arc};

use evhub_event::{Controls, Event, Invalid, Reason};
use evhub_journal::{Journal, Position};
use evhub_proto::{
    cloudevents::CloudEvent,
    ingest::{Outcome, PublishRequest, PublishResponse, outcome::Kind},
};
use evhub_routing::{Name, Producer};
use futures_util::{Stream, StreamExt as _, stream::unfold};
use tokio::time::sleep_until;
use tonic::{Request, Response, Status, Streaming};

use super::{
    Ending, Taken,
    bare::Message,
    call::Until,
    event,
    lazy::{self, Head},
    status,
};
use crate::{
    Hub,
    ingest::{
        self, Charge,
        append::{Landed, append, append_all},
        claim,
        schedule::Scheduled,
        take,
        trace::Asked,
    },
    problem::{self, Problem, reason},
};

/// The namespace of who names none.
const NAMESPACE: &str = "default";
/// How many requests of one stream may wait for the log.
const WINDOW: usize = 256;

/// Publishes to the Producers of this hub.
#[derive(Clone)]
pub(super) struct Service<J: Journal> {
    pub(super) hub: Hub<J>,
}

/// What a request publishes, checked.
struct Batch {
    producer: Arc<Producer>,
    events: Arc<[(Event, Controls)]>,
}

/// The answers of a stream.
pub(super) type Answers = Pin<Box<dyn Stream<Item = Result<PublishResponse, Status>> + Send>>;

impl<J: Journal> Service<J> {
    /// Publishes once.
    pub(super) async fn publish(
        &self,
        request: Request<Message>,
    ) -> Result<Response<PublishResponse>, Status> {
        let charge = taken(&self.hub, &request).take();
        let asked = Asked::of(&self.hub, request.metadata().as_ref());
        let head = request.get_ref().decode().map_err(|problem| status::of(&problem))?;
        let opened = open(&self.hub, head, &request.into_inner(), &asked);
        let PublishRequest { namespace, producer, events, correlation } =
            opened.map_err(|problem| status::of(&problem))?;
        let batch = check(&self.hub, namespace, producer, events, &asked);
        let batch = batch.map_err(|problem| status::of(&problem))?;
        let results = batch.append(&self.hub, charge, &asked).await;
        if let Some(problem) = failure(&results) {
            return Err(status::of(problem));
        }
        Ok(Response::new(PublishResponse { outcomes: batch.outcomes(results), correlation }))
    }

    /// Publishes request by request.
    pub(super) fn publish_stream(&self, request: Request<Streaming<Message>>) -> Response<Answers> {
        let taken = taken(&self.hub, &request);
        let end = Box::pin(end(&request));
        let asked = Asked::of(&self.hub, request.metadata().as_ref());
        // Shared: each request of the stream takes it along, and a hub has many parts.
        let hub = Arc::new(self.hub.clone());
        let answers = requests(request.into_inner(), end).map(move |message| {
            let (hub, charge, asked) = (Arc::clone(&hub), taken.take(), asked.again(&hub));
            async move {
                match message {
                    Ok(message) => Ok(answer(&hub, message, charge, &asked).await),
                    Err(status) => Err(status),
                }
            }
        });
        // Answers come in the order of their requests, and no more requests are read than may wait.
        Response::new(Box::pin(answers.buffered(WINDOW)))
    }
}

/// The requests of a stream up to its end, which may come from them, their sender, or us.
fn requests(
    requests: Streaming<Message>,
    end: Pin<Box<impl Future<Output = Status> + Send>>,
) -> impl Stream<Item = Result<Message, Status>> + Send {
    unfold(Some((requests, end)), async |state| {
        let (mut requests, mut end) = state?;
        let message = tokio::select! {
            biased;
            status = &mut end => return Some((Err(status), None)),
            message = requests.message() => message,
        };
        match message {
            Ok(message) => Some((Ok(message?), Some((requests, end)))),
            Err(status) => Some((Err(status::translate(status)), None)),
        }
    })
}

/// Comes when a stream must end though its caller has more to say: at its deadline, or with its connection.
fn end<T>(request: &Request<T>) -> impl Future<Output = Status> + Send + use<T> {
    let ending = Ending::of(request);
    let until = request.extensions().get().and_then(|Until(until)| *until);
    async move {
        let late = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let problem = tokio::select! {
            () = ending => {
                let detail = "the connection ends; what was not answered was not read, so send it on a new one";
                Problem::new(reason::DRAINING, detail).retry_after(1)
            }
            () = late => {
                let detail = "the stream's deadline is reached; what was not answered was not read";
                Problem::new(reason::DEADLINE_EXCEEDED, detail)
            }
        };
        status::of(&problem)
    }
}

/// Publishes one request of a stream; what is wrong with it is said of each of its events, or of none if they could not
/// be read.
async fn answer<J: Journal>(
    hub: &Hub<J>,
    message: Message,
    charge: Charge,
    asked: &Asked,
) -> PublishResponse {
    let (correlation, opened) = match message.decode::<Head>() {
        Ok(head) => (head.correlation, open(hub, head, &message, asked)),
        Err(problem) => (0, Err(problem)),
    };
    let PublishRequest { namespace, producer, events, correlation } = match opened {
        Ok(request) => request,
        Err(problem) => {
            return PublishResponse { outcomes: vec![outcome(String::new(), Err(problem))], correlation };
        }
    };
    let ids: Vec<String> = events.iter().map(|event| event.id.clone()).collect();
    let outcomes = match check(hub, namespace, producer, events, asked) {
        Ok(batch) => {
            let results = batch.append(hub, charge, asked).await;
            batch.outcomes(results)
        }
        Err(problem) if ids.is_empty() => vec![outcome(String::new(), Err(problem))],
        Err(problem) => ids.into_iter().map(|id| outcome(id, Err(problem.clone()))).collect(),
    };
    PublishResponse { outcomes, correlation }
}

/// Takes a request apart that is not too much for its Producer.
fn open<J: Journal>(
    hub: &Hub<J>,
    head: Head,
    message: &Message,
    asked: &Asked,
) -> Result<PublishRequest, Problem> {
    let name = name(head.namespace, head.producer);
    let producer = ingest::find(hub, &name)?;
    lazy::open(message, producer.batch_events)
        .inspect_err(|problem| ingest::refused(hub, &name, asked, || problem.words()))
}

fn name(namespace: String, producer: String) -> Name {
    Name::new(if namespace.is_empty() { NAMESPACE.to_owned() } else { namespace }, producer)
}

/// What a call fails with that accepted nothing: what may yet appear, if anything may.
fn failure(results: &[Result<Landed, Problem>]) -> Option<&Problem> {
    let problems: Option<Vec<_>> = results.iter().map(|result| result.as_ref().err()).collect();
    let problems = problems?;
    let unknown = problems.iter().find(|problem| problem.outcome == problem::Outcome::Unknown);
    unknown.or(problems.first()).copied()
}

/// Holds a request against everything that can be refused before the log is asked.
fn check<J: Journal>(
    hub: &Hub<J>,
    namespace: String,
    producer: String,
    events: Vec<CloudEvent>,
    asked: &Asked,
) -> Result<Batch, Problem> {
    let name = name(namespace, producer);
    let producer = ingest::find(hub, &name)?;
    let checked = all(&producer, events).and_then(|events| {
        take::admit(hub, &producer, events.len())?;
        Ok(events)
    });
    let events = checked.inspect_err(|problem| ingest::refused(hub, &name, asked, || problem.words()))?;
    Ok(Batch { producer, events: events.into() })
}

fn all(producer: &Producer, events: Vec<CloudEvent>) -> Result<Vec<(Event, Controls)>, Problem> {
    if events.is_empty() {
        let detail = "a request has at least one event";
        return Err(Invalid::new(Reason::EmptyBatch, "events", detail).into());
    }
    let one = |(index, message): (usize, CloudEvent)| {
        single(producer, message).map_err(|problem| {
            let field = problem.field.as_ref().map_or(String::new(), |field| format!(".{field}"));
            problem.at(format!("events[{index}]{field}"))
        })
    };
    let events: Vec<_> = events.into_iter().enumerate().map(one).collect::<Result<_, _>>()?;
    let (bytes, limit) = (events.iter().map(|(event, _)| event.size()).sum::<usize>(), producer.batch_bytes);
    if bytes > limit {
        let detail = format!("the events have {bytes} bytes in all, and this Producer takes at most {limit}");
        return Err(Problem::new(reason::BATCH_TOO_LARGE, detail).at("events"));
    }
    Ok(events)
}

fn single(producer: &Producer, message: CloudEvent) -> Result<(Event, Controls), Problem> {
    let mut event = event::decode(message)?;
    let controls = Controls::take(&mut event)?;
    let event = (event, controls);
    take::fits(producer, &event)?;
    Ok(event)
}

/// The charge of a call; every call of this listener has one.
fn taken<J: Journal, T>(hub: &Hub<J>, request: &Request<T>) -> Taken {
    request.extensions().get::<Taken>().cloned().unwrap_or_else(|| Taken::new(&hub.door))
}

// === impl Batch ===

impl Batch {
    async fn append<J: Journal>(
        &self,
        hub: &Hub<J>,
        charge: Charge,
        asked: &Asked,
    ) -> Vec<Result<Landed, Problem>> {
        match &*self.events {
            [event] => vec![append(hub, &self.producer, event, charge, asked).await],
            _ => append_all(hub, &self.producer, Arc::clone(&self.events), charge, asked).await,
        }
    }

    fn outcomes(&self, results: Vec<Result<Landed, Problem>>) -> Vec<Outcome> {
        let each = self.events.iter().zip(results);
        each.map(|((event, _), result)| outcome(event.id.clone(), result)).collect()
    }
}

fn outcome(id: String, result: Result<Landed, Problem>) -> Outcome {
    match result {
        Ok(Landed::Later(Scheduled { timer, due })) => Outcome {
            kind: Kind::Accepted.into(),
            id,
            timer: timer.to_string(),
            due: Some(status::stamp(due)),
            ..Outcome::default()
        },
        Ok(Landed::Once(receipt)) => {
            let timer = claim::timer_of(&receipt);
            Outcome {
                kind: Kind::Accepted.into(),
                id: receipt.event_id,
                partition: -1,
                offset: -1,
                timer: timer.map(|scheduled| scheduled.timer.to_string()).unwrap_or_default(),
                due: timer.map(|scheduled| status::stamp(scheduled.due)),
                ..Outcome::default()
            }
        }
        Ok(Landed::At(Position { partition, offset })) => Outcome {
            kind: Kind::Accepted.into(),
            id,
            partition: i32::try_from(partition).unwrap_or(i32::MAX),
            offset: i64::try_from(offset).unwrap_or(i64::MAX),
            ..Outcome::default()
        },
        Err(problem) => {
            let kind = match problem.outcome {
                problem::Outcome::Rejected => Kind::Rejected,
                problem::Outcome::Unknown => Kind::Unknown,
            };
            Outcome {
                kind: kind.into(),
                id,
                reason: problem.reason.word.to_owned(),
                detail: problem.detail,
                field: problem.field.unwrap_or_default(),
                ..Outcome::default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_fails_only_if_all_its_events_did_and_says_what_may_appear() {
        let accepted = || Ok(Landed::At(Position { partition: 0, offset: 0 }));
        let full = || Err(Problem::new(reason::LOG_FULL, "full"));
        let unknown = || Err(Problem::new(reason::LOG_UNAVAILABLE, "late").unknown());
        let cases = [
            (vec![accepted()], None),
            (vec![full(), accepted()], None),
            (vec![full(), full()], Some(reason::LOG_FULL)),
            (vec![full(), unknown()], Some(reason::LOG_UNAVAILABLE)),
            (vec![unknown(), full()], Some(reason::LOG_UNAVAILABLE)),
        ];
        for (results, expected) in cases {
            let found = failure(&results).map(|problem| problem.reason.word);
            assert_eq!(found, expected.map(|reason| reason.word), "{results:?}");
        }
    }
}
