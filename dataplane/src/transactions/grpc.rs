//! Half messages over gRPC: their part of `evhub.ledger.v1.Ledger`.
//!
//! A message that holds an event is bytes until its attributes are counted, as everywhere.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use evhub_event::{Controls, Invalid, Reason, attributes::MAX_ATTRIBUTES};
use evhub_journal::Journal;
use evhub_ledger::{
    TimerId,
    half::{Commit, HalfListed, Standing, State},
};
use evhub_proto::ledger::{
    CommitTransactionRequest, GetTransactionRequest, ListTransactionsRequest, ListTransactionsResponse,
    PrepareTransactionRequest, RollbackTransactionRequest, Transaction, TransactionState,
    commit_transaction_request::When, ledger_server::LedgerServer, reschedule_timer_request,
};
use tonic::{Request, body::Body, codegen::BoxFuture, server::NamedService};

use super::{ask::Transactions, http::which};
use crate::{
    Hub,
    grpc::{
        Taken,
        bare::{self, Message},
        decode, status,
    },
    ingest::{self, take, trace::Asked},
    problem::{Problem, reason},
    timers::grpc::{Service, limit, name, when},
};

const PREPARE: &str = "/evhub.ledger.v1.Ledger/PrepareTransaction";
/// Where a request to prepare has its event's attributes: `event.attributes`.
const ATTRIBUTES: [u32; 2] = [3, 5];

/// Serves the whole service, and counts before it takes an event apart.
#[derive(Clone)]
pub(crate) struct Server<J: Journal> {
    rest: LedgerServer<Service<J>>,
    service: Service<J>,
}

impl<J: Journal> Server<J> {
    /// Of a hub.
    pub(crate) fn new(service: Service<J>) -> Self {
        Self { rest: LedgerServer::new(service.clone()), service }
    }
}

impl<J: Journal> NamedService for Server<J> {
    const NAME: &'static str = "evhub.ledger.v1.Ledger";
}

impl<J: Journal> tower_service::Service<http::Request<Body>> for Server<J> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != PREPARE {
            return tower_service::Service::call(&mut self.rest, request);
        }
        let service = self.service.clone();
        Box::pin(async move {
            let prepare = |request: Request<Message>| {
                let service = service.clone();
                async move {
                    let (metadata, extensions, message) = request.into_parts();
                    let opened = open(&message).map_err(|problem| status::of(&problem))?;
                    let request = Request::from_parts(metadata, extensions, opened);
                    evhub_proto::ledger::ledger_server::Ledger::prepare_transaction(&service, request).await
                }
            };
            Ok(bare::unary(request, prepare).await)
        })
    }
}

fn open(message: &Message) -> Result<PrepareTransactionRequest, Problem> {
    if message.exceeds(&ATTRIBUTES, MAX_ATTRIBUTES) {
        let detail = format!("the event has more than {MAX_ATTRIBUTES} attributes, which is all it may have");
        return Err(Invalid::new(Reason::TooManyAttributes, "event", detail).into());
    }
    message.decode()
}

/// Prepares one.
pub(crate) async fn prepare<J: Journal>(
    hub: &Hub<J>,
    request: Request<PrepareTransactionRequest>,
) -> Result<Transaction, Problem> {
    let charge = request.extensions().get::<Taken>().map_or_else(|| hub.door.enter(), Taken::take);
    let asked = Asked::of(hub, request.metadata().as_ref());
    let PrepareTransactionRequest { namespace, producer, event } = request.into_inner();
    let name = name(namespace, producer);
    let (producer, transactions) = (ingest::find(hub, &name)?, Transactions::of(hub, &name)?);
    let read = || {
        let missing = || Problem::new(reason::INVALID_MESSAGE, "event is missing").at("event");
        let mut event = decode(event.ok_or_else(missing)?)?;
        let controls = Controls::take(&mut event)?;
        let event = (event, controls);
        take::fits(&producer, &event)?;
        take::admit(hub, &producer, 1)?;
        Ok::<_, Problem>(event)
    };
    let event = read().inspect_err(|problem| ingest::refused(hub, &name, &asked, || problem.words()))?;
    let event_id = event.0.id.clone();
    let (id, standing) = transactions.prepare(event, charge, &asked).await?;
    Ok(Transaction { event_id, ..stand(id, standing) })
}

/// Commits one.
pub(crate) async fn commit<J: Journal>(
    hub: &Hub<J>,
    request: CommitTransactionRequest,
) -> Result<Transaction, Problem> {
    let CommitTransactionRequest { namespace, producer, id, when: asked } = request;
    let asked = asked.map(|asked| match asked {
        When::Due(due) => reschedule_timer_request::When::Due(due),
        When::Delay(delay) => reschedule_timer_request::When::Delay(delay),
    });
    let when = asked.map(|asked| when(Some(asked))).transpose()?;
    let commit = Commit { when, ..Commit::default() };
    let (id, standing) = Transactions::of(hub, &name(namespace, producer))?.commit(&id, commit).await?;
    Ok(stand(id, standing))
}

/// Rolls one back.
pub(crate) async fn roll_back<J: Journal>(
    hub: &Hub<J>,
    request: RollbackTransactionRequest,
) -> Result<Transaction, Problem> {
    let RollbackTransactionRequest { namespace, producer, id } = request;
    let (id, standing) = Transactions::of(hub, &name(namespace, producer))?.roll_back(&id).await?;
    Ok(stand(id, standing))
}

/// Looks one up.
pub(crate) async fn look<J: Journal>(
    hub: &Hub<J>,
    request: GetTransactionRequest,
) -> Result<Transaction, Problem> {
    let GetTransactionRequest { namespace, producer, id } = request;
    Ok(shown(Transactions::of(hub, &name(namespace, producer))?.look(&id).await?))
}

/// Lists those that nobody has decided on.
pub(crate) async fn list<J: Journal>(
    hub: &Hub<J>,
    request: ListTransactionsRequest,
) -> Result<ListTransactionsResponse, Problem> {
    let ListTransactionsRequest { namespace, producer, limit: asked, after, state } = request;
    let (limit, which) = (limit(asked)?, which(Some(&state))?);
    let after = Some(after.as_str()).filter(|after| !after.is_empty());
    let transactions = Transactions::of(hub, &name(namespace, producer))?;
    let (listed, next) = transactions.list(which, after, limit).await?;
    let transactions = listed.into_iter().map(shown).collect();
    Ok(ListTransactionsResponse { transactions, next: next.unwrap_or_default() })
}

fn stand(id: TimerId, Standing { state, at, due, first: _ }: Standing) -> Transaction {
    let is_prepared = state == State::Prepared;
    let (known, at) = match state {
        State::Prepared => (TransactionState::Prepared, status::stamp(at)),
        State::Committed => (TransactionState::Committed, status::stamp(at)),
        State::RolledBack => (TransactionState::RolledBack, status::stamp(at)),
    };
    Transaction {
        id: id.to_string(),
        state: known.into(),
        prepared: is_prepared.then_some(at),
        decided: (!is_prepared).then_some(at),
        due: (state == State::Committed).then(|| status::stamp(due)),
        ..Transaction::default()
    }
}

fn shown(half: HalfListed) -> Transaction {
    let HalfListed { id, producer: _, event_id, key, standing, checks, next } = half;
    let key = key.and_then(|key| String::from_utf8(key.to_vec()).ok()).unwrap_or_default();
    let next_check = (next != evhub_ledger::series::NEVER).then(|| status::stamp(next));
    Transaction { event_id, key, checks, next_check, ..stand(id, standing) }
}
