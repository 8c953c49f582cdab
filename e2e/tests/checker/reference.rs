//! A small hub that is correct by construction: it makes histories in which everything promised holds.
//!
//! Time goes in steps of a millisecond. Each key has one lane. How far a lane has come is remembered with its time, and
//! a crash sets every lane back to one moment not long before. How often an event has failed is durable at the latest
//! when its next attempt starts, so no crash sets that back further.

use evhub_e2e::history::{Answer, Entry, Fault, History, Outcome, Rec, draw};

use crate::story::Story;

const KEYS: usize = 4;
const MAX_ATTEMPTS: u32 = 3;
/// The wait after the first failure, in milliseconds; then twice as long. Give or take half of it.
const RETRY: u64 = 20;
/// How far a crash may set a lane back; less than the checker's bound.
const FORGETS: u64 = 300;

/// A lane: its events, and which of them is next.
#[derive(Clone, Default)]
struct Lane {
    events: Vec<Event>,
    next: usize,
    flying: Option<Flying>,
    /// Which was next, and since when.
    known: Vec<(u64, usize)>,
}

/// An event: where it lies, and how many attempts at it have failed.
#[derive(Clone)]
struct Event {
    id: String,
    offset: u64,
    failed: u32,
    durable: u32,
    /// No attempt begins before this.
    not_before: u64,
}

#[derive(Clone)]
struct Flying {
    attempt: u64,
    ends: u64,
    answer: Answer,
}

/// The generator.
pub struct Reference {
    pub story: Story,
    lanes: Vec<Lane>,
    seed: u64,
    steps: u64,
    now: u64,
    epoch: u64,
}

/// A correct history of so many events, with so many crashes.
pub fn execution(seed: u64, events: u64, crashes: u64) -> History {
    let mut reference = Reference {
        story: Story::default(),
        lanes: vec![Lane::default(); KEYS],
        seed,
        steps: 0,
        now: 0,
        epoch: 1,
    };
    reference.publish(events);
    for _ in 0..crashes {
        let time = 50 + reference.pick(400);
        reference.run(Some(time));
        reference.crash();
    }
    reference.run(None);
    let mut entries = reference.story.entries;
    entries.push(Entry {
        at: 9_000_000_000_000,
        rec: Rec::Scanned { producer: crate::story::PRODUCER.into(), partition: 0 },
    });
    History(entries)
}

impl Reference {
    fn pick(&mut self, below: u64) -> u64 {
        self.steps += 1;
        draw(self.seed, &[&self.steps.to_string()]) % below
    }

    /// Every event is published before the first attempt, by the client that owns its key.
    fn publish(&mut self, events: u64) {
        let mut offset = 0;
        for n in 0..events {
            let lane = self.pick(KEYS as u64) as usize;
            let (id, key, client) = (format!("c{lane}-{n}"), format!("k{lane}"), format!("c{lane}"));
            let outcome = match self.pick(12) {
                0 => Outcome::Rejected("FULL".into()),
                1 | 2 => Outcome::Unknown("reset".into()),
                _ => Outcome::Acked { partition: 0, offset },
            };
            let logged = match &outcome {
                Outcome::Acked { .. } => true,
                Outcome::Rejected(_) => false,
                Outcome::Unknown(_) => self.pick(2) == 0,
            };
            self.story.publish(self.now, &client, &id, &key, outcome);
            if logged {
                self.story.log(0, offset, &id, &key);
                self.lanes[lane].events.push(Event { id, offset, failed: 0, durable: 0, not_before: 0 });
                offset += 1 + self.pick(3);
            }
            self.now += 2;
        }
        for lane in &mut self.lanes {
            lane.known.push((self.now, 0));
        }
    }

    /// Runs so long, or until nothing is left.
    fn run(&mut self, time: Option<u64>) {
        let until = time.map(|time| self.now + time);
        while until.is_none_or(|until| self.now < until)
            && self.lanes.iter().any(|lane| lane.next < lane.events.len())
        {
            self.now += 1;
            let lane = self.pick(KEYS as u64) as usize;
            match self.lanes[lane].flying.clone() {
                Some(flying) if flying.ends <= self.now => self.end(lane, &flying),
                Some(_) => {}
                None => self.start(lane),
            }
        }
    }

    fn start(&mut self, lane: usize) {
        let next = self.lanes[lane].next;
        let now = self.now;
        let Some(event) = self.lanes[lane].events.get_mut(next).filter(|event| event.not_before <= now)
        else {
            return;
        };
        event.durable = event.failed;
        let (id, number) = (event.id.clone(), event.failed + 1);
        let attempt = self.story.recv(self.now, &id, &format!("k{lane}"), number, self.epoch);
        let (answer, takes) = match draw(self.seed, &[&id, &number.to_string()]) % 10 {
            0 => (Answer::Failure(400), 3),
            1 | 2 => (Answer::Failure(503), 3),
            3 => (Answer::Cut, 2),
            4 => (Answer::PeerGone, 1005),
            _ => (Answer::Success, 2 + self.pick(20)),
        };
        self.lanes[lane].flying = Some(Flying { attempt, ends: self.now + takes, answer });
    }

    fn end(&mut self, lane: usize, flying: &Flying) {
        let from = self.now * 1_000_000 - 1;
        self.story.push(self.now, Rec::Done { attempt: flying.attempt, answer: flying.answer, from });
        let state = &mut self.lanes[lane];
        state.flying = None;
        let event = &mut state.events[state.next];
        let number = event.failed + 1;
        let reason = match flying.answer {
            Answer::Success => None,
            Answer::Failure(400) => Some("NOT_RETRYABLE"),
            _ if number == MAX_ATTEMPTS => Some("MAX_ATTEMPTS"),
            _ => {
                event.failed = number;
                let (id, now) = (event.id.clone(), self.now);
                let wait = RETRY << (number - 1);
                event.not_before = now + wait / 2 + draw(self.seed, &[&id, "wait"]) % wait;
                return;
            }
        };
        let (id, offset) = (event.id.clone(), event.offset);
        state.next += 1;
        state.known.push((self.now, state.next));
        if let Some(reason) = reason {
            self.story.dead(offset, &id, number, reason);
        }
    }

    fn crash(&mut self) {
        let (from, until) = (self.now, self.now + 3);
        self.story.fault(from, until, Fault::Kill);
        let durable = from.saturating_sub(self.pick(FORGETS));
        for lane in 0..KEYS {
            if let Some(flying) = self.lanes[lane].flying.take() {
                let rec =
                    Rec::Done { attempt: flying.attempt, answer: Answer::PeerGone, from: until * 1_000_000 };
                self.story.push(until, rec);
            }
            let state = &mut self.lanes[lane];
            let kept = state.known.iter().rposition(|(since, ..)| *since <= durable).unwrap_or(0);
            state.known.truncate(kept + 1);
            (_, state.next) = state.known[kept];
            for event in &mut state.events {
                let written = draw(self.seed, &[&event.id, "written"]).is_multiple_of(2);
                event.failed = if written { event.failed } else { event.durable };
            }
        }
        self.now = until + 20 + self.pick(200);
        self.epoch += 1;
    }
}
