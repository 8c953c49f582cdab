//! Where the slots of a member put what is to be done, and what they share.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use evhub_journal::Journal;
use futures_util::{FutureExt, stream::FuturesUnordered};
use tracing::{info, warn};

use super::{current::Current, gate::Gate, shared::Shared, task::Done, timers::Timers};
use crate::{Progress, protocol::Place};

/// An attempt that takes longer than this takes far longer than to park what waits behind it, even on a busy machine.
const SLOW: Duration = Duration::from_millis(20);
/// It is slow for its target when it takes so many times as long as usual; and this is usual until it is known.
const SLOWER: (u32, Duration) = (4, Duration::from_millis(250));

type Task = Pin<Box<dyn Future<Output = (u32, Done)> + Send>>;

/// Where a slot puts what is to be done.
pub(super) struct Out<J> {
    pub(super) shared: Arc<Shared<J>>,
    /// The Processor as it is now.
    pub(super) current: Arc<Current>,
    pub(super) tasks: FuturesUnordered<Task>,
    pub(super) timers: Timers,
    pub(super) gate: Gate,
    /// An event was exhausted, and nothing more is delivered until somebody says so.
    pub(super) suspended: bool,
    /// Somebody said so since this member joined: what it finds held from before is held no longer.
    pub(super) resumed: bool,
    /// How many deliveries are parked, or on their way to be, and their bytes.
    pub(super) parked: (u64, u64),
    /// How many bytes of events are in memory, read from sources and not yet finished or parked.
    pub(super) held: usize,
}

/// Why an event is exhausted, as far as that is known: one that was found held may have been so for long.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Why<'a> {
    pub(super) reason: Option<&'static str>,
    pub(super) cause: Option<&'a str>,
}

impl<J: Journal> Out<J> {
    pub(super) fn run(&self, partition: u32, task: impl Future<Output = Done> + Send + 'static) {
        // Not an `async` block: that would have room for the task twice, and every byte of it is moved to where it lies.
        self.tasks.push(Box::pin(task.map(move |done| (partition, done))));
    }

    /// Whether nothing is delivered and nothing taken in.
    pub(super) fn is_halted(&self) -> bool {
        self.suspended || self.current.processor.suspend
    }

    /// How long an attempt may take before more of its key is parked behind it, to get at what other keys have. While half of
    /// what may be under way is, others are well served, and it may take as long as the target is slow.
    pub(super) fn patience(&self) -> Duration {
        if Progress::get(&self.shared.progress.in_flight) < self.gate.width() / 2 {
            return SLOW;
        }
        let usual = self.gate.usual().unwrap_or(SLOWER.1);
        SLOW.max(usual * SLOWER.0)
    }

    /// Whether as much is parked as may be: by the Processor's policy, and by the memory that there is for indexes.
    pub(super) fn is_full(&self) -> bool {
        self.parked.0 >= self.most_parked() || self.parked.1 >= self.current.policy().max_parked_bytes
    }

    fn most_parked(&self) -> u64 {
        u64::from(self.current.policy().max_parked).min(self.shared.share.parked())
    }

    /// Says when so much is parked that nothing new is read, and when that is over: not before an eighth of the room is free,
    /// because at the brim it comes and goes with each event.
    pub(super) fn tell_fullness(&self) {
        let (policy, progress) = (self.current.policy(), &self.shared.progress);
        let (most, most_bytes) = (self.most_parked(), policy.max_parked_bytes);
        let roomy = self.parked.0 <= most / 8 * 7 && self.parked.1 <= most_bytes / 8 * 7;
        let (processor, parked, bytes) = (&self.shared.name, self.parked.0, self.parked.1);
        if self.is_full() && !progress.full.swap(true, Relaxed) {
            warn!(
                %processor, parked, bytes, most, most_bytes,
                "as many events wait for another attempt or for their delay as may; no more are read until some have ended"
            );
        } else if roomy && progress.full.swap(false, Relaxed) {
            info!(%processor, parked, bytes, "there is room for parked events again");
        }
    }

    /// Nothing more is delivered, because of this event.
    pub(super) fn suspend(&mut self, partition: u32, place: Place, why: &Why<'_>) {
        self.resumed = false;
        if !std::mem::replace(&mut self.suspended, true) {
            self.shared.progress.suspended.store(true, Relaxed);
            let (topic, offset) = (self.shared.topics.name(place.source), place.offset);
            let event = format!("{topic}:{partition}:{offset}");
            let (processor, Why { reason, cause }) = (&self.shared.name, why);
            warn!(
                processor,
                event,
                reason,
                cause,
                "suspended: an event is exhausted; `evhub resume` gives it one more attempt"
            );
        }
    }
}
