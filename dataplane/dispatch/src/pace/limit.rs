//! How many attempts at once a target bears: more by one after each round that it bore, half after one that it did not.
//! Pure.
//!
//! This slows down for what is slow; what is down is the [`breaker`](super::breaker)'s. So it never goes below a
//! sixteenth of what its author allows, from where it finds back within seconds.

use std::time::{Duration, Instant};

/// What an attempt said about the target's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The event was delivered after this long.
    Delivered(Duration),
    /// It was answered otherwise, after this long: how long a refusal takes says nothing of how long the work does.
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
/// What is usual moves by this part of itself with each delivery, up as well as down, so that it comes to lie where half of
/// them are quicker: neither the quickest few nor the slowest are what a target is like. To double takes hundreds.
const STEP: u32 = 256;
/// With no more than the first part of what was under way, a target that is overloaded answers within the second part of the
/// time: what waits in a line waits half as long in half of it.
const RELIEF: ((u32, u32), (u32, u32)) = ((5, 8), (3, 4));

/// How many attempts may be under way at once.
#[derive(Clone, Debug)]
pub struct Limit {
    most: u32,
    now: u32,
    /// How long deliveries usually take.
    usual: Option<Duration>,
    round: Round,
    /// For which number, and for answers of which duration, it was halved last because they were slow.
    halved: Option<(u32, Duration)>,
    /// What began before this was sent under another limit, and says nothing about this one.
    since: Option<Instant>,
}

/// What the answers of a round said.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    answers: u32,
    refusals: u32,
    slow: u32,
    /// Those of whom it is known how long they took, and how long together.
    timed: u32,
    took: Duration,
}

impl Limit {
    /// Begins with as many as the Processor's author allows.
    pub fn new(most: u32) -> Self {
        Self { most, now: most, usual: None, round: Round::default(), halved: None, since: None }
    }

    /// Says that nothing counts that began before an instant.
    #[must_use]
    pub const fn from(self, since: Instant) -> Self {
        Self { since: Some(since), ..self }
    }

    /// Another number is the most. What the target bore stays in force below it.
    pub fn allow(&mut self, most: u32) {
        let full = self.now == self.most;
        self.most = most;
        self.now = if full { most } else { self.now.clamp(self.least(), most) };
    }

    /// How many attempts may be under way now.
    pub const fn allowed(&self) -> u32 {
        self.now
    }

    /// Whether that is all that is allowed: the target bore whatever it got.
    pub const fn is_at_most(&self) -> bool {
        self.now == self.most
    }

    /// How long answers usually take, once there were some.
    pub const fn usual(&self) -> Option<Duration> {
        self.usual
    }

    /// An attempt that began at one instant ended at another.
    pub fn ended(&mut self, began: Instant, now: Instant, signal: Signal) {
        if signal == Signal::Nothing || self.since.is_some_and(|since| began < since) {
            return;
        }
        self.round.answers += 1;
        match signal {
            Signal::Nothing => {}
            Signal::Overloaded => self.round.refusals += 1,
            Signal::Delivered(took) => {
                self.note(took);
                self.learn(took);
            }
            Signal::Answered(took) => self.note(took),
        }
        if self.round.answers >= self.now.max(ROUND) {
            self.adjust(now);
        }
    }

    fn adjust(&mut self, now: Instant) {
        let round = std::mem::take(&mut self.round);
        if round.refusals + round.slow <= round.answers / 2 {
            self.now = (self.now + 1).min(self.most);
            return;
        }
        if round.refusals <= round.answers / 2 {
            let took = round.took / round.timed.max(1);
            if self.is_no_relief(took) {
                // It is not for us that it is slow. So that is what it is like.
                self.usual = Some(took);
                self.halved = None;
                return;
            }
            self.halved = Some((self.now, took));
        }
        self.now = (self.now / 2).max(self.least());
        self.since = Some(now);
    }

    /// Whether answers take as long as they did when so many more were under way that, were it for them, they would not. With
    /// the least of all that cannot be told, and what must not be is to stay there for ever.
    fn is_no_relief(&self, took: Duration) -> bool {
        let (less, quicker) = RELIEF;
        let compared = self.halved.filter(|(width, _)| self.now * less.1 <= width * less.0);
        compared.is_some_and(|(_, before)| took * quicker.1 > before * quicker.0) || self.now <= self.least()
    }

