//! C-02: what was rejected appears nowhere.

use super::{
    Class, Verdict,
    index::{Index, anomaly},
};
use crate::history::Outcome;

pub(super) fn check(index: &Index<'_>) -> Verdict {
    if !index.scanned {
        return Verdict::Unknown("the log was not read".to_owned());
    }
    let mut found = Vec::new();
    for op in index.ops.iter().filter(|op| matches!(op.outcome, Some(Outcome::Rejected(_)))) {
        if let Some(row) = index.places.get(op.id).and_then(|place| index.log.get(place)) {
            let text = format!("{} was rejected and lies in the log", op.id);
            found.push(anomaly(Class::AbortedWrite, text, op.entries().chain([row.entry])));
        }
        if let Some(attempt) = index.attempts.iter().find(|attempt| attempt.id == op.id) {
            let text = format!("{} was rejected and reached {}", op.id, attempt.processor);
            found.push(anomaly(Class::AbortedWrite, text, op.entries().chain(attempt.entries())));
        }
    }
    Verdict::of(found)
}
