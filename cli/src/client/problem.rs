//! What a hub says when it says no: `application/problem+json`, read leniently and told in one line. Pure.

use std::fmt;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::output::printable;

/// How much of an answer that is no problem document is worth quoting, in characters.
const QUOTED: usize = 120;

/// How publishing an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// It is in the log.
    Accepted,
    /// It is not, and never will be because of this request.
    Rejected,
    /// It may be, or may come to be.
    Unknown,
}

/// Why the hub said no.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// One sentence for a person.
    pub(crate) detail: String,
    /// The stable word for programs.
    pub(crate) reason: Option<String>,
    /// What part of the request is meant.
    pub(crate) field: Option<String>,
    /// What became of the events in the request.
    pub(crate) outcome: Outcome,
}

#[derive(Deserialize)]
struct Document {
    title: Option<String>,
    detail: Option<String>,
    reason: Option<String>,
    field: Option<String>,
    outcome: Option<Outcome>,
}

impl Problem {
    /// Reads an answer that is no success, whoever wrote it.
    pub(crate) fn decode(status: StatusCode, body: &[u8]) -> Self {
        let implied = if status.is_server_error() { Outcome::Unknown } else { Outcome::Rejected };
        match serde_json::from_slice::<Document>(body) {
            Ok(document) => Self {
                status,
                detail: document.detail.or(document.title).unwrap_or_default(),
                reason: document.reason,
                field: document.field,
                outcome: document.outcome.unwrap_or(implied),
            },
            Err(_) => Self {
                status,
                detail: String::from_utf8_lossy(body).trim().chars().take(QUOTED).collect(),
                reason: None,
                field: None,
                outcome: implied,
            },
        }
    }

    /// What to do next, for those with a next step that the detail does not know.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self.reason.as_deref() {
            Some("UNKNOWN_PRODUCER" | "UNKNOWN_PROCESSOR") => Some(
                "`evhub status -A` lists what there is; a namespace is named by -n NAMESPACE or NAMESPACE/NAME",
            ),
            Some("UNKNOWN_DEAD_LETTER") => Some("`evhub dead list PROCESSOR` names them"),
            Some("REPLAY_RUNNING") => {
                Some("ask again when it is done; `evhub status` shows what is still to be delivered")
            }
            // The hub's other listeners answer like this, and so does any other server.
            Some("NOT_FOUND") => Some(super::NOT_THE_API),
            None if self.status == StatusCode::NOT_FOUND => Some(super::NOT_THE_API),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.reason.as_deref().or(self.status.canonical_reason()).unwrap_or("refused");
        write!(f, "{} {}", self.status.as_u16(), printable(word))?;
        if let Some(field) = &self.field {
            write!(f, " ({})", printable(field))?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", printable(&self.detail))?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_in_one_line() {
        let body =
            br#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"the event has no id",
            "reason":"MISSING_ATTRIBUTE","field":"id","outcome":"rejected"}"#;
        let problem = Problem::decode(StatusCode::BAD_REQUEST, body);
        assert_eq!(problem.to_string(), "400 MISSING_ATTRIBUTE (id): the event has no id");
        assert_eq!(problem.outcome, Outcome::Rejected);
    }

    #[test]
    fn the_hub_decides_the_outcome() {
        let body = br#"{"reason":"LOG_UNAVAILABLE","outcome":"rejected"}"#;
        assert_eq!(Problem::decode(StatusCode::SERVICE_UNAVAILABLE, body).outcome, Outcome::Rejected);
    }

    #[test]
    fn a_strangers_answer_is_quoted_and_its_outcome_is_guessed_safely() {
        let problem = Problem::decode(StatusCode::BAD_GATEWAY, b"<html>\x1b[2J</html>\n");
        assert_eq!(problem.to_string(), "502 Bad Gateway: <html>\\u{1b}[2J</html>");
        assert_eq!(problem.outcome, Outcome::Unknown);
        let problem = Problem::decode(StatusCode::NOT_FOUND, &[b'x'; 10_000]);
        assert_eq!(problem.detail.len(), QUOTED);
        assert_eq!(problem.outcome, Outcome::Rejected);
    }
}
