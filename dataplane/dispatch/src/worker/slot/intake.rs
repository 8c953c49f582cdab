//! What a partition's sources hold becomes deliveries, as far as there is room for them.

use std::sync::Arc;

use evhub_event::{Record, kafka, record::PROCESSOR_UID};
use evhub_journal::{Journal, Stored};
use tokio::time::Instant;

use super::{
    super::{guard, lane::Lane, out::Out, shared::now, task::Payload},
    Read, Working,
};
use crate::{
    Discard, Progress,
    protocol::{Effect, Place},
    wanted::{self, Intake},
};

/// How many records are held against an expression at once: each may take milliseconds, and others want to run as well.
const EXPRESSIONS: usize = 16;

/// How many of a partition may be on their way to be parked before more are taken in only to be parked: a pause of the
/// whole machine makes every attempt look slow, and should not put all of a backlog into the state.
const MOST_PARKING: usize = 64;

/// Whether something may come in.
pub(in crate::worker) enum Door {
    /// There is nothing, or no room for it.
    Closed,
    Open,
    /// Not before this.
    Until(Instant),
}

impl Working {
    /// Takes note of what was read.
    pub(in crate::worker) fn read(&mut self, read: Read) {
        self.backlog.push_back(read);
    }

    /// Takes in as much of what was read as there is room for. Returns whether all of it was.
    pub(in crate::worker) fn take_in<J: Journal>(&mut self, out: &mut Out<J>) -> bool {
        let mut effects = Vec::new();
        let filter = out.current.processor.filter.as_ref();
        let at_once =
            if filter.is_some_and(|filter| filter.cel.is_some()) { EXPRESSIONS } else { usize::MAX };
        for _ in 0..at_once {
            if !self.can_take_in(out) {
                break;
            }
            match self.backlog.pop_front() {
                Some(Read::Record(source, stored, lane)) => {
                    self.receive((source, stored, lane), &mut effects, out);
                }
                Some(Read::End(source, end)) => self.partition.reached(source, end, &mut effects),
                None => break,
            }
        }
        self.carry_out(effects, out);
        self.backlog.is_empty()
    }

    /// Whether something was read and not taken in.
    pub(in crate::worker) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Whether there is something to take in, and room for it.
    pub(in crate::worker) fn can_take_in<J: Journal>(&self, out: &Out<J>) -> bool {
        match self.door(out) {
            Door::Open => true,
            Door::Closed => false,
            Door::Until(at) => at <= Instant::now(),
        }
    }

    /// Whether what was read next may come in. What would only be parked for want of room, to be written and read once more,
    /// stays outside for as long as the delivery before it moves. If that does not, others are not to wait for it.
    pub(in crate::worker) fn door<J: Journal>(&self, out: &Out<J>) -> Door {
        let Some(next) = self.backlog.front().filter(|_| self.has_room(out)) else { return Door::Closed };
        let Read::Record(_, _, Some(lane)) = next else { return Door::Open };
        let Some(head) = self.partition.head_of_full(*lane).filter(|_| !self.partition.is_replaying()) else {
            return Door::Open;
        };
        let started = self.started.get(&head).filter(|_| self.parking < MOST_PARKING);
        started.map_or(Door::Closed, |started| Door::Until(*started + out.patience()))
    }

    /// When a worker's share of memory is taken it stops, but a partition of which nothing is in memory may read on all the
    /// same: what stands in one must not stop another.
    ///
    /// While the target is in trouble, no more is taken in than it takes to have something to try it with that was never
    /// tried. Neither that nor what is parked bounds what a predecessor took in already: some of it may wait for replay to
    /// pass.
    fn has_room<J: Journal>(&self, out: &Out<J>) -> bool {
        let replaying = self.partition.is_replaying();
        let needed = !out.gate.open || replaying || !self.partition.has_fresh();
        let room = replaying || !out.is_full();
        let memory = out.held < out.shared.share.events() || self.partition.unresolved() == 0;
        needed && room && memory && self.partition.has_room() && !out.is_halted()
    }

    fn receive<J: Journal>(
        &mut self,
        (source, stored, lane): (u16, Stored, Option<Lane>),
        effects: &mut Vec<Effect>,
        out: &mut Out<J>,
    ) {
        let (place, shared) = (Place { source, offset: stored.offset }, Arc::clone(&out.shared));
        if stored.record.value.is_none() && kafka::decode(&stored.record) == Err(kafka::Poison::Empty) {
            Progress::add(&shared.progress.poisoned, 1);
            self.partition.skipped(place, effects);
            return;
        }
        let inbox = *shared.topics.name(source) == *shared.joined.inbox_topic;
        let decided = match inbox {
            true if is_anothers(&stored.record, out) => Ok(Intake::Unwanted(Discard::Predecessor)),
            true => Ok(Intake::Now),
            false => {
                guard::within(|| wanted::intake(&out.current.processor, stored.timestamp, &stored.record))
            }
        };
        // Whose event it is cannot be told, so it is shown to whoever looks after the Processor, and not to its target.
        let (intake, broken) = match decided {
            Ok(intake) => (intake, None),
            Err(panicked) => (Intake::Now, Some(panicked)),
        };
        let due = match intake {
            Intake::Later(delay) => wanted::due(stored.timestamp, delay, now()),
            Intake::Now | Intake::Undelayed => None,
            Intake::Unwanted(why) => {
                if self.partition.skipped(place, effects) {
                    shared.progress.discard(why);
                }
                return;
            }
        };
        let new = match due {
            None => self.partition.received(place, lane, effects),
            Some(_) => self.partition.delayed(place, lane, effects),
        };
        if !new {
            return;
        }
        Progress::add(&shared.progress.undelayed, u64::from(intake == Intake::Undelayed));
        if let Some(not_before) = due {
            Progress::add(&shared.progress.delayed, 1);
            self.instants.insert(place, not_before);
        }
        let payload = Payload { broken, ..Payload::read(stored.record) };
        out.held += payload.held.bytes;
        self.payloads.insert(place, payload);
    }
}

/// Whether a record was redriven for a Processor that had this one's name before it.
fn is_anothers<J: Journal>(record: &Record, out: &Out<J>) -> bool {
    record.header(PROCESSOR_UID).is_some_and(|uid| *uid != out.shared.joined.uid.as_bytes())
}
