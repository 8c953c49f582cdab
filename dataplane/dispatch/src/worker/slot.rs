//! One partition in the worker's hands: the protocol's value, the payloads it speaks of, and what was read too early.
//!
//! - `intake`: from what was read to deliveries
//! - `ends`: attempts, and what follows from them
//! - `parking`: what the protocol asks for

mod ends;
mod intake;
mod parking;

pub(super) use self::intake::Door;

use std::collections::{HashMap, VecDeque};

use evhub_event::Record;
use evhub_journal::{Journal, Stored};
use evhub_routing::OnExhausted;
use tokio::{sync::oneshot, time::Instant};

use super::{
    lane::Lane,
    out::{Out, Why},
    task::{Held, Payload},
};
use crate::{
    parked::HELD,
    protocol::{Claiming, Effect, Kind, Offsets, Partition, Place},
    shelf::Shelf,
};

/// How far a partition's taking over has come.
pub(super) enum Slot {
    /// What is durable is being read, until this is dropped.
    Taking(Option<oneshot::Sender<()>>),
    /// The claim is being committed.
    Claiming(Box<Claiming<Lane>>, Shelf<Place, Rest>),
    /// It is ours.
    Working(Box<Working>),
}

/// What is known of a parked delivery beside its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    pub(super) not_before: i64,
    pub(super) kind: Kind,
    /// The size of its event.
    pub(super) bytes: u32,
}

/// A partition that is ours.
pub(super) struct Working {
    pub(super) number: u32,
    pub(super) partition: Partition<Lane>,
    payloads: HashMap<Place, Payload>,
    /// The parked deliveries, and those on their way to be.
    parked: Shelf<Place, Rest>,
    /// When what is on its way to be parked may be attempted.
    instants: HashMap<Place, i64>,
    /// Dead letters to be.
    letters: HashMap<Place, (Record, Held)>,
    /// How many are on their way to be parked.
    parking: usize,
    /// When each attempt under way began.
    started: HashMap<Place, Instant>,
    backlog: VecDeque<Read>,
    /// Whether its sources are paused.
    pub(super) paused: bool,
    /// How many attempts ended since the commit that was acknowledged last, and how many of them the one under way knows.
    uncommitted: usize,
    flying: usize,
}

/// What was read of a source and not taken in yet.
pub(super) enum Read {
    Record(u16, Stored, Option<Lane>),
    End(u16, u64),
}

impl Working {
    /// With more ended than this and not committed no attempt is started: a crash would repeat them all. It is as much as
    /// ends, at full speed, while a busy disk takes its time for a commit.
    pub(super) const MOST_UNCOMMITTED: usize = 1024;
    /// With more than this the next commit does not wait for its time.
    const COMMIT_AT: usize = 128;

    /// Begins with what was found parked.
    pub(super) fn new<J: Journal>(
        number: u32,
        partition: Partition<Lane>,
        mut parked: Shelf<Place, Rest>,
        out: &mut Out<J>,
    ) -> Self {
        for (place, rest) in parked.iter_mut() {
            out.parked = (out.parked.0 + 1, out.parked.1 + u64::from(rest.bytes));
            if rest.not_before == HELD {
                match out.current.policy().on_exhausted {
                    OnExhausted::Suspend if !out.resumed => out.suspend(number, place, &Why::default()),
                    OnExhausted::Suspend | OnExhausted::DeadLetter | OnExhausted::Drop => rest.not_before = 0,
                }
            }
        }
        Self {
            number,
            partition,
            parked,
            payloads: HashMap::new(),
            instants: HashMap::new(),
            letters: HashMap::new(),
            parking: 0,
            started: HashMap::new(),
            backlog: VecDeque::new(),
            paused: false,
            uncommitted: 0,
            flying: 0,
        }
    }

    /// Nothing of this partition is here any more.
    pub(super) fn forget<J: Journal>(&self, out: &mut Out<J>) {
        out.held -= self.payloads.values().map(|payload| payload.held.bytes).sum::<usize>();
        for rest in self.parked.values() {
            out.parked = (out.parked.0 - 1, out.parked.1 - u64::from(rest.bytes));
        }
    }

    /// Whether so much has ended that the next commit is due.
    pub(super) fn must_commit(&self) -> bool {
        self.uncommitted - self.flying >= Self::COMMIT_AT
    }

    /// What is committed is to be committed again, though nothing has changed.
    pub(super) fn commit_again(&mut self) {
        self.partition.touch();
    }

    /// What to commit now, if there is anything.
    pub(super) fn commit(&mut self) -> Option<Offsets> {
        let offsets = self.partition.commit()?;
        self.flying = self.uncommitted;
        Some(offsets)
    }

    /// The commit under way succeeded.
    pub(super) fn committed(&mut self, effects: &mut Vec<Effect>) {
        self.uncommitted -= std::mem::take(&mut self.flying);
        self.partition.committed(effects);
    }
}
