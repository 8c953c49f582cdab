//! What waits for the writer: bounded by count and bytes, shed at the door. No I/O.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::Refusal;

/// How far beyond the bounds requests may go that make room rather than ask for it (commits, parked deliveries): a hub
/// that is flooded with events must still be able to finish those it has.
const HEADROOM: usize = 4;

/// A queue of requests, each with its size in bytes.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    max_count: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(usize, T)>,
    bytes: usize,
    /// Why nothing is taken now; what waits is still worked on.
    down: Option<String>,
    closed: bool,
}

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<T> {
    /// These, in the order they came.
    Items(Vec<T>),
    /// Nothing came in the time allowed.
    Nothing,
    /// Closed, and everything taken.
    Closed,
}

impl<T> Queue<T> {
    pub(super) fn new(max_count: usize, max_bytes: usize) -> Self {
        let state = State { items: VecDeque::new(), bytes: 0, down: None, closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), max_count, max_bytes }
    }

    /// Adds a request, or says why not and gives it back.
    pub(super) fn push(&self, item: T, size: usize, urgent: bool) -> Result<(), (Refusal, T)> {
        let mut state = self.lock();
        if let Some(reason) = &state.down {
            return Err((Refusal::Unavailable(reason.clone()), item));
        }
        let extra = |max: usize| if urgent { max.saturating_add(max / HEADROOM) } else { max };
        // One request is always taken: otherwise one larger than the whole queue could never be.
        let full = !state.items.is_empty()
            && (state.items.len() >= extra(self.max_count)
                || state.bytes.saturating_add(size) > extra(self.max_bytes));
        if full {
            return Err((Refusal::Busy, item));
        }
        state.items.push_back((size, item));
        state.bytes += size;
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits until there is something, then takes all of it up to about so many bytes.
    pub(super) fn take(&self, max_bytes: usize, patience: Option<Duration>) -> Taken<T> {
        let state = self.lock();
        let idle = |state: &mut State<T>| state.items.is_empty() && !state.closed;
        let mut state = match patience {
            None => self.filled.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner),
            Some(patience) => {
                self.filled
                    .wait_timeout_while(state, patience, idle)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        if state.items.is_empty() {
            return if state.closed { Taken::Closed } else { Taken::Nothing };
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some((size, _)) = state.items.front()
            && (taken.is_empty() || bytes + size <= max_bytes)
        {
            bytes += size;
            taken.extend(state.items.pop_front().map(|(_, item)| item));
        }
        state.bytes -= bytes;
        Taken::Items(taken)
    }

    /// Refuses new requests with this reason, or takes them again.
    pub(super) fn set_down(&self, reason: Option<String>) {
        let mut state = self.lock();
        // A closed queue stays closed, whatever the engine does.
        if !state.closed {
            state.down = reason;
        }
    }

    /// Refuses new requests for good; what waits is still worked on.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.down = Some("the log is closed".into());
        drop(state);
        self.filled.notify_all();
    }

    /// Refuses new requests for good, and drops what waits: nobody will work on it.
    pub(super) fn abandon(&self) {
        self.close();
        let waiting = {
            let mut state = self.lock();
            state.bytes = 0;
            std::mem::take(&mut state.items)
        };
        // Those who asked are woken by this, so not under the lock.
        drop(waiting);
    }

    /// How many requests wait, and how many bytes they are.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.items.len(), state.bytes)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_and_bytes_are_bounded_with_headroom_for_the_urgent() {
        let queue = Queue::new(4, 100);
        for i in 0..4 {
            queue.push(i, 1, false).unwrap();
        }
        assert_eq!(queue.push(4, 1, false), Err((Refusal::Busy, 4)));
        queue.push(5, 1, true).unwrap();
        assert_eq!(queue.push(6, 1, true), Err((Refusal::Busy, 6)));
        assert_eq!(queue.waiting(), (5, 5));
        assert_eq!(queue.take(100, None), Taken::Items(vec![0, 1, 2, 3, 5]));
        assert_eq!(queue.waiting(), (0, 0));

        queue.push(0, 90, false).unwrap();
        assert_eq!(queue.push(1, 11, false), Err((Refusal::Busy, 1)));
        queue.push(2, 35, true).unwrap();
        assert_eq!(queue.take(90, None), Taken::Items(vec![0]));
        assert_eq!(queue.take(1, None), Taken::Items(vec![2]), "one is always taken");
        queue.push(7, 1_000, false).unwrap();
    }

    #[test]
    fn closing_and_pausing() {
        let queue = Queue::new(4, 100);
        queue.push(0, 1, false).unwrap();
        queue.set_down(Some("ill".into()));
        assert_eq!(queue.push(1, 1, true), Err((Refusal::Unavailable("ill".into()), 1)));
        queue.set_down(None);
        queue.push(1, 1, false).unwrap();
        queue.close();
        queue.set_down(None);
        assert!(matches!(queue.push(2, 1, true), Err((Refusal::Unavailable(_), 2))));
        assert_eq!(queue.take(100, None), Taken::Items(vec![0, 1]));
        assert_eq!(queue.take(100, None), Taken::Closed);
    }
}