    fn least(&self) -> u32 {
        (self.most / 16).max(1)
    }

    /// Holds one answer against what is usual.
    fn note(&mut self, took: Duration) {
        let slow = self.usual.is_some_and(|usual| took > usual * SLOWER && took > usual + NOTICEABLE);
        self.round.slow += u32::from(slow);
        self.round.timed += 1;
        self.round.took += took;
    }

    /// What is usual is learned while as many are under way as may be. A target that was found slow stays so until it has
    /// recovered, or until it turns out that sending less makes it no quicker.
    fn learn(&mut self, took: Duration) {
        let usual = *self.usual.get_or_insert(took);
        if self.now < self.most {
            return;
        }
        let step = (usual / STEP).max(Duration::from_micros(1));
        self.usual =
            Some(if took > usual { took.min(usual + step) } else { took.max(usual.saturating_sub(step)) });
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::{Limit, ROUND, Signal};

    const QUICK: Signal = Signal::Delivered(Duration::from_millis(5));

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
            now = after(&mut limit, now, 1, Signal::Delivered(Duration::from_millis(fastrand::u64(0..100))));
        }
        assert_eq!(limit.allowed(), 64);
        after(&mut limit, now, 64, Signal::Delivered(Duration::from_secs(2)));
        assert_eq!(limit.allowed(), 32);
    }

    fn millis(millis: u64) -> Signal {
        Signal::Delivered(Duration::from_millis(millis))
    }

    /// Some answers from a cache, the others from a database: neither kind is the target's trouble.
    #[test]
    fn a_target_with_two_kinds_of_answers_is_not_overloaded() {
        for quick in [3, 20, 45, 50, 55, 80, 97] {
            let mut limit = Limit::new(64);
            let (mut now, mut allowed, mut random) = (Instant::now(), 0, fastrand::Rng::with_seed(quick));
            for _ in 0..20_000 {
                let took = if random.u64(0..100) < quick { random.u64(1..20) } else { random.u64(400..2000) };
                now = after(&mut limit, now, 1, millis(took));
                allowed += u64::from(limit.allowed());
            }
            assert!(allowed / 20_000 > 40, "{quick} % are quick: {} of 64", allowed / 20_000);
        }
    }

    #[test]
    fn quick_refusals_teach_nothing() {
        let mut limit = Limit::new(64);
        let mut now = Instant::now();
        for n in 0..20_000 {
            let refused = Signal::Answered(Duration::from_millis(2));
            now = after(&mut limit, now, 1, if n % 3 == 0 { millis(1000) } else { refused });
        }
        assert_eq!(limit.allowed(), 64);
        after(&mut limit, now, 64, millis(1500));
        assert_eq!(limit.allowed(), 64, "no slower than usual");
    }

    /// Whatever it is that takes its time, it is not what we send.
    #[test]
    fn slowness_that_stays_when_less_is_sent_is_what_the_target_is_like() {
        let mut limit = Limit::new(64);
        let now = after(&mut limit, Instant::now(), 5000, QUICK);
        after(&mut limit, now, 3000, millis(2000));
        assert_eq!(limit.allowed(), 64);
    }

    /// One worker behind a queue: it answers as fast as it can, and the longer the queue the later.
    #[test]
    fn a_queue_at_the_target_is_kept_short() {
        let mut limit = Limit::new(64);
        let (mut now, mut queued) = (after(&mut limit, Instant::now(), 1000, millis(20)), 0);
        for _ in 0..20_000 {
            let took = Duration::from_millis(20) * limit.allowed();
            limit.ended(now, now + took, Signal::Delivered(took));
            now += Duration::from_millis(20);
            queued += limit.allowed();
        }
        assert!(queued / 20_000 < 32, "{} of 64", queued / 20_000);
    }

    #[test]
    fn a_target_that_is_slow_by_nature_is_not_overloaded() {
        let mut limit = Limit::new(64);
        after(&mut limit, Instant::now(), 1000, Signal::Delivered(Duration::from_secs(3)));
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
                    _ => Signal::Delivered(Duration::from_secs(4)),
                };
                now = after(&mut limit, now, 1, signal);
                prop_assert!(limit.allowed() >= (most / 16).max(1) && limit.allowed() <= most);
            }
        }
    }
}
