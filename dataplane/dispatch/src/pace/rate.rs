//! A token bucket in exact integers. Pure.

use std::time::Instant;

use evhub_routing::RateLimit;

/// A bucket that fills evenly and is empty when made: whoever restarts, however often, never exceeds the limit by more
/// than one burst.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// What is in it, in units of which a token costs `per` nanoseconds' worth, and a nanosecond brings `events`.
    credit: u128,
    limit: RateLimit,
    at: Instant,
}

impl Bucket {
    /// An empty bucket.
    pub const fn new(limit: RateLimit, now: Instant) -> Self {
        Self { credit: 0, limit, at: now }
    }

    /// The same bucket under another limit: it holds the tokens it held, as far as they fit, so that editing a limit again
    /// and again gives nobody more than the larger of the two.
    #[must_use]
    pub fn retuned(mut self, limit: RateLimit, now: Instant) -> Self {
        self.fill(now);
        let tokens = self.credit / self.limit.per.as_nanos().max(1);
        let cost = limit.per.as_nanos().max(1);
        Self { credit: cost * tokens.min(u128::from(limit.burst.max(1))), limit, at: self.at }
    }

    /// Gives a token back that was not used.
    pub fn put_back(&mut self) {
        let cost = self.limit.per.as_nanos().max(1);
        self.credit = (self.credit + cost).min(cost * u128::from(self.limit.burst.max(1)));
    }

    /// Takes a token, or says when there will be one.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        self.fill(now);
        let (events, cost) = (u128::from(self.limit.events.max(1)), self.limit.per.as_nanos().max(1));
        if let Some(rest) = self.credit.checked_sub(cost) {
            self.credit = rest;
            return Ok(());
        }
        let missing = (cost - self.credit).div_ceil(events);
        Err(self.at + std::time::Duration::from_nanos(u64::try_from(missing).unwrap_or(u64::MAX / 4)))
    }

    /// Adds what time has brought.
    fn fill(&mut self, now: Instant) {
        let RateLimit { events, per, burst } = self.limit;
        let most = per.as_nanos().max(1) * u128::from(burst.max(1));
        let passed = now.saturating_duration_since(self.at);
        let brought = passed.as_nanos().saturating_mul(u128::from(events.max(1)));
        self.credit = (self.credit + brought).min(most);
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use evhub_routing::RateLimit;
    use proptest::prelude::*;

    use super::Bucket;

    #[test]
    fn a_busy_bucket_gives_what_the_limit_says() {
        let start = Instant::now();
        let limit = RateLimit { events: 100, per: Duration::from_secs(1), burst: 10 };
        let mut bucket = Bucket::new(limit, start);
        let (mut now, mut taken) = (start, 0);
        while now < start + Duration::from_secs(10) {
            match bucket.take(now) {
                Ok(()) => taken += 1,
                Err(at) => now = at,
            }
        }
        assert!((995..=1000).contains(&taken), "{taken}");
    }

    #[test]
    fn an_edit_gives_nothing_away_and_takes_nothing() {
        let start = Instant::now();
        let slow = RateLimit { events: 10, per: Duration::from_secs(1), burst: 10 };
        let quick = RateLimit { events: 1000, per: Duration::from_secs(1), burst: 4 };
        let now = start + Duration::from_millis(650);
        let mut bucket = Bucket::new(slow, start).retuned(quick, now);
        assert_eq!((0..10).filter(|_| bucket.take(now).is_ok()).count(), 4, "six were in it, four fit");
        let mut bucket = Bucket::new(quick, now).retuned(slow, now).retuned(quick, now);
        assert!(bucket.take(now).is_err(), "nothing was in it");
        assert!(bucket.take(now + Duration::from_millis(1)).is_ok(), "it fills as the new limit says");
    }

    proptest! {
        #[test]
        fn never_above_limit_and_burst_in_any_window(
            (events, per_ms, burst) in (1u32..50, 1u64..5_000, 1u32..50),
            gaps in prop::collection::vec(prop_oneof![3 => 0u64..20, 1 => 0u64..30_000], 1..400),
        ) {
            let start = Instant::now();
            let per = Duration::from_millis(per_ms);
            let mut bucket = Bucket::new(RateLimit { events, per, burst }, start);
            let (mut now, mut taken) = (start, Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                match bucket.take(now) {
                    Ok(()) => taken.push(now),
                    Err(at) => {
                        prop_assert!(at > now);
                        // The instant named is the first at which there is a token, to the nanosecond.
                        prop_assert!(bucket.clone().take(now + (at - now).saturating_sub(Duration::from_nanos(1))).is_err());
                        prop_assert!(bucket.clone().take(at).is_ok());
                    }
                }
            }
            let window = Duration::from_secs(10);
            for (index, from) in taken.iter().enumerate() {
                let within = taken[index..].iter().take_while(|at| **at - *from < window).count() as u128;
                let limit = window.as_nanos() * u128::from(events) / per.as_nanos();
                prop_assert!(within <= limit + u128::from(burst), "{within} > {limit} + {burst}");
            }
        }
    }
}
