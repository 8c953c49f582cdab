//! Who may work a partition, what is still to be done in it, and what may be committed: the state protocol.
//!
//! Everything here is pure: no I/O, no clock, no randomness. The worker feeds it what happened and carries out what it
//! asks for; the exhaustive search in `explore` drives the same code through every interleaving of two workers,
//! zombies, crashes and refusals.
//!
//! Two things are durable: the group's committed offsets with their metadata, which are the fence and the only truth,
//! and the `.state` topic, whose records are written once and never changed. A new owner reads both, takes a [`Claim`]
//! by committing it, and only then attempts or writes anything; whatever a predecessor still manages to write lies
//! behind the claim's floor under a lower epoch and is ignored.
//!
//! - [`claim`]: the claim, and its form in commit metadata
//! - [`tracker`]: which offsets of a source are resolved
//! - [`listing`]: the dead list, from *finished* to *gone*
//! - [`load`]: what a new owner keeps of the `.state` topic
//! - [`takeover`]: reading, claiming, beginning
//! - `lanes`: which delivery waits for which; `line`, `homes` and `marks` keep what it knows in few bytes
//! - [`partition`]: a partition in the hands of its owner

pub mod claim;
#[cfg(test)]
mod explore;
mod homes;
mod lanes;
mod line;
pub mod listing;
pub mod load;
mod marks;
pub mod partition;
pub mod takeover;
#[cfg(test)]
mod tests;
pub mod tracker;

pub use claim::{Claim, Metadata};
pub use load::{Loaded, StateKey};
pub use partition::{Doubt, Effect, Next, Offsets, Partition, Rules, Start, Verdict, after};
pub use takeover::{Claiming, Committed, Loading, Short};
pub use tracker::Tracker;

/// Where an event lies: which of the Processor's topics, and the offset in this partition of it. Packed, because there is one
/// of each parked delivery in several indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(Rust, packed(2))]
pub struct Place {
    /// The topic, as an index that its worker gave it.
    pub source: u16,
    /// The offset.
    pub offset: u64,
}

/// Why a delivery is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An attempt failed and will be repeated.
    Retry,
    /// An earlier delivery of its key holds it up.
    Behind,
    /// Its event asked for a delay. It holds nothing up, and joins its lane's tail when its instant comes.
    Delay,
}

/// What becomes of the deliveries behind a failed one of their lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Behind {
    /// They are parked behind it, so that their source flows on.
    Park,
    /// They wait in their source.
    Wait,
    /// They go ahead: a failed one leaves its lane.
    Pass,
}

/// Planted mistakes that the search must find: each is a simplification of the protocol that looks harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deviation {
    /// A tombstone goes out as soon as its record is finished.
    TombstoneBeforeCommit,
    /// Commits carry no dead list.
    NoDeadList,
    /// The `.state` topic's end is whatever one is told.
    HighIgnored,
    /// A zombie's records are believed.
    FloorIgnored,
    /// Everything behind the floor is taken for a zombie's.
    EpochIgnored,
    /// A loaded record is attempted before replay has passed its place.
    AttemptBeforeReplay,
    /// Work begins at once; the claim travels with the first ordinary commit.
    ClaimMerged,
    /// A claim that was sent but not answered counts as acknowledged.
    UnansweredClaim,
    /// An append of unknown outcome is simply tried again.
    RetryUnknownAppend,
    /// A commit made before a rebalance is sent in the name of the generation after it.
    ForeignGeneration,
    /// A `.state` record's key is the place of its event.
    KeyIsPlace,
    /// A delayed delivery that is due is attempted beside its lane.
    DelayBesideLane,
}

/// The planted mistake, if any; outside tests there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Planted(#[cfg(test)] pub(crate) Option<Deviation>);

impl Planted {
    /// No mistake.
    pub const NONE: Self = Self(
        #[cfg(test)]
        None,
    );

    #[cfg(test)]
    fn is(self, deviation: Deviation) -> bool {
        self.0 == Some(deviation)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "with tests it has something to look at")]
    const fn is(self, _: Deviation) -> bool {
        false
    }
}
