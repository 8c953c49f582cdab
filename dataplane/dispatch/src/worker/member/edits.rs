//! What is said to a member while it works: another policy or target, and to go on after a suspension.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use evhub_journal::Journal;
use evhub_routing::{OnExhausted, Processor};
use tracing::info;

use super::{
    super::{Work, current::goes_on_as, shared::now, slot::Slot},
    Member,
};

impl<J: Journal> Member<J> {
    /// The Processor was edited: attempts that begin from now on are made by what it says now, and so is what follows from
    /// those under way. Returns whether that is possible.
    pub(super) fn edit(&mut self, work: &Work) -> bool {
        if !goes_on_as(&self.out.shared.joined, &work.processor) {
            return false;
        }
        let current = Arc::new(self.out.current.edited(work, &self.senders));
        let policy = current.policy();
        self.out.gate.edit(policy, current.sender.endpoint());
        for slot in self.slots.values_mut() {
            if let Slot::Working(working) = slot {
                working.partition.bound_lane(policy.max_parked_per_key as usize);
            }
        }
        if policy.on_exhausted != OnExhausted::Suspend && self.out.suspended {
            self.resume();
        }
        let asked = |of: &Processor| of.resume.filter(|at| *at <= now());
        if let Some(at) = asked(&current.processor)
            && Some(at) != self.out.current.processor.resume
        {
            self.resume();
        }
        let generation = current.processor.generation;
        self.out.shared.progress.generation.store(generation, Relaxed);
        info!(processor = %self.out.shared.name, generation, "edited");
        self.out.current = current;
        self.take_share();
        true
    }

    /// Somebody wants the Processor to go on.
    pub(super) fn resume(&mut self) {
        (self.out.suspended, self.out.resumed) = (false, true);
        self.out.shared.progress.suspended.store(false, Relaxed);
        for slot in self.slots.values_mut() {
            if let Slot::Working(working) = slot {
                working.resume();
            }
        }
    }
}
