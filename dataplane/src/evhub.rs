//! EvHub v1, for clients that keep their stubs: one meaning behind its gRPC and its HTTP JSON form.
//!
//! What goes wrong is said in `ret`, not by the transport: a code of EvHub's, and the sentence that every other surface
//! says. The transport fails a call that is none: a message that does not decode, a method that nobody has, a failure of the
//! hub. What this version does not do is refused and says so; nothing is delivered now that was to come later.

mod calls;
mod event;
mod http;
mod json;
mod repeat;
mod told;
pub(crate) mod transaction;

use evhub_event::Event;
use evhub_journal::Journal;
use evhub_proto::{
    evhub_comm::Result as Ret,
    evhub_producer::{ReportReq, ReportRsp},
};

pub(crate) use self::{calls::Server, http::routes, told::Method};
use crate::{
    Hub,
    ingest::{
        self, Charge,
        append::{Landed, append},
        take,
        trace::Asked,
    },
    problem::Problem,
};

/// How many entries a list may have to be read at all: more than any is taken with.
const MAX_LIST: usize = 1024;

/// EvHub's own numbers for what went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    /// The request is not valid.
    Parameter = 10000,
    /// The same was published under the same key.
    Repeated = 10001,
    /// The event could not be stored.
    Produce = 20000,
    /// A delayed or repeated event could not be stored.
    DelayProduce = 20001,
    /// Something of ours.
    System = 20005,
    /// A half message could not be stored.
    Prepare = 21000,
    /// A half message that is to be committed was decided on before.
    Committed = 21001,
    /// The same of one that is to be rolled back.
    RolledBack = 21002,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    code: Code,
    message: String,
}

/// Publishes an event. It has its id whatever becomes of it, unless it was published before.
async fn report<J: Journal>(hub: &Hub<J>, request: ReportReq, charge: Charge, asked: &Asked) -> ReportRsp {
    let event_id = Event::new_id();
    match publish(hub, request, &event_id, charge, asked).await {
        Ok(Landed::Once(receipt)) if receipt.event_id != event_id => {
            let message = "this was published already under its key: event_id is that event's".to_owned();
            let ret = Some(Fault { code: Code::Repeated, message }.into());
            ReportRsp { ret, event_id: receipt.event_id }
        }
        Ok(_) => ReportRsp { ret: None, event_id },
        Err(fault) => ReportRsp { ret: Some(fault.into()), event_id },
    }
}

async fn publish<J: Journal>(
    hub: &Hub<J>,
    request: ReportReq,
    id: &str,
    charge: Charge,
    asked: &Asked,
) -> Result<Landed, Fault> {
    let ReportReq { event, trigger, option } = request;
    let event = event.ok_or_else(|| Fault::parameter("event is missing"))?;
    let producer = event::producer(&hub.running(), &event)?;
    let read = event::read(id, event, trigger, option).and_then(|event| {
        take::fits(&producer, &event)?;
        take::admit(hub, &producer, 1)?;
        Ok(event)
    });
    let event = read.inspect_err(|Fault { code, message }| {
        ingest::refused(hub, &producer.name, asked, || ((*code as i32).to_string(), message.clone()));
    })?;
    let delayed = event.1.when.is_some();
    let landed = append(hub, &producer, &event, charge, asked).await.map_err(Fault::from);
    landed.map_err(|fault| if delayed { fault.delayed() } else { fault })
}

/// What is said of a report that was not even read. It would have had this id.
fn unreported(fault: Fault) -> ReportRsp {
    ReportRsp { ret: Some(fault.into()), event_id: Event::new_id() }
}

// === impl Fault ===

impl Fault {
    fn parameter(message: impl Into<String>) -> Self {
        Self { code: Code::Parameter, message: message.into() }
    }

    /// The same of an event that was to come later.
    fn delayed(self) -> Self {
        match self.code {
            Code::Produce => Self { code: Code::DelayProduce, ..self },
            _ => self,
        }
    }

    /// The same of one that was to be prepared.
    fn prepared(self) -> Self {
        match self.code {
            Code::Produce => Self { code: Code::Prepare, ..self },
            _ => self,
        }
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
