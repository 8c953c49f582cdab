//! Timers over gRPC: `evhub.ledger.v1.Ledger` for applications, `Shards` between the processes of one installation.

use std::time::Duration;

use evhub_event::controls::When;
use evhub_journal::Journal;
use evhub_ledger::{Listed, Question};
use evhub_proto::ledger::{
    AskRequest, AskResponse, CancelTimerRequest, CancelTimerResponse, CommitTransactionRequest,
    DeleteScheduleRequest, DeleteScheduleResponse, FireScheduleRequest, FireScheduleResponse,
    GetScheduleRequest, GetTimerRequest, GetTransactionRequest, ListSchedulesRequest, ListSchedulesResponse,
    ListTimersRequest, ListTimersResponse, ListTransactionsRequest, ListTransactionsResponse,
    PrepareTransactionRequest, PutScheduleRequest, RescheduleTimerRequest, RollbackTransactionRequest,
    Schedule, Timer, Transaction, ledger_server::Ledger, reschedule_timer_request::When as Wanted,
    shards_server::Shards,
};
use evhub_routing::Name;
use tonic::{Request, Response, Status, async_trait};

use super::ask::Timers;
use crate::{
    Hub,
    api::PAGE,
    grpc::status,
    problem::{Problem, reason},
    schedules::grpc as schedules,
    transactions::grpc as transactions,
};

/// Both services.
#[derive(Clone)]
pub(crate) struct Service<J: Journal> {
    pub(crate) hub: Hub<J>,
}

#[async_trait]
impl<J: Journal> Ledger for Service<J> {
    async fn list_timers(
        &self,
        request: Request<ListTimersRequest>,
    ) -> Result<Response<ListTimersResponse>, Status> {
        let ListTimersRequest { namespace, producer, limit, after } = request.into_inner();
        let listed = async {
            let limit = self::limit(limit)?;
            let after = Some(after.as_str()).filter(|after| !after.is_empty());
            Timers::of(&self.hub, &name(namespace, producer))?.list(after, limit).await
        };
        let (listed, next) = said(listed.await)?;
        let timers = listed.into_iter().map(timer).collect();
        Ok(Response::new(ListTimersResponse { timers, next: next.unwrap_or_default() }))
    }

    async fn get_timer(&self, request: Request<GetTimerRequest>) -> Result<Response<Timer>, Status> {
        let GetTimerRequest { namespace, producer, timer: id } = request.into_inner();
        let found = async { Timers::of(&self.hub, &name(namespace, producer))?.look(&id).await };
        Ok(Response::new(timer(said(found.await)?)))
    }

    async fn cancel_timer(
        &self,
        request: Request<CancelTimerRequest>,
    ) -> Result<Response<CancelTimerResponse>, Status> {
        let CancelTimerRequest { namespace, producer, timer } = request.into_inner();
        let cancelled = async { Timers::of(&self.hub, &name(namespace, producer))?.cancel(&timer).await };
        said(cancelled.await)?;
        Ok(Response::new(CancelTimerResponse {}))
    }

    async fn reschedule_timer(
        &self,
        request: Request<RescheduleTimerRequest>,
    ) -> Result<Response<Timer>, Status> {
        let RescheduleTimerRequest { namespace, producer, timer: id, when } = request.into_inner();
        let moved = async {
            let when = self::when(when)?;
            Timers::of(&self.hub, &name(namespace, producer))?.reschedule(&id, when).await
        };
        Ok(Response::new(timer(said(moved.await)?)))
    }

    async fn list_schedules(
        &self,
        request: Request<ListSchedulesRequest>,
    ) -> Result<Response<ListSchedulesResponse>, Status> {
        let schedules = said(schedules::list(&self.hub, request.into_inner()).await)?;
        Ok(Response::new(ListSchedulesResponse { schedules }))
    }

    async fn get_schedule(&self, request: Request<GetScheduleRequest>) -> Result<Response<Schedule>, Status> {
        said(schedules::look(&self.hub, request.into_inner()).await).map(Response::new)
    }

    async fn put_schedule(&self, request: Request<PutScheduleRequest>) -> Result<Response<Schedule>, Status> {
        said(schedules::put(&self.hub, request.into_inner()).await).map(Response::new)
    }

