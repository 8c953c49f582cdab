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

/// The part of a sync's time that those who were just answered are waited for. They come back at once or not at all, so
/// one sync that was slow must not be paid for again.
const LINGER: u32 = 4;
const LINGER_MAX: Duration = Duration::from_millis(5);

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
    /// How many items the writer waits for, if it does: waking somebody who does not costs a system call for nothing.
    wanted: Option<usize>,
}

/// Who was just answered usually comes back. So many are waited for, for so long at most: otherwise the first few would get
/// a sync of their own, and all the others would wait for it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Linger {
    pub(super) count: usize,
    pub(super) time: Duration,
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

impl Linger {
    /// After so many were answered, behind a sync that took so long.
    pub(super) fn after(answered: usize, sync: Duration) -> Self {
        // One less than all: of those who come steadily, one may be late.
        Self { count: answered.saturating_sub(1), time: (sync / LINGER).min(LINGER_MAX) }
    }
}

impl<T> Queue<T> {
    pub(super) fn new(max_count: usize, max_bytes: usize) -> Self {
        let state = State { items: VecDeque::new(), bytes: 0, down: None, closed: false, wanted: None };
        Self { state: Mutex::new(state), filled: Condvar::new(), max_count, max_bytes }
    }

    /// Adds a request, or says why not and gives it back.
    pub(super) fn push(&self, item: T, size: usize, urgent: bool) -> Result<(), (Refusal, T)> {
        let state = self.lock();
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
        self.put(state, item, size);
        Ok(())
    }

    /// Adds what must not be shed and is small; gives it back only when the queue is closed.
    pub(super) fn push_surely(&self, item: T, size: usize) -> Result<(), (Refusal, T)> {
        let state = self.lock();
        if state.closed {
            return Err((Refusal::Unavailable("the log is closed".into()), item));
        }
        self.put(state, item, size);
        Ok(())
    }

    fn put(&self, mut state: MutexGuard<'_, State<T>>, item: T, size: usize) {
        state.items.push_back((size, item));
        state.bytes += size;
        let enough = state.wanted.is_some_and(|wanted| state.items.len() >= wanted);
        if enough {
            state.wanted = None;
        }
        drop(state);
        if enough {
            self.filled.notify_one();
        }
    }

    /// Waits until there is something, then takes all of it up to about so many bytes.
    pub(super) fn take(&self, max_bytes: usize, patience: Option<Duration>, linger: Linger) -> Taken<T> {
        let mut state = self.fill(self.lock(), 1, patience);
        if !state.items.is_empty() {
            state = self.fill(state, linger.count, Some(linger.time));
        }
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

    /// Waits until there are so many items, or until it has taken too long.
    fn fill<'a>(
        &self,
        state: MutexGuard<'a, State<T>>,
        wanted: usize,
        patience: Option<Duration>,
    ) -> MutexGuard<'a, State<T>> {
        let short = |state: &mut State<T>| {
            let short = state.items.len() < wanted && !state.closed;
            state.wanted = short.then_some(wanted);
            short
        };
        let Some(patience) = patience else {
            return self.filled.wait_while(state, short).unwrap_or_else(PoisonError::into_inner);
        };
        let waited = self.filled.wait_timeout_while(state, patience, short);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.wanted = None;
        state
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
        assert_eq!(queue.take(100, None, Linger::default()), Taken::Items(vec![0, 1, 2, 3, 5]));
        assert_eq!(queue.waiting(), (0, 0));

        queue.push(0, 90, false).unwrap();
        assert_eq!(queue.push(1, 11, false), Err((Refusal::Busy, 1)));
        queue.push(2, 35, true).unwrap();
        assert_eq!(queue.take(90, None, Linger::default()), Taken::Items(vec![0]));
        assert_eq!(queue.take(1, None, Linger::default()), Taken::Items(vec![2]), "one is always taken");
        queue.push(7, 1_000, false).unwrap();
    }

    #[test]
    fn who_was_just_answered_is_waited_for_but_not_for_ever() {
        let queue = std::sync::Arc::new(Queue::new(100, 1_000));
        let linger = |secs| Linger { count: 3, time: Duration::from_secs(secs) };
        queue.push(0, 1, false).unwrap();
        let others = std::sync::Arc::clone(&queue);
        let pushing = std::thread::spawn(move || (1..3).for_each(|i| others.push(i, 1, false).unwrap()));
        assert_eq!(queue.take(100, None, linger(60)), Taken::Items(vec![0, 1, 2]));
        pushing.join().unwrap();
        queue.push(3, 1, false).unwrap();
        assert_eq!(queue.take(100, None, linger(0)), Taken::Items(vec![3]));
        queue.push(4, 1, false).unwrap();
        queue.close();
        assert_eq!(queue.take(100, None, linger(60)), Taken::Items(vec![4]));
    }

    #[test]
    fn a_slow_sync_is_not_paid_for_again() {
        for (sync, waits) in [(0, 0), (2_000, 500), (20_000, 5_000), (1_500_000, 5_000)] {
            let linger = Linger::after(3, Duration::from_micros(sync));
            assert_eq!((linger.count, linger.time), (2, Duration::from_micros(waits)));
        }
        assert_eq!(Linger::after(0, Duration::ZERO).count, 0);
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
        assert_eq!(queue.take(100, None, Linger::default()), Taken::Items(vec![0, 1]));
        assert_eq!(queue.take(100, None, Linger::default()), Taken::Closed);
    }
}
