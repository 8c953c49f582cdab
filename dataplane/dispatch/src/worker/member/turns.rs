//! Which attempt begins next: partitions take turns, and a target in trouble is only tried. I/O.

use std::{ops::Bound, sync::atomic::Ordering::Relaxed};

use evhub_journal::{Journal, Tail as _};
use tracing::info;

use super::{
    super::slot::{Slot, Working},
    Member,
};
use crate::Progress;

impl<J: Journal> Member<J> {
    /// Starts as many attempts as may be under way at once, one partition after the other.
    pub(super) fn start_attempts(&mut self) {
        self.look_again();
        // Who stood still may be no owner any more, and hears of it soon.
        if self.out.is_halted() || !self.tail.may_own() {
            return;
        }
        let before = Progress::get(&self.out.shared.progress.attempts);
        let is_full = self.start_some();
        let begun = Progress::get(&self.out.shared.progress.attempts).saturating_sub(before);
        let under_way = Progress::get(&self.out.shared.progress.in_flight);
        let waited = self.out.gate.lacks_share(is_full);
        self.shares.note(under_way, begun, waited);
    }

    /// Whether more would have been started if more might be under way at once.
    fn start_some(&mut self) -> bool {
        let (now, width) = (std::time::Instant::now(), self.out.gate.width());
        while Progress::get(&self.out.shared.progress.in_flight) < width {
            let Some(number) = self.next_in_turn(|_| true) else { return false };
            let Some(permit) = self.out.gate.admit(now) else { return false };
            let wanted = permit.wants_fresh();
            let fresh = wanted.then(|| self.next_in_turn(|working| working.partition.has_fresh())).flatten();
            if wanted && fresh.is_none() && (self.may_have_fresh() || permit.is_for_others(now)) {
                self.out.gate.put_back(permit);
                return false;
            }
            let number = fresh.unwrap_or(number);
            let Some(Slot::Working(working)) = self.slots.get_mut(&number) else { return false };
            match working.start(permit, &self.out) {
                Ok(()) => self.turn = number,
                // What was ready is on its way elsewhere by now.
                Err(permit) => self.out.gate.put_back(permit),
            }
        }
        self.shares.is_shared() && self.next_in_turn(|_| true).is_some()
    }

    /// Whether something that was never attempted may be taken in when what is under way has ended.
    fn may_have_fresh(&self) -> bool {
        let waits = |slot: &Slot| matches!(slot, Slot::Working(working) if working.has_backlog());
        Progress::get(&self.out.shared.progress.in_flight) > 0 && self.slots.values().any(waits)
    }

    /// The next partition, after the one that had its turn last, that could start an attempt and is such a one.
    fn next_in_turn(&self, is_such: impl Fn(&Working) -> bool) -> Option<u32> {
        let after = self.slots.range((Bound::Excluded(self.turn), Bound::Unbounded));
        let ready =
            |slot: &Slot| matches!(slot, Slot::Working(working) if working.can_start() && is_such(working));
        after.chain(self.slots.range(..=self.turn)).find(|(_, slot)| ready(slot)).map(|(number, _)| *number)
    }

    /// Follows the target's breaker, and takes in what there is room for again.
    fn look_again(&mut self) {
        let was_open = self.out.gate.open;
        self.out.gate.refresh(std::time::Instant::now());
        let open = self.out.gate.open;
        let mut roomy = Vec::new();
        for (number, slot) in &mut self.slots {
            let Slot::Working(working) = slot else { continue };
            if open != was_open {
                working.spare(open, &mut self.out);
            }
            if working.can_take_in(&self.out) {
                roomy.push(*number);
            }
        }
        if open != was_open {
            self.out.shared.progress.breaker_open.store(open, Relaxed);
            info!(processor = %self.out.shared.name, open, "the target's breaker changed");
        }
        for number in roomy {
            self.take_in(number);
        }
    }
}
