//! Every rule of the import table, broken on purpose by doctored output of cargo.

use super::*;
use crate::tidy::workspace;

/// The design's table once more, by hand: a crate; what of ours it may use; what it must never see. Each pair is tried.
const TABLE: &str = "
evhub-crds          |                                                     | kube-client kube-runtime tokio evhub-routing
evhub-event         |                                                     | tokio kube kube-core kube-client rdkafka
evhub-routing       | evhub-cron evhub-event evhub-messages               | tokio tonic kube kube-client rdkafka evhub-crds
evhub-compile       | evhub-crds evhub-cron evhub-routing                 | tokio kube-client kube-runtime tonic rdkafka
evhub-journal       | evhub-event evhub-backoff                           | kube kube-client tonic evhub-routing evhub-crds rdkafka
evhub-kafka         | evhub-event evhub-backoff evhub-journal             | kube kube-client tonic evhub-routing evhub-crds
evhub-dispatch      | evhub-event evhub-routing evhub-journal evhub-proto evhub-backoff evhub-telemetry | kube kube-client evhub-crds rdkafka
evhub-ledger        | evhub-event evhub-routing evhub-journal evhub-backoff evhub-cron | kube kube-client evhub-crds rdkafka
evhub-dataplane     | evhub-certificates evhub-cron evhub-event evhub-routing evhub-journal evhub-dispatch evhub-ledger evhub-proto evhub-lease evhub-lifecycle evhub-backoff evhub-telemetry | evhub-crds evhub-compile rdkafka
evhub-dataplane-bin | evhub-dataplane evhub-kafka evhub-lifecycle evhub-telemetry | evhub-crds evhub-compile
evhub-control       | evhub-certificates evhub-compile evhub-routing evhub-proto evhub-lease evhub-lifecycle evhub-backoff | kube-client kube-runtime evhub-journal evhub-dispatch evhub-ledger
evhub-operator      | evhub-crds evhub-compile evhub-control evhub-routing evhub-proto evhub-lease evhub-lifecycle evhub-backoff evhub-telemetry | evhub-journal evhub-dispatch evhub-ledger rdkafka
evhub               | evhub-certificates evhub-crds evhub-event evhub-routing evhub-compile evhub-journal evhub-dispatch evhub-ledger evhub-dataplane evhub-dataplane-bin evhub-control evhub-messages evhub-proto evhub-lifecycle evhub-backoff evhub-cron evhub-telemetry | rdkafka rdkafka-sys
evhub-messages      |                                                     | tokio tonic kube rdkafka
evhub-proto         | evhub-messages                                      | rdkafka kube
evhub-lease         |                                                     | rdkafka
evhub-lifecycle     |                                                     | rdkafka
evhub-certificates  | evhub-lifecycle                                     | kube rdkafka
evhub-backoff       |                                                     | tokio rdkafka
evhub-cron          |                                                     | tokio rdkafka
evhub-telemetry     |                                                     | rdkafka
evhub-bench         | evhub-certificates evhub evhub-crds evhub-event evhub-routing evhub-compile evhub-journal evhub-kafka evhub-dispatch evhub-ledger evhub-dataplane evhub-dataplane-bin evhub-brokers evhub-control evhub-operator evhub-messages evhub-proto evhub-lease evhub-lifecycle evhub-backoff evhub-cluster evhub-cron evhub-telemetry |
evhub-fuzz          | evhub-certificates evhub evhub-crds evhub-event evhub-routing evhub-compile evhub-journal evhub-kafka evhub-dispatch evhub-ledger evhub-dataplane evhub-dataplane-bin evhub-brokers evhub-control evhub-operator evhub-messages evhub-proto evhub-lease evhub-lifecycle evhub-backoff evhub-cluster evhub-cron evhub-telemetry |
evhub-e2e           | evhub-brokers                                       |
evhub-charts        | evhub-cluster                                       | tokio kube rdkafka
evhub-brokers       |                                                     | tokio kube rdkafka
evhub-cluster       |                                                     | tokio kube rdkafka
xtask               | evhub-brokers evhub-cluster                         | tokio
";

