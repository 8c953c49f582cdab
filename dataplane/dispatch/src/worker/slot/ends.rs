//! How attempts begin, and what follows from how they end.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use evhub_event::{Controls, Record};
use evhub_journal::Journal;
use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::warn;

use super::{
    super::{
        out::{Out, Why},
        shared::now,
        task::{self, Attempted, Done, Payload},
    },
    Working,
};
use crate::{
    Progress,
    dead::{Cause, DeadLetter, Reason},
    outcome::{Answer, Outcome, Tried, decide},
    pace::Permit,
    parked::HELD,
    protocol::{Place, Start, Verdict},
};

/// How many of an event's latest failures are kept with it: enough to see a pattern, and at most 11 KiB.
const CAUSES: usize = 10;

impl Working {
    /// Whether there is an attempt to make. With too much uncommitted there is none: a crash would repeat it all.
    pub(in crate::worker) fn can_start(&self) -> bool {
        self.uncommitted < Self::MOST_UNCOMMITTED && self.partition.ready() > 0
    }

    /// Starts the next attempt, if there is one to make; if there is none, gives the permit back.
    pub(in crate::worker) fn start<J: Journal>(
        &mut self,
        permit: Permit,
        out: &Out<J>,
    ) -> Result<(), Permit> {
        let next = match (out.gate.open, permit.wants_fresh()) {
            (true, true) => self.partition.start_fresh_first(),
            (true, false) => self.partition.start_parked_first(),
            (false, _) => self.partition.start(),
        };
        let Some(start) = next else { return Err(permit) };
        Progress::add(&out.shared.progress.attempts, 1);
        Progress::add(&out.shared.progress.in_flight, 1);
        self.started.insert(start.place, Instant::now());
        let payload = self.payloads.remove(&start.place);
        let parked_bytes = self.parked.get(start.place).map_or(0, |rest| rest.bytes);
        let (shared, epoch) = (Arc::clone(&out.shared), self.partition.claim().epoch);
        let topic = shared.topics.name(start.place.source);
        let current = Arc::clone(&out.current);
        let attempt = task::attempt(
            shared,
            current,
            (self.number, epoch),
            (start, topic),
            (payload, parked_bytes),
            permit,
        );
        out.run(self.number, attempt.map(|attempted| Done::Attempted(Box::new(attempted))));
        Ok(())
    }

    /// Draws the consequences of an attempt.
    pub(in crate::worker) fn attempted<J: Journal>(&mut self, attempted: Attempted, out: &mut Out<J>) {
        let Attempted { mut start, mut payload, answer, began, permit } = attempted;
        let progress = Arc::clone(&out.shared.progress);
        progress.in_flight.fetch_sub(1, Relaxed);
        self.started.remove(&start.place);
        self.uncommitted += 1;
        Progress::add(&progress.attempt_micros, began.1.elapsed().as_micros() as u64);
        let delivered = matches!(answer, Answer::Status { status: 200..=299, .. } | Answer::Accepted);
        // What a delivered event asked for matters no more.
        let controls = if delivered { Controls::default() } else { Controls::of(&payload.record) };
        // What an event's publisher did not give the time for says nothing of the target.
        let hurried = controls.timeout.is_some_and(|allowed| allowed < out.current.processor.target.timeout);
        match answer {
            Answer::TooOld | Answer::Expired | Answer::Poison(..) => out.gate.put_back(permit),
            Answer::TimedOut(_) if hurried => {}
            _ => out.gate.ended(permit, began.1, &answer, start.attempt == 1),
        }
        let first = payload.first_attempt.unwrap_or(began.0);
        let tried = Tried {
            attempt: start.attempt,
            throttled: payload.throttled,
            age: Duration::from_millis(now().saturating_sub(first).max(0) as u64),
            allowed: controls.max_attempts,
        };
        let outcome = decide(out.current.policy(), tried, &answer, fastrand::u64(..));
        if answer.was_asked() {
            payload.first_attempt = Some(first);
        } else {
            start.attempt -= 1;
        }
        if !matches!(answer, Answer::TooOld) && outcome != Outcome::Delivered {
            note(&mut payload, start.attempt, &answer);
        }
        let again = if answer.was_asked() { Verdict::Retry } else { Verdict::Hold };
        self.draw((start, again), payload, outcome, out);
    }

