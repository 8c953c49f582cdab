//! Whose turn it is in a chain. No I/O.
//!
//! The client does not keep a chain's promise by itself. It writes a partition's records in the order in which it got them, but
//! one that waits too long for its partition's leader fails alone, and so does a batch that a broker refuses, and what it got
//! later is written all the same; its own guarantee against such gaps leaves the first case out, and ends the whole producer in
//! the second. So a record behind others of its chain is handed to the client when the ending of the one before it is known. A
//! chain is one key's records within one batch, so other keys and other batches wait for nothing.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};

use evhub_journal::Link;
use tokio::sync::oneshot;

/// The chains that have a record under way, each with those that wait behind it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Arc<Mutex<HashMap<usize, VecDeque<Next>>>>);

/// Who is next in a line.
type Next = (Link, oneshot::Sender<Turn>);

/// The right to be under way. Dropped, it says that its record was not taken, or that nobody knows.
#[derive(Debug)]
pub(crate) struct Turn {
    link: Link,
    lines: Lines,
    taken: bool,
}

/// What becomes of a record that enters its chain's line.
#[derive(Debug)]
pub(crate) enum Entered {
    /// It may go now.
    Now(Turn),
    /// It waits for its turn, which never comes if one before it is not taken.
    Later(oneshot::Receiver<Turn>),
    /// One before it was not taken.
    Behind,
}

impl Lines {
    /// Takes the place of a link, whose calls come in the order of its chain.
    pub(crate) fn enter(&self, link: &Link) -> Entered {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Chains are torn under the lock: none is found whole here whose line is gone for that reason.
        if !link.holds() {
            return Entered::Behind;
        }
        match lines.entry(link.chain()) {
            Entry::Vacant(vacant) => {
                vacant.insert(VecDeque::new());
                Entered::Now(Turn { link: link.clone(), lines: self.clone(), taken: false })
            }
            Entry::Occupied(mut line) => {
                let (turn, comes) = oneshot::channel();
                line.get_mut().push_back((link.clone(), turn));
                Entered::Later(comes)
            }
        }
    }

    /// Ends a turn, and says whose is next. Those that wait behind a record that was not taken hear that they wait in vain.
    fn end(&self, link: &Link, taken: bool) -> Option<Next> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = if taken {
            lines.get_mut(&link.chain()).and_then(VecDeque::pop_front)
        } else {
            link.tear();
            None
        };
        if next.is_none() {
            lines.remove(&link.chain());
        }
        next
    }
}

impl Turn {
    /// Its record is in the log.
    pub(crate) fn taken(mut self) {
        self.taken = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((link, next)) = self.lines.end(&self.link, self.taken) {
            // Where nobody waits for the turn any more it comes back, and is dropped: the chain is torn there.
            drop(next.send(Turn { link, lines: self.lines.clone(), taken: false }));
        }
    }
}

#[cfg(test)]
mod tests {
    use evhub_journal::Chain;
    use tokio::sync::oneshot::Receiver;

    use super::{Entered, Lines, Turn};

    fn now(entered: Entered) -> Turn {
        let Entered::Now(turn) = entered else { panic!("not now: {entered:?}") };
        turn
    }

    fn later(entered: Entered) -> Receiver<Turn> {
        let Entered::Later(turn) = entered else { panic!("not later: {entered:?}") };
        turn
    }

    #[test]
    fn one_of_a_chain_is_under_way_at_a_time() {
        let (lines, mut chain) = (Lines::default(), Chain::default());
        let first = now(lines.enter(&chain.link()));
        let (mut second, mut third) = (later(lines.enter(&chain.link())), later(lines.enter(&chain.link())));
        drop(now(lines.enter(&Chain::default().link())));
        assert!(second.try_recv().is_err());
        first.taken();
        let second = second.try_recv().expect("the second one's turn");
        assert!(third.try_recv().is_err());
        second.taken();
        third.try_recv().expect("the third one's turn").taken();
        assert!(lines.0.lock().unwrap().is_empty());
        now(lines.enter(&chain.link())).taken();
    }

    #[test]
    fn nothing_goes_behind_what_was_not_taken() {
        let (lines, mut chain) = (Lines::default(), Chain::default());
        let first = now(lines.enter(&chain.link()));
        let (mut second, mut third) = (later(lines.enter(&chain.link())), later(lines.enter(&chain.link())));
        first.taken();
        drop(second.try_recv());
        assert!(third.try_recv().is_err(), "its turn never comes");
        assert!(matches!(lines.enter(&chain.link()), Entered::Behind));
        assert!(lines.0.lock().unwrap().is_empty());
    }

    #[test]
    fn who_has_gone_away_tears_the_chain() {
        let (lines, mut chain) = (Lines::default(), Chain::default());
        let first = now(lines.enter(&chain.link()));
        drop(later(lines.enter(&chain.link())));
        let mut third = later(lines.enter(&chain.link()));
        first.taken();
        assert!(third.try_recv().is_err() && matches!(lines.enter(&chain.link()), Entered::Behind));
        assert!(lines.0.lock().unwrap().is_empty());
    }
}
