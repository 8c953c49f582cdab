//! Checks a document against a kind's schema, as an API server does, with its words and the value that was found; where its
//! words are a pattern, with better ones.
//!
//! The schema is the one in the CRD, so that the two can not disagree. Rules that a schema cannot say are in
//! [`crate::rules`].

mod unknown;
mod words;

use std::sync::LazyLock;

use regex_lite::Regex;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

pub use self::unknown::unknown_fields;
use crate::{
    Duration, Instant, Kind, Port, Quantity, StartFrom, crd, duration, instant, port, quantity, start,
};

/// Something wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where: `spec.producers[0].name`.
    pub path: String,
    /// Of what sort.
    pub sort: Sort,
    /// What is wrong, and what was found.
    pub message: String,
}

/// Sorts of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// A value is missing, of the wrong type or out of range.
    Invalid,
    /// A word that the field does not know.
    UnknownValue,
    /// A field that does not exist.
    UnknownField,
}

/// Decodes a spec, or says all that is wrong with it. Unknown fields are no problem here.
pub fn decode<T: DeserializeOwned>(kind: Kind, spec: Option<&Value>) -> Result<T, Vec<Problem>> {
    let Some(spec) = spec.filter(|spec| !spec.is_null()) else {
        return Err(vec![invalid("spec", "is required".into())]);
    };
    let schema = &of(kind)["properties"]["spec"];
    let mut problems = Vec::new();
    check(schema, "spec", spec, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    // The schema comes from the types, so that this fails only where a type is stricter than its schema.
    serde_json::from_value(without_nulls(schema, spec))
        .map_err(|error| vec![invalid("spec", error.to_string())])
}

/// Makes the schemas now, which takes some milliseconds: who starts has something else to do meanwhile.
pub fn prepare() {
    of(Kind::Producer);
}

fn of(kind: Kind) -> &'static Value {
    static SCHEMAS: LazyLock<[Value; 2]> = LazyLock::new(|| {
        Kind::ALL.map(|kind| {
            let mut schema = crd::value(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take();
            for field in ["apiVersion", "kind", "metadata"] {
                schema["properties"][field] = Value::Object(Map::new());
            }
            schema
        })
    });
    match kind {
        Kind::Producer => &SCHEMAS[0],
        Kind::Processor => &SCHEMAS[1],
    }
}

// === values ===

fn check(schema: &Value, path: &str, value: &Value, problems: &mut Vec<Problem>) {
    if value.is_null() && schema.get("default").is_some() {
        return;
    }
    if let Some(problem) = mistyped(schema, path, value) {
        problems.push(problem);
        return;
    }
    let before = problems.len();
    match value {
        Value::Object(fields) => object(schema, path, fields, problems),
        Value::Array(items) => list(schema, path, items, problems),
        Value::String(text) => string(schema, path, text, problems),
        Value::Number(_) => number(schema, path, value, problems),
        Value::Bool(_) | Value::Null => {}
    }
    if problems.len() == before {
        problems.extend(typed(schema, path, value));
    }
}

/// What only the types behind some of the patterns can tell: a size with a fraction of a byte, for one.
fn typed(schema: &Value, path: &str, value: &Value) -> Option<Problem> {
    let error = match schema["pattern"].as_str() {
        Some(duration::PATTERN) => Duration::deserialize(value).err()?,
        Some(quantity::PATTERN) => Quantity::deserialize(value).err()?,
        Some(port::PATTERN) => Port::deserialize(value).err()?,
        Some(instant::PATTERN) => Instant::deserialize(value).err()?,
        Some(start::PATTERN) => StartFrom::deserialize(value).err()?,
        _ => return None,
    };
    Some(invalid(path, format!("{error} (got {})", shown(value))))
}

fn mistyped(schema: &Value, path: &str, value: &Value) -> Option<Problem> {
    let int_or_string = schema["x-kubernetes-int-or-string"] == true;
    let wanted = if int_or_string { "integer or string" } else { schema["type"].as_str()? };
    let fits = match value {
        Value::Null => false,
        Value::Bool(_) => wanted == "boolean",
        Value::Number(number) => (int_or_string || wanted == "integer") && !number.is_f64(),
        Value::String(_) => int_or_string || wanted == "string",
        Value::Array(_) => wanted == "array",
        Value::Object(_) => wanted == "object",
    };
    (!fits).then(|| {
        let hint = match value {
            Value::Bool(_) => "; unquoted, on, off, yes, no, y and n are booleans: write quotes",
            // A status, for one.
            Value::Number(number) if matches(schema, &number.to_string()) => "; write quotes",
            Value::Number(_) if wanted == "string" && schema.get("pattern").is_none() => "; write quotes",
            _ => "",
        };
        let words = schema["pattern"].as_str().and_then(words::of);
        let wanted = words.map_or_else(|| format!("of type {wanted}"), str::to_owned);
        invalid(path, format!("must be {wanted} (got {}{hint})", shown(value)))
    })
}

/// Whether a text is of the form that the schema states, if it states one.
fn matches(schema: &Value, text: &str) -> bool {
    schema["pattern"]
        .as_str()
        .is_some_and(|pattern| Regex::new(pattern).is_ok_and(|regex| regex.is_match(text)))
}

fn object(schema: &Value, path: &str, fields: &Map<String, Value>, problems: &mut Vec<Problem>) {
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            problems.push(invalid(&format!("{path}.{name}"), "is required".into()));
        }
    }
    if let Some(max) = schema["maxProperties"].as_u64().filter(|max| fields.len() as u64 > *max) {
        problems.push(invalid(path, format!("must have at most {max} items (got {})", fields.len())));
        return;
    }
    for (name, value) in fields {
        // A map of anybody's names says of all its values at once what they are.
        let any = schema.get("additionalProperties").filter(|any| any.is_object());
        if let Some(schema) = schema["properties"].get(name).or(any) {
            check(schema, &format!("{path}.{}", short(name)), value, problems);
        }
    }
}

