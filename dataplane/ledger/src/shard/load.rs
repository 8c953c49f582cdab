//! What is read back of a shard when it is taken over. Pure.

use super::Shard;
use crate::{
    leader::Deviation,
    state::{Entry, Progress},
    timer::Ended,
};

impl Shard {
    /// Takes one record of the state in, in the order in which they lie there. Returns how far the shard has come, where the
    /// record says that.
    pub fn load(&mut self, at: u64, entry: Entry, now: i64) -> Option<Progress> {
        match entry {
            Entry::Pending(timer) => {
                let overdue = timer.due <= now;
                let (id, line, slot) =
                    (timer.id, (timer.producer.clone(), timer.topic.clone()), (timer.due, timer.seq));
                self.insert(*timer, Some(at));
                if overdue && self.is(Deviation::OverdueForgotten) {
                    let line = self.destination(&line.0, &line.1);
                    self.table.remove(line, slot);
                }
                self.ended.remove(&id);
                None
            }
            Entry::Ended(id, ended) => {
                self.take(id);
                if !(self.is(Deviation::FutureDisbelieved) && is_future(ended, now)) {
                    self.remember(id, ended);
                }
                None
            }
            Entry::Gone(id) => {
                self.take(id);
                self.ended.remove(&id);
                None
            }
            Entry::Half(half) => {
                self.insert_half(*half, Some(at));
                None
            }
            Entry::Decided(id, decided) => {
                self.take_half(id);
                self.remember_decided(id, decided);
                None
            }
            Entry::HalfGone(id) => {
                self.half_gone(id);
                None
            }
            Entry::Progress(progress) => Some(progress),
            Entry::Standing => None,
            Entry::Claimed(id, claimed) => {
                self.claims.insert(id, *claimed);
                None
            }
            Entry::Free(id) => {
                self.claims.remove(id);
                None
            }
        }
    }

    /// All is read.
    pub fn loaded(&mut self) {
        let ended = &self.ended;
        self.order.retain(|(at, id)| ended.get(id).is_some_and(|ended| ended.at == *at));
        self.halves_loaded();
    }
}

fn is_future(ended: Ended, now: i64) -> bool {
    ended.at > now
}
