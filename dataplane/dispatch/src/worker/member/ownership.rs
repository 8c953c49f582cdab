//! Partitions as they come and go: taking over, claiming, giving up. I/O.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use evhub_journal::{Error, Journal, Tail, TopicPartition};
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::{
    super::{
        lane::Lane,
        slot::{Rest, Slot, Working},
        takeover::{self, Taken},
        task::{self, Done},
    },
    Exit, Member,
    commits::doubt,
    unknown,
};
use crate::{
    Progress,
    protocol::{Claiming, Place, StateKey},
    shelf::Shelf,
};

/// How many tombstones of a sweep are under way at once.
const SWEEP: usize = 256;

impl<J: Journal> Member<J> {
    pub(super) fn take(&mut self, partition: u32) {
        let (wanted, given_up) = oneshot::channel();
        self.slots.insert(partition, Slot::Taking(Some(wanted)));
        let taking = takeover::await_taken(Arc::clone(&self.out.shared), partition, self.sources.clone());
        self.out.run(partition, async move {
            tokio::select! {
                taken = taking => Done::Taken(taken),
                _ = given_up => Done::Taken(Err(Error::Unavailable("it was asked back meanwhile".to_owned()))),
            }
        });
    }

    fn taken(&mut self, partition: u32, taken: Taken) {
        let (claiming, parked) = taken.finish();
        for &(at, key) in claiming.sweep().iter().take(SWEEP) {
            self.sweep(partition, at, key);
        }
        self.claim(partition, claiming, parked);
    }

    fn sweep(&self, partition: u32, at: u64, key: StateKey) {
        let swept = task::clear(Arc::clone(&self.out.shared), partition, key);
        self.out.run(partition, async move { Done::Swept(at, swept.await) });
    }

    fn claim(&mut self, partition: u32, mut claiming: Claiming<Lane>, parked: Shelf<Place, Rest>) {
        if let Some(offsets) = claiming.claim() {
            let claimed = self.commit(partition, offsets);
            self.out.run(partition, async move { Done::Claimed(claimed.await) });
        }
        self.slots.insert(partition, Slot::Claiming(Box::new(claiming), parked));
    }

    fn claimed(&mut self, partition: u32, claiming: Claiming<Lane>, parked: Shelf<Place, Rest>) {
        let mut effects = Vec::new();
        let owned = claiming.acknowledged(&mut effects);
        let (epoch, count) = (owned.claim().epoch, owned.parked_count());
        debug!(processor = %self.out.shared.name, partition, epoch, parked = count, "partition claimed");
        Progress::add(&self.out.shared.progress.claims, 1);
        for (index, topic) in self.sources.iter().enumerate() {
            let at = TopicPartition { topic: topic.clone(), partition };
            self.tail.seek(&at, owned.resume(index as u16));
            // An earlier ownership may have left it paused.
            self.tail.pause(&at, false);
        }
        let mut working = Working::new(partition, owned, parked, &mut self.out);
        working.spare(self.out.gate.open, &mut self.out);
        // It may have been edited since the group was joined.
        working.partition.bound_lane(self.out.current.policy().max_parked_per_key as usize);
        working.carry_out(effects, &mut self.out);
        if self.draining || self.leaving.contains(&partition) {
            working.partition.drain();
        }
        self.slots.insert(partition, Slot::Working(Box::new(working)));
        self.gauge();
        self.listening();
        self.let_go(partition);
    }

    /// Says whether every partition that was given to this member is worked.
    pub(super) fn listening(&self) {
        let (processor, partitions, parked) = (&self.out.shared.name, self.slots.len(), self.out.parked.0);
        let all = self.assigned && self.slots.values().all(|slot| matches!(slot, Slot::Working(_)));
        if all {
            self.out.shared.progress.is_well();
        }
        if !self.out.shared.progress.listening.swap(all, Relaxed) && all {
            info!(processor, partitions, parked, "listens");
        }
    }

    /// Gives a revoked partition up, at once or when what is under way of it has ended. A take-over is cut short, and yet under way
    /// until it is answered: were the partition to come back before, the answer would be taken for that of the next one.
    pub(super) fn give_up(&mut self, partition: u32) {
        self.leaving.insert(partition);
        match self.slots.get_mut(&partition) {
            Some(Slot::Working(working)) => {
                working.partition.drain();
                self.let_go(partition);
            }
            Some(Slot::Taking(wanted)) => drop(wanted.take()),
            Some(Slot::Claiming(..)) => {}
            None => self.release(partition),
        }
    }

    fn release(&mut self, partition: u32) {
        self.leaving.remove(&partition);
        if let Some(Slot::Working(working)) = self.slots.remove(&partition) {
            working.forget(&mut self.out);
        }
        self.out.timers.forget(partition);
        self.gauge();
        self.listening();
        self.tail.release(&[partition]);
    }

    pub(super) fn done_before_work(&mut self, partition: u32, done: Done) -> Result<(), Exit> {
        let slot = self.slots.remove(&partition);
        match (slot, done) {
            (Some(Slot::Taking(_)), Done::Taken(_)) if self.leaving.contains(&partition) => {
                self.release(partition);
            }
            (Some(Slot::Taking(_)), Done::Taken(Ok(taken))) => self.taken(partition, taken),
            (Some(Slot::Taking(_)), Done::Taken(Err(error))) => return Err(Exit::Failed(error.to_string())),
            (Some(Slot::Claiming(mut claiming, parked)), Done::Swept(at, Ok(tombstone))) => {
                claiming.swept(at, tombstone);
                if let Some(&(at, key)) = claiming.sweep().get(SWEEP - 1) {
                    self.sweep(partition, at, key);
                }
                self.claim(partition, *claiming, parked);
            }
            (Some(Slot::Claiming(claiming, parked)), Done::Claimed(Ok(()))) => {
                self.claimed(partition, *claiming, parked);
            }
            (Some(Slot::Claiming(mut claiming, parked)), Done::Claimed(Err(error))) => {
                doubt(&error)?;
                warn!(processor = %self.out.shared.name, partition, %error, "cannot claim; trying again");
                claiming.rejected();
                if self.leaving.contains(&partition) {
                    self.release(partition);
                } else {
                    self.claim(partition, *claiming, parked);
                }
            }
            (Some(_), Done::Swept(_, Err(error))) => return Err(unknown(&error)),
            // A tombstone's answer may come when its partition was given up.
            (slot, _) => drop(slot.map(|slot| self.slots.insert(partition, slot))),
        }
        Ok(())
    }

    /// Gives a revoked partition up once nothing of it is under way.
    pub(super) fn let_go(&mut self, partition: u32) {
        if self.leaving.contains(&partition) && self.is_settled(partition) {
            self.release(partition);
        }
    }
}
