//! The users' language: what a Producer and a Processor can say, and the words that answer them.
//!
//! In: nothing; these are types. Out: the types themselves, the CRDs as YAML ([`crd`]), and the structural check of a
//! document against them ([`schema`]), which refuses without an API server what an API server would refuse. This crate
//! does no I/O and knows neither a Kubernetes client nor the dataplane.
//!
//! - [`producer`], [`processor`]: the two kinds, field by field
//! - [`schedule`], [`transaction`]: what a Producer publishes by itself, and what it publishes when told
//! - [`delivery`]: how a Processor's deliveries are made
//! - [`condition`]: condition types and reasons, the one table of them
//! - [`duration`], [`quantity`], [`port`], [`instant`], [`start`]: how spans of time, sizes, ports, instants and starts are
//!   written
//! - [`rules`]: the rules that a schema cannot say, once as CEL and once as Rust
//! - [`schema`]: checks a document against the schema
//! - [`crd`]: the two CRDs
//! - [`reference`]: the two kinds as a page for people

pub mod condition;
pub mod crd;
pub mod delivery;
pub mod duration;
pub mod instant;
pub mod port;
pub mod processor;
pub mod producer;
pub mod quantity;
pub mod reference;
pub mod rules;
pub mod schedule;
pub mod schema;
pub mod start;
pub mod transaction;

pub use condition::{Condition, ConditionType, Reason, Stands};
pub use duration::Duration;
pub use instant::Instant;
pub use port::Port;
pub use processor::{Processor, ProcessorSpec};
pub use producer::{Producer, ProducerSpec};
pub use quantity::Quantity;
pub use start::StartFrom;

use serde::{Deserialize, Serialize};

/// The API group of both kinds.
pub const GROUP: &str = "evhub.dev";

/// The `apiVersion` that manifests carry.
pub const API_VERSION: &str = "evhub.dev/v1alpha1";

/// The kinds of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A named stream that applications publish to.
    Producer,
    /// A service that receives events.
    Processor,
}

impl Kind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Producer, Self::Processor];

    /// The kind as a manifest spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Producer => "Producer",
            Self::Processor => "Processor",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
