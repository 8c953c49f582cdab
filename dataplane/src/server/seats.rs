//! Who may have how many connections at once. No I/O.
//!
//! A listener has so many seats, and one peer may take most of them but never all: somebody else still gets in. Of IPv6
//! a peer has a whole network, so all addresses of one are one peer.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

/// The seats of one listener.
#[derive(Debug)]
pub(super) struct Seats {
    all: usize,
    each: usize,
    /// How many each peer has; as many entries as there are connections at the most.
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// A seat; it is free again when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    peer: IpAddr,
}

impl Seats {
    /// So many in all, and so many for each peer.
    pub(super) fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { all, each, taken: Mutex::default() })
    }

    /// A seat for this peer, if there is one.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let peer = peer(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let full = taken.values().sum::<usize>() >= self.all;
        let own = taken.get(&peer).copied().unwrap_or(0);
        if full || own >= self.each {
            return None;
        }
        taken.insert(peer, own + 1);
        Some(Seat { seats: Arc::clone(self), peer })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.peer) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.remove(&self.peer)),
        }
    }
}

/// The network that an address stands for.
fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_all_seats_and_nobody_sits_twice() {
        let seats = Seats::new(3, 2);
        let take = |address: &str| seats.take(address.parse().unwrap());
        let first = take("192.0.2.1").unwrap();
        let _second = take("::ffff:192.0.2.1").unwrap();
        assert!(take("192.0.2.1").is_none(), "it has as many as one may have");
        let other = take("192.0.2.2").unwrap();
        assert!(take("192.0.2.3").is_none(), "there is none left");
        drop(first);
        assert!(take("192.0.2.2").is_some_and(|seat| seat.peer == other.peer));
        drop(other);
        let _network = [take("2001:db8::1").unwrap(), take("2001:db8::ffff:1").unwrap()];
        assert!(take("2001:db8::2").is_none());
        assert_eq!(seats.taken.lock().unwrap().len(), 2);
    }
}
