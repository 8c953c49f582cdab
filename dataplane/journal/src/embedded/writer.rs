//! The one thread that writes. Does I/O.
//!
//! It takes everything that queued up while the last sync ran, writes it as one batch, and acknowledges each request
//! only after the fdatasync that covers it has returned. When the engine fails, whatever was in that batch has an
//! unknown ending, later requests are refused, and the engine is opened again with growing pauses until that succeeds:
//! only a fresh look at the files tells what is really there.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    core::Core,
    plan::{Plan, Request, Space},
    queue::Taken,
    store::{Image, chain},
};
use crate::{Error, Refusal};

/// The most that one batch holds: large enough that the sync's fixed cost no longer shows, small enough that nobody
/// waits long behind it.
const BATCH_BYTES: usize = 4 << 20;
/// Pauses between attempts to open a failed engine again: the first, and the longest.
const REOPEN_FIRST: Duration = Duration::from_millis(50);
const REOPEN_MAX: Duration = Duration::from_secs(2);

/// Owns every write.
pub(super) struct Writer {
    core: Arc<Core>,
    /// What will be true when everything planned is written; only meaningful while the engine is up.
    image: Image,
    state: State,
    /// Whether the latest batch found the disk full, which is worth a line when it changes and not at every request.
    full: bool,
}

enum State {
    Up,
    /// The engine failed for this reason; the next attempt to open it comes after this pause.
    Down(String, Duration),
}

impl Writer {
    pub(super) fn new(core: Arc<Core>, image: Image) -> Self {
        Self { core, image, state: State::Up, full: false }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        loop {
            let patience = match &self.state {
                State::Up => None,
                State::Down(_, pause) => Some(*pause),
            };
            match self.core.queue.take(BATCH_BYTES, patience) {
                Taken::Items(requests) => self.work(requests),
                Taken::Nothing => self.reopen(),
                Taken::Closed => break,
            }
        }
        self.core.shut();
        self.core.registry.wake_all();
    }

    fn work(&mut self, requests: Vec<Request>) {
        if matches!(self.state, State::Up) && !self.core.healthy() {
            // It failed in the background, after the last batch: nothing of this one is written yet.
            self.go_down("the storage engine failed in the background".into());
            self.reopen();
        }
        if let State::Down(reason, _) = &self.state {
            let refusal = Refusal::Unavailable(reason.clone());
            for request in requests {
                request.refuse(&refusal);
            }
            return;
        }
        let space = self.space();
        let plan = Plan::new(requests, &mut self.image, now(), space);
        self.tell_if_full(plan.full.as_deref());
        self.write(plan);
    }

    fn tell_if_full(&mut self, full: Option<&str>) {
        if self.full == full.is_some() {
            return;
        }
        self.full = full.is_some();
        let dir = self.core.dir.display();
        if let Some(why) = full {
            tracing::warn!(%dir, why, "the disk is full: new events are refused until there is room");
        } else {
            tracing::info!(%dir, "there is room on the disk again");
        }
    }

    fn write(&mut self, mut plan: Plan) {
        let writes = std::mem::take(&mut plan.writes);
        let written = if writes.is_empty() { Ok(()) } else { self.core.commit(writes) };
        match written {
            Ok(()) => {
                self.publish(&plan);
                for pending in plan.pending {
                    pending.acknowledge();
                }
                if let Err(error) = self.core.rotate() {
                    self.go_down(chain(&error));
                }
            }
            // Said before the first byte is written.
            Err(fjall::Error::Poisoned) => {
                let reason = "the storage engine failed in the background";
                for pending in plan.pending {
                    pending.refuse(reason);
                }
                self.go_down(reason.into());
            }
            Err(error) => {
                let reason = chain(&error);
                self.core.queue.set_down(Some(reason.clone()));
                for pending in plan.pending {
                    pending.leave_unknown(&reason);
                }
                self.go_down(reason);
            }
        }
    }

    /// Makes known what is durable now, before it is acknowledged: whoever hears of a record finds it.
    fn publish(&self, plan: &Plan) {
        let registry = &self.core.registry;
        let tips = |id| self.image.tips.get(id).map_or(&[][..], Vec::as_slice);
        for name in &plan.ensured {
            if let Some(note) = self.image.topics.get(name) {
                registry.publish_topic(name, *note, tips(&note.id));
            }
        }
        registry.publish_ends(plan.grown.iter().map(|id| (*id, tips(id))));
        for (group, generation) in &plan.joined {
            registry.publish_generation(group, *generation);
        }
    }

    fn space(&self) -> Space {
        // When the file system does not answer it has no room either.
        let free =
            rustix::fs::statvfs(&self.core.dir).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
        Space { free, reserve: self.core.reserve }
    }

    fn go_down(&mut self, reason: String) {
        tracing::error!(reason, "the log cannot write; its files will be opened again");
        self.core.queue.set_down(Some(reason.clone()));
        self.core.shut();
        self.state = State::Down(reason, REOPEN_FIRST);
    }

    fn reopen(&mut self) {
        let opened = self.core.open().map_err(Error::from);
        let known = opened.and_then(|image| self.core.registry.publish(&image).map(|()| image));
        match (known, &self.state) {
            (Ok(image), _) => {
                tracing::info!("the log's files are open again");
                self.image = image;
                self.state = State::Up;
                self.core.queue.set_down(None);
            }
            (Err(error), State::Down(_, pause)) => {
                self.core.shut();
                let (reason, pause) = (chain(&error), (*pause * 2).min(REOPEN_MAX));
                tracing::warn!(reason, ?pause, "the log's files could not be opened again");
                self.core.queue.set_down(Some(reason.clone()));
                self.state = State::Down(reason, pause);
            }
            (Err(error), State::Up) => self.go_down(chain(&error)),
        }
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
