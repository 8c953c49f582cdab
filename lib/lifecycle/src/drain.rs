//! The drain: begun once, seen by everybody, never taken back. No I/O.

use tokio::sync::watch;

/// Begins the drain. When the last trigger is dropped the drain begins as well: what watched over the end of this
/// process is gone, so nothing could end it in good order later.
#[derive(Clone, Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Tells that the drain has begun. Cheap to clone; every task holds one.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<bool>);

/// A drain that has not begun, and the trigger that begins it.
pub fn channel() -> (Trigger, Drain) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Drain(receiver))
}

impl Trigger {
    /// Begins the drain; says whether this call did.
    pub fn begin(&self) -> bool {
        self.0.send_if_modified(|begun| !std::mem::replace(begun, true))
    }
}

impl Drain {
    /// Waits until the drain begins; returns at once when it has. Cancel-safe, and may be awaited again. The future
    /// borrows nothing, so that it can live in a `select!` beside uses of its owner.
    pub fn begun(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut receiver = self.0.clone();
        async move {
            // An error says that the last trigger is gone, which begins the drain too.
            let _ = receiver.wait_for(|begun| *begun).await;
        }
    }

    /// Whether the drain has begun.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

#[cfg(test)]
mod tests {
    //! What a watcher sees, polled by hand.

    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn poll(future: impl Future<Output = ()>) -> Poll<()> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_drain_waits_until_begun_and_is_then_seen_by_all() {
        let (trigger, drain) = channel();
        let other = drain.clone();
        assert_eq!(poll(drain.begun()), Poll::Pending);
        assert!(!drain.has_begun());

        assert!(trigger.begin());

        for watcher in [&drain, &other, &drain.clone()] {
            assert!(watcher.has_begun());
            assert_eq!(poll(watcher.begun()), Poll::Ready(()));
            assert_eq!(poll(watcher.begun()), Poll::Ready(()), "it stays begun");
        }
    }

    #[test]
    fn only_the_first_call_begins() {
        let (trigger, drain) = channel();
        assert!(trigger.clone().begin());
        assert!(!trigger.begin());
        assert!(drain.has_begun());
    }

    #[test]
    fn losing_the_last_trigger_begins() {
        let (trigger, drain) = channel();
        let second = trigger.clone();
        drop(trigger);
        assert!(!drain.has_begun());
        assert_eq!(poll(drain.begun()), Poll::Pending);
        drop(second);
        assert!(drain.has_begun());
        assert_eq!(poll(drain.begun()), Poll::Ready(()));
    }

    #[tokio::test]
    async fn a_waiting_task_is_woken() {
        let (trigger, drain) = channel();
        let task = tokio::spawn(drain.begun());
        tokio::task::yield_now().await;
        trigger.begin();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_wait_that_was_given_up_loses_nothing() {
        let (trigger, drain) = channel();
        tokio::select! {
            biased;
            () = drain.begun() => panic!("nothing has begun"),
            () = std::future::ready(()) => {}
        }
        trigger.begin();
        drain.begun().await;
    }
}
