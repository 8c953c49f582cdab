//! A member at work: one loop over what it learns, what ends, and what falls due. I/O.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use evhub_journal::{CommitError, Committed, Error, Journal, Polled, Tail, TopicPartition, WriteError};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tracing::{info, warn};

use super::{
    gate::Gate,
    shared::{Lane, Shared},
    slot::{Out, Read, Rest, Slot, Working},
    takeover::{self, Body, Taken},
    task::{self, Done},
};
use crate::{
    Progress,
    protocol::{Claiming, Doubt, Loaded, Next, Offsets, Place, StateKey, after},
};

/// What is resolved is committed at the latest after this long, or when so many deliveries have ended: half of what a
/// partition may have ended and not committed, so that its commit is answered before it must stop for it.
const COMMIT_AFTER: Duration = Duration::from_millis(100);
const COMMIT_EVERY: usize = Working::MOST_UNCOMMITTED / 2;

/// How many tombstones of a sweep are under way at once.
const SWEEP: usize = 256;

/// Why a member's work ended.
pub(super) enum Exit {
    /// It was told to stop, and everything that it finished is committed.
    Stopped,
    /// The group must be joined anew; nothing is wrong.
    Again(&'static str),
    /// The log failed.
    Failed(String),
}

/// A member of the Processor's group.
pub(super) struct Member<J: Journal> {
    tail: J::Tail,
    sources: Vec<String>,
    slots: BTreeMap<u32, Slot>,
    out: Out<J>,
    /// When to commit, if there may be something to.
    commit_at: Option<Instant>,
    ended: usize,
    /// Where the search for the next attempt begins, so that partitions take turns.
    turn: u32,
    /// Partitions to be given up as soon as nothing of them is under way.
    leaving: BTreeSet<u32>,
    draining: bool,
}

impl<J: Journal> Member<J> {
    /// Joins the Processor's group.
    pub(super) async fn join(shared: Arc<Shared<J>>) -> Result<Self, Error> {
        shared.grow().await?;
        let processor = &shared.processor;
        let mut sources: Vec<String> = processor.routes.iter().map(|route| route.topic.clone()).collect();
        if shared.journal.partitions(&processor.inbox_topic).is_some() {
            sources.push(processor.inbox_topic.clone());
        }
        let tail = shared.journal.join(&processor.group, &sources).await?;
        let (tasks, timers, topics) = (FuturesUnordered::new(), BTreeSet::new(), sources.clone());
        let gate = Gate::new(processor, shared.sender.endpoint(&processor.target));
        let out = Out { shared, tasks, timers, topics, gate, suspended: false, parked: (0, 0), held: 0 };
        let (slots, leaving) = (BTreeMap::new(), BTreeSet::new());
        Ok(Self { tail, sources, slots, out, commit_at: None, ended: 0, turn: 0, leaving, draining: false })
    }

    /// Works until told to stop, or until the group must be joined anew.
    pub(super) async fn work(
        mut self,
        mut stop: impl Future<Output = ()> + Unpin,
        resume: &mut watch::Receiver<u64>,
    ) -> Exit {
        let mut inbox = self.out.shared.inbox.clone();
        let has_inbox = self.sources.contains(&self.out.shared.processor.inbox_topic);
        let mut exit = Exit::Stopped;
        loop {
            self.start_attempts();
            if self.draining && self.is_drained() {
                self.tail.leave().await;
                return exit;
            }
            let wake = self.wake();
            let step = tokio::select! {
                () = &mut stop, if !self.draining => {
                    self.drain();
                    Ok(())
                }
                Ok(_) = inbox.wait_for(|made| *made), if !has_inbox && !self.draining => {
                    exit = Exit::Again("an inbox was made");
                    self.drain();
                    Ok(())
                }
                Ok(()) = resume.changed() => {
                    self.resume();
                    Ok(())
                }
                Some((partition, done)) = self.out.tasks.next() => self.done(partition, done),
                polled = self.tail.poll() => match polled {
                    Ok(polled) => self.polled(polled),
                    Err(error) => Err(Exit::Failed(error.to_string())),
                },
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                    self.fall_due();
                    Ok(())
                }
            };
            if let Err(exit) = step {
                return exit;
            }
        }
    }

    // === what is learned ===

