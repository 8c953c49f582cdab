//! What a partition's sources hold becomes deliveries, as far as there is room for them.

use std::{sync::Arc, time::Duration};

use evhub_event::{Record, kafka, record::PROCESSOR_UID};
use evhub_journal::{Journal, Stored};
use tokio::time::Instant;

use super::{
    super::{out::Out, shared::now, task::Payload},
    Read, Working,
};
use crate::{
    Progress,
    protocol::{Effect, Place},
    wanted::{self, Intake},
};

/// How many bytes of events a Processor holds in memory before it stops reading: enough for the default of attempts under
/// way at the default size of events.
const MOST_HELD: usize = 64 << 20;

/// An attempt that takes longer than this holds up its key, and others should not wait behind it.
const SLOW: Duration = Duration::from_millis(10);

impl Working {
    /// Takes note of what was read.
    pub(in crate::worker) fn read(&mut self, read: Read) {
        self.backlog.push_back(read);
    }

    /// Takes in as much of what was read as there is room for. Returns whether all of it was.
    pub(in crate::worker) fn take_in<J: Journal>(&mut self, out: &mut Out<J>) -> bool {
        let mut effects = Vec::new();
        while self.has_room(out) {
            match self.backlog.pop_front() {
                Some(Read::Record(source, stored)) => self.receive(source, stored, &mut effects, out),
                Some(Read::End(source, end)) => self.partition.reached(source, end, &mut effects),
                None => break,
            }
        }
        self.carry_out(effects, out);
        self.backlog.is_empty()
    }

    /// Whether there is something to take in, and room for it.
    pub(in crate::worker) fn can_take_in<J: Journal>(&self, out: &Out<J>) -> bool {
        !self.backlog.is_empty() && self.has_room(out)
    }

    /// While the target is in trouble, no more is taken in than one record to try it with. Neither that nor what is
    /// parked bounds what a predecessor took in already: some of it may wait for replay to pass.
    fn may_take<J: Journal>(&self, out: &Out<J>) -> bool {
        let idle = self.partition.unresolved() == 0 && self.partition.ready() == 0;
        let needed = !out.gate.open || idle || self.partition.is_replaying();
        let room = !out.is_full() || self.partition.is_replaying();
        needed && room && out.held < MOST_HELD && self.partition.has_room() && !out.is_halted()
    }

    /// More records than crowd a partition are taken in only if they help. While it moves they would just be parked, written
    /// and read again, behind those that wait already; while slow attempts hold it up they may be of other keys.
    fn has_room<J: Journal>(&self, out: &Out<J>) -> bool {
        let helps = || !self.is_busy() && self.held_up_at().is_none_or(|at| at <= Instant::now());
        let moves = self.partition.is_crowded() && !self.partition.is_replaying();
        self.may_take(out) && (!moves || helps())
    }

    /// Whether something waits for nothing but leave to be attempted.
    fn is_busy(&self) -> bool {
        self.partition.ready() > 0
    }

    /// When the oldest attempt counts as slow.
    fn held_up_at(&self) -> Option<Instant> {
        self.started.values().min().map(|started| *started + SLOW)
    }

    /// When to look again whether there is room for what was read.
    pub(in crate::worker) fn look_at<J: Journal>(&self, out: &Out<J>) -> Option<Instant> {
        let waits = !self.backlog.is_empty() && self.partition.is_crowded() && !self.is_busy();
        self.held_up_at().filter(|_| waits && self.may_take(out))
    }

    fn receive<J: Journal>(
        &mut self,
        source: u16,
        stored: Stored,
        effects: &mut Vec<Effect>,
        out: &mut Out<J>,
    ) {
        let (place, shared) = (Place { source, offset: stored.offset }, Arc::clone(&out.shared));
        if stored.record.value.is_none() && kafka::decode(&stored.record).is_err() {
            Progress::add(&shared.progress.poisoned, 1);
            self.partition.skipped(place, effects);
            return;
        }
        if is_anothers(&stored.record, out) {
            self.partition.skipped(place, effects);
            return;
        }
        let inbox =
            out.topics.get(usize::from(source)).is_some_and(|topic| *topic == shared.processor.inbox_topic);
        let intake = if inbox { Intake::Now } else { wanted::intake(&shared.processor, &stored.record) };
        let lane = shared.lane(stored.record.key.as_ref());
        let due = match intake {
            Intake::Later(delay) => {
                let delay = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX / 4);
                Some(stored.timestamp.saturating_add(delay)).filter(|due| *due > now())
            }
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
        let payload = Payload::read(stored.record);
        out.held += payload.held;
        self.payloads.insert(place, payload);
    }
}

/// Whether a record was redriven for a Processor that had this one's name before it.
fn is_anothers<J: Journal>(record: &Record, out: &Out<J>) -> bool {
    record.header(PROCESSOR_UID).is_some_and(|uid| *uid != out.shared.processor.uid.as_bytes())
}
