//! Which events are in memory: those that fire first, as many as there is room for. The others are read back before they are
//! due, beside everything else, as room is there again. Pure.

use super::{Shard, Slot};
use crate::{TimerId, timer::Timer};

/// No timer is there, or behind it.
pub(super) const NONE: Slot = (i64::MAX, u64::MAX);
/// How many events are read back at once, and how many timers are looked at for that.
const MOST: (usize, usize) = (256, 4_096);

impl Shard {
    /// Has what fires last leave memory, while there is too much.
    pub(super) fn make_room(&mut self) {
        while self.cached.0 > self.cached.1 {
            let Some((slot, id)) = self.held.pop_last() else { break };
            let Some(pending) = self.timers.get_mut(&id) else { continue };
            if pending.whole.take().is_some() {
                self.cached.0 -= pending.size();
                self.absent = self.absent.min(slot);
            }
        }
    }

    /// Events that may be read back now because there is room: those that fire first of all that are not in memory. Each is
    /// said once; what does not come is read back when it is due.
    pub fn ahead(&mut self) -> Vec<(TimerId, u64)> {
        let room = self.cached.1 / 4;
        if self.absent == NONE || self.cached.0 + room > self.cached.1 {
            return Vec::new();
        }
        let (mut places, mut bytes) = (Vec::new(), 0);
        let mut next = NONE;
        for (looked, (slot, timer)) in self.table.from(self.absent).enumerate() {
            if looked >= MOST.1 {
                next = slot;
                break;
            }
            let absent = self.timers.at(timer).filter(|(_, pending)| pending.whole.is_none());
            let Some((id, pending)) = absent else { continue };
            let Some(at) = pending.at() else { continue };
            bytes += pending.size();
            if places.len() >= MOST.0 || (bytes > room && !places.is_empty()) {
                next = slot;
                break;
            }
            places.push((id, at));
        }
        self.absent = next;
        places
    }

    /// Events that were read back from their places, unless they have others by now.
    pub fn came(&mut self, events: Vec<(u64, Timer)>) {
        for (at, timer) in events {
            let Some(pending) = self.timers.get_mut(&timer.id) else { continue };
            if pending.at() == Some(at) && pending.whole.is_none() {
                self.cached.0 += pending.size();
                self.held.insert((pending.slot, timer.id));
                pending.whole = Some(Box::new(timer));
            }
        }
    }
}

#[cfg(test)]
mod tests;
