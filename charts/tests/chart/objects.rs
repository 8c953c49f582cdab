//! What holds for every object, pod and role, whatever the values.

use std::collections::BTreeSet;

use evhub_charts::helm::NAMESPACE;
use serde_json::{Value, json};

use crate::rendered::{cases, name, objects, objects_of, of_kind, texts};

const CLUSTER_WIDE: [&str; 3] = ["ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"];

/// Every object of every case, with the case's name.
fn everything() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (case, values) in cases() {
        all.extend(objects(&values).into_iter().map(|object| (case.clone(), object)));
    }
    all
}

fn pods() -> Vec<(String, Value)> {
    let spec = |(case, object): (String, Value)| {
        let spec =
            if object["kind"] == "Pod" { &object["spec"] } else { &object["spec"]["template"]["spec"] };
        spec["containers"].is_array().then(|| (format!("{case}: {}", name(&object)), spec.clone()))
    };
    everything().into_iter().filter_map(spec).collect()
}

#[test]
fn every_object_has_its_labels_and_its_place_once() {
    let mut seen = BTreeSet::new();
    for (case, object) in everything() {
        let what = format!("{case}: {}", name(&object));
        if name(&object) == "ConfigMap hub-more" {
            continue;
        }
        for label in ["name", "instance", "version", "component", "part-of", "managed-by"] {
            let labels = &object["metadata"]["labels"];
            assert!(labels[format!("app.kubernetes.io/{label}")].is_string(), "{what} has no {label}");
        }
        let is_cluster_wide = CLUSTER_WIDE.contains(&object["kind"].as_str().unwrap());
        assert_eq!(object["metadata"]["namespace"].is_string(), !is_cluster_wide, "{what}: a namespace");
        let place = object["metadata"]["namespace"].as_str().unwrap_or_default();
        assert!(seen.insert(format!("{what} in {place}")), "{what} is there twice");
        assert!(name(&object).len() < 80, "{what}");
    }
}

/// What the Pod Security Standard `restricted` asks, and what it does not ask but one expects.
#[test]
fn every_pod_is_restricted() {
    let pods = pods();
    assert!(pods.len() > 12, "{}", pods.len());
    for (what, pod) in pods {
        let of_pod = &pod["securityContext"];
        assert_eq!(of_pod["runAsNonRoot"], true, "{what}");
        assert_eq!(of_pod["seccompProfile"]["type"], "RuntimeDefault", "{what}");
        assert_eq!(
            pod["automountServiceAccountToken"],
            what.ends_with("-operator"),
            "{what}: only the operator has a token"
        );
        for absent in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod[absent].is_null(), "{what}: {absent}");
        }
        for volume in pod["volumes"].as_array().into_iter().flatten() {
            assert!(volume["hostPath"].is_null(), "{what}");
        }
        for container in pod["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            let expected = json!({ "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] } });
            assert_eq!(context, &expected, "{what}");
            assert!(container["resources"]["limits"]["memory"].is_string(), "{what}: a limit of memory");
            assert!(container["resources"]["requests"]["cpu"].is_string(), "{what}: a request of CPU");
            let image = container["image"].as_str().unwrap();
            assert!(!image.ends_with(":latest") && image.contains([':', '@']), "{what}: {image}");
        }
    }
}

#[test]
fn every_deployment_is_probed_and_selected_for_good() {
    for (case, object) in everything() {
        if object["kind"] != "Deployment" {
            continue;
        }
        let what = format!("{case}: {}", name(&object));
        let selector = object["spec"]["selector"]["matchLabels"].as_object().unwrap();
        assert_eq!(selector.len(), 3, "{what}: labels that an upgrade changes may not select");
        let labels = &object["spec"]["template"]["metadata"]["labels"];
        assert!(selector.iter().all(|(key, value)| &labels[key] == value), "{what}");
        let pod = &object["spec"]["template"]["spec"];
        assert!(pod["topologySpreadConstraints"].is_array(), "{what}: it spreads");
        let container = &pod["containers"][0];
        for (probe, path) in
            [("livenessProbe", "/livez"), ("readinessProbe", "/readyz"), ("startupProbe", "/livez")]
        {
            assert_eq!(container[probe]["httpGet"]["path"], path, "{what}");
        }
        let ports: Vec<&str> =
            container["ports"].as_array().unwrap().iter().filter_map(|port| port["name"].as_str()).collect();
        assert!(ports.contains(&"admin"), "{what}");
    }
}

