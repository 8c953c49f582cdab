//! How EvHub's gRPC answers say what went wrong before a call came to its method: in `ret`, where EvHub would. Pure but for
//! the answer that is written.
//!
//! The code of every call is said a second time, in the header `status-code`, as EvHub's server does.

use evhub_proto::evhub_producer::{CommitRsp, RollbackRsp};
use http::{HeaderValue, Response};
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;

use super::{Code as Number, Fault, transaction::unprepared, unreported};
use crate::{
    grpc::bare,
    problem::{Problem, reason},
};

/// The service's full name.
pub(super) const SERVICE: &str = "evhub_producer.evhubProducer";

const STATUS_CODE: &str = "status-code";

/// A method of EvHub's service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// Publishes.
    Report,
    /// Prepares a half message.
    Prepare,
    /// Commits one.
    Commit,
    /// Takes one back.
    Rollback,
    /// There is none of this name.
    Unknown,
}

impl Method {
    /// The method at a path of EvHub's service; `None` for any other service.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let name = path.strip_prefix('/')?.strip_prefix(SERVICE)?.strip_prefix('/')?;
        Some(match name {
            "Report" => Self::Report,
            "Prepare" => Self::Prepare,
            "Commit" => Self::Commit,
            "Rollback" => Self::Rollback,
            _ => Self::Unknown,
        })
    }

    /// What a call came to, as EvHub says it.
    pub(crate) async fn tell(self, response: Response<Body>) -> Response<Body> {
        let status = Status::from_header_map(response.headers());
        let fault = status.as_ref().and_then(business);
        let mut response = match fault {
            Some(fault) => self.refuse(fault).await.unwrap_or(response),
            None => response,
        };
        let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
        response.headers_mut().insert(STATUS_CODE, HeaderValue::from(code as i32));
        response
    }

    async fn refuse(self, fault: Fault) -> Option<Response<Body>> {
        let ret = || Some(fault.clone().into());
        Some(match self {
            Self::Report => bare::answer(unreported(fault)).await,
            Self::Prepare => bare::answer(unprepared(fault)).await,
            Self::Commit => bare::answer(CommitRsp { ret: ret(), tx: None }).await,
            Self::Rollback => bare::answer(RollbackRsp { ret: ret(), tx: None }).await,
            Self::Unknown => return None,
        })
    }
}

/// What is EvHub's to say in `ret` of a refusal: that it cannot be taken, now or ever. That it is no call at all is the
/// transport's, and so is a failure of ours.
fn business(status: &Status) -> Option<Fault> {
    let details = status.get_error_details();
    let word = details.error_info()?.reason.as_str();
    let ours = [reason::BUSY, reason::EVENT_TOO_LARGE, reason::DEADLINE_EXCEEDED];
    let reason = ours.into_iter().find(|reason| reason.word == word)?;
    let Fault { code, message } = Problem::new(reason, status.message()).into();
    // A call that was given up may have published.
    let code = if reason == reason::DEADLINE_EXCEEDED { Number::Produce } else { code };
    Some(Fault { code, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::status;

    #[tokio::test]
    async fn what_is_no_call_is_the_transports_and_all_else_is_ret() {
        let problem = |reason| status::of(&Problem::new(reason, "why")).into_http();
        for (method, reason, code) in [
            (Method::Report, reason::BUSY, Code::Ok),
            (Method::Prepare, reason::BUSY, Code::Ok),
            (Method::Commit, reason::EVENT_TOO_LARGE, Code::Ok),
            (Method::Rollback, reason::DEADLINE_EXCEEDED, Code::Ok),
            (Method::Report, reason::INVALID_MESSAGE, Code::InvalidArgument),
            (Method::Report, reason::INTERNAL, Code::Internal),
            (Method::Unknown, reason::UNKNOWN_METHOD, Code::Unimplemented),
            (Method::Unknown, reason::BUSY, Code::ResourceExhausted),
        ] {
            let told = method.tell(problem(reason)).await;
            let shown = format!("{method:?} {}", reason.word);
            assert_eq!(told.headers()[STATUS_CODE], (code as i32).to_string(), "{shown}");
            assert_eq!(told.headers().contains_key("grpc-status"), code != Code::Ok, "{shown}");
        }
    }

    #[test]
    fn other_services_are_not_ours() {
        assert_eq!(Method::of("/evhub_producer.evhubProducer/Report"), Some(Method::Report));
        assert_eq!(Method::of("/evhub_producer.evhubProducer/Fork"), Some(Method::Unknown));
        assert_eq!(Method::of("/evhub.ingest.v1.Ingest/Publish"), None);
    }
}
