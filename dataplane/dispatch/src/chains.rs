//! Repeated events, as far as a Processor has to do with them: it may want no more of one. Pure but for what it remembers.
//!
//! The ledger keeps who wants no more, and every firing says it. Those that fired before it knew are known here.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
};

use evhub_event::{Record, record::CHAIN};
use evhub_routing::Processor;

/// Who is told that a Processor wants no more of a repeated event, and keeps it.
pub trait Chains: fmt::Debug + Send + Sync {
    /// Tells of the event of this timer, which came from this topic. It is durable when this succeeds.
    fn cancel<'a>(
        &'a self,
        processor: &'a Processor,
        topic: &'a str,
        timer: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;
}

/// How many cancelled events are remembered; what fires later says so itself.
const MOST: usize = 4_096;

/// The events that this worker's target has cancelled, by their timers.
#[derive(Debug, Default)]
pub(crate) struct Cancelled(Mutex<(HashSet<String>, VecDeque<String>)>);

impl Cancelled {
    pub(crate) fn add(&self, timer: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (set, order) = &mut *known;
        if set.insert(timer.to_owned()) {
            order.push_back(timer.to_owned());
        }
        if let Some(first) = order.pop_front_if(|_| set.len() > MOST) {
            set.remove(&first);
        }
    }

    pub(crate) fn has(&self, timer: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.contains(timer)
    }
}

/// Whether a firing of a repeated event is not for this Processor any more.
pub(crate) fn is_muted(record: &Record, processor: &str) -> bool {
    let muted = record.header(CHAIN).and_then(|muted| std::str::from_utf8(muted).ok());
    muted.is_some_and(|muted| muted.split(',').any(|one| one == processor))
}

#[cfg(test)]
mod tests {
    use evhub_event::Header;

    use super::*;

    #[test]
    fn who_is_named_gets_no_more_and_the_others_do() {
        let record = |value: Option<&str>| Record {
            headers: value
                .map(|value| Header { name: CHAIN.to_owned(), value: value.to_owned().into() })
                .into_iter()
                .collect(),
            ..Record::default()
        };
        for (value, muted) in
            [(None, false), (Some(""), false), (Some("a"), true), (Some("b,a"), true), (Some("ab"), false)]
        {
            assert_eq!(is_muted(&record(value), "a"), muted, "{value:?}");
        }
    }

    #[test]
    fn the_first_are_forgotten() {
        let cancelled = Cancelled::default();
        for n in 0..=MOST {
            cancelled.add(&n.to_string());
            cancelled.add(&n.to_string());
        }
        assert!(!cancelled.has("0") && cancelled.has("1") && cancelled.has(&MOST.to_string()));
    }
}
