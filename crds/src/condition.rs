//! Conditions: how a resource is doing, in words that programs may rely on.
//!
//! | condition | `True` | `False` |
//! |---|---|---|
//! | `Accepted` | `Accepted` | `Invalid`, `UnknownField`, `UnknownValue`, `Undecodable`, `DuplicateName`, `FieldImmutable`, `OrderBreak`, `EgressDenied`, `EvhubNameTaken`, `EvhubAppDenied` |
//! | `ResolvedRefs` | `ResolvedRefs` | `NotFound`, `NotAccepted`, `PartitionsDiffer` |
//! | `Suspended` | `Suspended`, by its author; `Exhausted`, by an event whose attempts are used up | absent instead |
//! | `Ready` | `Ready`, `Suspended` | any of the above; `Unknown` with `Pending` until the first verdict |

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One aspect of a resource's state; the shape of Kubernetes' own conditions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which aspect.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 64))]
    pub type_: String,
    /// Whether it holds.
    pub status: Status,
    /// The generation of the resource that this speaks of. An older one than the resource's own says that the newest
    /// spec has not been looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the status last changed.
    pub last_transition_time: Time,
    /// Why, in one word.
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z]+$"))]
    pub reason: String,
    /// Why, in a sentence a person can act on.
    #[schemars(length(max = 4096))]
    pub message: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Status {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody knows yet.
    Unknown,
}

/// The aspects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConditionType {
    /// The spec can be obeyed. True with `Accepted`.
    Accepted,
    /// Everything that the spec names exists and fits. True with `ResolvedRefs`.
    ResolvedRefs,
    /// Nothing is delivered, and everything is kept. True with `Suspended` or `Exhausted`.
    Suspended,
    /// The summary of the others. True with `Ready`, or with `Suspended` when its author wants no deliveries.
    Ready,
}

/// Why a condition is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// `Accepted`: nothing is wrong with the spec.
    Accepted,
    /// `Accepted`: a value is missing, of the wrong type, out of range or at odds with another.
    Invalid,
    /// `Accepted`: there is no such field; most likely a typing error.
    UnknownField,
    /// `Accepted`: the field is known, this word for it is not; perhaps a newer version's.
    UnknownValue,
    /// `Accepted`: it cannot be read at all.
    Undecodable,
    /// `Accepted`: an older resource has this kind, namespace and name.
    DuplicateName,
    /// `Accepted`: the field cannot change (or not in this direction) in a resource that exists.
    FieldImmutable,
    /// `Accepted`: more partitions would break the order per key that an attached Processor relies on.
    OrderBreak,
    /// `Accepted`: the administrator does not allow deliveries to this address.
    EgressDenied,
    /// `Accepted`: EvHub's clients call an older Producer so.
    EvhubNameTaken,
    /// `Accepted`: the administrator does not allow an EvHub application other than the namespace.
    EvhubAppDenied,
    /// `ResolvedRefs`: everything named exists and fits.
    ResolvedRefs,
    /// `ResolvedRefs`: something named does not exist. Heals by itself when it appears.
    NotFound,
    /// `ResolvedRefs`: something named exists, but is refused itself.
    NotAccepted,
    /// `ResolvedRefs`: the Producers of one Processor differ in their number of partitions.
    PartitionsDiffer,
    /// `Suspended` and `Ready`: its author wants it so.
    Suspended,
    /// `Suspended`: an event's attempts are used up, and `onExhausted` says so.
    Exhausted,
    /// `Ready`: an event published now will be dispatched.
    Ready,
    /// Any: nothing has looked at it yet.
    Pending,
}

// === impl ConditionType ===

impl ConditionType {
    /// The type as a condition carries it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::Suspended => "Suspended",
            Self::Ready => "Ready",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Reason ===

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 19] = [
        Self::Accepted,
        Self::Invalid,
        Self::UnknownField,
        Self::UnknownValue,
        Self::Undecodable,
        Self::DuplicateName,
        Self::FieldImmutable,
        Self::OrderBreak,
        Self::EgressDenied,
        Self::EvhubNameTaken,
        Self::EvhubAppDenied,
        Self::ResolvedRefs,
        Self::NotFound,
        Self::NotAccepted,
        Self::PartitionsDiffer,
        Self::Suspended,
        Self::Exhausted,
        Self::Ready,
        Self::Pending,
    ];

    /// The reason as a condition carries it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Invalid => "Invalid",
            Self::UnknownField => "UnknownField",
            Self::UnknownValue => "UnknownValue",
            Self::Undecodable => "Undecodable",
            Self::DuplicateName => "DuplicateName",
            Self::FieldImmutable => "FieldImmutable",
            Self::OrderBreak => "OrderBreak",
            Self::EgressDenied => "EgressDenied",
            Self::EvhubNameTaken => "EvhubNameTaken",
            Self::EvhubAppDenied => "EvhubAppDenied",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::NotFound => "NotFound",
            Self::NotAccepted => "NotAccepted",
            Self::PartitionsDiffer => "PartitionsDiffer",
            Self::Suspended => "Suspended",
            Self::Exhausted => "Exhausted",
            Self::Ready => "Ready",
            Self::Pending => "Pending",
        }
    }

    /// The reason as the wire spells it: `NOT_FOUND`.
    pub fn wire(self) -> String {
        let mut word = String::new();
        for c in self.as_str().chars() {
            if c.is_ascii_uppercase() && !word.is_empty() {
                word.push('_');
            }
            word.push(c.to_ascii_uppercase());
        }
        word
    }

    /// The condition that this reason explains when something is wrong; `None` for the reasons of being well.
    pub fn denies(self) -> Option<ConditionType> {
        match self {
            Self::Invalid
            | Self::UnknownField
            | Self::UnknownValue
            | Self::Undecodable
            | Self::DuplicateName
            | Self::FieldImmutable
            | Self::OrderBreak
            | Self::EgressDenied
            | Self::EvhubNameTaken
            | Self::EvhubAppDenied => Some(ConditionType::Accepted),
            Self::NotFound | Self::NotAccepted | Self::PartitionsDiffer => Some(ConditionType::ResolvedRefs),
            Self::Accepted
            | Self::ResolvedRefs
            | Self::Suspended
            | Self::Exhausted
            | Self::Ready
            | Self::Pending => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn words_are_the_same_everywhere() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
        assert_eq!(Reason::PartitionsDiffer.wire(), "PARTITIONS_DIFFER");
        assert_eq!(Reason::NotFound.wire(), "NOT_FOUND");
    }

    /// The table at the top of this file is the documented one: it must name each reason beside its condition.
    #[test]
    fn the_documented_table_is_complete() {
        let rows: Vec<&str> =
            include_str!("condition.rs").lines().filter(|l| l.starts_with("//! | `")).collect();
        for reason in Reason::ALL {
            let word = format!("`{reason}`");
            let expected = reason.denies().map(|condition| format!("//! | `{condition}` |"));
            let found = rows.iter().any(|row| {
                row.contains(&word) && expected.as_ref().is_none_or(|condition| row.starts_with(condition))
            });
            assert!(found, "{reason} is missing from the table");
        }
    }

    #[test]
    fn the_page_lists_every_reason_and_no_other() {
        let page = include_str!("../../docs/errors.md");
        let (_, section) = page.split_once("\n## Conditions\n").unwrap();
        let rows = section.lines().filter_map(|row| row.strip_prefix("| `")?.split_once('`'));
        let told: BTreeSet<String> = rows.map(|(word, _)| word.to_owned()).collect();
        assert_eq!(told, Reason::ALL.iter().map(ToString::to_string).collect());
    }
}