    async fn delete_schedule(
        &self,
        request: Request<DeleteScheduleRequest>,
    ) -> Result<Response<DeleteScheduleResponse>, Status> {
        said(schedules::delete(&self.hub, request.into_inner()).await)?;
        Ok(Response::new(DeleteScheduleResponse {}))
    }

    async fn fire_schedule(
        &self,
        request: Request<FireScheduleRequest>,
    ) -> Result<Response<FireScheduleResponse>, Status> {
        let event_id = said(schedules::fire(&self.hub, request.into_inner()).await)?;
        Ok(Response::new(FireScheduleResponse { event_id }))
    }

    async fn prepare_transaction(
        &self,
        request: Request<PrepareTransactionRequest>,
    ) -> Result<Response<Transaction>, Status> {
        said(transactions::prepare(&self.hub, request).await).map(Response::new)
    }

    async fn commit_transaction(
        &self,
        request: Request<CommitTransactionRequest>,
    ) -> Result<Response<Transaction>, Status> {
        said(transactions::commit(&self.hub, request.into_inner()).await).map(Response::new)
    }

    async fn rollback_transaction(
        &self,
        request: Request<RollbackTransactionRequest>,
    ) -> Result<Response<Transaction>, Status> {
        said(transactions::roll_back(&self.hub, request.into_inner()).await).map(Response::new)
    }

    async fn get_transaction(
        &self,
        request: Request<GetTransactionRequest>,
    ) -> Result<Response<Transaction>, Status> {
        said(transactions::look(&self.hub, request.into_inner()).await).map(Response::new)
    }

    async fn list_transactions(
        &self,
        request: Request<ListTransactionsRequest>,
    ) -> Result<Response<ListTransactionsResponse>, Status> {
        said(transactions::list(&self.hub, request.into_inner()).await).map(Response::new)
    }
}

#[async_trait]
impl<J: Journal> Shards for Service<J> {
    async fn ask(&self, request: Request<AskRequest>) -> Result<Response<AskResponse>, Status> {
        let malformed = || {
            let detail = "the question is none that this version knows";
            status::of(&Problem::new(reason::INVALID_MESSAGE, detail).at("question"))
        };
        let (shard, question) = Question::decode(request.into_inner().question).ok_or_else(malformed)?;
        let reply = self.hub.ledger.told(shard, question).await;
        let reply = reply.map(evhub_ledger::Reply::encode).unwrap_or_default();
        Ok(Response::new(AskResponse { reply }))
    }
}

fn said<T>(result: Result<T, Problem>) -> Result<T, Status> {
    result.map_err(|problem| status::of(&problem))
}

/// The Producer that is meant.
pub(crate) fn name(namespace: String, producer: String) -> Name {
    Name::new(if namespace.is_empty() { "default".to_owned() } else { namespace }, producer)
}

/// How long a page is.
pub(crate) fn limit(limit: u32) -> Result<usize, Problem> {
    match limit as usize {
        0 => Ok(PAGE.0),
        limit if limit <= PAGE.1 => Ok(limit),
        limit => {
            let detail = format!("limit is from 1 to {}, not {limit}", PAGE.1);
            Err(Problem::new(reason::INVALID_QUERY, detail).at("limit"))
        }
    }
}

/// The instant that is meant.
pub(crate) fn when(when: Option<Wanted>) -> Result<When, Problem> {
    let missing = |field| Problem::new(reason::INVALID_MESSAGE, "it says when: due, or delay").at(field);
    match when.ok_or_else(|| missing("due"))? {
        // Whole milliseconds, and never early.
        Wanted::Due(due) => {
            let nanos = i64::from(due.nanos);
            let millis = nanos.div_euclid(1_000_000) + i64::from(nanos.rem_euclid(1_000_000) > 0);
            Ok(When::At(due.seconds.saturating_mul(1_000).saturating_add(millis)))
        }
        Wanted::Delay(delay) => {
            let delay = Duration::try_from(delay).map_err(|_| missing("delay"))?;
            let millis = u64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
            Ok(When::After(Duration::from_millis(millis)))
        }
    }
}

fn timer(listed: Listed) -> Timer {
    let Listed { id, producer: _, event_id, due, key } = listed;
    let key = key.and_then(|key| String::from_utf8(key.to_vec()).ok()).unwrap_or_default();
    Timer { timer: id.to_string(), event_id, due: Some(status::stamp(due)), key }
}
