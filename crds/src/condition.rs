//! Conditions: how a resource is doing, in words that programs may rely on.
//!
//! | condition | `True` | `False` |
//! |---|---|---|
//! | `Accepted` | `Accepted`; `NotObeyed` beside it | `Invalid`, `UnknownField`, `UnknownValue`, `Undecodable`, `DuplicateName`, `FieldImmutable`, `OrderBreak`, `EgressDenied`, `EvhubNameTaken`, `EvhubAppDenied`, `TopicDenied`, `TopicTaken`, `InvalidCron`, `NeverFires`, `UnknownTimezone` |
//! | `ResolvedRefs` | `ResolvedRefs` | `NotFound`, `PortNotFound`, `NotAccepted`, `RefNotPermitted`, `PartitionsDiffer` |
//! | `TopicReady` | `TopicReady` | `TopicNotReady`; `Unknown` with `NoDataplane` or `Programming` |
//! | `Programmed` | `Programmed` | `NoDataplane`, `DataplaneRefused`, `NotListening`; `Unknown` with `Programming` |
//! | `Degraded` | `SecretUnavailable`, `NoEndpoints`, `RetentionRisk`, `TargetFailing`, `DeadLettering`, `BacklogGrowing` | absent instead |
//! | `Stalled` | what `Accepted` is false with: only the author can mend it | absent instead |
//! | `Suspended` | `Suspended`, by its author; `Exhausted`, by an event whose attempts are used up | absent instead |
//! | `Ready` | `Ready`, `Suspended` | any of the above, `NoEndpoints` and `Exhausted` among them; `Unknown` with `Pending` until the first verdict |

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

