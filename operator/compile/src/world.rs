//! What goes in: resources as somebody wrote them, and what only the hub knows about each.

use evhub_crds::{Kind, StartFrom, schema::Problem};
use evhub_routing::{EvhubName, Name};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// All that there is to decide on.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// What the administrator decided.
    pub settings: Settings,
    /// The objects, in any order.
    pub objects: Vec<Object>,
}

/// What the administrator decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Heads every topic and group of this installation.
    pub prefix: String,
    /// Which URLs may be delivered to.
    pub egress: Egress,
    /// Which EvHub applications a Producer may belong to.
    pub apps: Apps,
}

/// Which EvHub applications a Producer may belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apps {
    /// The one that is called as its namespace is.
    Own,
    /// Any.
    Any,
}

/// Which URLs may be delivered to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Egress {
    /// None.
    Denied,
    /// Those of this machine alone.
    Loopback,
}

/// Something that claims to be a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// It has a kind and a name; what it says may still be nonsense.
    Resource(Box<Resource>),
    /// Nobody can tell what it is to be.
    Undecodable {
        /// Its kind, where that much can be read.
        kind: Option<Kind>,
        /// Where it was found.
        origin: Origin,
        /// Why it cannot be read.
        problem: String,
    },
}

/// A resource as somebody wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name, not yet checked.
    pub name: Name,
    /// Its identity, which a later resource of the same name does not share.
    pub uid: String,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created: i64,
    /// How often its spec has been written.
    pub generation: i64,
    /// What earlier versions of it said that may not change.
    pub kept: Kept,
    /// Where it was found, unless in an API server.
    pub origin: Option<Origin>,
    /// The author has been warned that growing reorders keys, and wants it (`evhub.dev/allow-order-break: "true"`).
    pub allow_order_break: bool,
    /// Fields that do not exist. Empty for what an API server stored: it has dropped what it does not know.
    pub unknown: Vec<Problem>,
    /// What it says.
    pub spec: Option<Value>,
}

/// Where an object was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The file, as its reader was told.
    pub file: String,
    /// The line on which the object begins, from 1.
    pub line: u64,
}

/// What a resource said when it was last accepted and may not change; nothing yet for a new one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// The partitions of a Producer, or of those that a Processor reads; they never become fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// How EvHub's clients call a Producer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evhub: Option<EvhubName>,
    /// A Processor's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_from: Option<StartFrom>,
}

// === impl Resource ===

/// The value that asks for what [`Resource::allow_order_break`] describes.
pub const ALLOW_ORDER_BREAK: &str = "evhub.dev/allow-order-break";

impl Resource {
    /// Orders resources that claim one name: the oldest first, then by place, then by anything that tells them apart,
    /// so that the order in which they are found does not matter.
    pub(crate) fn seniority(&self) -> impl Ord + '_ {
        let spec = self.spec.as_ref().map(Value::to_string);
        let age = (self.created, &self.origin, &self.uid, self.generation);
        (self.kind, &self.name, age, spec, &self.unknown, &self.kept, self.allow_order_break)
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
