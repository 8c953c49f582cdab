//! How many events a second each Producer lets in. Shared by every surface; no I/O.
//!
//! A bucket that holds a second's worth. Whoever finds anything in it gets in whole, and what that took too much is paid
//! off before the next: so a batch may be larger than the rate, and the rate still holds over time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use evhub_routing::{Name, Producer};

/// The buckets of all Producers that have a rate; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Quotas(Arc<Mutex<BTreeMap<Name, Bucket>>>);

/// Over the rate; how many seconds until something gets in again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over(pub u32);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// How many events may come in; below zero after a batch that was larger.
    level: f64,
    since: Instant,
}

impl Quotas {
    /// Lets so many events in, or says when to come again. None ask only whether anybody would get in.
    pub fn admit(&self, producer: &Producer, events: usize) -> Result<(), Over> {
        self.admit_at(producer, events, Instant::now())
    }

    fn admit_at(&self, producer: &Producer, events: usize, now: Instant) -> Result<(), Over> {
        let Some(rate) = producer.events_per_second else { return Ok(()) };
        let rate = f64::from(rate);
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Bucket { level: rate, since: now };
        let bucket = match buckets.get_mut(&producer.name) {
            Some(bucket) => bucket,
            None => buckets.entry(producer.name.clone()).or_insert(fresh),
        };
        bucket.fill(rate, now);
        // Whole events only, or an empty bucket would let one in at every instant.
        if bucket.level < 1.0 {
            return Err(Over(((1.0 - bucket.level) / rate).ceil().clamp(1.0, 3600.0) as u32));
        }
        bucket.level -= events as f64;
        Ok(())
    }
}

impl Bucket {
    fn fill(&mut self, rate: f64, now: Instant) {
        let gained = now.saturating_duration_since(self.since).as_secs_f64() * rate;
        *self = Self { level: (self.level + gained).min(rate), since: now };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn producer(rate: Option<u32>) -> Producer {
        Producer {
            name: Name::new("shop", "orders"),
            uid: "1".to_owned(),
            evhub: evhub_routing::EvhubName { app_id: "shop".to_owned(), topic_id: "orders".to_owned() },
            topic: "t".to_owned(),
            partitions: 1,
            retention: None,
            retention_bytes: None,
            event_bytes: 1,
            batch_events: 1,
            batch_bytes: 1,
            events_per_second: rate,
            max_delay: Duration::from_hours(9600),
            due_topic: "evhub.shop.orders.due".to_owned(),
            pending_timers: 1_000_000,
            ledger: evhub_routing::Ledger::default(),
            brokers: evhub_routing::Brokers::default(),
        }
    }

    #[test]
    fn the_rate_holds_over_time_and_a_batch_is_paid_off() {
        let (quotas, producer, start) = (Quotas::default(), producer(Some(10)), Instant::now());
        let admit =
            |events, millis| quotas.admit_at(&producer, events, start + Duration::from_millis(millis));
        for _ in 0..10 {
            assert_eq!(admit(1, 0), Ok(()));
        }
        assert_eq!(admit(1, 0), Err(Over(1)));
        assert_eq!(admit(0, 101), Ok(()), "somebody would get in");
        assert_eq!(admit(30, 101), Ok(()), "a batch gets in whole");
        assert_eq!(admit(0, 101), Err(Over(3)));
        assert_eq!(admit(1, 3101), Ok(()));
        assert_eq!(admit(1, 3101), Err(Over(1)));
        let let_in = std::iter::from_fn(|| admit(1, 3_600_000).ok()).count();
        assert_eq!(let_in, 10, "silence saves up no more than a second's worth");
    }

    #[test]
    fn without_a_rate_everybody_gets_in() {
        let (quotas, producer) = (Quotas::default(), producer(None));
        assert!((0..1000).all(|_| quotas.admit(&producer, 1000).is_ok()));
    }
}
