//! EvHub's gRPC form, served as the generated server would if it did not take messages apart: a list of nothing takes two
//! bytes an entry, and fifty times that as a value, so lists are counted before.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use evhub_journal::Journal;
use evhub_proto::evhub_producer::{CommitReq, CommitRsp, PrepareRsp, ReportRsp, RollbackReq, RollbackRsp};
use tonic::{Request, Response, Status, body::Body, codegen::BoxFuture, server::NamedService};

use super::{
    Fault, MAX_LIST, Method, report,
    transaction::{commit_half, prepare, roll_back},
    unreported,
};
use crate::{
    Hub,
    grpc::{
        Taken,
        bare::{self, Message},
        status,
    },
    ingest::trace::Asked,
};

/// The lists of a report by their path of field numbers: `event.event_comm.event_tag.tag_list`, and
/// `trigger.delay_process_trigger_list`, which lies at the same place in a commit.
const TAGS: (&[u32], &str) = (&[1, 3, 2, 1], "tag_list");
const DELAYS: (&[u32], &str) = (&[2, 4], "delay_process_trigger_list");

/// The server.
#[derive(Clone)]
pub(crate) struct Server<J: Journal> {
    pub(crate) hub: Hub<J>,
}

impl<J: Journal> NamedService for Server<J> {
    const NAME: &'static str = super::told::SERVICE;
}

impl<J: Journal> tower_service::Service<http::Request<Body>> for Server<J> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Self { hub } = self.clone();
        Box::pin(async move {
            Ok(match Method::of(request.uri().path()) {
                Some(Method::Report) => bare::unary(request, |request| called(hub.clone(), request)).await,
                Some(Method::Prepare) => bare::unary(request, |request| prepared(hub.clone(), request)).await,
                Some(Method::Commit) => bare::unary(request, |request| committed(hub.clone(), request)).await,
                Some(Method::Rollback) => {
                    bare::unary(request, |request| rolled_back(hub.clone(), request)).await
                }
                Some(Method::Unknown) | None => Status::unimplemented("").into_http(),
            })
        })
    }
}

async fn called<J: Journal>(hub: Hub<J>, request: Request<Message>) -> Result<Response<ReportRsp>, Status> {
    let charge = request.extensions().get::<Taken>().map_or_else(|| hub.door.enter(), Taken::take);
    let asked = Asked::of(&hub, request.metadata().as_ref());
    let message = request.into_inner();
    if let Err(fault) = counted(&message, &[TAGS, DELAYS]) {
        return Ok(Response::new(unreported(fault)));
    }
    Ok(Response::new(report(&hub, read(&message)?, charge, &asked).await))
}

async fn prepared<J: Journal>(
    hub: Hub<J>,
    request: Request<Message>,
) -> Result<Response<PrepareRsp>, Status> {
    let charge = request.extensions().get::<Taken>().map_or_else(|| hub.door.enter(), Taken::take);
    let asked = Asked::of(&hub, request.metadata().as_ref());
    let message = request.into_inner();
    if let Err(fault) = counted(&message, &[TAGS]) {
        return Ok(Response::new(PrepareRsp { ret: Some(fault.into()), tx: None }));
    }
    Ok(Response::new(prepare(&hub, read(&message)?, charge, &asked).await))
}

async fn committed<J: Journal>(
    hub: Hub<J>,
    request: Request<Message>,
) -> Result<Response<CommitRsp>, Status> {
    let message = request.into_inner();
    Ok(Response::new(match counted(&message, &[DELAYS]) {
        Ok(()) => commit_half(&hub, read::<CommitReq>(&message)?).await,
        Err(fault) => CommitRsp { ret: Some(fault.into()), tx: None },
    }))
}

async fn rolled_back<J: Journal>(
    hub: Hub<J>,
    request: Request<Message>,
) -> Result<Response<RollbackRsp>, Status> {
    Ok(Response::new(roll_back(&hub, read::<RollbackReq>(&request.into_inner())?).await))
}

/// Whether these lists are as short as lists must be.
fn counted(message: &Message, lists: &[(&[u32], &str)]) -> Result<(), Fault> {
    let long = lists.iter().find(|(path, _)| message.exceeds(path, MAX_LIST));
    long.map_or(Ok(()), |(_, name)| Err(Fault::too_long(name)))
}

fn read<T: prost::Message + Default>(message: &Message) -> Result<T, Status> {
    message.decode().map_err(|problem| status::of(&problem))
}
