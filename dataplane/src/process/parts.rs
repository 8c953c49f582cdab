//! The tasks that a hub is made of. None of them ends before the drain begins; one that does is a defect, and half a hub is
//! worse than none.

use std::{future::Future, time::Duration};

use evhub_lifecycle::Trigger;
use tokio::{
    task::{JoinError, JoinSet},
    time::timeout,
};
use tracing::{error, warn};

/// A part of the hub ended, which nobody had asked for.
#[derive(Debug, thiserror::Error)]
#[error("{part} ended unexpectedly")]
pub struct Broken {
    part: &'static str,
    #[source]
    source: Option<JoinError>,
}

/// A task that ended: its name, and how.
type Ended = (&'static str, Result<(), JoinError>);

/// What serves, and what delivers.
#[derive(Debug, Default)]
pub struct Parts {
    listeners: JoinSet<Ended>,
    workers: JoinSet<Ended>,
}

impl Parts {
    /// Starts what serves requests.
    pub(super) fn listen(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.listeners.spawn(named(name, task));
    }

    /// Starts what delivers.
    pub fn work(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.workers.spawn(named(name, task));
    }

    /// Waits until one ends, which nobody has asked for.
    pub(super) async fn broken(&mut self) -> Broken {
        let ended = tokio::select! {
            Some(ended) = self.listeners.join_next() => ended,
            Some(ended) = self.workers.join_next() => ended,
            // None was ever started.
            else => return Broken::of("the hub"),
        };
        match ended {
            Ok((part, Ok(()))) => Broken::of(part),
            Ok((part, Err(error))) => Broken { part, source: Some(error) },
            Err(error) => Broken { part: "a part of the hub", source: Some(error) },
        }
    }

    /// Lets all finish, once the drain has begun; deliveries for at most so long. Then what lasts longest may end: whoever
    /// asks meanwhile whether the hub is ready is told that it drains.
    pub(super) async fn finish(mut self, grace: Duration, last: &Trigger) {
        let worked = timeout(grace, async {
            while let Some(ended) = self.workers.join_next().await {
                if let Ok((name, Err(error))) = ended {
                    error!(%error, "{name} ended badly; what was under way is repeated after the next start");
                }
            }
        });
        if worked.await.is_err() {
            warn!(?grace, "attempts are still under way; they will be repeated after the next start");
        }
        last.begin();
        while self.listeners.join_next().await.is_some() {}
    }
}

impl Broken {
    /// Of this part, which ended by itself.
    pub fn of(part: &'static str) -> Self {
        Self { part, source: None }
    }
}

async fn named(name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> Ended {
    // A task of its own, so that its panic comes back with its name.
    (name, tokio::spawn(task).await)
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, future::pending};

    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_is_named() {
        let mut parts = Parts::default();
        parts.listen("the listener of --http", pending());
        parts.work("the workers", async { panic!("planted") });
        let error = parts.broken().await;
        assert_eq!(error.to_string(), "the workers ended unexpectedly");
        assert!(error.source().is_some_and(|cause| cause.to_string().contains("panic")), "{error:?}");

        let mut parts = Parts::default();
        parts.listen("the listener of --http", async {});
        parts.work("the workers", pending());
        assert_eq!(parts.broken().await.to_string(), "the listener of --http ended unexpectedly");
        // What is left is waited for, and what has ended is not waited for again.
        tokio::time::timeout(
            Duration::from_secs(5),
            parts.finish(Duration::ZERO, &evhub_lifecycle::channel().0),
        )
        .await
        .expect("it hangs");
    }
}
