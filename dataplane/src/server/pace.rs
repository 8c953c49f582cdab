//! A request's body that must keep up: it fails when it comes too slowly. Reads from the connection.
//!
//! The deadline is a function of what has come: the grace, plus the time that so many bytes may take at the lowest rate,
//! and never beyond the whole time. So a body that trickles is cut at a known moment, and one that flows never is.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{Limits, deadline::Deadline, phase::Phase};

/// The body came too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body came too slowly")]
pub(crate) struct TooSlow;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body with a deadline that moves as it comes.
pub(super) struct Paced {
    body: Incoming,
    phase: Arc<Phase>,
    limits: Limits,
    began: Instant,
    bytes: u64,
    /// Made when the body first keeps us waiting: most come whole with their heads.
    deadline: Option<Deadline>,
}

impl Paced {
    /// A body whose head has just come.
    pub(super) fn new(body: Incoming, phase: Arc<Phase>, limits: Limits) -> Self {
        Self { body, phase, limits, began: Instant::now(), bytes: 0, deadline: None }
    }

    /// Fails when the deadline for what has come so far has passed.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<BoxError> {
        let at = self.began + allowance(&self.limits, self.bytes);
        let deadline = self.deadline.get_or_insert_with(|| Deadline::new(at));
        deadline.set(at);
        deadline.poll(cx).map(|()| TooSlow.into())
    }
}

/// How long the first so many bytes may take.
fn allowance(limits: &Limits, bytes: u64) -> Duration {
    let flowing = Duration::from_millis(bytes.saturating_mul(1000) / u64::from(limits.body_rate.max(1)));
    limits.body_grace.saturating_add(flowing).min(limits.body)
}

impl Body for Paced {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(other) => Poll::Ready(other.map(|frame| frame.map_err(Into::into))),
            Poll::Pending => self.poll_late(cx).map(|late| Some(Err(late))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        if !self.body.is_end_stream() {
            self.phase.leave_unread();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowance_grows_with_what_came_and_is_bounded() {
        let limits = Limits::default();
        let seconds = |bytes| allowance(&limits, bytes).as_secs();
        assert_eq!(seconds(0), 10);
        assert_eq!(seconds(10 << 10), 20);
        assert_eq!(seconds(50 << 10), 60);
        assert_eq!(seconds(1 << 30), 60);
        assert_eq!(seconds(u64::MAX), 60);
    }
}
