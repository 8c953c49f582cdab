//! What the author of an object is told.

use evhub_crds::{
    ConditionType, Kind, Reason,
    rules::Violation,
    schema::{Problem, Sort},
};
use serde::Serialize;

use crate::world::{Origin, Resource};

/// What was decided on one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Its kind, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Its namespace; unknown for an undecodable object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name; unknown for an undecodable object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The file of an object without a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Whether its spec is obeyed, as soon as everything it names exists.
    pub accepted: bool,
    /// All that stands in its way, and what of it is not obeyed.
    pub findings: Vec<Finding>,
    /// Where it was found.
    #[serde(skip)]
    pub origin: Option<Origin>,
}

/// One thing that stands in an object's way, or of which its author should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The condition that it denies, or would.
    pub condition: ConditionType,
    /// Why, in one word.
    pub reason: Reason,
    /// The field, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Why, in a sentence a person can act on.
    pub message: String,
}

/// More are of no help, and a verdict ends up in a status.
const MAX_FINDINGS: usize = 32;

// === impl Verdict ===

impl Verdict {
    /// Whether everything that it names exists and fits.
    pub fn is_resolved(&self) -> bool {
        is_resolved(&self.findings)
    }

    /// The first thing that stands in its way, if anything does.
    pub fn obstacle(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.stands_in_the_way())
    }

    pub(crate) fn new(resource: &Resource, findings: Vec<Finding>) -> Self {
        Self {
            kind: Some(resource.kind),
            namespace: Some(resource.name.namespace.clone()),
            name: Some(resource.name.name.clone()),
            file: None,
            accepted: acceptable(&findings),
            findings: bounded(findings),
            origin: resource.origin.clone(),
        }
    }

    pub(crate) fn undecodable(kind: Option<Kind>, origin: &Origin, problem: &str) -> Self {
        Self {
            kind,
            namespace: None,
            name: None,
            file: Some(origin.file.clone()),
            accepted: false,
            findings: vec![Finding::new(Reason::Undecodable, None, problem.into())],
            origin: Some(origin.clone()),
        }
    }

    pub(crate) fn rank(&self) -> impl Ord + '_ {
        (self.kind, &self.namespace, &self.name, &self.origin, self.accepted, &self.findings)
    }
}

/// Whether none of these denies acceptance.
pub(crate) fn acceptable(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.reason.denies() != Some(ConditionType::Accepted))
}

/// Whether none of these denies that everything that is named is there.
pub(crate) fn is_resolved(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.condition != ConditionType::ResolvedRefs)
}

fn bounded(mut findings: Vec<Finding>) -> Vec<Finding> {
    let more = findings.len().saturating_sub(MAX_FINDINGS);
    findings.truncate(MAX_FINDINGS);
    if let Some(last) = findings.last_mut().filter(|_| more > 0) {
        last.message = format!("{} (and {more} more findings)", last.message);
    }
    findings
}

// === impl Finding ===

impl Finding {
    /// Whether it keeps the object from running as it is written. The others only say what is not obeyed of it.
    pub fn stands_in_the_way(&self) -> bool {
        self.reason.denies().is_some()
    }

    pub(crate) fn new(reason: Reason, field: Option<&str>, message: String) -> Self {
        let condition = reason.denies().unwrap_or(ConditionType::Accepted);
        Self { condition, reason, field: field.map(Into::into), message }
    }
}

impl From<&Problem> for Finding {
    fn from(problem: &Problem) -> Self {
        let reason = match problem.sort {
            Sort::Invalid => Reason::Invalid,
            Sort::UnknownValue => Reason::UnknownValue,
            Sort::UnknownField => Reason::UnknownField,
        };
        Self::new(reason, Some(&problem.path), problem.message.clone())
    }
}

impl From<Violation> for Finding {
    fn from(violation: Violation) -> Self {
        Self::new(Reason::Invalid, Some(&format!("spec.{}", violation.field)), violation.message)
    }
}
