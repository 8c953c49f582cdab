//! A Processor's conditions, as Kubernetes has them: what is so, in words that programs may rely on. Pure.
//!
//! The words are those of the one table of conditions, which belongs to the users' resources and so cannot be named here; a
//! test of the tool holds the two against each other.

use std::borrow::Cow;

use serde::Serialize;

/// One aspect of a Processor.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Condition {
    r#type: &'static str,
    status: &'static str,
    reason: Cow<'static, str>,
}

/// Those of one that runs: accepted and resolved, or it would be in no snapshot. One that its author suspended is as ready
/// as it was asked to be: it is set up, and its events are kept. One that an event suspended is not.
pub(super) fn running(ready: bool, wanted: bool, exhausted: bool) -> Vec<Condition> {
    let suspended = match (wanted, exhausted) {
        (true, _) => Some("Suspended"),
        (false, true) => Some("Exhausted"),
        (false, false) => None,
    };
    let ready = match (ready, suspended) {
        (false, _) => ("False", "Pending"),
        (true, Some("Exhausted")) => ("False", "Exhausted"),
        (true, suspended) => ("True", suspended.unwrap_or("Ready")),
    };
    let mut conditions = vec![new("Ready", ready.0, ready.1), fact("Accepted"), fact("ResolvedRefs")];
    conditions.extend(suspended.map(|reason| new("Suspended", "True", reason)));
    conditions
}

/// Those of one that was written and does not run.
pub(super) fn unserved(accepted: bool, reason: &str) -> Vec<Condition> {
    let denied = |r#type| new(r#type, "False", reason.to_owned());
    if accepted {
        vec![denied("Ready"), fact("Accepted"), denied("ResolvedRefs")]
    } else {
        vec![denied("Ready"), denied("Accepted")]
    }
}

/// A condition that holds, whose reason is then its own name.
fn fact(r#type: &'static str) -> Condition {
    new(r#type, "True", r#type)
}

fn new(r#type: &'static str, status: &'static str, reason: impl Into<Cow<'static, str>>) -> Condition {
    Condition { r#type, status, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_so_is_said() {
        let said = |conditions: Vec<Condition>| {
            let words = conditions.iter().map(|c| format!("{}={} {}", c.r#type, c.status, c.reason));
            words.collect::<Vec<_>>().join(", ")
        };
        for (ready, wanted, exhausted, expected) in [
            (false, false, false, "Ready=False Pending"),
            (true, false, false, "Ready=True Ready"),
            (true, true, false, "Ready=True Suspended; Suspended=True Suspended"),
            (false, true, false, "Ready=False Pending; Suspended=True Suspended"),
            (true, false, true, "Ready=False Exhausted; Suspended=True Exhausted"),
            (true, true, true, "Ready=True Suspended; Suspended=True Suspended"),
        ] {
            let (first, more) = expected.split_once("; ").unwrap_or((expected, ""));
            let more = if more.is_empty() { String::new() } else { format!(", {more}") };
            let expected = format!("{first}, Accepted=True Accepted, ResolvedRefs=True ResolvedRefs{more}");
            assert_eq!(said(running(ready, wanted, exhausted)), expected);
        }
        assert_eq!(said(unserved(false, "Invalid")), "Ready=False Invalid, Accepted=False Invalid");
        assert_eq!(
            said(unserved(true, "NotFound")),
            "Ready=False NotFound, Accepted=True Accepted, ResolvedRefs=False NotFound"
        );
    }
}
