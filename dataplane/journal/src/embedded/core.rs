//! What the writer, the readers, the members and the cleaner share. Does I/O.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use tokio::sync::oneshot;

#[cfg(test)]
use super::tests::planted::Planted;
use super::{
    StoreError,
    log::Log,
    open::Options,
    queue::Queue,
    registry::Registry,
    request::{Reply, Request},
};
use crate::Error;

/// The log's parts.
pub(super) struct Core {
    /// The folder of the segments.
    pub(super) dir: PathBuf,
    pub(super) options: Options,
    pub(super) queue: Queue<Request>,
    pub(super) registry: Registry,
    /// Empty after the end. What is in it stays readable while the writer mends its files.
    log: RwLock<Option<Arc<Log>>>,
    #[cfg(test)]
    pub(super) planted: Planted,
}

impl Core {
    pub(super) fn new(options: Options) -> Self {
        let queue = Queue::new(options.max_waiting, options.max_waiting_bytes);
        Self {
            dir: options.dir.join("log"),
            options,
            queue,
            registry: Registry::default(),
            log: RwLock::default(),
            #[cfg(test)]
            planted: Planted::default(),
        }
    }

    /// Queues a request, now, and gives back where its answer will arrive. Refusals arrive there as well.
    pub(super) fn ask<T, E>(
        &self,
        request: impl FnOnce(Reply<T, E>) -> Request,
    ) -> oneshot::Receiver<Result<T, E>> {
        let (reply, answer) = oneshot::channel();
        self.tell(request(reply));
        answer
    }

    /// Queues a request, now.
    pub(super) fn tell(&self, request: Request) {
        let (size, urgent) = (request.size(), request.urgent());
        let pushed = if request.must_arrive() {
            self.queue.push_surely(request, size)
        } else {
            self.queue.push(request, size, urgent)
        };
        if let Err((refusal, request)) = pushed {
            request.refuse(&refusal);
        }
    }

    /// The segments as they are now.
    pub(super) fn log(&self) -> Result<Arc<Log>, Error> {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        log.clone().ok_or_else(|| Error::Unavailable("its files are not open".into()))
    }

    /// Runs a read.
    pub(super) fn reading<T>(&self, read: impl FnOnce(&Log) -> Result<T, StoreError>) -> Result<T, Error> {
        Ok(read(&*self.log()?)?)
    }

    /// Replaces the segments. Who reads the old ones reads on.
    pub(super) fn set_log(&self, log: Option<Log>) {
        *self.log.write().unwrap_or_else(PoisonError::into_inner) = log.map(Arc::new);
    }
}
