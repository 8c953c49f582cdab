//! How a dataplane follows: where what runs came from, and what is in the way. Pure.

use evhub_routing::Generation;
use serde::Serialize;

/// How it follows, as of now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Where what runs came from.
    pub source: Source,
    /// Whether whoever serves control is connected.
    pub connected: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What was refused last, and nothing higher has been run since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
    /// Why what runs is not on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unkept: Option<String>,
    /// What was made ready, as far as it could be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<Generation>,
    /// How many snapshots were taken from whoever serves control.
    pub updates: u64,
    /// How many were refused.
    pub refusals: u64,
}

/// Where what runs came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// Nobody has said anything: nothing runs, which is not the same as having been told to run nothing.
    #[default]
    Nothing,
    /// The copy on disk.
    Disk,
    /// The copy in the log.
    Log,
    /// Whoever serves control.
    Control,
}

/// A snapshot that does not run here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Which.
    pub generation: Generation,
    /// Why not.
    pub reason: String,
}

// === impl Status ===

impl Status {
    /// Whether this changes anything, as of all that follow.
    pub(super) fn runs_from(&mut self, source: Source) -> bool {
        std::mem::replace(&mut self.source, source) != source
    }

    pub(super) fn connected(&mut self) -> bool {
        self.trouble = None;
        !std::mem::replace(&mut self.connected, true)
    }

    pub(super) fn disconnected(&mut self, why: &str) -> bool {
        self.connected = false;
        let new = self.trouble.as_deref() != Some(why);
        self.trouble = Some(why.to_owned());
        new
    }

    pub(super) fn took(&mut self, generation: Generation) -> bool {
        self.updates += 1;
        self.refused.take_if(|refused| refused.generation <= generation);
        true
    }

    pub(super) fn refused(&mut self, generation: Generation, reason: String) -> bool {
        self.refusals += 1;
        self.refused = Some(Refusal { generation, reason });
        true
    }

    pub(super) fn kept(&mut self, problem: Option<String>) -> bool {
        let new = self.unkept != problem;
        self.unkept = problem;
        new
    }

    pub(super) fn applied(&mut self, generation: Generation) -> bool {
        self.applied.replace(generation) != Some(generation)
    }
}

// === impl Source ===

impl Source {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nothing, Self::Disk, Self::Log, Self::Control];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Disk => "disk",
            Self::Log => "log",
            Self::Control => "control",
        }
    }
}
