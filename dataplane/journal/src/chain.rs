//! Records that must not pass one another: once one of a chain was not taken, none behind it is. No I/O.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Appends that go together, in the order in which their links are made.
#[derive(Debug)]
pub struct Chain {
    links: u64,
    torn: Arc<AtomicU64>,
}

/// One append's place in its chain.
#[derive(Clone, Debug)]
pub struct Link {
    number: u64,
    /// The first link whose record was not taken.
    torn: Arc<AtomicU64>,
}

impl Chain {
    /// The place behind all that were made before.
    pub fn link(&mut self) -> Link {
        self.links += 1;
        Link { number: self.links, torn: Arc::clone(&self.torn) }
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self { links: 0, torn: Arc::new(AtomicU64::new(u64::MAX)) }
    }
}

impl Link {
    /// Which chain it is of: no other that is alive has the same number.
    pub fn chain(&self) -> usize {
        Arc::as_ptr(&self.torn).addr()
    }

    /// Whether every record before this one was taken, or may still be.
    pub fn holds(&self) -> bool {
        self.number <= self.torn.load(Ordering::Relaxed)
    }

    /// Its record was not taken, or it is not known whether it was: none behind it may be.
    pub fn tear(&self) {
        self.torn.fetch_min(self.number, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_torn_holds_before_and_not_behind() {
        let mut chain = Chain::default();
        let links: Vec<Link> = (0..4).map(|_| chain.link()).collect();
        let hold = || links.iter().map(Link::holds).collect::<Vec<_>>();
        assert_eq!(hold(), [true; 4]);
        links[2].tear();
        assert_eq!(hold(), [true, true, true, false]);
        links[1].tear();
        links[3].tear();
        assert_eq!(hold(), [true, true, false, false]);
        let (next, other) = (chain.link(), Chain::default().link());
        assert!(!next.holds() && other.holds());
        assert!(next.chain() == links[0].chain() && next.chain() != other.chain());
    }
}