    fn polled(&mut self, polled: Polled) -> Result<(), Exit> {
        match polled {
            Polled::Assigned { partitions, .. } => {
                for partition in partitions {
                    self.take(partition);
                }
            }
            Polled::Revoked(partitions) => {
                for partition in partitions {
                    self.give_up(partition);
                }
            }
            Polled::Lost(_) => {
                return Err(Exit::Failed("another member took the partitions over".to_owned()));
            }
            Polled::Records(at, records) => {
                let source = self.out.source(&at.topic);
                self.read(at.partition, records.into_iter().map(|record| Read::Record(source, record)));
            }
            Polled::End(at, end) => {
                let source = self.out.source(&at.topic);
                self.read(at.partition, [Read::End(source, end)].into_iter());
            }
        }
        Ok(())
    }

    fn read(&mut self, partition: u32, reads: impl Iterator<Item = Read>) {
        if let Some(Slot::Working(working)) = self.slots.get_mut(&partition) {
            reads.for_each(|read| working.read(read));
            self.take_in(partition);
        }
    }

    /// Takes in what was read as far as there is room, and pauses the sources while there is not.
    fn take_in(&mut self, partition: u32) {
        let Some(Slot::Working(working)) = self.slots.get_mut(&partition) else { return };
        let all = working.take_in(&mut self.out);
        if working.paused == all {
            working.paused = !all;
            for topic in &self.sources {
                self.tail.pause(&TopicPartition { topic: topic.clone(), partition }, !all);
            }
        }
        self.commit_soon();
    }

    // === taking over and giving up ===

    fn take(&mut self, partition: u32) {
        self.slots.insert(partition, Slot::Taking);
        let taking = takeover::take(Arc::clone(&self.out.shared), partition, self.sources.clone());
        self.out.run(partition, async move { Done::Taken(taking.await) });
    }

    fn taken(&mut self, partition: u32, taken: Taken) {
        let Taken { mut loading, found } = taken;
        let mut rests = HashMap::new();
        for found in found {
            let (at, key) = (found.at, found.key);
            match found.body {
                Body::Tombstone => loading.tombstone(key),
                Body::Unreadable(_) => loading.unreadable(at, key),
                Body::Parked { topic, offset, lane, kind, attempts, not_before, bytes } => {
                    let place = Place { source: self.out.source(&topic), offset };
                    rests.insert(at, Rest { not_before, kind, bytes });
                    loading.record(Loaded { at, key, place, lane, kind, attempts });
                }
            }
        }
        let claiming = loading.finish();
        let rest = |(place, at)| rests.get(&at).map(|rest| (place, *rest));
        let parked = claiming.kept().filter_map(rest).collect();
        for &(at, key) in claiming.sweep().iter().take(SWEEP) {
            self.sweep(partition, at, key);
        }
        self.claim(partition, claiming, parked);
    }

    fn sweep(&self, partition: u32, at: u64, key: StateKey) {
        let swept = task::clear(Arc::clone(&self.out.shared), partition, key);
        self.out.run(partition, async move { Done::Swept(at, swept.await) });
    }

    fn claim(&mut self, partition: u32, mut claiming: Claiming<Lane>, parked: HashMap<Place, Rest>) {
        if let Some(offsets) = claiming.claim() {
            let claimed = self.commit(partition, offsets);
            self.out.run(partition, async move { Done::Claimed(claimed.await) });
        }
        self.slots.insert(partition, Slot::Claiming(Box::new(claiming), parked));
    }

    fn claimed(&mut self, partition: u32, claiming: Claiming<Lane>, parked: HashMap<Place, Rest>) {
        let mut effects = Vec::new();
        let owned = claiming.acknowledged(&mut effects);
        let (epoch, count) = (owned.claim().epoch, owned.parked_count());
        info!(processor = %self.out.shared.name, partition, epoch, parked = count, "partition claimed");
        Progress::add(&self.out.shared.progress.claims, 1);
        for (index, topic) in self.sources.iter().enumerate() {
            let at = TopicPartition { topic: topic.clone(), partition };
            self.tail.seek(&at, owned.resume(index as u16));
            // An earlier ownership may have left it paused.
            self.tail.pause(&at, false);
        }
        let mut working = Working::new(partition, owned, parked, &mut self.out);
        working.partition.spare(self.out.gate.open);
        working.carry_out(effects, &mut self.out);
        if self.draining || self.leaving.contains(&partition) {
            working.partition.drain();
        }
        self.slots.insert(partition, Slot::Working(Box::new(working)));
        self.gauge();
        let all = self.slots.values().all(|slot| matches!(slot, Slot::Working(_)));
        self.out.shared.progress.listening.store(all, Relaxed);
        self.let_go(partition);
    }

