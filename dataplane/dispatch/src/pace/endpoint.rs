//! One breaker per target, shared by every worker of this process that speaks to it in the same way. Holds locks for a few
//! instructions.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Instant,
};

use evhub_routing::Target;

use super::breaker::{Admission, Breaker, Ticket};

/// The breakers of all targets. Clones share them; one that no worker uses any more is forgotten.
#[derive(Clone, Debug, Default)]
pub struct Endpoints(Arc<Mutex<Vec<Kept>>>);

/// A breaker, and the target that it is for.
type Kept = (Target, Weak<Mutex<Breaker>>);

/// A target as one of those knows it who speak to it. Clones are of the same one.
#[derive(Clone, Debug)]
pub struct Endpoint(Arc<Known>);

type Known = Arc<Mutex<Breaker>>;

/// Leave to make one call. Dropped without a word, the call said nothing of its target.
#[derive(Debug)]
pub struct Permit {
    endpoint: Endpoint,
    ticket: Option<Ticket>,
}

impl Endpoints {
    /// The endpoint of a target, for one more who speaks to it. The whole of how it is spoken to names it: on one host, one path
    /// may be down and another not, and who brings a wrong password, or too little time, learns nothing of how it is to others.
    pub fn of(&self, target: &Target, now: Instant) -> Endpoint {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, breaker)| breaker.strong_count() > 0);
        let known = all.iter().find(|(known, _)| known == target).and_then(|(_, breaker)| breaker.upgrade());
        let breaker = known.unwrap_or_else(|| {
            let breaker = Arc::new(Mutex::new(Breaker::new(now)));
            all.push((target.clone(), Arc::downgrade(&breaker)));
            breaker
        });
        Endpoint(Arc::new(breaker))
    }
}

impl Endpoint {
    /// Whether both are the same target.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&*self.0, &*other.0)
    }

    /// Whether somebody else speaks to it as well.
    fn is_shared(&self) -> bool {
        Arc::strong_count(&*self.0) > 1
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

    /// Whether it is better left to another for now: it is for an event that was never attempted, and somebody else who speaks
    /// to the target may have one, where its holder has none.
    pub fn is_for_others(&self, now: Instant) -> bool {
        self.wants_fresh() && self.endpoint.is_shared() && self.endpoint.with(|breaker| breaker.is_young(now))
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
    use std::time::{Duration, Instant};

    use evhub_routing::{Protocol, Target};
    use http::{HeaderName, HeaderValue};

    use super::{Endpoint, Endpoints};

    fn at(url: &str) -> Target {
        Target {
            url: url.parse().unwrap(),
            protocol: Protocol::CloudEvents,
            timeout: Duration::from_secs(10),
            headers: Vec::new(),
            secret: false,
            service: None,
            tls: None,
        }
    }

    /// Opens its breaker; says when it is worth asking again.
    fn opened(endpoint: &Endpoint, now: Instant) -> Instant {
        for _ in 0..20 {
            endpoint.admit(now).expect("it is closed").ended(now, true);
        }
        endpoint.blocked(now).expect("it is open")
    }

    #[test]
    fn who_speaks_to_a_target_in_another_way_is_not_told() {
        let (endpoints, now) = (Endpoints::default(), Instant::now());
        let base = at("http://a/");
        let one = endpoints.of(&base, now);
        opened(&one, now);
        let password = (HeaderName::from_static("authorization"), HeaderValue::from_static("wrong"));
        for (what, other) in [
            ("headers", Target { headers: vec![password], ..base.clone() }),
            ("protocol", Target { protocol: Protocol::Raw, ..base.clone() }),
            ("time", Target { timeout: Duration::from_millis(1), ..base.clone() }),
        ] {
            assert!(endpoints.of(&other, now).admit(now).is_ok(), "other {what}");
        }
        assert!(endpoints.of(&base, now).admit(now).is_err(), "nothing is other");
    }

    /// One has nothing but what always fails, the other may have what was never tried.
    #[test]
    fn a_probe_for_fresh_events_is_left_to_who_may_have_some_but_not_for_long() {
        let (endpoints, now) = (Endpoints::default(), Instant::now());
        let one = endpoints.of(&at("http://a/"), now);
        let first = opened(&one, now);
        let probe = one.admit(first).expect("a probe");
        assert!(!probe.is_for_others(first), "any event will do");
        probe.ended(first, true);
        let second = one.blocked(first).expect("it is open");
        let probe = one.admit(second).expect("a probe");
        assert!(probe.wants_fresh() && !probe.is_for_others(second), "there is nobody else");
        let two = endpoints.of(&at("http://a/"), now);
        assert!(probe.is_for_others(second), "there is");
        assert!(!probe.is_for_others(second + Duration::from_secs(1)), "who had the time");
        drop(two);
        assert!(!probe.is_for_others(second));
    }

    #[test]
    fn a_target_is_known_while_somebody_uses_it() {
        let endpoints = Endpoints::default();
        let now = Instant::now();
        let (one, two) = (endpoints.of(&at("http://a/x"), now), endpoints.of(&at("http://a/x"), now));
        for _ in 0..20 {
            one.admit(now).expect("it is closed").ended(now, true);
        }
        assert!(two.admit(now).is_err(), "everybody knows it");
        assert!(endpoints.of(&at("http://a/y"), now).admit(now).is_ok(), "another path is another target");
        drop((one, two));
        assert!(endpoints.of(&at("http://a/x"), now).admit(now).is_ok(), "nobody used it any more");
    }

    #[test]
    fn a_probe_that_is_dropped_leaves_its_place_to_another() {
        let now = Instant::now();
        let endpoint = Endpoints::default().of(&at("http://a/"), now);
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
