//! Where a connection stands between its requests. No I/O.
//!
//! Shared by the socket, which sees bytes, and the service, which sees requests: only the two together know whether a
//! silent peer is idle, slow, or waiting for us.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// The state of one connection. Its parts run in one task, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Phase {
    begun: AtomicU64,
    ended: AtomicU64,
    unread: AtomicBool,
}

/// A request under way; ends when dropped.
#[derive(Debug)]
pub(super) struct Serving(Arc<Phase>);

/// The body of an answer, which keeps its request under way until the last byte is handed over.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    _serving: Serving,
}

// === impl Phase ===

impl Phase {
    /// A request's head has come.
    pub(super) fn begin(self: &Arc<Self>) -> Serving {
        self.begun.fetch_add(1, Relaxed);
        Serving(Arc::clone(self))
    }

    /// Whether we owe an answer.
    pub(super) fn is_serving(&self) -> bool {
        self.begun.load(Relaxed) != self.ended.load(Relaxed)
    }

    /// How many requests have begun.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    /// How many requests have been answered.
    pub(super) fn answered(&self) -> u64 {
        self.ended.load(Relaxed)
    }

    /// A body was given up before its end, so bytes may still come that nobody wants.
    pub(super) fn leave_unread(&self) {
        self.unread.store(true, Relaxed);
    }

    /// Whether a body was given up.
    pub(super) fn has_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }
}

impl Serving {
    /// Ties this request's end to the end of its answer.
    pub(super) fn until_sent(self, body: Body) -> Answer {
        Answer { body, _serving: self }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Relaxed);
    }
}

// === impl Answer ===

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
