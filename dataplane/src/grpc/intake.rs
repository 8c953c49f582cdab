//! A call's body as it comes: what has come is charged to the door, and what must end with its connection ends. No I/O of
//! its own.
//!
//! Messages are put together by the gRPC library before we see them, so the bytes are charged here, where they come in;
//! whoever takes a message takes the charge with it. Bytes that find no room end the call, never wait: many calls that
//! waited, each with half a message, would hold the room that they wait for.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tonic::Status;

use super::status;
use crate::{
    ingest::{Charge, Door},
    problem::{Problem, reason},
};

/// The charge for what has come of a call and nobody has taken yet.
#[derive(Clone)]
pub(crate) struct Taken {
    door: Door,
    charge: Arc<Mutex<Charge>>,
}

/// A future that ends a body early.
pub(super) type End = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The body of one call.
pub(super) struct Intake {
    body: Incoming,
    taken: Taken,
    /// When this comes the body ends, as if its sender had nothing more to say.
    end: Option<End>,
}

// === impl Taken ===

impl Taken {
    /// Of a call of which nothing has come.
    pub(super) fn new(door: &Door) -> Self {
        Self { door: door.clone(), charge: Arc::new(Mutex::new(door.enter())) }
    }

    /// The charge for all that has come since the last time.
    pub(crate) fn take(&self) -> Charge {
        let mut charge = self.charge.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *charge, self.door.enter())
    }

    /// Takes room for so many bytes more; says whether there was any.
    pub(super) fn grow(&self, bytes: usize) -> bool {
        self.charge.lock().unwrap_or_else(PoisonError::into_inner).grow(bytes)
    }
}

// === impl Intake ===

impl Intake {
    /// The body of a call whose head has just come.
    pub(super) fn new(body: Incoming, taken: Taken, end: Option<End>) -> Self {
        Self { body, taken, end }
    }
}

impl Body for Intake {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready()) {
            self.end = Some(Box::pin(std::future::ready(())));
            return Poll::Ready(None);
        }
        let frame = match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(Status::cancelled(error.to_string())))),
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        if self.taken.grow(bytes) {
            return Poll::Ready(Some(Ok(frame)));
        }
        let problem = Problem::new(reason::BUSY, "too many bytes are on their way to the log").retry_after(1);
        Poll::Ready(Some(Err(status::of(&problem))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
