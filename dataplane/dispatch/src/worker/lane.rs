//! The name of a lane. Pure.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

/// The key of a lane's events. It is compared several times for each event, so its hash comes first: that is one number,
/// where the key itself lies elsewhere in memory. The order of lanes means nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lane {
    hash: u64,
    key: Arc<[u8]>,
}

impl Lane {
    /// The lane of a key.
    pub(super) fn of(key: &[u8]) -> Self {
        // Not keyed at random: whose keys collide only has his own lanes found a little later.
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Self { hash: hasher.finish(), key: key.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::Lane;

    #[test]
    fn a_lane_is_its_key() {
        assert_eq!(Lane::of(b"a"), Lane::of(b"a"));
        assert_ne!(Lane::of(b"a"), Lane::of(b"b"));
        // As they would be if two keys had one hash.
        let [one, two] = [b"a", b"b"].map(|key| Lane { hash: 0, ..Lane::of(key) });
        assert!(one < two && one != two);
    }
}