fn list(schema: &Value, path: &str, items: &[Value], problems: &mut Vec<Problem>) {
    if let Some(min) = schema["minItems"].as_u64().filter(|min| (items.len() as u64) < *min) {
        problems.push(invalid(path, format!("should have at least {min} items (got {})", items.len())));
    }
    if let Some(max) = schema["maxItems"].as_u64().filter(|max| items.len() as u64 > *max) {
        problems.push(invalid(path, format!("should have at most {max} items (got {})", items.len())));
        return;
    }
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{index}]");
        check(&schema["items"], &path, item, problems);
        if schema["x-kubernetes-list-type"] == "set" && items[..index].contains(item) {
            problems.push(invalid(&path, format!("duplicate value: {}", shown(item))));
        }
        let keys = schema["x-kubernetes-list-map-keys"].as_array().map(Vec::as_slice).unwrap_or_default();
        let keys: Vec<&str> = keys.iter().filter_map(Value::as_str).collect();
        let key_of = |item: &Value| -> Option<Vec<Value>> {
            let part =
                |key: &&str| item.get(key).or_else(|| schema["items"]["properties"][key].get("default"));
            keys.iter().map(|key| part(key).cloned()).collect()
        };
        if let Some(key) = key_of(item).filter(|key| !key.is_empty())
            && items[..index].iter().any(|other| key_of(other).as_ref() == Some(&key))
        {
            let named = keys.iter().zip(&key).map(|(name, value)| format!("{name} {}", shown(value)));
            let message = format!("duplicate value: {}", named.collect::<Vec<_>>().join(" "));
            problems.push(invalid(&path, message));
        }
    }
}

fn string(schema: &Value, path: &str, text: &str, problems: &mut Vec<Problem>) {
    let got = || shown(&Value::String(text.into()));
    let length = text.chars().count() as u64;
    if let Some(words) = schema["enum"].as_array()
        && !words.iter().any(|word| word == text)
    {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        let message = format!("unsupported value: {} (supported: {})", got(), words.join(", "));
        problems.push(Problem { path: path.into(), sort: Sort::UnknownValue, message });
    }
    if let Some(min) = schema["minLength"].as_u64().filter(|min| length < *min) {
        problems.push(invalid(path, format!("should be at least {min} chars long (got {length})")));
    }
    if let Some(max) = schema["maxLength"].as_u64().filter(|max| length > *max) {
        problems.push(invalid(path, format!("may not be more than {max} chars long (got {length})")));
        return;
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && !matches(schema, text)
    {
        let wanted =
            words::of(pattern).map_or_else(|| format!("a text of the form {pattern}"), str::to_owned);
        problems.push(invalid(path, format!("must be {wanted} (got {})", got())));
    }
}

fn number(schema: &Value, path: &str, value: &Value, problems: &mut Vec<Problem>) {
    let number = value.as_i64().map_or(i128::from(u64::MAX), i128::from);
    let limit = |name: &str| schema[name].as_i64().map(i128::from);
    if let Some(min) = limit("minimum").filter(|min| number < *min) {
        problems.push(invalid(path, format!("should be greater than or equal to {min} (got {value})")));
    }
    if let Some(max) = limit("maximum").filter(|max| number > *max) {
        problems.push(invalid(path, format!("should be less than or equal to {max} (got {value})")));
    }
}

fn invalid(path: &str, message: String) -> Problem {
    Problem { path: path.into(), sort: Sort::Invalid, message }
}

/// At most 64 bytes of what was found, so that nobody's document ends up whole in a condition.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Array(_) => return "a list".into(),
        Value::Object(_) => return "an object".into(),
        Value::String(text) => Value::String(without_password(text)).to_string(),
        other => other.to_string(),
    };
    match text.char_indices().find(|(at, c)| at + c.len_utf8() > 64) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A name that anybody may give, for a path.
fn short(name: &str) -> String {
    name.chars().take(64).collect()
}

/// What stands before the `@` of a URL is a secret.
fn without_password(text: &str) -> String {
    let host = |rest: &str| rest.split(['/', '?', '#']).next().map_or(0, str::len);
    match text.split_once("://").map(|(scheme, rest)| (scheme, rest, rest[..host(rest)].rfind('@'))) {
        Some((scheme, rest, Some(at))) => format!("{scheme}://…{}", &rest[at..]),
        _ => text.into(),
    }
}

/// An API server drops a null where there is a default; a null elsewhere has been refused. What has no schema stays as it is.
fn without_nulls(schema: &Value, value: &Value) -> Value {
    match value {
        _ if schema["x-kubernetes-preserve-unknown-fields"] == true => value.clone(),
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(&schema["properties"][name], value)))
            .collect(),
        Value::Array(items) => items.iter().map(|item| without_nulls(&schema["items"], item)).collect(),
        other => other.clone(),
    }
}
