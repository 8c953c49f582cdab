//! A member at work: one loop over what it learns, what ends, and what falls due. I/O.
//!
//! - `ownership`: partitions as they come and go
//! - `turns`: which attempt begins next
//! - `shares`: how much of what the Processor allows is this member's
//! - `edits`: what is said to it while it works
//! - `commits`: when is committed
//! - `missing`: topics that it will read once they are made

mod commits;
mod edits;
mod missing;
mod ownership;
mod shares;
mod turns;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use evhub_journal::{Error, Journal, Polled, Tail, TopicPartition, WriteError};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, sleep_until},
};
use tracing::warn;

use self::{commits::doubt, missing::Missing, shares::Shares};
use super::{
    Assignment, Work,
    current::Current,
    gate::Gate,
    out::Out,
    shared::Shared,
    slot::{Door, Read, Slot},
    task::Done,
    timers::Timers,
};
use crate::{
    Progress,
    protocol::{Doubt, Next, after},
    sender::Senders,
};

/// How often is committed what has not changed: brokers forget the offsets of a group in which nobody is, for a day or a week at
/// the least, and a Processor may be suspended, or without events, for longer before it is away.
const KEEP: Duration = Duration::from_hours(6);
/// How much that has ended is dealt with before anything else is looked at.
const TOGETHER: usize = 64;

/// Why a member's work ended.
pub(super) enum Exit {
    /// It was told to stop, and everything that it finished is committed.
    Stopped,
    /// The group must be joined anew; nothing is wrong.
    Again(&'static str),
    /// The log failed.
    Failed(String),
}

/// What a member may be told while it works.
pub(super) struct Orders {
    pub(super) work: watch::Receiver<Arc<Work>>,
    pub(super) resume: watch::Receiver<u64>,
}

/// A member of the Processor's group.
pub(super) struct Member<J: Journal> {
    tail: J::Tail,
    sources: Vec<String>,
    slots: BTreeMap<u32, Slot>,
    out: Out<J>,
    senders: Senders,
    /// When to commit, if there may be something to.
    commit_at: Option<Instant>,
    /// When to commit what has not changed.
    keep_at: Instant,
    /// The partition that started an attempt last, so that they take turns.
    turn: u32,
    /// Partitions to be given up as soon as nothing of them is under way.
    leaving: BTreeSet<u32>,
    /// Whether the group has said which partitions are this member's; they may be none, where it has many members.
    assigned: bool,
    shares: Shares,
    draining: bool,
}

impl<J: Journal> Member<J> {
    /// Joins the Processor's group.
    pub(super) async fn join(assignment: &Assignment<J>, work: &Work) -> Result<Self, Error> {
        let shared = Arc::new(Shared::new(assignment, work));
        shared.grow().await?;
        let processor = &work.processor;
        let mut sources: Vec<String> = processor.routes.iter().map(|route| route.topic.clone()).collect();
        let dues = processor.routes.iter().map(|route| &route.due_topic);
        for topic in dues.chain([&processor.inbox_topic]) {
            if shared.journal.look_up(topic).await?.is_some() {
                sources.push(topic.clone());
                shared.topics.number(topic);
            }
        }
        // Before it joins: what is said in its generation it must have heard from the first word on.
        let ear = shared.listen().await;
        let tail = shared.journal.join(&processor.group, &sources).await?;
        let (tasks, timers) = (FuturesUnordered::new(), Timers::new(Instant::now()));
        let current = Arc::new(Current::new(work, &assignment.senders));
        let gate = Gate::new(current.policy(), current.sender.endpoint());
        shared.progress.generation.store(processor.generation, Relaxed);
        let (suspended, resumed, parked, held) = (false, false, (0, 0), 0);
        let out = Out { shared, current, tasks, timers, gate, suspended, resumed, parked, held };
        Ok(Self {
            tail,
            sources,
            slots: BTreeMap::new(),
            out,
            senders: assignment.senders.clone(),
            commit_at: None,
            keep_at: Instant::now() + KEEP,
            turn: 0,
            leaving: BTreeSet::new(),
            assigned: false,
            shares: Shares::new(ear),
            draining: false,
        })
    }

