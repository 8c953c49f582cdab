//! Fields that do not exist, each with what its author may have meant. Pure.

use serde_json::Value;

use super::{Problem, Sort, of, shown};
use crate::Kind;

/// A name of at least so many bytes is taken for a typing error of a field that has its place elsewhere.
const TYPED: usize = 8;

/// The fields of Kubernetes' own metadata, which no CRD describes.
const METADATA: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// What tells who publishes.
const IDENTITY: &str = "the authentication of publishers";

/// Fields that are decided on and not built: whoever has read of one has made no typing error.
const LATER: [(Kind, &str, &str); 5] = [
    (Kind::Producer, "spec.access.publish", IDENTITY),
    (Kind::Producer, "spec.access.publishers", IDENTITY),
    (Kind::Producer, "spec.eventbus", "Eventbus' surface"),
    (Kind::Processor, "spec.stages", "the stages of a Processor"),
    (Kind::Processor, "spec.target.signing", "Secrets, in a cluster"),
];

/// The fields of a whole document that do not exist, each with the one that was meant, or those that there are.
pub fn unknown_fields(kind: Kind, document: &Value) -> Vec<Problem> {
    let mut search = Search { kind, problems: Vec::new() };
    search.look(of(kind), "", document);
    if let Some(metadata) = document.get("metadata").and_then(Value::as_object) {
        for field in metadata.keys().filter(|field| !METADATA.contains(&field.as_str())) {
            search.found("metadata", field, &METADATA);
        }
    }
    search.problems
}

struct Search {
    kind: Kind,
    problems: Vec<Problem>,
}

impl Search {
    fn look(&mut self, schema: &Value, path: &str, value: &Value) {
        match value {
            Value::Object(fields) => {
                let Some(known) = schema["properties"].as_object() else { return };
                for (name, value) in fields {
                    if let Some(schema) = known.get(name) {
                        self.look(schema, &joined(path, name), value);
                    } else {
                        let known: Vec<&str> = known.keys().map(String::as_str).collect();
                        self.found(path, name, &known);
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.look(&schema["items"], &format!("{path}[{index}]"), item);
                }
            }
            _ => {}
        }
    }

    fn found(&mut self, parent: &str, name: &str, known: &[&str]) {
        let path = joined(parent, name);
        if let Some(what) = later(self.kind, &path) {
            let message =
                format!("{name} comes with {what}, which this version does not have yet: leave it out");
            self.problems.push(Problem { path, sort: Sort::UnknownField, message });
            return;
        }
        let meant = match nearest(name, known) {
            Some(near) => format!("did you mean {near}?"),
            None => match place(of(self.kind), name) {
                Some(place) => format!("did you mean {place}?"),
                None => format!("there are {}", known.join(", ")),
            },
        };
        let message = format!("unknown field {}; {meant}", shown(&Value::String(name.into())));
        self.problems.push(Problem { path, sort: Sort::UnknownField, message });
    }
}

/// What a field of this path comes with, if it is one that is still to come.
fn later(kind: Kind, path: &str) -> Option<&'static str> {
    // Of every entry of a list alike.
    let plain: String = path.chars().filter(|c| !c.is_ascii_digit()).collect();
    let meant = |(of, field, _): &&(Kind, &str, &str)| *of == kind && *field == plain;
    LATER.iter().find(meant).map(|(.., what)| *what)
}

/// The one that a typing error makes of it: no more than a third of it is wrong.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let wanted = name.to_ascii_lowercase();
    let far = |known: &&str| strsim::osa_distance(&known.to_ascii_lowercase(), &wanted);
    let near = known.iter().copied().min_by_key(far)?;
    (far(&near) <= wanted.chars().count().div_ceil(3)).then_some(near)
}

/// Where a field of this name is, or one that a typing error makes of it, if anywhere: the place that is nearest to the top.
fn place(schema: &Value, name: &str) -> Option<String> {
    let same = |field: &str| field.eq_ignore_ascii_case(name);
    // Among all fields of all places, a short name is near to something by chance.
    let near = |field: &str| name.len() >= TYPED && nearest(name, &[field]).is_some();
    place_of(schema, &same).or_else(|| place_of(schema, &near))
}

fn place_of(schema: &Value, is_meant: &dyn Fn(&str) -> bool) -> Option<String> {
    let mut level = vec![(String::new(), schema)];
    while !level.is_empty() {
        let mut below = Vec::new();
        for (path, schema) in level {
            let item = if schema["items"].is_object() { &schema["items"] } else { schema };
            let path = if std::ptr::eq(item, schema) { path } else { path + "[]" };
            for (field, schema) in item["properties"].as_object().into_iter().flatten() {
                // What the hub says of a resource is not for its author to write.
                if path.is_empty() && field == "status" {
                    continue;
                }
                let path = joined(&path, field);
                if is_meant(field) {
                    return Some(path);
                }
                below.push((path, schema));
            }
        }
        level = below;
    }
    None
}

fn joined(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.into() } else { format!("{parent}.{name}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_that_is_to_come_is_no_typing_error() {
        let document = json!({ "spec": { "target": { "headers": [{}, { "secret": {} }], "signing": {} }, "eventbus": {} } });
        let said = |kind| -> Vec<String> {
            let problems = unknown_fields(kind, &document).into_iter();
            problems.map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
        };
        assert_eq!(
            said(Kind::Processor)[1],
            "spec.target.signing: signing comes with Secrets, in a cluster, which this version does not have \
             yet: leave it out"
        );
        assert_eq!(
            said(Kind::Producer)[0],
            "spec.eventbus: eventbus comes with Eventbus' surface, which this version does not have yet: leave it out"
        );
    }

    #[test]
    fn a_field_that_does_not_exist_leads_to_one_that_does() {
        let document = json!({
            "spec": {
                "topics": {},
                "delivery": { "maxAttemps": 3, "retry": { "onExhausted": "Suspend", "maxAttemps": 3, "zzz": 1 } },
                "target": { "maxinflight": 3, "headers": [{ "nmae": "a" }] },
            },
            "suspend": true,
        });
        let messages: Vec<String> = unknown_fields(Kind::Processor, &document)
            .into_iter()
            .map(|problem| format!("{}: {}", problem.path, problem.message))
            .collect();
        assert_eq!(
            messages,
            [
                "spec.delivery.maxAttemps: unknown field \"maxAttemps\"; did you mean spec.delivery.retry.maxAttempts?",
                "spec.delivery.retry.maxAttemps: unknown field \"maxAttemps\"; did you mean maxAttempts?",
                "spec.delivery.retry.onExhausted: unknown field \"onExhausted\"; did you mean spec.delivery.onExhausted?",
                "spec.delivery.retry.zzz: unknown field \"zzz\"; there are backoff, maxAge, maxAttempts, retryAfter, retryOn",
                "spec.target.headers[0].nmae: unknown field \"nmae\"; did you mean name?",
                "spec.target.maxinflight: unknown field \"maxinflight\"; did you mean spec.delivery.maxInFlight?",
                "spec.topics: unknown field \"topics\"; there are delayKey, delivery, evhub, filter, producers, startFrom, suspend, target",
                "suspend: unknown field \"suspend\"; did you mean spec.suspend?",
            ]
        );
    }
}
