//! The CRDs in `crds/yaml` and in the chart, and the page in `docs/resources.md` are what the types say; `UPDATE=1` writes them.

use std::{fs, path::Path};

use evhub_crds::{Kind, ProcessorSpec, ProducerSpec, crd, reference, schema};
use serde_json::{Value, json};

#[test]
fn the_files_are_what_the_types_say() {
    for (kind, name) in [(Kind::Producer, "producers.yaml"), (Kind::Processor, "processors.yaml")] {
        let text = crd::yaml(kind);
        check(&format!("yaml/{name}"), &text);
        // A chart can hold nothing that lies outside of it.
        check(&format!("../charts/evhub/files/crds/{name}"), &text);
    }
}

#[test]
fn the_page_is_what_the_types_say() {
    check("../docs/resources.md", &reference::page());
}

#[track_caller]
fn check(file: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, expected).expect("the file can be written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{} is stale: run this test with UPDATE=1", path.display());
}

#[test]
fn the_yaml_reads_back() {
    for kind in Kind::ALL {
        let read: Value = serde_saphyr::from_str(&crd::yaml(kind)).unwrap();
        assert_eq!(read, crd::value(kind));
    }
}

/// A spec that says the least decodes to what an API server would have filled in.
#[test]
fn defaults_of_schema_and_types_agree() {
    let smallest = json!({"producers": [{"name": "orders"}], "target": {"url": "http://h/"}});
    for (kind, spec) in [(Kind::Producer, json!({})), (Kind::Processor, smallest)] {
        let crd = crd::value(kind);
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let mut filled = spec.clone();
        fill(schema, &mut filled);
        assert_eq!(decoded(kind, &spec), filled, "{kind}");
        assert_eq!(decoded(kind, &filled), filled, "{kind}");
    }
}

/// Removing a parent by hand must not escape a rule about its children: every parent of defaults has one.
#[test]
fn parents_of_defaults_have_defaults() {
    for kind in Kind::ALL {
        let crd = crd::value(kind);
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        walk(schema, "spec", false);
    }
}

/// Everything that can be long has a limit.
#[test]
fn strings_and_lists_have_limits() {
    for kind in Kind::ALL {
        let crd = crd::value(kind);
        limited(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "");
    }
}

fn decoded(kind: Kind, spec: &Value) -> Value {
    match kind {
        Kind::Producer => json!(schema::decode::<ProducerSpec>(kind, Some(spec)).expect("a sound spec")),
        Kind::Processor => json!(schema::decode::<ProcessorSpec>(kind, Some(spec)).expect("a sound spec")),
    }
}

/// What an API server does: a missing field with a default gets it; what is there is descended into.
fn fill(schema: &Value, value: &mut Value) {
    for item in value.as_array_mut().into_iter().flatten() {
        fill(&schema["items"], item);
    }
    let Some(fields) = value.as_object_mut() else { return };
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(default) = schema.get("default") {
            fields.entry(name.clone()).or_insert_with(|| default.clone());
        }
        if let Some(value) = fields.get_mut(name) {
            fill(schema, value);
        }
    }
}

fn walk(schema: &Value, path: &str, required: bool) {
    let Some(fields) = schema["properties"].as_object() else { return };
    let needed = fields.values().any(|field| field.get("default").is_some()) && path != "spec";
    assert!(!needed || required || schema.get("default").is_some(), "{path} needs a default");
    for (name, field) in fields {
        let required = schema["required"].as_array().is_some_and(|r| r.contains(&json!(name)));
        walk(field, &format!("{path}.{name}"), required);
    }
}

fn limited(schema: &Value, path: &str) {
    match schema["type"].as_str() {
        Some("string") => {
            let bounded = ["maxLength", "enum", "format"].iter().any(|bound| schema.get(bound).is_some());
            assert!(bounded, "{path} needs maxLength");
        }
        Some("array") => {
            assert!(schema.get("maxItems").is_some(), "{path} needs maxItems");
            limited(&schema["items"], &format!("{path}[]"));
        }
        Some("object") if schema["additionalProperties"].is_object() => {
            assert!(schema.get("maxProperties").is_some(), "{path} needs maxProperties");
            limited(&schema["additionalProperties"], &format!("{path}.*"));
        }
        _ => {}
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        limited(field, &format!("{path}.{name}"));
    }
}
