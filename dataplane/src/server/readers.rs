//! Answers whose readers do not read, on a connection that carries many at once. No I/O of its own.
//!
//! HTTP/2 gives each answer a window of its own. A peer that opens some and never others keeps what waits behind those
//! in our memory, and its socket shows nothing of it. So each answer notes since when it waits for its reader; time is
//! counted in quarters of the longest wait, so that an answer that flows costs two counters and no clock.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use tokio::time::{MissedTickBehavior, interval};

/// In so many parts the longest wait is counted.
const PARTS: u32 = 4;
/// An answer that waited since this many ticks ago has waited for all of those parts.
const TOO_MANY: usize = PARTS as usize + 1;
/// More than are ever looked back at.
const RING: usize = TOO_MANY + 2;

/// The answers of one connection that wait for their reader.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    now: AtomicUsize,
    /// How many wait since each tick.
    waiting: [AtomicUsize; RING],
}

/// An answer's body that notes when it waits.
#[derive(Debug)]
pub(crate) struct Watched<B> {
    body: B,
    readers: Arc<Readers>,
    since: Option<usize>,
}

// === impl Readers ===

impl Readers {
    /// Comes when some answer has waited for its reader for so long, give or take a quarter.
    pub(crate) async fn stalled(&self, longest: Duration) {
        let mut ticks = interval(longest / PARTS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first one comes at once.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            if self.tick() {
                return;
            }
        }
    }

    /// Goes one tick on; says whether an answer has waited for too many.
    fn tick(&self) -> bool {
        let now = self.now.fetch_add(1, Relaxed) + 1;
        now >= TOO_MANY && self.of(now - TOO_MANY).is_some_and(|count| count.load(Relaxed) > 0)
    }

    fn of(&self, tick: usize) -> Option<&AtomicUsize> {
        self.waiting.get(tick % RING)
    }

    fn wait(&self) -> usize {
        let now = self.now.load(Relaxed);
        self.of(now).map(|count| count.fetch_add(1, Relaxed));
        now
    }

    fn go_on(&self, since: usize) {
        self.of(since).map(|count| count.fetch_sub(1, Relaxed));
    }
}

// === impl Watched ===

impl<B> Watched<B> {
    /// An answer, of which nothing is asked until there is a reader for it.
    pub(crate) fn new(body: B, readers: &Arc<Readers>) -> Self {
        Self { body, readers: Arc::clone(readers), since: Some(readers.wait()) }
    }

    fn go_on(&mut self) {
        if let Some(since) = self.since.take() {
            self.readers.go_on(since);
        }
    }
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        // Whoever asks has room for more.
        self.go_on();
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(Some(_))) {
            self.since = Some(self.readers.wait());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        self.go_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_that_waited_through_all_parts_is_stalled() {
        let readers = Arc::new(Readers::default());
        for _ in 0..20 {
            let waiting = Watched::new((), &readers);
            for _ in 0..PARTS {
                assert!(!readers.tick());
            }
            drop(waiting);
            assert!(!readers.tick());
        }
        let _waiting = Watched::new((), &readers);
        assert_eq!(
            (0..TOO_MANY).map(|_| readers.tick()).collect::<Vec<_>>(),
            [false, false, false, false, true]
        );
    }
}
