//! Whether a target is spoken to at all: it opens when half of the calls fail, and finds out with a few whether they
//! still do. Pure.
//!
//! Whoever uses it tells it of first attempts alone, and of probes: a retry says more about its event than about its
//! target, and a few events that always fail must not make a healthy target look as if it were down. For the same reason
//! every second round of probes wants events that were never attempted: those that always fail come due again and again,
//! and would keep it open for as long as they are tried.

use std::time::{Duration, Instant};

/// How far back calls count, in slots of a second each.
const WINDOW: usize = 10;
/// Of fewer calls than this, half says little.
const CALLS: u32 = 20;
/// How long it stays open at first, and at most: each time that a probe fails it is twice as long.
const OPEN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(1));
/// How many probes there are at once: after so many that succeeded the next number, after the last all calls.
const PROBES: [u32; 3] = [1, 2, 4];
/// How long a round's probes are for whoever has what the round wants.
const YOUNG: Duration = Duration::from_secs(1);
/// When to ask again while all probes are under way.
const AGAIN: Duration = Duration::from_millis(50);

/// What a call may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Go ahead. The number is handed back with how it ended.
    Go(Ticket),
    /// Ask again then.
    Wait(Instant),
}

/// Which calls count as probes: those of the round that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(Option<u64>);

impl Ticket {
    /// Whether it is a probe's.
    pub const fn is_probe(self) -> bool {
        self.0.is_some()
    }

    /// Whether it is a probe's that an event is wanted for which was never attempted.
    pub const fn wants_fresh(self) -> bool {
        matches!(self.0, Some(round) if round % 2 == 0)
    }
}

/// A breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    state: State,
    /// How long it stays open the next time.
    wait: Duration,
    round: u64,
    /// When the round began.
    began: Instant,
    start: Instant,
    /// Calls and failures by the second since `start`.
    slots: [(u64, u32, u32); WINDOW],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open(Instant),
    /// Probes under way, probes that succeeded, and which number of them is next.
    Probing {
        flying: u32,
        passed: u32,
        step: usize,
    },
}

impl Breaker {
    /// A closed one.
    pub const fn new(now: Instant) -> Self {
        Self {
            state: State::Closed,
            wait: OPEN.0,
            round: 0,
            began: now,
            start: now,
            slots: [(0, 0, 0); WINDOW],
        }
    }

