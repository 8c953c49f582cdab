//! What the protocol asks for, carried out: parking, waiting, burying, clearing.

use std::{sync::Arc, time::Duration};

use evhub_journal::Journal;
use tokio::time::Instant;

use super::{
    super::{
        out::Out,
        shared::now,
        task::{self, Done},
    },
    Rest, Working,
};
use crate::{
    Progress,
    outcome::longest_wait,
    parked::{self, HELD, Parked},
    protocol::{Effect, Kind, Place, StateKey},
};

/// A delay follows the wall clock, which may jump; so its timer looks at it at least this often.
const NAP: Duration = Duration::from_mins(1);

impl Working {
    /// Does what the protocol asks for.
    pub(in crate::worker) fn carry_out<J: Journal>(&mut self, effects: Vec<Effect>, out: &mut Out<J>) {
        for effect in effects {
            match effect {
                Effect::Park { place, key, kind, attempts } => self.park(place, key, kind, attempts, out),
                Effect::Rest(place) => self.rest(place, out),
                Effect::Bury(place) => self.bury(place, out),
                Effect::Clear(at, key) => {
                    let cleared = task::clear(Arc::clone(&out.shared), self.number, key);
                    out.run(self.number, async move { Done::Cleared(at, cleared.await) });
                }
            }
        }
    }

    /// Whether the target is spared, and with it the log.
    pub(in crate::worker) fn spare<J: Journal>(&mut self, sparing: bool, out: &mut Out<J>) {
        let mut effects = Vec::new();
        self.partition.spare(sparing, &mut effects);
        self.carry_out(effects, out);
    }

    fn park<J: Journal>(&mut self, place: Place, key: StateKey, kind: Kind, attempts: u32, out: &mut Out<J>) {
        let shared = Arc::clone(&out.shared);
        let payload = self.payloads.remove(&place).expect("what is parked was read or attempted just before");
        // Until it is durable it stays in memory.
        let held = payload.held;
        let (not_before, bytes) =
            (self.instants.remove(&place).unwrap_or_default(), payload.record.size() as u32);
        out.parked = (out.parked.0 + 1, out.parked.1 + u64::from(bytes));
        self.finished(place, out);
        self.parked.insert(place, Rest { not_before, kind, bytes });
        let parked = Parked {
            kind,
            topic: shared.topics.name(place.source).as_ref().to_owned(),
            offset: place.offset,
            log: shared.topics.log(place.source, self.number),
            attempts,
            first_attempt: payload.first_attempt,
            not_before,
            throttled: payload.throttled,
            pass_back: payload.pass_back,
            causes: payload.causes,
            event: payload.record,
        };
        self.parking += 1;
        let key = parked::encode_key(&shared.joined.uid, key);
        let parking = task::park(shared, self.number, parked, key);
        out.run(self.number, async move { Done::Parked(place, held, parking.await) });
    }

    /// A parked delivery is durable.
    pub(in crate::worker) fn parked(&mut self, place: Place, at: u64, effects: &mut Vec<Effect>) {
        self.parking -= 1;
        self.partition.parked(place, at, effects);
    }

    fn bury<J: Journal>(&mut self, place: Place, out: &Out<J>) {
        let shared = Arc::clone(&out.shared);
        let (record, held) =
            self.letters.remove(&place).expect("only the end of an attempt makes a dead letter");
        out.run(self.number, async move {
            task::bury(&shared, record).await;
            Progress::add(&shared.progress.dead_lettered, 1);
            Done::Buried(place, held)
        });
    }

    /// Sets the timer of a parked delivery, unless it waits for its Processor to be resumed. The wall clock may have
    /// jumped since its instant was noted, so no retry rests longer than the longest wait of its policy.
    fn rest<J: Journal>(&mut self, place: Place, out: &mut Out<J>) {
        let Some(rest) = self.parked.get(place).filter(|rest| rest.not_before != HELD) else { return };
        let most = match rest.kind {
            Kind::Delay => NAP,
            Kind::Retry | Kind::Behind => longest_wait(&out.current.policy().retry),
        };
        let wait = rest.not_before.saturating_sub(now()).max(0);
        let wait = Duration::from_millis(wait as u64).min(most);
        out.timers.set(Instant::now() + wait, self.number, place);
    }

    /// The timer of a parked delivery has run out.
    pub(in crate::worker) fn due<J: Journal>(&mut self, place: Place, out: &mut Out<J>) {
        match self.parked.get(place) {
            Some(Rest { kind: Kind::Delay, not_before, .. }) if *not_before > now() => self.rest(place, out),
            _ => self.partition.due(place),
        }
    }

    /// What was held until the Processor is resumed is due.
    pub(in crate::worker) fn resume(&mut self) {
        for not_before in self.instants.values_mut().filter(|not_before| **not_before == HELD) {
            *not_before = 0;
        }
        for (place, rest) in self.parked.iter_mut().filter(|(_, rest)| rest.not_before == HELD) {
            rest.not_before = 0;
            self.partition.due(place);
        }
    }
}
