//! How every surface says no: `application/problem+json` (RFC 9457) with members of ours. Pure.
//!
//! A handler returns a [`Problem`]; it travels in the response's extensions until the server, which knows the request,
//! writes the body with [`finish`]. So one place decides how a refusal looks and is logged.

pub mod reason;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use evhub_event::{Invalid, invalid::quote};
use evhub_journal::{Error, Refusal, WriteError};
use http::{HeaderValue, header};
use serde::Serialize;

pub use self::reason::Reason;

/// What became of what the request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It did not happen and never will because of this request.
    Rejected,
    /// It may have happened, or may yet.
    Unknown,
}

/// A refusal, or a failure of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Why, as a stable word with its status.
    pub reason: Reason,
    /// One sentence that a person can act on.
    pub detail: String,
    /// The part of the request that is meant.
    pub field: Option<String>,
    /// What became of the request.
    pub outcome: Outcome,
    /// When trying again makes sense, in seconds.
    pub retry_after: Option<u32>,
    /// The request's framing is in doubt or its rest unread, so the connection ends here.
    pub close: bool,
    /// What became of each event of a batch; empty for anything else.
    pub outcomes: Box<[Ended]>,
}

/// What became of one event of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// `accepted`, `rejected` or `unknown`.
    pub outcome: &'static str,
    /// The event's id.
    pub id: String,
    /// Where it lies, if it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// Likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Why it was not accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

/// The document that is sent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    outcome: Outcome,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[Ended]>::is_empty")]
    outcomes: &'a [Ended],
}

/// Answers for a path that nothing listens on.
pub async fn not_found() -> Problem {
    Problem::new(reason::NOT_FOUND, "nothing is served at this path")
}

/// Answers for a method that a path does not take; the router adds `Allow`.
pub async fn method_not_allowed(method: http::Method) -> Problem {
    let detail = format!("this path does not take {}", quote(method.as_str()));
    Problem::new(reason::METHOD_NOT_ALLOWED, detail)
}

/// Writes the body of a response that carries a [`Problem`]; hands it back beside, with the id that the request gets then,
/// for the log.
pub fn finish(mut response: Response, id: impl FnOnce() -> String) -> (Response, Option<(Problem, String)>) {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return (response, None) };
    let id = id();
    *response.body_mut() = Body::from(problem.document(&id));
    let headers = response.headers_mut();
    // The router has noted the length of the body that was not there yet.
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = problem.retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if problem.close {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    (response, Some((problem, id)))
}

// === impl Outcome ===

impl Outcome {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }
}

// === impl Problem ===

impl Problem {
    /// A refusal: what the request asked for did not happen.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            reason,
            detail,
            field: None,
            outcome: Outcome::Rejected,
            retry_after: None,
            close: false,
            outcomes: Box::default(),
        }
    }

    /// Names the part of the request that is meant.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says that it may have happened all the same.
    #[must_use]
    pub fn unknown(mut self) -> Self {
        self.outcome = Outcome::Unknown;
        self
    }

    /// Says when trying again makes sense.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Ends the connection after the answer.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// Tells of each event of a batch.
    #[must_use]
    pub fn with_outcomes(mut self, outcomes: Vec<Ended>) -> Self {
        self.outcomes = outcomes.into();
        self
    }

    /// The word for why, and the sentence.
    pub(crate) fn words(&self) -> (String, String) {
        (self.reason.word.to_owned(), self.detail.clone())
    }

    fn document(&self, request_id: &str) -> Vec<u8> {
        let document = Document {
            r#type: format!("urn:evhub:problem:{}", self.reason.word),
            title: self.reason.title,
            status: self.reason.status,
            detail: &self.detail,
            reason: self.reason.word,
            field: self.field.as_deref(),
            outcome: self.outcome,
            request_id,
            outcomes: &self.outcomes,
        };
        serde_json::to_vec(&document).expect("a problem holds only strings and numbers")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.reason.status();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        let reason = Reason {
            word: invalid.reason.word(),
            status: invalid.reason.status(),
            title: "The request holds no valid event",
        };
        Self { field: invalid.field, ..Self::new(reason, invalid.detail) }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Rejected(refusal) => refusal.into(),
            WriteError::Unknown(_) => Self::new(
                reason::LOG_UNAVAILABLE,
                "the log did not answer, so the event may or may not be in it",
            )
            .unknown()
            .retry_after(1),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooLarge { size, limit } => {
                let detail =
                    format!("the record would have {size} bytes, and its topic takes at most {limit}");
                Self::new(reason::EVENT_TOO_LARGE, detail)
            }
            Refusal::Full(_) => Self::new(reason::LOG_FULL, "the log has no room left").retry_after(5),
            Refusal::Behind => {
                let detail = "an earlier event of its key was not accepted, and this one must not pass it";
                Self::new(reason::EARLIER_NOT_ACCEPTED, detail).retry_after(1)
            }
            Refusal::Busy => {
                Self::new(reason::BUSY, "too many writes are waiting for the log").retry_after(1)
            }
            Refusal::UnknownTopic(_) | Refusal::UnknownPartition(..) => {
                Self::new(reason::NOT_READY, "the topic of this Producer is not there yet").retry_after(1)
            }
            // No topic of events is compacted.
            Refusal::Unavailable(_) | Refusal::NoKey(_) => {
                Self::new(reason::LOG_UNAVAILABLE, "the log cannot take the event now").retry_after(1)
            }
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        if matches!(error, Error::UnknownTopic(_) | Error::UnknownPartition(..)) {
            return Self::new(reason::NOT_READY, "the topic is not there yet").retry_after(1);
        }
        tracing::warn!(error = &error as &dyn std::error::Error, "the log could not be read");
        Self::new(reason::LOG_UNAVAILABLE, "the log cannot be read now").retry_after(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_whole() {
        let problem = Problem::new(reason::BUSY, "later").at("body").unknown().retry_after(3).closing();
        let (response, told) = finish(problem.clone().into_response(), || "r1".to_owned());
        assert_eq!(told, Some((problem.clone(), "r1".to_owned())));
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "3");
        assert_eq!(response.headers()["connection"], "close");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let document: serde_json::Value = serde_json::from_slice(&problem.document("r1")).unwrap();
        let expected = serde_json::json!({
            "type": "urn:evhub:problem:BUSY", "title": "Too much is under way", "status": 429, "detail": "later",
            "reason": "BUSY", "field": "body", "outcome": "unknown", "requestId": "r1",
        });
        assert_eq!(document, expected);
    }

    #[test]
    fn a_refused_write_is_rejected_and_a_lost_answer_unknown() {
        let full = Problem::from(WriteError::Rejected(Refusal::Full("/data".to_owned())));
        assert_eq!((full.reason, full.outcome), (reason::LOG_FULL, Outcome::Rejected));
        assert!(!full.detail.contains("/data"), "paths of ours stay ours");
        let lost = Problem::from(WriteError::Unknown("gone".to_owned()));
        assert_eq!((lost.reason, lost.outcome), (reason::LOG_UNAVAILABLE, Outcome::Unknown));
    }
}