    /// Gives a revoked partition up, at once or when what is under way of it has ended. A take-over is under way until
    /// it is answered: were the partition to come back before, the answer would be taken for that of the next one.
    fn give_up(&mut self, partition: u32) {
        self.leaving.insert(partition);
        match self.slots.get_mut(&partition) {
            Some(Slot::Working(working)) => {
                working.partition.drain();
                self.let_go(partition);
            }
            Some(Slot::Taking | Slot::Claiming(..)) => {}
            None => self.release(partition),
        }
    }

    fn release(&mut self, partition: u32) {
        self.leaving.remove(&partition);
        if let Some(Slot::Working(working)) = self.slots.remove(&partition) {
            working.forget(&mut self.out);
        }
        self.out.timers.retain(|timer| timer.1 != partition);
        self.gauge();
        self.out.shared.progress.listening.store(false, Relaxed);
        self.tail.release(&[partition]);
    }

    fn drain(&mut self) {
        self.draining = true;
        for slot in self.slots.values_mut() {
            if let Slot::Working(working) = slot {
                working.partition.drain();
            }
        }
    }

    /// Whether nothing is under way any more and everything that ended is committed.
    fn is_drained(&mut self) -> bool {
        let partitions: Vec<u32> = self.slots.keys().copied().collect();
        let busy = partitions.into_iter().filter(|partition| !self.is_settled(*partition)).count();
        busy == 0
    }

    fn is_settled(&mut self, partition: u32) -> bool {
        match self.slots.get(&partition) {
            Some(Slot::Working(working)) if !working.partition.is_quiet() => false,
            Some(Slot::Working(_)) => !self.commit_one(partition),
            _ => true,
        }
    }

    // === what ends ===

    fn done(&mut self, partition: u32, done: Done) -> Result<(), Exit> {
        let mut effects = Vec::new();
        let Some(Slot::Working(slot)) = self.slots.get_mut(&partition) else {
            return self.done_before_work(partition, done);
        };
        match done {
            Done::Attempted(attempted) => {
                self.ended += 1;
                slot.attempted(*attempted, &mut self.out);
            }
            Done::Parked(place, Ok(at)) => slot.partition.parked(place, at, &mut effects),
            Done::Buried(place) => {
                slot.finished(place, &mut self.out);
                slot.partition.buried(place, &mut effects);
            }
            Done::Cleared(at, Ok(())) => slot.partition.cleared(at),
            Done::Committed(Ok(())) => {
                Progress::add(&self.out.shared.progress.commits, 1);
                slot.committed(&mut effects);
            }
            Done::Committed(Err(error)) => {
                doubt(&error)?;
                warn!(processor = %self.out.shared.name, partition, %error, "cannot commit; trying again");
                slot.partition.commit_rejected();
            }
            Done::Parked(_, Err(error)) | Done::Cleared(_, Err(error)) => return Err(unknown(&error)),
            Done::Taken(_) | Done::Swept(..) | Done::Claimed(_) => {}
        }
        slot.carry_out(effects, &mut self.out);
        self.gauge();
        self.take_in(partition);
        self.let_go(partition);
        Ok(())
    }

