//! What the annotations of a resource ask of the hub. Pure.
//!
//! | annotation | value | what it asks |
//! |---|---|---|
//! | `evhub.dev/allow-order-break` | `"true"` | of a Producer: more partitions, although keys then move and order breaks once |
//! | `evhub.dev/resume` | an RFC 3339 instant | of a Processor that suspended itself: what was held before it gets one more attempt |
//! | `evhub.dev/pause-reconciliation` | `"true"` | of either: what was accepted last goes on, and edits wait |
//!
//! Others that begin with `evhub.dev/` are most likely typing errors, and said to be not obeyed; nobody's resource is refused
//! for one.

use evhub_crds::{Kind, Reason, StartFrom};
use serde_json::{Map, Value};

use crate::verdict::Finding;

/// What a resource's annotations ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// The author has been warned that growing reorders keys, and wants it.
    pub order_break: bool,
    /// What was held before this instant is to be attempted once more; in milliseconds since the Unix epoch.
    pub resume: Option<i64>,
    /// What was accepted last is to go on, whatever is written now.
    pub pause: bool,
    /// What is not obeyed of them, and why: the annotation and a sentence.
    pub ignored: Vec<(String, String)>,
}

/// Heads all annotations of ours.
const PREFIX: &str = "evhub.dev/";
const RESUME: &str = "evhub.dev/resume";
const PAUSE: &str = "evhub.dev/pause-reconciliation";
const TRUE: &str = "true";
/// As many as a verdict has room for.
const MOST_IGNORED: usize = 8;

/// The annotation that accepts that order breaks once.
pub(crate) const ALLOW_ORDER_BREAK: &str = "evhub.dev/allow-order-break";

impl Asked {
    /// Reads the annotations of a document of this kind.
    pub fn of(kind: Kind, document: &Value) -> Self {
        let mut asked = Self::default();
        let annotations = document.pointer("/metadata/annotations").and_then(Value::as_object);
        let ours = |all: &Map<String, Value>| -> Vec<(String, Value)> {
            let ours = all.iter().filter(|(name, _)| name.starts_with(PREFIX));
            ours.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        for (name, value) in annotations.map(ours).unwrap_or_default() {
            if let Err(why) = asked.set(kind, &name, &value)
                && asked.ignored.len() < MOST_IGNORED
            {
                asked.ignored.push((name.chars().take(128).collect(), why));
            }
        }
        asked
    }

    fn set(&mut self, kind: Kind, name: &str, value: &Value) -> Result<(), String> {
        match (name, kind) {
            (ALLOW_ORDER_BREAK, Kind::Producer) => wanted(value, &mut self.order_break),
            (PAUSE, _) => wanted(value, &mut self.pause),
            (RESUME, Kind::Processor) => {
                let Some(Ok(StartFrom::At(instant))) = value.as_str().map(str::parse) else {
                    return Err(
                        "must be an instant such as 2026-01-31T08:00:00Z; nothing is resumed".to_owned()
                    );
                };
                self.resume = Some(instant.millis());
                Ok(())
            }
            (ALLOW_ORDER_BREAK, Kind::Processor) => Err("belongs on a Producer".to_owned()),
            (RESUME, Kind::Producer) => Err("belongs on a Processor".to_owned()),
            _ => Err(format!(
                "is no annotation of evhub's; there are {ALLOW_ORDER_BREAK}, {PAUSE} and {RESUME}"
            )),
        }
    }

    /// What is not obeyed of them, for the resource's author.
    pub(crate) fn findings(&self) -> impl Iterator<Item = Finding> {
        let pause = self.pause.then(|| {
            let message = "it runs as it was accepted last, and edits wait, until this annotation is removed; one that was \
                           never accepted runs as it is written first";
            finding(PAUSE, message.to_owned())
        });
        self.ignored.iter().map(|(name, why)| finding(name, why.clone())).chain(pause)
    }
}

/// What can be asked for or not, is or is not.
fn wanted(value: &Value, asked: &mut bool) -> Result<(), String> {
    *asked = value == TRUE;
    match value.as_str() {
        Some(TRUE | "false") => Ok(()),
        _ => Err("must be \"true\" or \"false\", in quotes; it counts as \"false\"".to_owned()),
    }
}

fn finding(name: &str, message: String) -> Finding {
    Finding::new(Reason::NotObeyed, Some(&format!("metadata.annotations[{name}]")), message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(kind: Kind, annotations: &Value, expected: &Asked, ignored: &[&str]) {
        let found = Asked::of(kind, &json!({ "metadata": { "annotations": annotations } }));
        let names: Vec<&str> = found.ignored.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ignored, "{annotations}");
        assert_eq!(&Asked { ignored: Vec::new(), ..found }, expected, "{annotations}");
    }

    #[test]
    fn what_is_asked_is_read_and_what_is_not_understood_is_told() {
        let none = Asked::default();
        let order_break = Asked { order_break: true, ..none.clone() };
        let pause = Asked { pause: true, ..none.clone() };
        let resume = Asked { resume: Some(1_769_846_400_000), ..none.clone() };
        check(Kind::Producer, &json!({ "other/thing": 1 }), &none, &[]);
        check(Kind::Producer, &json!({ ALLOW_ORDER_BREAK: "true" }), &order_break, &[]);
        check(Kind::Producer, &json!({ ALLOW_ORDER_BREAK: "false" }), &none, &[]);
        check(Kind::Producer, &json!({ ALLOW_ORDER_BREAK: true }), &none, &[ALLOW_ORDER_BREAK]);
        check(Kind::Processor, &json!({ ALLOW_ORDER_BREAK: "true" }), &none, &[ALLOW_ORDER_BREAK]);
        check(Kind::Processor, &json!({ RESUME: "2026-01-31T08:00:00Z" }), &resume, &[]);
        check(Kind::Processor, &json!({ RESUME: "2026-01-31T09:00:00+01:00" }), &resume, &[]);
        check(Kind::Processor, &json!({ RESUME: "now" }), &none, &[RESUME]);
        check(Kind::Producer, &json!({ RESUME: "2026-01-31T08:00:00Z" }), &none, &[RESUME]);
        for kind in Kind::ALL {
            check(kind, &json!({ PAUSE: "true" }), &pause, &[]);
            check(kind, &json!({ PAUSE: "yes" }), &none, &[PAUSE]);
            check(kind, &json!({ "evhub.dev/resum": "x" }), &none, &["evhub.dev/resum"]);
        }
        check(Kind::Producer, &json!("none"), &none, &[]);
    }
}