/// What a resource said when it was accepted last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stands {
    /// Its generation then.
    pub generation: i64,
    /// Its spec then, as JSON.
    #[schemars(length(max = 262_144))]
    pub spec: String,
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
    /// A Producer's topic is there, as it is wanted. True with `TopicReady`.
    TopicReady,
    /// Every dataplane runs it as it is written. True with `Programmed`.
    Programmed,
    /// Nothing is delivered, and everything is kept. True with `Suspended` or `Exhausted`.
    Suspended,
    /// It works less well than it should, or not at all. Absent otherwise.
    Degraded,
    /// Only its author can mend it. Absent otherwise.
    Stalled,
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
    /// `Accepted`: EvHub calls an older resource so.
    EvhubNameTaken,
    /// `Accepted`: the administrator does not allow an EvHub application other than the namespace.
    EvhubAppDenied,
    /// `Accepted`: the administrator does not allow this topic.
    TopicDenied,
    /// `Accepted`: an older Producer has this topic, or it is being deleted with one that is gone, which passes by itself.
    TopicTaken,
    /// `Accepted`: a schedule's crontab cannot be read.
    InvalidCron,
    /// `Accepted`: a schedule has no instant at which it fires.
    NeverFires,
    /// `Accepted`: a schedule names clocks that nobody knows.
    UnknownTimezone,
    /// `Accepted`, which it denies not: something that is written is not obeyed here, and the rest is.
    NotObeyed,
    /// `ResolvedRefs`: everything named exists and fits.
    ResolvedRefs,
    /// `ResolvedRefs`: something named does not exist. Heals by itself when it appears.
    NotFound,
    /// `ResolvedRefs`: the Service is there, and the port that is named is none of its.
    PortNotFound,
    /// `ResolvedRefs`: something named exists, but is refused itself.
    NotAccepted,
    /// `ResolvedRefs`: a Producer of another namespace does not let this one read it, or does not exist: which of the two is
    /// not told.
    RefNotPermitted,
    /// `ResolvedRefs`: the Producers of one Processor differ in their number of partitions.
    PartitionsDiffer,
    /// `TopicReady`: the topic is there, as the Producer wants it.
    TopicReady,
    /// `TopicReady`: the topic cannot be had as the Producer wants it.
    TopicNotReady,
    /// `Programmed`: every dataplane runs it as it is written.
    Programmed,
    /// `Programmed`: some dataplanes have not said yet that they run it. Passes by itself.
    Programming,
    /// `Programmed`: no dataplane is connected.
    NoDataplane,
    /// `Programmed`: a dataplane refuses all that is newer than what it runs.
    DataplaneRefused,
    /// `Programmed`: a dataplane runs it, and does not receive its events.
    NotListening,
    /// `Degraded`: a Secret that it names is not there, or lacks the key; it waits, or goes on with what it had.
    SecretUnavailable,
    /// `Degraded` and `Ready`: its Service has nobody who is ready; attempts are made all the same. Passes by itself.
    NoEndpoints,
    /// `Degraded`: its target fails so often that it is spoken to little or not at all.
    TargetFailing,
    /// `Degraded`: events come faster than they are delivered.
    BacklogGrowing,
    /// `Degraded`: events were given up lately.
    DeadLettering,
    /// `Degraded`: its oldest event will soon be older than its Producer keeps any.
    RetentionRisk,
    /// `Suspended` and `Ready`: its author wants it so.
    Suspended,
    /// `Suspended` and `Ready`: an event's attempts are used up, and `onExhausted` says so.
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
            Self::TopicReady => "TopicReady",
            Self::Programmed => "Programmed",
            Self::Suspended => "Suspended",
            Self::Degraded => "Degraded",
            Self::Stalled => "Stalled",
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
    pub const ALL: [Self; 40] = [
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
        Self::TopicDenied,
        Self::TopicTaken,
        Self::InvalidCron,
        Self::NeverFires,
        Self::UnknownTimezone,
        Self::NotObeyed,
        Self::ResolvedRefs,
        Self::NotFound,
        Self::PortNotFound,
        Self::NotAccepted,
        Self::RefNotPermitted,
        Self::PartitionsDiffer,
        Self::TopicReady,
        Self::TopicNotReady,
        Self::Programmed,
        Self::Programming,
        Self::NoDataplane,
        Self::DataplaneRefused,
        Self::NotListening,
        Self::SecretUnavailable,
        Self::NoEndpoints,
        Self::TargetFailing,
        Self::BacklogGrowing,
        Self::DeadLettering,
        Self::RetentionRisk,
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
            Self::TopicDenied => "TopicDenied",
            Self::TopicTaken => "TopicTaken",
            Self::InvalidCron => "InvalidCron",
            Self::NeverFires => "NeverFires",
            Self::UnknownTimezone => "UnknownTimezone",
            Self::NotObeyed => "NotObeyed",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::NotFound => "NotFound",
            Self::PortNotFound => "PortNotFound",
            Self::NotAccepted => "NotAccepted",
            Self::RefNotPermitted => "RefNotPermitted",
            Self::PartitionsDiffer => "PartitionsDiffer",
            Self::TopicReady => "TopicReady",
            Self::TopicNotReady => "TopicNotReady",
            Self::Programmed => "Programmed",
            Self::Programming => "Programming",
            Self::NoDataplane => "NoDataplane",
            Self::DataplaneRefused => "DataplaneRefused",
            Self::NotListening => "NotListening",
            Self::SecretUnavailable => "SecretUnavailable",
            Self::NoEndpoints => "NoEndpoints",
            Self::TargetFailing => "TargetFailing",
            Self::BacklogGrowing => "BacklogGrowing",
            Self::DeadLettering => "DeadLettering",
            Self::RetentionRisk => "RetentionRisk",
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

    /// The condition that this reason explains when something is wrong with what is written; `None` for the reasons of being
    /// well, and for those that only dataplanes tell of.
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
            | Self::EvhubAppDenied
            | Self::TopicDenied
            | Self::TopicTaken
            | Self::InvalidCron
            | Self::NeverFires
            | Self::UnknownTimezone => Some(ConditionType::Accepted),
            Self::NotFound
            | Self::PortNotFound
            | Self::NotAccepted
            | Self::RefNotPermitted
            | Self::PartitionsDiffer => Some(ConditionType::ResolvedRefs),
            Self::SecretUnavailable => Some(ConditionType::Degraded),
            Self::Accepted
            | Self::NotObeyed
            | Self::ResolvedRefs
            | Self::TopicReady
            | Self::TopicNotReady
            | Self::Programmed
            | Self::Programming
            | Self::NoDataplane
            | Self::DataplaneRefused
            | Self::NotListening
            | Self::NoEndpoints
            | Self::TargetFailing
            | Self::BacklogGrowing
            | Self::DeadLettering
            | Self::RetentionRisk
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
