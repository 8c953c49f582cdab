//! EvHub v1, for clients that keep their stubs: one meaning behind its gRPC and its HTTP JSON form.
//!
//! What goes wrong is said in `ret`, never by the transport: a code of EvHub's, and the sentence that every other surface
//! says. What this version does not do is refused and says so; nothing is delivered now that was to come later.

mod calls;
mod event;
mod http;
mod json;

use evhub_event::Event;
use evhub_journal::Journal;
use evhub_proto::{
    evhub_comm::Result as Ret,
    evhub_producer::{CommitReq, CommitRsp, PrepareRsp, ReportReq, ReportRsp, RollbackReq, RollbackRsp},
};

pub(crate) use self::{calls::Server, http::routes};
use crate::{
    Hub,
    ingest::{self, Charge, append::append, take, trace::Asked},
    problem::Problem,
};

/// How many entries a list may have to be read at all: more than any is taken with.
const MAX_LIST: usize = 1024;

/// EvHub's own numbers for what went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    /// The request is not valid.
    Parameter = 10000,
    /// The event could not be stored.
    Produce = 20000,
    /// A delayed or repeated event could not be stored.
    DelayProduce = 20001,
    /// Something of ours.
    System = 20005,
    /// A half message could not be stored.
    Prepare = 21000,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    code: Code,
    message: String,
}

/// Publishes an event. It has its id whatever becomes of it.
async fn report<J: Journal>(hub: &Hub<J>, request: ReportReq, charge: Charge, asked: &Asked) -> ReportRsp {
    let event_id = Event::new_id();
    let ret = publish(hub, request, &event_id, charge, asked).await.err().map(Ret::from);
    ReportRsp { ret, event_id }
}

async fn publish<J: Journal>(
    hub: &Hub<J>,
    request: ReportReq,
    id: &str,
    charge: Charge,
    asked: &Asked,
) -> Result<(), Fault> {
    let ReportReq { event, trigger, option } = request;
    let event = event.ok_or_else(|| Fault::parameter("event is missing"))?;
    let producer = event::producer(&hub.running(), &event)?;
    let read = event::read(id, event, trigger, option).and_then(|event| {
        take::fits(&producer, &event.0)?;
        take::admit(hub, &producer, 1)?;
        Ok(event)
    });
    let event = read.inspect_err(|Fault { code, message }| {
        ingest::refused(hub, &producer.name, asked, || ((*code as i32).to_string(), message.clone()));
    })?;
    append(hub, &producer, &event, charge, asked).await?;
    Ok(())
}

fn prepare() -> PrepareRsp {
    let message = "half messages are not taken by this version; nothing was stored";
    PrepareRsp { ret: Some(Fault { code: Code::Prepare, message: message.to_owned() }.into()), tx: None }
}

fn commit(request: &CommitReq) -> CommitRsp {
    let fault = if request.trigger.is_none() {
        Fault::parameter("trigger is missing")
    } else {
        unknown_transaction(&request.event_id)
    };
    CommitRsp { ret: Some(fault.into()), tx: None }
}

fn rollback(request: &RollbackReq) -> RollbackRsp {
    RollbackRsp { ret: Some(unknown_transaction(&request.event_id).into()), tx: None }
}

/// No half message is ever taken here, so there is none of any id.
fn unknown_transaction(id: &str) -> Fault {
    if id.is_empty() {
        return Fault::parameter("event_id is missing");
    }
    let message = "there is no half message of this id: this version takes none";
    Fault { code: Code::System, message: message.to_owned() }
}

// === impl Fault ===

impl Fault {
    fn parameter(message: impl Into<String>) -> Self {
        Self { code: Code::Parameter, message: message.into() }
    }

    fn too_long(list: &str) -> Self {
        Self::parameter(format!("{list} must be a list of at most {MAX_LIST} entries"))
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        let code = match problem.reason.status {
            500 => Code::System,
            408 | 429 | 501.. => Code::Produce,
            _ => Code::Parameter,
        };
        Self { code, message: problem.detail }
    }
}

impl From<evhub_event::Invalid> for Fault {
    fn from(invalid: evhub_event::Invalid) -> Self {
        Problem::from(invalid).into()
    }
}

impl From<Fault> for Ret {
    fn from(fault: Fault) -> Self {
        Self { code: fault.code as i32, msg: fault.message }
    }
}