    /// Works until told to stop, or until the group must be joined anew.
    pub(super) async fn work(
        mut self,
        mut stop: impl Future<Output = ()> + Unpin,
        orders: &mut Orders,
    ) -> Exit {
        let mut missing = Missing::of(&self.out.shared, &self.sources);
        let mut exit = Exit::Stopped;
        // Set anew only when it is to ring at another time: that takes a lock that all timers share.
        let mut alarm = pin!(sleep_until(Instant::now()));
        loop {
            self.start_attempts();
            if self.draining && self.is_drained() {
                self.tail.leave().await;
                return exit;
            }
            let (more, look) = self.intake();
            let wake = self.wake().into_iter().chain(look).min();
            if let Some(at) = wake.filter(|at| *at != alarm.deadline()) {
                alarm.as_mut().reset(at);
            }
            let step = tokio::select! {
                () = &mut stop, if !self.draining => {
                    self.drain();
                    Ok(())
                }
                made = missing.made(), if !self.draining => {
                    exit = self.again(made);
                    Ok(())
                }
                Ok(()) = orders.work.changed() => {
                    let work = Arc::clone(&orders.work.borrow_and_update());
                    if !self.draining && !self.edit(&work) {
                        exit = self.again("what it reads, or its order, was edited");
                    }
                    Ok(())
                }
                Ok(()) = orders.resume.changed() => {
                    self.resume();
                    Ok(())
                }
                Some((partition, done)) = self.out.tasks.next() => self.all_done(partition, done),
                heard = self.shares.next() => {
                    self.weigh(heard);
                    Ok(())
                }
                polled = self.tail.poll() => match polled {
                    Ok(polled) => self.polled(polled),
                    Err(error) => Err(Exit::Failed(error.to_string())),
                },
                () = yield_now(), if more => Ok(()),
                () = &mut alarm, if wake.is_some() => {
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
            Polled::Assigned { partitions, generation } => {
                // A topic may grow before the Processor is told: its edit follows, and the group is joined anew.
                let known = self.out.shared.joined.partitions;
                self.begin_shares(
                    generation,
                    partitions.iter().filter(|partition| **partition < known).count(),
                );
                for partition in partitions.into_iter().filter(|partition| *partition < known) {
                    self.take(partition);
                }
                self.assigned = true;
                self.listening();
            }
            Polled::Revoked(partitions) => {
                self.assigned = false;
                for partition in partitions {
                    self.give_up(partition);
                }
            }
            Polled::Lost(_) => {
                return Err(Exit::Failed("another member took the partitions over".to_owned()));
            }
            Polled::Records(at, records) => {
                let source = self.out.shared.topics.number(&at.topic);
                let shared = Arc::clone(&self.out.shared);
                let reads = records.into_iter().map(|record| {
                    let lane = shared.lane(record.record.key.as_ref());
                    Read::Record(source, record, lane)
                });
                self.read(at.partition, reads);
            }
            Polled::End(at, end) => {
                let source = self.out.shared.topics.number(&at.topic);
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

    /// Finishes what is under way, to join the group anew.
    fn again(&mut self, why: &'static str) -> Exit {
        self.drain();
        Exit::Again(why)
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

    /// Deals with something that has ended, and with what else has by now: looking around costs more than most of it.
    fn all_done(&mut self, partition: u32, done: Done) -> Result<(), Exit> {
        self.done(partition, done)?;
        for _ in 1..TOGETHER {
            let Some(Some((partition, done))) = self.out.tasks.next().now_or_never() else { break };
            self.done(partition, done)?;
        }
        self.commit_soon();
        self.gauge();
        Ok(())
    }

    fn done(&mut self, partition: u32, done: Done) -> Result<(), Exit> {
        let mut effects = Vec::new();
        let Some(Slot::Working(slot)) = self.slots.get_mut(&partition) else {
            return self.done_before_work(partition, done);
        };
        match done {
            Done::Attempted(attempted) => slot.attempted(*attempted, &mut self.out),
            Done::Parked(place, held, Ok(at)) => {
                self.out.held -= held.bytes;
                slot.parked(place, at, &mut effects);
            }
            Done::Buried(place, held) => {
                self.out.held -= held.bytes;
                slot.finished(place, &mut self.out);
                slot.partition.buried(place, &mut effects);
            }
            Done::Cleared(at, Ok(tombstone)) => slot.partition.cleared(at, tombstone),
            Done::Committed(Ok(())) => {
                Progress::add(&self.out.shared.progress.commits, 1);
                slot.committed(&mut effects);
            }
            Done::Committed(Err(error)) => {
                doubt(&error)?;
                warn!(processor = %self.out.shared.name, partition, %error, "cannot commit; trying again");
                slot.partition.commit_rejected();
            }
            Done::Parked(.., Err(error)) | Done::Cleared(_, Err(error)) => return Err(unknown(&error)),
            Done::Taken(_) | Done::Swept(..) | Done::Claimed(_) => {}
        }
        slot.carry_out(effects, &mut self.out);
        if slot.must_commit() {
            self.commit_one(partition);
        }
        self.let_go(partition);
        Ok(())
    }

    // === timers ===

    fn wake(&self) -> Option<Instant> {
        let timer = self.out.timers.next();
        let again = self.out.gate.again.filter(|_| !self.draining && !self.out.is_halted());
        [timer, self.commit_at, again.map(Instant::from_std), Some(self.keep_at)].into_iter().flatten().min()
    }

    /// Whether there is more to take in at once, and when there may be more.
    fn intake(&self) -> (bool, Option<Instant>) {
        let (mut more, mut look) = (false, None);
        for slot in self.slots.values() {
            let Slot::Working(working) = slot else { continue };
            match working.door(&self.out) {
                Door::Closed => {}
                Door::Open => more = true,
                Door::Until(at) => look = Some(look.map_or(at, |first: Instant| first.min(at))),
            }
        }
        (more, look)
    }

    fn fall_due(&mut self) {
        let now = Instant::now();
        while let Some((partition, place)) = self.out.timers.run_out(now) {
            if let Some(Slot::Working(working)) = self.slots.get_mut(&partition) {
                working.due(place, &mut self.out);
            }
        }
        if self.keep_at <= now {
            self.keep_at = now + KEEP;
            self.keep();
        }
        if self.commit_at.is_some_and(|at| at <= now) {
            self.commit_all();
        }
    }

    fn gauge(&self) {
        let unresolved = self.slots.values().map(|slot| match slot {
            Slot::Working(working) => working.partition.unresolved() as u64,
            Slot::Taking(_) | Slot::Claiming(..) => 0,
        });
        let progress = &self.out.shared.progress;
        progress.unresolved.store(unresolved.sum(), Relaxed);
        progress.parked.store(self.out.parked.0, Relaxed);
        progress.parked_bytes.store(self.out.parked.1, Relaxed);
        progress.concurrency.store(self.out.gate.width(), Relaxed);
        self.out.tell_fullness();
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
