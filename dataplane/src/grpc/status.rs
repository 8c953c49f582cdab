//! How gRPC says no: every refusal as a status with rich details. Pure.
//!
//! The words are those of every other surface: a [`Problem`] decides, here it only changes its form. What the gRPC library
//! itself refuses has no details; that is how it is known, and it gets our words too.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::problem::{Problem, Reason, reason};

/// Whose words the reasons are.
const DOMAIN: &str = "evhub.dev";
/// The largest message that is read.
pub(super) const MESSAGE_BYTES: usize = 4 << 20;
/// How the library begins what it says of a message that is no such message.
pub(super) const UNDECODABLE: &str = "failed to decode Protobuf message: ";

/// A problem as a status.
pub(crate) fn of(problem: &Problem) -> Status {
    let mut details = ErrorDetails::new();
    let metadata = HashMap::from([("outcome".to_owned(), problem.outcome.word().to_owned())]);
    details.set_error_info(problem.reason.word, DOMAIN, metadata);
    if let Some(field) = &problem.field {
        details.add_bad_request_violation(field.as_str(), problem.detail.as_str());
    }
    if let Some(seconds) = problem.retry_after {
        details.set_retry_info(Some(Duration::from_secs(seconds.into())));
    }
    Status::with_error_details(code(problem.reason), problem.detail.as_str(), details)
}

/// An instant, in milliseconds since the Unix epoch, as protobuf has it.
pub(crate) fn stamp(millis: i64) -> prost_types::Timestamp {
    let nanos = millis.rem_euclid(1_000) as i32 * 1_000_000;
    prost_types::Timestamp { seconds: millis.div_euclid(1_000), nanos }
}

/// The code that goes with a reason.
fn code(reason: Reason) -> Code {
    match reason.status {
        404 => Code::NotFound,
        408 => Code::DeadlineExceeded,
        409 => Code::Aborted,
        413 | 429 | 431 => Code::ResourceExhausted,
        405 | 415 | 501 => Code::Unimplemented,
        503 => Code::Unavailable,
        500.. => Code::Internal,
        _ => Code::InvalidArgument,
    }
}

/// The same status; in our words if it comes from the library.
pub(super) fn translate(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    let message = status.message();
    let problem = match status.code() {
        Code::OutOfRange => {
            let detail = format!("a message has at most {MESSAGE_BYTES} bytes");
            Problem::new(reason::EVENT_TOO_LARGE, detail)
        }
        Code::Unimplemented if message.contains("compressed") => compressed(),
        Code::Unimplemented => {
            Problem::new(reason::UNKNOWN_METHOD, "no service here has this method; reflection lists them all")
        }
        Code::Internal if message.contains("compressed-flag") => compressed(),
        Code::Internal => match message.split_once(UNDECODABLE) {
            Some((_, cause)) => undecodable(cause),
            None => Problem::new(reason::INVALID_MESSAGE, "the message breaks off or its framing is broken"),
        },
        _ => return status,
    };
    of(&problem)
}

fn compressed() -> Problem {
    let detail = "send messages as they are: the only encoding taken is identity";
    Problem::new(reason::UNSUPPORTED_MEDIA_TYPE, detail).at("grpc-encoding")
}

/// `Message.field: Message.field: what is wrong`, the innermost first, as a sentence and a path.
pub(super) fn undecodable(cause: &str) -> Problem {
    let mut rest = cause;
    let mut path: Vec<&str> = Vec::new();
    while let Some((place, after)) = rest.split_once(": ")
        && let Some((_, field)) = place.split_once('.')
        && !place.contains(' ')
    {
        path.push(field);
        rest = after;
    }
    let detail = format!("the message is not the protobuf that belongs here: {rest}");
    let problem = Problem::new(reason::INVALID_MESSAGE, detail);
    path.reverse();
    if path.is_empty() { problem } else { problem.at(path.join(".")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_keeps_all_it_says() {
        let problem = Problem::new(reason::BUSY, "later").at("events[0].id").unknown().retry_after(3);
        let status = of(&problem);
        assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "later"));
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("BUSY", "evhub.dev"));
        assert_eq!(info.metadata["outcome"], "unknown");
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!((violation.field.as_str(), violation.description.as_str()), ("events[0].id", "later"));
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(3)));
    }

    #[test]
    fn every_reason_has_a_code_that_says_failure() {
        for reason in reason::ALL {
            assert!(!matches!(code(*reason), Code::Ok | Code::Unknown), "{}", reason.word);
        }
    }

    #[test]
    fn the_library_speaks_with_our_words() {
        let cases = [
            (Status::out_of_range("too large"), Code::ResourceExhausted, "EVENT_TOO_LARGE", None),
            (Status::unimplemented(""), Code::Unimplemented, "UNKNOWN_METHOD", None),
            (
                Status::internal(format!("{UNDECODABLE}CloudEvent.id: invalid string value: not UTF-8")),
                Code::InvalidArgument,
                "INVALID_MESSAGE",
                Some("id"),
            ),
            (
                Status::internal(format!(
                    "{UNDECODABLE}CloudEvent.id: PublishRequest.events: invalid varint"
                )),
                Code::InvalidArgument,
                "INVALID_MESSAGE",
                Some("events.id"),
            ),
            (
                Status::internal("received message with compressed-flag but no grpc-encoding was specified"),
                Code::Unimplemented,
                "UNSUPPORTED_MEDIA_TYPE",
                Some("grpc-encoding"),
            ),
        ];
        for (given, code, reason, field) in cases {
            let shown = given.to_string();
            let status = translate(given);
            assert_eq!(status.code(), code, "{shown}");
            let details = status.get_error_details();
            assert_eq!(details.error_info().unwrap().reason, reason, "{shown}");
            let found = details.bad_request().map(|bad| bad.field_violations[0].field.clone());
            assert_eq!(found.as_deref(), field, "{shown}");
        }
        let cancelled = translate(Status::cancelled("gone"));
        assert_eq!(cancelled.code(), Code::Cancelled);
    }
}
