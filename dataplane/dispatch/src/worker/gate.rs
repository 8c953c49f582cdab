//! Whether a worker's next attempt may begin: the Processor's rate, what its target bears, and whether it is up.

use std::time::{Duration, Instant};

use evhub_routing::Policy;

use crate::{
    outcome::Answer,
    pace::{Bucket, Endpoint, Limit, Permit},
};

/// What stands before each attempt.
pub(super) struct Gate {
    limit: Limit,
    bucket: Option<Bucket>,
    endpoint: Endpoint,
    /// The target's breaker is not closed.
    pub(super) open: bool,
    /// When it is worth asking again, while something is known to stand in the way.
    pub(super) again: Option<Instant>,
}

impl Gate {
    pub(super) fn new(policy: &Policy, endpoint: Endpoint) -> Self {
        let bucket = policy.rate_limit.map(|limit| Bucket::new(limit, Instant::now()));
        Self { limit: Limit::new(policy.max_in_flight), bucket, endpoint, open: false, again: None }
    }

    /// The policy was edited, or the target is another one. What was used up of a rate stays used up.
    pub(super) fn edit(&mut self, policy: &Policy, endpoint: Endpoint) {
        let now = Instant::now();
        self.bucket = policy.rate_limit.map(|limit| match self.bucket.take() {
            Some(bucket) => bucket.retuned(limit, now),
            None => Bucket::new(limit, now),
        });
        if self.endpoint.is(&endpoint) {
            self.limit.allow(policy.max_in_flight);
        } else {
            self.limit = Limit::new(policy.max_in_flight).from(now);
            self.endpoint = endpoint;
        }
    }

    /// Looks again.
    pub(super) fn refresh(&mut self, now: Instant) {
        self.again = self.endpoint.blocked(now);
        self.open = self.again.is_some();
    }

    /// How many attempts may be under way at once.
    pub(super) fn width(&self) -> u64 {
        u64::from(self.limit.allowed())
    }

    /// How long the target's answers usually take, once it gave some.
    pub(super) fn usual(&self) -> Option<Duration> {
        self.limit.usual()
    }

    /// Leave to begin an attempt; without it, `again` says when to ask.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Permit> {
        let permit = self.endpoint.admit(now);
        let token = |permit| self.bucket.as_mut().map_or(Ok(()), |bucket| bucket.take(now)).map(|()| permit);
        permit.and_then(token).map_err(|at| self.again = Some(at)).ok()
    }

    /// The attempt did not begin after all.
    pub(super) fn put_back(&mut self, permit: Permit) {
        drop(permit);
        if let Some(bucket) = &mut self.bucket {
            bucket.put_back();
        }
    }

    /// An attempt ended: an event's first one, or not.
    pub(super) fn ended(&mut self, permit: Permit, began: Instant, answer: &Answer, first: bool) {
        let now = Instant::now();
        if let Some(trouble) = answer.is_trouble().filter(|_| first || permit.is_probe()) {
            permit.ended(now, trouble);
        }
        self.limit.ended(began, now, answer.signal(now - began));
    }
}
