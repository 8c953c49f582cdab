//! What the chart renders, before a real API server: every object is taken, no pod offends against Pod Security `restricted`, and
//! who may do what is as docs/kubernetes.md says.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test is no library, and may fail")]

use std::{collections::BTreeSet, fs, path::Path};

use evhub_charts::{
    chart, folder,
    helm::{self, Helm, NAMESPACE},
    program::HELM_4,
};
use evhub_cluster::{ControlPlane, Options};
use serde_json::{Value, json};

/// Of groups that a bare API server does not know, as they are installed beside.
const OTHERS: [&str; 3] = ["cert-manager.io/v1", "gateway.networking.k8s.io/v1", "monitoring.coreos.com/v1"];

#[test]
fn an_api_server_takes_the_chart_and_lets_nobody_do_more() {
    let site = tempfile::Builder::new().prefix("evhub-chart-").tempdir().unwrap();
    let first = vec![folder().join("../crds/yaml")];
    let plane =
        ControlPlane::start(&Options { folder: site.path().join("plane"), first, controllers: false })
            .unwrap();
    for namespace in [NAMESPACE, "shop", "web"] {
        plane.said(&["create", "namespace", namespace]).unwrap();
        let enforce = "pod-security.kubernetes.io/enforce=restricted";
        let warn = "pod-security.kubernetes.io/warn=restricted";
        plane.said(&["label", "namespace", namespace, enforce, warn]).unwrap();
        // As a controller would, of which there is none.
        plane.said(&["create", "serviceaccount", "default", "--namespace", namespace]).unwrap();
    }
    let helm = Helm::of(&HELM_4).unwrap();
    let mut cases = BTreeSet::new();
    for entry in fs::read_dir(folder().join("tests/data")).unwrap() {
        let values = entry.unwrap().path();
        if values.to_str().unwrap().ends_with(".values.yaml") {
            let case = values.file_stem().unwrap().to_str().unwrap().to_owned();
            takes(&plane, &helm, &values, site.path(), &case);
            cases.insert(case);
        }
    }
    assert!(cases.len() >= 6, "{cases:?}");
    rights(&plane, &helm, site.path());
}

/// The objects of a file of values that this API server knows, as one list.
fn list(helm: &Helm, values: &Path, file: &Path) -> usize {
    let rendered = helm.template(&chart(), values).unwrap().unwrap();
    let known = |object: &Value| !OTHERS.contains(&object["apiVersion"].as_str().unwrap());
    let objects: Vec<Value> = helm::objects(&rendered).unwrap().into_iter().filter(known).collect();
    fs::write(file, json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string()).unwrap();
    objects.len()
}

/// It takes them all, as Helm 4 sends them, and warns of none.
fn takes(plane: &ControlPlane, helm: &Helm, values: &Path, site: &Path, case: &str) {
    let file = site.join("list.json");
    let count = list(helm, values, &file);
    let words =
        ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", file.to_str().unwrap()];
    let output = plane.kubectl(&words).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && problems.is_empty(), "{case}: {problems}");
    assert_eq!(said.lines().count(), count, "{case}: {said}");
}

/// The roles for real: what each may, and what it may not.
fn rights(plane: &ControlPlane, helm: &Helm, site: &Path) {
    let file = site.join("list.json");
    list(helm, &folder().join("tests/data/minimal.values.yaml"), &file);
    plane.said(&["apply", "--server-side", "-f", file.to_str().unwrap()]).unwrap();
    let who = |component: &str| format!("--as=system:serviceaccount:{NAMESPACE}:hub-evhub-{component}");
    let (operator, dataplane) = (who("operator"), who("dataplane"));
    let may = |who: &str, words: &[&str]| {
        let words = [&["auth", "can-i", who], words].concat();
        String::from_utf8_lossy(&plane.kubectl(&words).unwrap().stdout).trim() == "yes"
    };
    for words in [
        &["watch", "producers.evhub.dev", "-A"][..],
        &["patch", "processors.evhub.dev", "--subresource=status", "-n", "shop"],
        &["list", "services", "-A"],
        &["create", "events.events.k8s.io", "-n", "shop"],
        &["create", "leases.coordination.k8s.io", "-n", NAMESPACE],
        &["update", "leases.coordination.k8s.io/hub-evhub-operator", "-n", NAMESPACE],
    ] {
        assert!(may(&operator, words), "the operator may not {words:?}");
    }
    for words in [
        &["update", "producers.evhub.dev", "-n", "shop"][..],
        &["delete", "processors.evhub.dev", "-n", "shop"],
        &["get", "secrets", "-n", "shop"],
        &["list", "secrets", "-n", NAMESPACE],
        &["update", "leases.coordination.k8s.io/another", "-n", NAMESPACE],
        &["create", "pods", "-n", NAMESPACE],
    ] {
        assert!(!may(&operator, words), "the operator may {words:?}");
    }
    for words in [&["list", "producers.evhub.dev", "-n", "shop"][..], &["get", "configmaps", "-n", NAMESPACE]]
    {
        assert!(!may(&dataplane, words), "the dataplane may {words:?}");
    }
}
