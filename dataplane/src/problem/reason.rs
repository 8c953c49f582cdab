//! The table of reasons: each stable word with its status and title. Pure. `docs/errors.md` is its page.

use http::StatusCode;

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The stable word for programs.
    pub word: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What the word means, in a few words.
    pub title: &'static str,
}

macro_rules! reasons {
    ($($word:ident $status:literal $title:literal)*) => {
        $(
            #[doc = concat!($title, ".")]
            pub const $word: Reason = Reason { word: stringify!($word), status: $status, title: $title };
        )*

        /// Every reason of the surfaces themselves; those of events are `evhub-event`'s.
        pub const ALL: &[Reason] = &[$($word),*];
    };
}

reasons! {
    INVALID_QUERY 400 "The query is not valid"
    INVALID_MESSAGE 400 "The message is not the protobuf that belongs here"
    INVALID_HEADER 400 "A header is not valid"
    INVALID_JSON 400 "The body is not the JSON that belongs here"
    INCOMPLETE_BODY 400 "The body ended too early"
    NOT_LOCAL 403 "Only programs of this machine may ask here"
    NOT_FOUND 404 "Nothing is here"
    UNKNOWN_PRODUCER 404 "There is no such Producer"
    UNKNOWN_PROCESSOR 404 "There is no such Processor"
    UNKNOWN_DEAD_LETTER 404 "There is no such dead letter"
    UNKNOWN_REPLAY 404 "There is no such replay"
    UNKNOWN_SCHEDULE 404 "There is no such schedule"
    UNKNOWN_TIMER 404 "There is no such timer"
    UNKNOWN_TRANSACTION 404 "There is no such half message"
    METHOD_NOT_ALLOWED 405 "The path does not take this method"
    REQUEST_TIMEOUT 408 "The request came too slowly"
    DEADLINE_EXCEEDED 408 "The call took longer than its deadline"
    REPLAY_RUNNING 409 "A replay is under way"
    ALREADY_CANCELLED 409 "The timer was cancelled"
    ALREADY_FIRED 409 "The timer has fired"
    IDEMPOTENCY_CONFLICT 409 "Another event was published under this key"
    SCHEDULE_DECLARED 409 "The Producer declares a schedule of this name"
    TIMER_CONFLICT 409 "Another event has this source and id"
    ALREADY_COMMITTED 409 "The half message was committed"
    ALREADY_ROLLED_BACK 409 "The half message was rolled back"
    TRANSACTION_CONFLICT 409 "Another half message has this source and id"
    NO_CHECK_BACK 409 "Nobody could be asked about a half message"
    BATCH_TOO_LARGE 413 "The batch is too large"
    EVENT_TOO_LARGE 413 "The event is too large"
    BODY_TOO_LARGE 413 "The body is too large"
    UNSUPPORTED_MEDIA_TYPE 415 "The body comes in a form that is not taken"
    INVALID_SCHEDULE 422 "The schedule is not valid"
    BUSY 429 "Too much is under way"
    TOO_MANY_KEYS 429 "Too many keys are remembered"
    TOO_MANY_SCHEDULES 429 "The Producer has too many schedules"
    TOO_MANY_TIMERS 429 "The Producer has too many pending timers"
    QUOTA 429 "The Producer takes no more events now"
    HEADERS_TOO_LARGE 431 "The headers are too large"
    INTERNAL 500 "The hub failed"
    UNKNOWN_METHOD 501 "No service here has this method"
    BATCH_MIXED 503 "Not all events of the batch were accepted"
    EARLIER_NOT_ACCEPTED 503 "An earlier event of the key was not accepted"
    DRAINING 503 "The connection ends"
    NOT_READY 503 "The Producer is not ready yet"
    LOG_FULL 503 "The log is full"
    LOG_UNAVAILABLE 503 "The log is not available"
}

impl Reason {
    /// The status as HTTP has it.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

#[cfg(test)]
mod tests {
    //! The page has the same reasons as the code: none is missing there, and none is left that nobody says.

    use std::collections::BTreeSet;

    use super::*;

    const PAGE: &str = include_str!("../../../docs/errors.md");

    /// Reason and what stands in the second column, of the rows under a heading.
    fn rows(heading: &str) -> BTreeSet<(&'static str, &'static str)> {
        let (_, section) = PAGE.split_once(&format!("\n## {heading}\n")).expect("the page has the heading");
        let section = section.split("\n## ").next().unwrap_or_default();
        let cells = |row: &'static str| {
            let mut cells = row.strip_prefix("| `")?.split(" | ");
            Some((cells.next()?.strip_suffix('`')?, cells.next()?))
        };
        // Attributes are in lower case, and no reasons.
        section
            .lines()
            .filter_map(cells)
            .filter(|(word, _)| word.starts_with(|c: char| c.is_ascii_uppercase()))
            .collect()
    }

    #[test]
    fn the_page_lists_every_reason_and_no_other() {
        let surfaces = ALL.iter().map(|reason| (reason.word, reason.status.to_string()));
        let events =
            evhub_event::Reason::ALL.iter().map(|reason| (reason.word(), reason.status().to_string()));
        let known: BTreeSet<(&str, String)> = surfaces.chain(events).collect();
        let headings = ["Of any request", "Publishing", "Tools"];
        let told: BTreeSet<(&str, String)> =
            headings.into_iter().flat_map(rows).map(|(word, status)| (word, status.to_owned())).collect();
        assert_eq!(
            told.difference(&known).collect::<Vec<_>>(),
            Vec::<&(&str, String)>::new(),
            "nobody says these"
        );
        assert_eq!(
            known.difference(&told).collect::<Vec<_>>(),
            Vec::<&(&str, String)>::new(),
            "the page lacks these"
        );
    }

    #[test]
    fn the_page_lists_every_reason_of_a_dead_letter_and_no_other() {
        let words = evhub_dispatch::dead::Reason::ALL.map(|reason| serde_json::json!(reason));
        let known: BTreeSet<&str> = words.iter().filter_map(|word| word.as_str()).collect();
        assert_eq!(rows("Dead letters").into_iter().map(|(word, _)| word).collect::<BTreeSet<_>>(), known);
    }
}
