//! Fields that do not exist, each with what its author may have meant. Pure.

use serde_json::Value;

use super::{Problem, Sort, of, shown};
use crate::Kind;

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
        let meant = match nearest(name, known) {
            Some(near) => format!("did you mean {near}?"),
            None => match place(of(self.kind), name) {
                Some(place) => format!("did you mean {place}?"),
                None => format!("there are {}", known.join(", ")),
            },
        };
        let message = format!("unknown field {}; {meant}", shown(&Value::String(name.into())));
        self.problems.push(Problem { path: joined(parent, name), sort: Sort::UnknownField, message });
    }
}

/// The one that a typing error makes of it: no more than a third of it is wrong.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let wanted = name.to_ascii_lowercase();
    let far = |known: &&str| strsim::osa_distance(&known.to_ascii_lowercase(), &wanted);
    let near = known.iter().copied().min_by_key(far)?;
    (far(&near) <= wanted.chars().count().div_ceil(3)).then_some(near)
}

/// Where a field of this name is, if anywhere: the place that is nearest to the top.
fn place(schema: &Value, name: &str) -> Option<String> {
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
                if field.eq_ignore_ascii_case(name) {
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
    fn a_field_that_does_not_exist_leads_to_one_that_does() {
        let document = json!({
            "spec": {
                "topics": {},
                "delivery": { "retry": { "onExhausted": "Suspend", "maxAttemps": 3, "zzz": 1 } },
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
                "spec.delivery.retry.maxAttemps: unknown field \"maxAttemps\"; did you mean maxAttempts?",
                "spec.delivery.retry.onExhausted: unknown field \"onExhausted\"; did you mean spec.delivery.onExhausted?",
                "spec.delivery.retry.zzz: unknown field \"zzz\"; there are backoff, maxAge, maxAttempts, retryAfter, retryOn",
                "spec.target.headers[0].nmae: unknown field \"nmae\"; did you mean name?",
                "spec.target.maxinflight: unknown field \"maxinflight\"; did you mean spec.delivery.maxInFlight?",
                "spec.topics: unknown field \"topics\"; there are delayKey, delivery, filter, producers, startFrom, suspend, target",
                "suspend: unknown field \"suspend\"; did you mean spec.suspend?",
            ]
        );
    }
}
