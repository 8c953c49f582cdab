//! The two kinds as a page for people: every field of a spec with its form, its default and what it means, taken from the
//! schema, so that the page cannot say other than what is enforced. Pure.

use std::fmt::Write as _;

use serde_json::Value;

use crate::{Kind, crd};

/// The page.
pub fn page() -> String {
    let mut page = String::from(
        "# Producer and Processor, field by field\n\n\
         Generated from the types in crds/src; do not edit. Durations are written `250ms`, `30s`, `1h30m`; sizes `1Mi` or in \
         bytes. What a field may not say is refused: by the API server, by `evhub check` and by `evhub dev`, in the same words.\n",
    );
    for kind in Kind::ALL {
        let crd = crd::value(kind);
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let _ = write!(page, "\n## {kind}\n\n{}\n", text(schema));
        fields(&mut page, &schema["properties"]["spec"], "");
    }
    page
}

fn fields(page: &mut String, schema: &Value, parent: &str) {
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if parent.is_empty() { name.clone() } else { format!("{parent}.{name}") };
        let needed = required.iter().any(|one| one == name);
        let _ = write!(page, "\n- **`{path}`** ({}): {}", form(field, needed), text(field));
        rules(page, field);
        page.push('\n');
        fields(page, field, &path);
        let items = &field["items"];
        if items.get("properties").is_some() {
            fields(page, items, &format!("{path}[]"));
        }
    }
}

/// Its type, its limits, and what it is when it is left out.
fn form(field: &Value, needed: bool) -> String {
    let mut parts = vec![kind_of(field)];
    if let (Some(min), Some(max)) = (field["minimum"].as_i64(), field["maximum"].as_i64()) {
        parts.push(format!("{min} to {max}"));
    }
    if let Some(max) = field["maxItems"].as_u64() {
        parts.push(format!("at most {max}"));
    }
    match &field["default"] {
        _ if needed => parts.push("required".to_owned()),
        Value::Null => parts.push("optional".to_owned()),
        // The defaults of its own fields say it all.
        Value::Object(_) => {}
        default => parts.push(format!("default `{}`", default.to_string().replace('"', ""))),
    }
    parts.join(", ")
}

fn kind_of(field: &Value) -> String {
    if let Some(words) = field["enum"].as_array() {
        let words: Vec<String> =
            words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`")).collect();
        return words.join(" or ");
    }
    match (field["type"].as_str(), field["example"].as_str()) {
        (None, _) if field["x-kubernetes-preserve-unknown-fields"] == true => "any value".to_owned(),
        (None, _) => "size".to_owned(),
        (Some("string"), Some("1h30m")) => "duration".to_owned(),
        (Some("array"), _) => "list".to_owned(),
        (Some(other), _) => other.to_owned(),
    }
}

/// What it means, on one line.
fn text(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Rules between fields, in the words in which they are refused.
fn rules(page: &mut String, field: &Value) {
    if field["type"] != "object" {
        return;
    }
    for rule in field["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let _ = write!(page, " Rule: {}.", rule["message"].as_str().unwrap_or_default());
    }
}