const OURS: [&str; 28] = [
    "evhub-brokers",
    "evhub-certificates",
    "evhub-charts",
    "evhub-cluster",
    "evhub-cron",
    "evhub-crds",
    "evhub-messages",
    "evhub-proto",
    "evhub-event",
    "evhub-routing",
    "evhub-compile",
    "evhub-journal",
    "evhub-kafka",
    "evhub-dispatch",
    "evhub-ledger",
    "evhub-dataplane",
    "evhub-dataplane-bin",
    "evhub-control",
    "evhub-operator",
    "evhub",
    "evhub-lease",
    "evhub-lifecycle",
    "evhub-backoff",
    "evhub-telemetry",
    "evhub-e2e",
    "evhub-bench",
    "evhub-fuzz",
    "xtask",
];

fn table() -> impl Iterator<Item = (&'static str, Vec<&'static str>, Vec<&'static str>)> {
    TABLE.lines().filter(|line| !line.is_empty()).map(|line| {
        let cells: Vec<&str> = line.split('|').collect();
        (cells[0].trim(), cells[1].split_whitespace().collect(), cells[2].split_whitespace().collect())
    })
}

/// What tidy says of a workspace of one crate, with this dependency in its manifest and this tree.
fn problems(name: &str, declared: Option<(&str, Option<&str>)>, tree: &str) -> Vec<String> {
    let dependencies: Vec<_> =
        declared.map(|(name, kind)| serde_json::json!({ "name": name, "kind": kind })).into_iter().collect();
    let package =
        serde_json::json!({ "name": name, "manifest_path": "/w/a/Cargo.toml", "dependencies": dependencies });
    let metadata = serde_json::json!({ "workspace_root": "/w", "packages": [package] }).to_string();
    let workspace = workspace::parse(&metadata, |_| Ok(tree.to_owned())).unwrap();
    check(&workspace).iter().map(Problem::to_string).collect()
}

#[test]
fn the_two_tables_speak_of_the_same_crates() {
    let rows: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    let mut here: Vec<&str> = table().map(|(name, ..)| name).collect();
    assert!(rows.iter().all(|name| here.contains(name)) && rows.len() == here.len());
    here.sort_unstable();
    let mut ours = OURS;
    ours.sort_unstable();
    assert_eq!(here, ours);
}

#[test]
fn what_a_crate_may_use_is_let_through_and_everything_else_of_ours_is_found() {
    for (name, may_use, _) in table() {
        for other in OURS.into_iter().filter(|other| *other != name) {
            let found = problems(name, Some((other, None)), "");
            if may_use.contains(&other) {
                assert_eq!(found, [""; 0], "{name} may use {other}");
            } else {
                assert_eq!(found, [format!("a/Cargo.toml:1: {name} may not use {other}")]);
            }
        }
    }
}

#[test]
fn what_a_crate_must_never_see_is_found_however_far_away() {
    for (name, _, never) in table() {
        for package in never {
            let near = format!("0{name} v0.1.0 (/w/a)\n1serde v1.0.0\n1{package} v1.0.0\n");
            let expected = format!("a/Cargo.toml:1: {name} must never see {package} (by {name} → {package})");
            assert_eq!(problems(name, None, &near), [expected]);

            let far = format!(
                "0{name} v0.1.0 (/w/a)\n1x v1.0.0\n2y v1.0.0\n1z v1.0.0\n2{package} v1.0.0\n3y v1.0.0 (*)\n"
            );
            let expected =
                format!("a/Cargo.toml:1: {name} must never see {package} (by {name} → z → {package})");
            assert_eq!(problems(name, None, &far), [expected]);
        }
    }
}

#[test]
fn what_describes_kubernetes_may_be_seen_by_the_users_language() {
    for name in ["evhub-crds", "evhub-compile", "evhub-control"] {
        let tree = format!("0{name} v0.1.0\n1kube v5.0.0\n2kube-core v5.0.0\n1k8s-openapi v0.29.0\n");
        assert_eq!(problems(name, None, &tree), [""; 0]);
    }
}

#[test]
fn tests_may_use_what_they_like_but_the_checkers_may_not() {
    assert_eq!(problems("evhub-dispatch", Some(("evhub-dataplane", Some("dev"))), ""), [""; 0]);
    for kind in [None, Some("dev"), Some("build")] {
        assert_eq!(problems("evhub-e2e", Some(("evhub-event", kind)), "").len(), 1, "{kind:?}");
        assert_eq!(problems("evhub-e2e", Some(("evhub", kind)), "").len(), 1, "{kind:?}");
    }
}

#[test]
fn a_crate_without_a_row_is_found() {
    let found = problems("evhub-new", None, "");
    assert_eq!(found, ["a/Cargo.toml:1: evhub-new has no row in the import table (xtask/src/tidy/rules.rs)"]);
}
