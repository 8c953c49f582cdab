//! A deadline that moves with every request and is hardly ever reached. Waits.
//!
//! To move a timer takes the lock of all the runtime's timers, so it stays where it is while the deadline moves away from
//! it, and is set anew only when it runs out too early.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// An instant that something must happen by.
pub(super) struct Deadline {
    at: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Deadline {
    /// This instant, for now.
    pub(super) fn new(at: Instant) -> Self {
        Self { at, timer: Box::pin(sleep_until(at)) }
    }

    /// Another one from now on.
    pub(super) fn set(&mut self, at: Instant) {
        self.at = at;
    }

    /// Whether it has passed.
    pub(super) fn has_passed(&self) -> bool {
        self.at <= Instant::now()
    }

    /// Waits until it has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.at < self.timer.deadline() {
            self.timer.as_mut().reset(self.at);
        }
        ready!(self.timer.as_mut().poll(cx));
        while self.timer.deadline() < self.at {
            self.timer.as_mut().reset(self.at);
            ready!(self.timer.as_mut().poll(cx));
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_reached_wherever_it_was_moved_to() {
        // Where it is at first, where it is moved before it is waited for, and where while it is; in seconds.
        for (first, before, meanwhile) in
            [(10, 10, 10), (10, 75, 75), (75, 10, 10), (10, 75, 20), (10, 20, 75)]
        {
            let began = Instant::now();
            let after = |seconds| began + Duration::from_secs(seconds);
            let mut deadline = Deadline::new(after(first));
            deadline.set(after(before));
            let early = timeout(Duration::from_secs(9), poll_fn(|cx| deadline.poll(cx))).await;
            assert!(early.is_err() && !deadline.has_passed(), "{first} {before} {meanwhile}");
            deadline.set(after(meanwhile));
            poll_fn(|cx| deadline.poll(cx)).await;
            assert_eq!(Instant::now(), after(meanwhile), "{first} {before} {meanwhile}");
        }
    }
}
