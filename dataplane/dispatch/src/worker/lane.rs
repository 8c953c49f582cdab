//! The name of a lane. Pure.

use std::{
    hash::{BuildHasher as _, RandomState},
    num::NonZeroU64,
};

use bytes::Bytes;

/// A hash of its events' key, which takes no memory however long that is, and is compared at once. Should two keys of a
/// partition ever share one, their events wait for each other, which breaks no promise; it is keyed at random, so nobody can
/// choose keys that do. The order of lanes means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lane(NonZeroU64);

impl Lane {
    /// The lane of all, where there is one.
    pub(super) const ONLY: Self = Self(NonZeroU64::MIN);

    /// The lane of a key, by the worker's hash.
    pub(super) fn of(key: &Bytes, hash: &RandomState) -> Self {
        NonZeroU64::new(hash.hash_one(key)).map_or(Self::ONLY, Self)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use bytes::Bytes;

    use super::Lane;

    #[test]
    fn a_lane_is_its_keys_and_takes_no_more_than_its_name() {
        let (hash, key) = (RandomState::new(), Bytes::from_static);
        assert_eq!(Lane::of(&key(b"a"), &hash), Lane::of(&key(b"a"), &hash));
        assert_ne!(Lane::of(&key(b"a"), &hash), Lane::of(&key(b"b"), &hash));
        assert_eq!(size_of::<Option<Lane>>(), 8);
    }
}
