//! The CRDs as the chart brings them: those of `crds/yaml` in all but labels and annotations, and kept unless somebody says.

use std::{collections::BTreeSet, fs};

use evhub_charts::folder;
use serde_json::Value;

use crate::rendered::{objects_of, of_kind};

const KEEP: &str = "helm.sh/resource-policy";

fn brought(crds: &str) -> Vec<Value> {
    let objects = objects_of(&format!("{{ kafka: {{ bootstrap: 'k:1' }}, crds: {{ {crds} }} }}"));
    of_kind(&objects, "CustomResourceDefinition").into_iter().cloned().collect()
}

#[test]
fn they_are_those_of_the_types() {
    let mut names = BTreeSet::new();
    for brought in brought("") {
        let plural = brought["spec"]["names"]["plural"].as_str().unwrap().to_owned();
        let text = fs::read_to_string(folder().join(format!("../crds/yaml/{plural}.yaml"))).unwrap();
        let expected: Value = serde_saphyr::from_str(&text).unwrap();
        assert!(brought["spec"] == expected["spec"], "{plural}: run `cargo xtask crds`");
        let labels = expected["metadata"]["labels"].as_object().into_iter().flatten();
        for (key, value) in labels {
            assert_eq!(&brought["metadata"]["labels"][key], value, "{plural}");
        }
        names.insert(plural);
    }
    assert_eq!(names, BTreeSet::from(["processors".to_owned(), "producers".to_owned()]));
}

#[test]
fn they_stay_behind_unless_somebody_says_otherwise() {
    for crd in brought("") {
        assert_eq!(crd["metadata"]["annotations"][KEEP], "keep");
    }
    for crd in brought("keep: false, annotations: { a: b }") {
        assert_eq!(crd["metadata"]["annotations"], serde_json::json!({ "a": "b" }));
    }
    assert_eq!(brought("install: false"), Vec::<Value>::new());
}