#[test]
fn attempts_under_way_have_their_time_before_a_pod_is_killed() {
    for (what, pod) in pods() {
        if what.ends_with("-dataplane") {
            let pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
            let whole = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
            // 25 s for attempts, 2 s for spans, 1 s for brokers.
            assert!(whole >= pause + 28, "{what}");
        }
    }
}

#[test]
fn no_role_says_any_and_none_lists_secrets() {
    let mut roles = 0;
    for (case, object) in everything() {
        let what = format!("{case}: {}", name(&object));
        for rule in object["rules"].as_array().into_iter().flatten() {
            roles += 1;
            for part in ["apiGroups", "resources", "verbs"] {
                assert!(!texts(&rule[part]).contains(&"*"), "{what}");
            }
            if texts(&rule["resources"]).contains(&"secrets") {
                let named = rule["resourceNames"].is_array();
                let verbs = texts(&rule["verbs"]);
                assert!(
                    verbs == ["get"] || (named && !verbs.contains(&"list")) || verbs == ["create"],
                    "{what}: {verbs:?}"
                );
            }
            let specs = texts(&rule["resources"])
                .iter()
                .any(|resource| ["producers", "processors"].contains(resource));
            if specs && !what.ends_with("-edit") {
                assert_eq!(
                    texts(&rule["verbs"]),
                    ["get", "list", "watch"],
                    "{what}: nobody's specs are changed"
                );
            }
        }
    }
    assert!(roles > 20, "{roles}");
}

#[test]
fn an_operator_of_some_namespaces_has_no_role_in_the_cluster() {
    let (_, values) = cases().into_iter().find(|(name, _)| name == "namespaced").unwrap();
    let objects = objects(&values);
    for kind in ["ClusterRole", "ClusterRoleBinding"] {
        assert_eq!(of_kind(&objects, kind), Vec::<&Value>::new());
    }
    let places: BTreeSet<&str> = of_kind(&objects, "RoleBinding")
        .iter()
        .map(|binding| binding["metadata"]["namespace"].as_str().unwrap())
        .collect();
    assert_eq!(places, BTreeSet::from([NAMESPACE, "shop", "web"]));
}

#[test]
fn every_binding_names_a_role_and_an_account_that_there_are() {
    for (case, values) in cases() {
        let objects = objects(&values);
        let is_there = |kind: &str, name: &Value, namespace: &Value| {
            of_kind(&objects, kind).iter().any(|object| {
                &object["metadata"]["name"] == name
                    && (kind == "ClusterRole" || &object["metadata"]["namespace"] == namespace)
            })
        };
        for binding in objects.iter().filter(|object| object["roleRef"].is_object()) {
            let what = format!("{case}: {}", name(binding));
            let role = &binding["roleRef"];
            assert!(
                is_there(role["kind"].as_str().unwrap(), &role["name"], &binding["metadata"]["namespace"]),
                "{what}"
            );
            let account = &binding["subjects"][0];
            assert!(is_there("ServiceAccount", &account["name"], &account["namespace"]), "{what}");
        }
    }
}

#[test]
fn services_policies_and_budgets_select_pods_that_there_are() {
    for (case, values) in cases() {
        let objects = objects(&values);
        let pods: Vec<&Value> = objects
            .iter()
            .map(|object| {
                if object["kind"] == "Pod" {
                    &object["metadata"]["labels"]
                } else {
                    &object["spec"]["template"]["metadata"]["labels"]
                }
            })
            .filter(|labels| labels.is_object())
            .collect();
        for object in &objects {
            let selector = match object["kind"].as_str().unwrap() {
                "Service" => &object["spec"]["selector"],
                "PodDisruptionBudget" | "PodMonitor" => &object["spec"]["selector"]["matchLabels"],
                "NetworkPolicy" => &object["spec"]["podSelector"]["matchLabels"],
                _ => continue,
            };
            let selector = selector.as_object().unwrap();
            let selects = |labels: &&&Value| selector.iter().all(|(key, value)| &labels[key] == value);
            assert_eq!(pods.iter().filter(selects).count(), 1, "{case}: {}", name(object));
        }
    }
}

#[test]
fn what_is_one_alone_has_no_budget_that_holds_up_a_drain() {
    let objects =
        objects_of("{ kafka: { bootstrap: 'k:1' }, operator: { replicas: 1 }, dataplane: { replicas: 1 } }");
    assert_eq!(of_kind(&objects, "PodDisruptionBudget"), Vec::<&Value>::new());
}