    /// Whether calls go ahead as usual.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// When it is worth asking again; `None` while calls go ahead as usual.
    pub fn blocked(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Open(until) if until > now => Some(until),
            State::Open(_) | State::Probing { .. } => Some(now + AGAIN),
        }
    }

    /// Whether the round of probes began just now.
    pub fn is_young(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) < YOUNG
    }

    /// Whether another call may be made.
    pub fn admit(&mut self, now: Instant) -> Admission {
        if matches!(self.state, State::Open(until) if until <= now) {
            self.round += 1;
            self.began = now;
            self.state = State::Probing { flying: 0, passed: 0, step: 0 };
        }
        match &mut self.state {
            State::Closed => Admission::Go(Ticket(None)),
            State::Open(until) => Admission::Wait(*until),
            State::Probing { flying, passed, step } if *flying + *passed < PROBES[*step] => {
                *flying += 1;
                Admission::Go(Ticket(Some(self.round)))
            }
            State::Probing { .. } => Admission::Wait(now + AGAIN),
        }
    }

    /// A call ended.
    pub fn ended(&mut self, now: Instant, ticket: Ticket, failed: bool) {
        match (self.state, ticket.0) {
            (State::Closed, None) => self.count(now, failed),
            (State::Probing { .. }, Some(round)) if round == self.round => self.probed(now, failed),
            // It began before the state did.
            _ => {}
        }
    }

    /// A call was given up, and said nothing.
    pub fn abandoned(&mut self, ticket: Ticket) {
        if let (State::Probing { flying, .. }, Some(round)) = (&mut self.state, ticket.0)
            && round == self.round
        {
            *flying -= 1;
        }
    }

    fn count(&mut self, now: Instant, failed: bool) {
        let second = now.saturating_duration_since(self.start).as_secs();
        let slot = &mut self.slots[second as usize % WINDOW];
        if slot.0 != second {
            *slot = (second, 0, 0);
        }
        slot.1 += 1;
        slot.2 += u32::from(failed);
        let recent = self.slots.iter().filter(|slot| slot.0 + WINDOW as u64 > second);
        let (calls, failures) = recent.fold((0, 0), |sum, slot| (sum.0 + slot.1, sum.1 + slot.2));
        if calls >= CALLS && failures * 2 >= calls {
            self.open(now);
        }
    }

    fn probed(&mut self, now: Instant, failed: bool) {
        let State::Probing { flying, passed, step } = &mut self.state else { return };
        *flying -= 1;
        if failed {
            return self.open(now);
        }
        *passed += 1;
        if *passed == PROBES[*step] {
            (*passed, *step) = (0, *step + 1);
            if *step == PROBES.len() {
                self.state = State::Closed;
                self.wait = OPEN.0;
                self.slots = [(0, 0, 0); WINDOW];
            }
        }
    }

    fn open(&mut self, now: Instant) {
        self.state = State::Open(now + self.wait);
        self.wait = (self.wait * 2).min(OPEN.1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::{Admission, Breaker, CALLS, OPEN, Ticket};

    #[track_caller]
    fn go(breaker: &mut Breaker, now: Instant) -> Ticket {
        match breaker.admit(now) {
            Admission::Go(ticket) => ticket,
            Admission::Wait(at) => panic!("to wait for {:?}", at.saturating_duration_since(now)),
        }
    }

    fn call(breaker: &mut Breaker, now: Instant, failed: bool) {
        let ticket = go(breaker, now);
        breaker.ended(now, ticket, failed);
    }

    fn opened(start: Instant) -> Breaker {
        let mut breaker = Breaker::new(start);
        (0..CALLS).for_each(|_| call(&mut breaker, start, true));
        breaker
    }

    #[test]
    fn half_of_twenty_within_ten_seconds_open_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut breaker = Breaker::new(start);
        (0..10).for_each(|_| call(&mut breaker, at(0), true));
        (0..9).for_each(|_| call(&mut breaker, at(9), false));
        assert!(breaker.is_closed(), "nineteen calls");
        call(&mut breaker, at(9), false);
        assert!(!breaker.is_closed(), "ten of twenty");

        let mut breaker = Breaker::new(start);
        (0..10).for_each(|_| call(&mut breaker, at(0), true));
        (0..10).for_each(|_| call(&mut breaker, at(10), false));
        assert!(breaker.is_closed(), "ten seconds are over");
        (0..11).for_each(|_| call(&mut breaker, at(11), false));
        (0..20).for_each(|_| call(&mut breaker, at(11), true));
        assert!(breaker.is_closed(), "twenty of forty-one");
        call(&mut breaker, at(11), true);
        assert!(!breaker.is_closed(), "twenty-one of forty-two");
    }

    #[test]
    fn probes_come_one_two_four_and_then_all() {
        let start = Instant::now();
        let mut breaker = opened(start);
        assert_eq!(breaker.admit(start), Admission::Wait(start + OPEN.0));
        let now = start + OPEN.0;
        for probes in [1, 2, 4] {
            let tickets: Vec<Ticket> = (0..probes).map(|_| go(&mut breaker, now)).collect();
            assert!(matches!(breaker.admit(now), Admission::Wait(_)), "{probes} at once");
            assert!(!breaker.is_closed());
            for ticket in tickets {
                breaker.ended(now, ticket, false);
            }
        }
        assert!(breaker.is_closed());
        (0..CALLS - 1).for_each(|_| call(&mut breaker, now, true));
        assert!(breaker.is_closed(), "what was before it opened is forgotten");
    }

    #[test]
    fn each_failing_probe_doubles_the_wait_up_to_its_bound() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        let mut wait = OPEN.0;
        for _ in 0..8 {
            assert_eq!(breaker.admit(now), Admission::Wait(now + wait));
            now += wait;
            call(&mut breaker, now, true);
            wait = (wait * 2).min(OPEN.1);
        }
        assert_eq!(wait, OPEN.1);
    }

    #[test]
    fn every_second_round_of_probes_wants_fresh_events() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for round in 1..=6 {
            now += OPEN.1;
            let ticket = go(&mut breaker, now);
            assert_eq!(ticket.wants_fresh(), round % 2 == 0, "round {round}");
            breaker.ended(now, ticket, true);
        }
    }

    #[test]
    fn calls_from_before_and_calls_given_up_decide_nothing() {
        let start = Instant::now();
        let mut breaker = Breaker::new(start);
        let old = go(&mut breaker, start);
        (0..CALLS).for_each(|_| call(&mut breaker, start, true));
        let now = start + OPEN.0;
        let probe = go(&mut breaker, now);
        breaker.ended(now, old, true);
        breaker.abandoned(probe);
        let probe = go(&mut breaker, now);
        breaker.ended(now, probe, false);
        let (one, two) = (go(&mut breaker, now), go(&mut breaker, now));
        breaker.ended(now, one, true);
        breaker.ended(now, two, false);
        assert!(matches!(breaker.admit(now), Admission::Wait(at) if at > now), "one failed");
    }

    proptest! {
        /// While it is not closed there are never more than four calls, and it never gets stuck.
        #[test]
        fn probes_are_few_and_an_end_comes(steps in prop::collection::vec((0u64..400, 0u8..4), 0..300)) {
            let mut now = Instant::now();
            let mut breaker = opened(now);
            let mut flying: Vec<Ticket> = Vec::new();
            for (gap, what) in steps {
                now += Duration::from_millis(gap);
                match (what, flying.pop()) {
                    (0, Some(ticket)) => breaker.ended(now, ticket, true),
                    (1, Some(ticket)) => breaker.ended(now, ticket, false),
                    (2, Some(ticket)) => breaker.abandoned(ticket),
                    (_, rest) => {
                        flying.extend(rest);
                        if let Admission::Go(ticket) = breaker.admit(now) {
                            let probes = flying.iter().filter(|other| **other == ticket).count();
                            prop_assert!(breaker.is_closed() || probes < 4);
                            flying.push(ticket);
                        }
                    }
                }
            }
            for ticket in flying {
                breaker.ended(now, ticket, false);
            }
            for _ in 0..100 {
                match breaker.admit(now) {
                    Admission::Go(ticket) => breaker.ended(now, ticket, false),
                    Admission::Wait(at) => now = at,
                }
            }
            prop_assert!(breaker.is_closed());
        }
    }
}
