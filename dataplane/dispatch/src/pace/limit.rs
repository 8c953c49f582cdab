//! How many attempts at once a target bears: more by one after each round that it bore, half after one that it did not.
//! Pure.
//!
//! This slows down for what is slow; what is down is the [`breaker`](super::breaker)'s. So it never goes below a
//! sixteenth of what its author allows, from where it finds back within seconds.

use std::time::{Duration, Instant};

/// What an attempt said about the target's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It was answered after this long.
    Answered(Duration),
    /// It asked for less: 429, 503, or no answer in time.
    Overloaded,
    /// Nothing: it was not reached, or not asked.
    Nothing,
}

/// A target is slow when its answers take this many times as long as usual...
const SLOWER: u32 = 4;
/// ...and this much longer: below it, what varies is the network and the scheduler.
const NOTICEABLE: Duration = Duration::from_millis(250);
/// The fewest answers that make a round: of fewer, half says little.
const ROUND: u32 = 8;

/// How many attempts may be under way at once.
#[derive(Clone, Debug)]
pub struct Limit {
    most: u32,
    now: u32,
    /// How long answers usually take.
    usual: Option<Duration>,
    answers: u32,
    overloads: u32,
    /// What began before this was sent under another limit, and says nothing about this one.
    since: Option<Instant>,
}

impl Limit {
    /// Begins with as many as the Processor's author allows.
    pub const fn new(most: u32) -> Self {
        Self { most, now: most, usual: None, answers: 0, overloads: 0, since: None }
    }

    /// Says that nothing counts that began before an instant.
    #[must_use]
    pub const fn from(self, since: Instant) -> Self {
        Self { since: Some(since), ..self }
    }

    /// Another number is the most. What the target bore stays in force below it.
    pub fn allow(&mut self, most: u32) {
        let full = self.now == self.most;
        self.now = if full { most } else { self.now.clamp((most / 16).max(1), most) };
        self.most = most;
    }

    /// How many attempts may be under way now.
    pub const fn allowed(&self) -> u32 {
        self.now
    }

    /// An attempt that began at one instant ended at another.
    pub fn ended(&mut self, began: Instant, now: Instant, signal: Signal) {
        let overloaded = match signal {
            Signal::Nothing => return,
            Signal::Overloaded => true,
            Signal::Answered(took) => self.is_slow(took),
        };
        if self.since.is_some_and(|since| began < since) {
            return;
        }
        self.answers += 1;
        self.overloads += u32::from(overloaded);
        if self.answers >= self.now.max(ROUND) {
            self.adjust(now);
        }
    }

    fn adjust(&mut self, now: Instant) {
        if self.overloads > self.answers / 2 {
            self.now = (self.now / 2).max(self.most / 16).max(1);
            self.since = Some(now);
        } else {
            self.now = (self.now + 1).min(self.most);
        }
        (self.answers, self.overloads) = (0, 0);
    }

    /// Holds one answer against what is usual, which falls at once and rises slowly: a target that has become slow
    /// stays slow for about a thousand answers before that is what it is like.
    fn is_slow(&mut self, took: Duration) -> bool {
        let usual = self.usual.get_or_insert(took);
        if took <= *usual {
            *usual -= usual.saturating_sub(took) / 8;
            return false;
        }
        let slow = took > *usual * SLOWER && took > *usual + NOTICEABLE;
        *usual += took.saturating_sub(*usual) / 1024;
        slow
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::{Limit, ROUND, Signal};

    const QUICK: Signal = Signal::Answered(Duration::from_millis(5));

    /// Ends so many attempts, each begun when the one before had ended.
    fn after(limit: &mut Limit, from: Instant, count: u32, signal: Signal) -> Instant {
        let step = Duration::from_millis(1);
        (0..count).fold(from, |now, _| {
            limit.ended(now, now + step, signal);
            now + step
        })
    }

    #[test]
    fn overload_halves_and_health_finds_back_by_ones() {
        let mut limit = Limit::new(64);
        let now = after(&mut limit, Instant::now(), 64, Signal::Overloaded);
        assert_eq!(limit.allowed(), 32);
        let now = after(&mut limit, now, 1000, Signal::Overloaded);
        assert_eq!(limit.allowed(), 4, "a sixteenth is the least");
        let now = after(&mut limit, now, ROUND, QUICK);
        assert_eq!(limit.allowed(), 5);
        after(&mut limit, now, 3000, QUICK);
        assert_eq!(limit.allowed(), 64, "never above what its author allows");
    }

    #[test]
    fn what_was_sent_before_counts_once() {
        let start = Instant::now();
        let mut limit = Limit::new(64);
        for _ in 0..640 {
            limit.ended(start, start + Duration::from_secs(1), Signal::Overloaded);
        }
        assert_eq!(limit.allowed(), 32, "ten rounds at once are one event");
    }

    #[test]
    fn latency_that_rises_halves_and_latency_that_varies_does_not() {
        let mut limit = Limit::new(64);
        let mut now = after(&mut limit, Instant::now(), 100, QUICK);
        for _ in 0..1000 {
            now = after(&mut limit, now, 1, Signal::Answered(Duration::from_millis(fastrand::u64(0..100))));
        }
        assert_eq!(limit.allowed(), 64);
        after(&mut limit, now, 64, Signal::Answered(Duration::from_secs(2)));
        assert_eq!(limit.allowed(), 32);
    }

    #[test]
    fn a_target_that_is_slow_by_nature_is_not_overloaded() {
        let mut limit = Limit::new(64);
        after(&mut limit, Instant::now(), 1000, Signal::Answered(Duration::from_secs(3)));
        assert_eq!(limit.allowed(), 64);
    }

    #[test]
    fn another_most_keeps_what_is_known() {
        let mut limit = Limit::new(64);
        limit.allow(100);
        assert_eq!(limit.allowed(), 100, "nothing was known against it");
        after(&mut limit, Instant::now(), 100, Signal::Overloaded);
        assert_eq!(limit.allowed(), 50);
        for (most, allowed) in [(200, 50), (10, 10), (1600, 1600)] {
            limit.allow(most);
            assert_eq!(limit.allowed(), allowed, "at most {most}");
        }
    }

    proptest! {
        #[test]
        fn within_bounds_whatever_happens(most in 1u32..1000, signals in prop::collection::vec(0u8..4, 0..2000)) {
            let mut limit = Limit::new(most);
            let mut now = Instant::now();
            for signal in signals {
                let signal = match signal {
                    0 => Signal::Overloaded,
                    1 => QUICK,
                    2 => Signal::Nothing,
                    _ => Signal::Answered(Duration::from_secs(4)),
                };
                now = after(&mut limit, now, 1, signal);
                prop_assert!(limit.allowed() >= (most / 16).max(1) && limit.allowed() <= most);
            }
        }
    }
}