    fn done_before_work(&mut self, partition: u32, done: Done) -> Result<(), Exit> {
        let slot = self.slots.remove(&partition);
        match (slot, done) {
            (Some(Slot::Taking), Done::Taken(Ok(_))) if self.leaving.contains(&partition) => {
                self.release(partition);
            }
            (Some(Slot::Taking), Done::Taken(Ok(taken))) => self.taken(partition, taken),
            (Some(Slot::Taking), Done::Taken(Err(error))) => return Err(Exit::Failed(error.to_string())),
            (Some(Slot::Claiming(mut claiming, parked)), Done::Swept(at, Ok(()))) => {
                claiming.swept(at);
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
    fn let_go(&mut self, partition: u32) {
        if self.leaving.contains(&partition) && self.is_settled(partition) {
            self.release(partition);
        }
    }

    // === attempts, timers, commits ===

    /// Starts as many attempts as may be under way at once, one partition after the other.
    fn start_attempts(&mut self) {
        self.look_again();
        if self.out.is_halted() {
            return;
        }
        let (now, width) = (std::time::Instant::now(), self.out.gate.width());
        let numbers: Vec<u32> = self.slots.keys().copied().collect();
        let mut idle = 0;
        while idle < numbers.len() && Progress::get(&self.out.shared.progress.in_flight) < width {
            self.turn = (self.turn + 1) % numbers.len() as u32;
            idle += 1;
            let Some(Slot::Working(working)) = self.slots.get_mut(&numbers[self.turn as usize]) else {
                continue;
            };
            if working.partition.ready() == 0 {
                continue;
            }
            let Some(permit) = self.out.gate.admit(now) else { return };
            match working.start(permit, &self.out) {
                Ok(()) => idle = 0,
                Err(permit) => self.out.gate.put_back(permit),
            }
        }
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
                working.partition.spare(open);
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

    /// Somebody wants the Processor to go on.
    fn resume(&mut self) {
        self.out.suspended = false;
        self.out.shared.progress.suspended.store(false, Relaxed);
        for slot in self.slots.values_mut() {
            if let Slot::Working(working) = slot {
                working.resume();
            }
        }
    }

    fn wake(&self) -> Option<Instant> {
        let timer = self.out.timers.first().map(|timer| timer.0);
        let again = self.out.gate.again.filter(|_| !self.draining && !self.out.is_halted());
        [timer, self.commit_at, again.map(Instant::from_std)].into_iter().flatten().min()
    }

    fn fall_due(&mut self) {
        let now = Instant::now();
        while let Some(timer) = self.out.timers.first().copied().filter(|timer| timer.0 <= now) {
            self.out.timers.remove(&timer);
            if let Some(Slot::Working(working)) = self.slots.get_mut(&timer.1) {
                working.due(timer.2, &mut self.out);
            }
        }
        if self.commit_at.is_some_and(|at| at <= now) {
            self.commit_all();
        }
    }

    fn commit_soon(&mut self) {
        if self.ended >= COMMIT_EVERY {
            return self.commit_all();
        }
        self.commit_at.get_or_insert_with(|| Instant::now() + COMMIT_AFTER);
    }

    fn commit_all(&mut self) {
        self.commit_at = None;
        self.ended = 0;
        let partitions: Vec<u32> = self.slots.keys().copied().collect();
        for partition in partitions {
            self.commit_one(partition);
        }
        self.gauge();
    }

    /// Commits what is to be committed of a partition; returns whether there was anything.
    fn commit_one(&mut self, partition: u32) -> bool {
        let Some(Slot::Working(working)) = self.slots.get_mut(&partition) else { return false };
        let Some(offsets) = working.commit() else { return false };
        let committed = self.commit(partition, offsets);
        self.out.run(partition, async move { Done::Committed(committed.await) });
        true
    }

    fn commit(
        &mut self,
        partition: u32,
        offsets: Offsets,
    ) -> Pin<Box<dyn Future<Output = Result<(), CommitError>> + Send>> {
        let offsets = self.sources.iter().zip(offsets).map(|(topic, (offset, metadata))| Committed {
            partition: TopicPartition { topic: topic.clone(), partition },
            offset,
            metadata: metadata.encode(offset),
        });
        let committing = self.tail.commit(offsets.collect());
        Box::pin(async move {
            let answer = committing.await;
            if matches!(answer, Err(CommitError::Rejected(_))) {
                // What follows is the same commit again.
                sleep(COMMIT_AFTER).await;
            }
            answer
        })
    }

    fn gauge(&self) {
        let unresolved = self.slots.values().map(|slot| match slot {
            Slot::Working(working) => working.partition.unresolved() as u64,
            Slot::Taking | Slot::Claiming(..) => 0,
        });
        let progress = &self.out.shared.progress;
        progress.unresolved.store(unresolved.sum(), Relaxed);
        progress.parked.store(self.out.parked.0, Relaxed);
        progress.parked_bytes.store(self.out.parked.1, Relaxed);
        progress.concurrency.store(self.out.gate.width(), Relaxed);
    }
}

/// Whether a commit's failure lets this owner go on.
fn doubt(error: &CommitError) -> Result<(), Exit> {
    let doubt = match error {
        CommitError::Rejected(_) => Doubt::Rejected,
        CommitError::Unknown(_) => Doubt::UnknownCommit,
        CommitError::Stale { .. } => Doubt::Stale,
    };
    match after(doubt) {
        Next::Again => Ok(()),
        // Joining anew ends every doubt: its generation refuses what is still on its way.
        Next::Reload | Next::Rejoin => Err(Exit::Failed(format!("commit offsets: {error}"))),
    }
}

fn unknown(error: &WriteError) -> Exit {
    debug_assert_ne!(
        after(Doubt::UnknownAppend),
        Next::Again,
        "what may have been written is not written again"
    );
    Exit::Failed(format!("append state: {error}"))
}