    /// `again` is what it means should it be attempted again.
    fn draw<J: Journal>(
        &mut self,
        (start, again): (Start, Verdict),
        mut payload: Payload,
        outcome: Outcome,
        out: &mut Out<J>,
    ) {
        let (place, progress) = (start.place, Arc::clone(&out.shared.progress));
        let verdict = match outcome {
            Outcome::Delivered => {
                out.held -= payload.held.bytes;
                Progress::add(&progress.delivered, 1);
                progress.last_delivery.store(now(), Relaxed);
                self.finished(place, out);
                Verdict::Delivered
            }
            Outcome::Discard(why) => {
                out.held -= payload.held.bytes;
                progress.discard(why);
                self.finished(place, out);
                Verdict::Discarded
            }
            Outcome::Retry { wait, throttled } => {
                Progress::add(&progress.retried, 1);
                Progress::add(&progress.throttled, u64::from(throttled));
                payload.throttled += u32::from(throttled);
                self.instants.insert(place, now() + wait.as_millis() as i64);
                self.payloads.insert(place, payload);
                again
            }
            Outcome::Suspend(reason) => {
                let cause = payload.causes.last().map(|cause| cause.text.as_str());
                out.suspend(self.number, place, &Why { reason: Some(reason.as_str()), cause });
                self.instants.insert(place, HELD);
                self.payloads.insert(place, payload);
                again
            }
            Outcome::Dead(reason) => {
                let held = std::mem::take(&mut payload.held);
                let untold = reason.is_poison() && again == Verdict::Hold;
                let tried = payload.causes.len() - usize::from(untold);
                self.letters.insert(place, (self.letter((start, tried), payload, reason, out), held));
                Verdict::Dead
            }
        };
        let mut effects = Vec::new();
        self.partition.ended(place, verdict, &mut effects);
        self.carry_out(effects, out);
    }

    /// Nothing of a delivery is parked any more.
    pub(in crate::worker) fn finished<J: Journal>(&mut self, place: Place, out: &mut Out<J>) {
        if let Some(rest) = self.parked.remove(place) {
            out.parked = (out.parked.0 - 1, out.parked.1 - u64::from(rest.bytes));
        }
    }

    /// The dead letter that an attempt made, of whose causes so many are attempts: what could not be read or decided was not
    /// tried for that.
    fn letter<J: Journal>(
        &self,
        (start, tried): (Start, usize),
        payload: Payload,
        reason: Reason,
        out: &Out<J>,
    ) -> Record {
        let shared = &out.shared;
        let attempts = start.attempt;
        Progress::add(&shared.progress.poisoned, u64::from(reason.is_poison()));
        let letter = DeadLetter {
            topic: shared.topics.name(start.place.source).as_ref().to_owned(),
            partition: self.number,
            offset: start.place.offset,
            processor_uid: shared.joined.uid.clone(),
            generation: out.current.processor.generation,
            reason,
            attempts,
            first_attempt: payload.first_attempt,
            last_attempt: payload.causes[..tried].last().map(|cause| cause.time),
            causes: payload.causes,
        };
        let reason = letter.reason.as_str();
        warn!(processor = %shared.name, letter = letter.id(), reason, attempts = letter.attempts, "an event becomes a dead letter");
        letter.encode(payload.record)
    }
}

/// Adds a failure to what is known of an event.
fn note(payload: &mut Payload, attempt: u32, answer: &Answer) {
    payload.causes.push(Cause { attempt, time: now(), status: answer.status(), text: answer.text() });
    let excess = payload.causes.len().saturating_sub(CAUSES);
    payload.causes.drain(..excess);
}
