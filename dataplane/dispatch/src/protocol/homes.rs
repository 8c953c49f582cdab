//! Where deliveries are parked, in few bytes each. Pure.
//!
//! The key of a `.state` record is 24 bytes long, but 16 of them are those of the claim under which it was written, of which
//! there are few.

use std::collections::BTreeMap;

use super::{lanes::Home, load::StateKey};

/// Which record stands for a delivery: 18 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(Rust, packed(2))]
pub(super) struct Spot {
    at: u64,
    seq: u64,
    claim: u16,
}

/// The claims that spots name by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Homes {
    claims: Vec<(u64, u64)>,
    numbers: BTreeMap<(u64, u64), u16>,
    /// The claims of records for which no number was left, by their offset.
    others: BTreeMap<u64, (u64, u64)>,
}

impl Spot {
    /// The event's own record.
    pub(super) const LOG: Self = Self { at: u64::MAX, seq: 0, claim: 0 };

    /// Where a delivery is parked, if it is.
    pub(super) fn at(self) -> Option<u64> {
        (self != Self::LOG).then_some(self.at)
    }
}

impl Homes {
    /// Stands for a claim that has no number.
    const OTHER: u16 = u16::MAX;

    /// The record at this offset, of this key.
    pub(super) fn spot(&mut self, at: u64, key: StateKey) -> Spot {
        let claim = (key.epoch, key.nonce);
        let number = match self.numbers.get(&claim) {
            Some(number) => *number,
            None if self.claims.len() == usize::from(Self::OTHER) => {
                self.others.insert(at, claim);
                Self::OTHER
            }
            None => {
                let number = self.claims.len() as u16;
                self.claims.push(claim);
                self.numbers.insert(claim, number);
                number
            }
        };
        Spot { at, seq: key.seq, claim: number }
    }

    pub(super) fn home(&self, spot: Spot) -> Home {
        let Some(at) = spot.at() else { return Home::Log };
        let claim = match spot.claim {
            Self::OTHER => self.others.get(&at),
            number => self.claims.get(usize::from(number)),
        };
        let (epoch, nonce) =
            claim.copied().expect("it was noted when the spot was made, and is until it is left");
        Home::State(at, StateKey { epoch, seq: spot.seq, nonce })
    }

    /// The same, for the last time.
    pub(super) fn leave(&mut self, spot: Spot) -> Home {
        let home = self.home(spot);
        if let Home::State(at, _) = home {
            self.others.remove(&at);
        }
        home
    }
}

#[cfg(test)]
mod tests {
    use super::{Homes, Spot};
    use crate::protocol::{StateKey, lanes::Home};

    #[test]
    fn every_record_has_its_key_back_however_many_claims_there_were() {
        let mut homes = Homes::default();
        let key = |n: u64| StateKey { epoch: n, seq: n * n, nonce: !n };
        let spots: Vec<Spot> = (0..70_000).map(|n| homes.spot(n + 3, key(n))).collect();
        assert!(homes.claims.len() < 70_000 && !homes.others.is_empty());
        for (n, spot) in (0..).zip(&spots) {
            assert_eq!(homes.home(*spot), Home::State(n + 3, key(n)));
        }
        assert_eq!(homes.spot(1 << 40, key(5)).claim, homes.spot(1 << 41, key(5)).claim);
        for (n, spot) in (0..).zip(spots) {
            assert_eq!(homes.leave(spot), Home::State(n + 3, key(n)));
        }
        assert!(homes.others.is_empty());
        assert_eq!(homes.home(Spot::LOG), Home::Log);
    }

    #[test]
    fn a_delivery_takes_32_bytes_beside_its_place() {
        type Item = crate::protocol::lanes::Item<std::num::NonZeroU64>;
        assert_eq!((size_of::<Item>(), size_of::<crate::protocol::Place>()), (32, 10));
    }
}
