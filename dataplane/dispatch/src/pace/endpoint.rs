//! One breaker per target, shared by every worker of this process that speaks to it. Holds locks for a few instructions.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Instant,
};

use super::breaker::{Admission, Breaker, Ticket};

/// The breakers of all targets. Clones share them; one that no worker uses any more is forgotten.
#[derive(Clone, Debug, Default)]
pub struct Endpoints(Arc<Mutex<HashMap<String, Weak<Mutex<Breaker>>>>>);

/// A target as everybody knows it.
#[derive(Clone, Debug)]
pub struct Endpoint(Arc<Mutex<Breaker>>);

/// Leave to make one call. Dropped without a word, the call said nothing of its target.
#[derive(Debug)]
pub struct Permit {
    endpoint: Endpoint,
    ticket: Option<Ticket>,
}

impl Endpoints {
    /// The endpoint of a URL. The whole URL names it: on one host, one path may be down and another not.
    pub fn of(&self, url: &str, now: Instant) -> Endpoint {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = map.get(url).and_then(Weak::upgrade) {
            return Endpoint(known);
        }
        map.retain(|_, breaker| breaker.strong_count() > 0);
        let breaker = Arc::new(Mutex::new(Breaker::new(now)));
        map.insert(url.to_owned(), Arc::downgrade(&breaker));
        Endpoint(breaker)
    }
}

impl Endpoint {
    /// Whether both are the same target.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Leave to make a call, or when to ask again.
    pub fn admit(&self, now: Instant) -> Result<Permit, Instant> {
        match self.with(|breaker| breaker.admit(now)) {
            Admission::Go(ticket) => Ok(Permit { endpoint: self.clone(), ticket: Some(ticket) }),
            Admission::Wait(at) => Err(at),
        }
    }

    /// When it is worth asking again; `None` while all calls go ahead.
    pub fn blocked(&self, now: Instant) -> Option<Instant> {
        self.with(|breaker| breaker.blocked(now))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Breaker) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Permit {
    /// Whether the call is to find out how the target is.
    pub fn is_probe(&self) -> bool {
        self.ticket.is_some_and(Ticket::is_probe)
    }

    /// Whether an event is wanted for it that was never attempted.
    pub fn wants_fresh(&self) -> bool {
        self.ticket.is_some_and(Ticket::wants_fresh)
    }

    /// The call was made and ended, with or without trouble.
    pub fn ended(mut self, now: Instant, trouble: bool) {
        if let Some(ticket) = self.ticket.take() {
            self.endpoint.with(|breaker| breaker.ended(now, ticket, trouble));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.endpoint.with(|breaker| breaker.abandoned(ticket));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::Endpoints;

    #[test]
    fn a_target_is_known_while_somebody_uses_it() {
        let endpoints = Endpoints::default();
        let now = Instant::now();
        let (one, two) = (endpoints.of("http://a/x", now), endpoints.of("http://a/x", now));
        for _ in 0..20 {
            one.admit(now).expect("it is closed").ended(now, true);
        }
        assert!(two.admit(now).is_err(), "everybody knows it");
        assert!(endpoints.of("http://a/y", now).admit(now).is_ok(), "another path is another target");
        drop((one, two));
        assert!(endpoints.of("http://a/x", now).admit(now).is_ok(), "nobody used it any more");
    }

    #[test]
    fn a_probe_that_is_dropped_leaves_its_place_to_another() {
        let now = Instant::now();
        let endpoint = Endpoints::default().of("http://a/", now);
        for _ in 0..20 {
            endpoint.admit(now).expect("it is closed").ended(now, true);
        }
        let later = endpoint.blocked(now).expect("it is open");
        let probe = endpoint.admit(later).expect("one probe");
        assert!(endpoint.admit(later).is_err(), "and not two");
        drop(probe);
        endpoint.admit(later).expect("another instead").ended(later, false);
    }
}
