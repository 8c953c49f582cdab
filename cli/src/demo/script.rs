//! What the demo's service does with each event, and what it saw. No I/O.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::StatusCode;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::{
    output::{or_dash, printable},
    sink::{Answer, Attempt},
    style::{Style, Tone},
};

/// How many attempts may wait to be shown: more than the story has. Beyond it, showing is what suffers, not delivery.
const UNSHOWN: usize = 1024;

/// How often each event is still to fail.
#[derive(Clone)]
pub(super) struct Script(Arc<Mutex<HashMap<String, u32>>>, mpsc::Sender<Seen>);

/// An event that is never taken.
pub(super) struct Never;

/// One attempt and what it was answered.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) time: Timestamp,
    pub(super) id: String,
    pub(super) key: String,
    pub(super) status: StatusCode,
    attempt: Option<u32>,
}

impl Never {
    /// More failures than any policy allows attempts.
    pub(super) const SUCCEEDS: u32 = u32::MAX;
}

impl Script {
    /// A script that takes everything, and what will be seen.
    pub(super) fn new() -> (Self, mpsc::Receiver<Seen>) {
        let (sender, seen) = mpsc::channel(UNSHOWN);
        (Self(Arc::default(), sender), seen)
    }

    /// Has this event's first attempts fail.
    pub(super) fn fail(&self, id: &str, times: u32) {
        self.lock().insert(id.to_owned(), times);
    }

    /// Has everything succeed from now on.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    /// The script as a sink's decision.
    pub(super) fn decision(&self) -> impl Fn(&Attempt) -> Answer + Send + Sync + 'static {
        let script = self.clone();
        move |attempt| {
            let seen = script.take(attempt);
            let answer = Answer::now(seen.status);
            // Full means that nobody looks; the answer matters more.
            let _ = script.1.try_send(seen);
            answer
        }
    }

    fn take(&self, attempt: &Attempt) -> Seen {
        let id = or_dash(attempt.event_id());
        let failing = match self.lock().get_mut(&id) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        };
        let status = if failing { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        Seen { time: attempt.time, id, key: or_dash(attempt.key()), status, attempt: attempt.number() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Whether this attempt delivered that event.
    pub(super) fn ends(&self, id: &str) -> bool {
        self.id == id && self.status.is_success()
    }

    /// A line about it; with the time since the attempt before, when there was one.
    pub(super) fn line(&self, before: Option<Timestamp>, style: Style) -> String {
        let tone = if self.status.is_success() { Tone::Good } else { Tone::Bad };
        let words = if self.status.is_success() { "delivered" } else { "fails" };
        let waited = before.map_or_else(String::new, |before| {
            format!(", {:.2} s after the one before", self.time.duration_since(before).as_secs_f64())
        });
        format!(
            "   {} {} with key {}, attempt {}: {}{waited}\n",
            style.paint(tone, self.status.as_str()),
            printable(&self.id),
            printable(&self.key),
            or_dash(self.attempt),
            style.paint(tone, words),
        )
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;

    fn attempt(id: &str) -> Attempt {
        let headers = [("ce-id", id), ("ce-partitionkey", "ada"), ("evhub-attempt", "2")];
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let headers = HeaderMap::from_iter(headers);
        Attempt { time: Timestamp::UNIX_EPOCH, path: "/events".to_owned(), headers, body: Bytes::new() }
    }

    #[test]
    fn an_event_fails_as_often_as_the_script_says() {
        let (script, mut seen) = Script::new();
        let decide = script.decision();
        script.fail("a", 2);
        let statuses = ["a", "a", "b", "a"].map(|id| decide(&attempt(id)).status.as_u16());
        assert_eq!(statuses, [503, 503, 200, 200]);
        assert!(!seen.try_recv().unwrap().ends("a"));
        assert!(!seen.try_recv().unwrap().ends("a"));
        assert!(seen.try_recv().unwrap().ends("b"));
        assert!(seen.try_recv().unwrap().ends("a"));
    }

    #[test]
    fn after_the_story_everything_succeeds() {
        let (script, _seen) = Script::new();
        script.fail("a", Never::SUCCEEDS);
        assert_eq!(script.decision()(&attempt("a")).status, 503);
        script.forget();
        assert_eq!(script.decision()(&attempt("a")).status, 200);
    }

    #[test]
    fn nobody_looking_does_not_stop_delivery() {
        let (script, _unread) = Script::new();
        let decide = script.decision();
        for _ in 0..2 * UNSHOWN {
            assert_eq!(decide(&attempt("a")).status, 200);
        }
    }

    #[test]
    fn a_line_tells_the_wait() {
        let (script, _seen) = Script::new();
        script.fail("a", 1);
        let line = script.take(&attempt("a")).line(Timestamp::from_millisecond(-310).ok(), Style::none());
        assert_eq!(line, "   503 a with key ada, attempt 2: fails, 0.31 s after the one before\n");
    }
}
