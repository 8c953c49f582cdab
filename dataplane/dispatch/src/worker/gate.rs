//! Whether a worker's next attempt may begin: the Processor's rate, what its target bears, and whether it is up.

use std::time::{Duration, Instant};

use evhub_routing::{Policy, RateLimit};

use crate::{
    outcome::Answer,
    pace::{Bucket, Endpoint, Limit, Permit, share::WHOLE},
};

/// What stands before each attempt.
pub(super) struct Gate {
    limit: Limit,
    /// How much of what the policy allows is this process's.
    parts: u32,
    /// The bucket refused an attempt since it was last asked whether it had.
    empty: bool,
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
        let limit = Limit::new(policy.max_in_flight);
        Self { limit, parts: WHOLE, empty: false, bucket, endpoint, open: false, again: None }
    }

    /// So much of what the policy allows is this process's; at least one attempt at once, and one at a time.
    pub(super) fn share(&mut self, parts: u32, policy: &Policy) {
        if self.parts == parts {
            return;
        }
        self.parts = parts;
        self.limit.allow(self.room(policy));
        let now = Instant::now();
        let limit = policy.rate_limit.map(|limit| self.part_of(limit));
        self.bucket = self.bucket.take().zip(limit).map(|(bucket, limit)| bucket.retuned(limit, now));
    }

    /// How many attempts of this process's may be under way at once, if the target bears them.
    fn room(&self, policy: &Policy) -> u32 {
        let room = u64::from(policy.max_in_flight) * u64::from(self.parts) / u64::from(WHOLE);
        u32::try_from(room).unwrap_or(u32::MAX).max(1)
    }

    /// As many events, in so much more time.
    fn part_of(&self, limit: RateLimit) -> RateLimit {
        let (parts, whole) = (u128::from(self.parts.max(1)), u128::from(WHOLE));
        let per = (limit.per.as_nanos() * whole).div_ceil(parts);
        let burst = u128::from(limit.burst) * parts / whole;
        RateLimit {
            per: Duration::from_nanos(u64::try_from(per).unwrap_or(u64::MAX)),
            burst: u32::try_from(burst).unwrap_or(u32::MAX).max(1),
            ..limit
        }
    }

    /// Whether an attempt waited since this was last asked because others have the rest of what the policy allows.
    pub(super) fn lacks_share(&mut self, is_full: bool) -> bool {
        let empty = std::mem::take(&mut self.empty);
        // What the target does not bear is no matter of shares.
        (is_full && self.limit.is_at_most()) || empty
    }

    /// The policy was edited, or the target is another one. What was used up of a rate stays used up.
    pub(super) fn edit(&mut self, policy: &Policy, endpoint: Endpoint) {
        let now = Instant::now();
        let limit = policy.rate_limit.map(|limit| self.part_of(limit));
        self.bucket = limit.map(|limit| match self.bucket.take() {
            Some(bucket) => bucket.retuned(limit, now),
            None => Bucket::new(limit, now),
        });
        if self.endpoint.is(&endpoint) {
            self.limit.allow(self.room(policy));
        } else {
            self.limit = Limit::new(self.room(policy)).from(now);
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
        let permit = self.endpoint.admit(now).map_err(|at| self.again = Some(at)).ok()?;
        let token = self.bucket.as_mut().map_or(Ok(()), |bucket| bucket.take(now));
        if let Err(at) = token {
            (self.again, self.empty) = (Some(at), true);
            return None;
        }
        Some(permit)
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
