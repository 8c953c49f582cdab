//! Mistakes that tests plant: each looks harmless, and each must be found. Pure.

/// A deviation from the order of steps, or from what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deviation {
    /// What changes is committed before what fires.
    StateBeforeFires,
    /// After a doubt the same producer writes the same again.
    SameAfterDoubt,
    /// It becomes the producer when the state is read.
    BecomingAfterReading,
    /// It asks for the end of the state before it has become the producer.
    EndBeforeBecoming,
    /// It takes what a broker tells for the end of the state, though the broker may be behind.
    EndBelieved,
    /// How far commands are applied is committed on its own.
    ProgressApart,
    /// What ended in the future, by a clock that is behind, is not believed.
    FutureDisbelieved,
    /// The first piece that is read of the state is lost.
    FirstSliceDropped,
    /// A timer that is overdue when it is read is pending, and nobody looks for it.
    OverdueForgotten,
    /// Keys that are taken are known in memory alone.
    KeysUnwritten,
    /// Commands are given up as soon as they are applied, and not when that is committed.
    TrimmedTooEarly,
    /// Who has cancelled a repeated event is forgotten when it fires.
    MutedForgotten,
    /// A half message is published when it is prepared.
    PreparedIsPublished,
    /// A half message that nobody decided on is dropped, and nobody is told.
    ExhaustedForgotten,
    /// What was decided on a half message is not kept.
    DecisionForgotten,
    /// A later decision counts as well.
    DecidedAgain,
    /// How often a publisher was asked is not kept.
    ChecksForgotten,
    /// What a publisher answers counts although somebody has decided meanwhile.
    LateAnswerCounts,
    /// A schedule that is edited, or made again, begins as if nothing had fired.
    RunsForgotten,
    /// A schedule is deleted in memory alone.
    DropUnwritten,
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
    pub(crate) fn is(self, deviation: Deviation) -> bool {
        self.0 == Some(deviation)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "with tests it has something to look at")]
    pub(crate) const fn is(self, _: Deviation) -> bool {
        false
    }
}
