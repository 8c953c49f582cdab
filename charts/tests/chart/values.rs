//! The table of values, their schema, and values that make no sense.

use std::{collections::BTreeSet, env, fs};

use evhub_charts::{chart, page};
use serde_json::Value;

use crate::rendered::problem_of;

fn read(name: &str) -> String {
    fs::read_to_string(chart().join(name)).unwrap()
}

#[test]
fn the_readme_is_what_the_values_say() {
    let expected = page::page(&read("README.head.md"), &read("values.yaml")).unwrap();
    let file = chart().join("README.md");
    if env::var_os("UPDATE").is_some() {
        fs::write(&file, &expected).unwrap();
    }
    assert!(
        fs::read_to_string(&file).unwrap_or_default() == expected,
        "README.md is stale: run this test with UPDATE=1"
    );
}

/// What the schema knows and the values do not hold is a value that nothing reads, or one without a default.
#[test]
fn the_schema_has_exactly_the_values() {
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let values: Value = serde_saphyr::from_str(&read("values.yaml")).unwrap();
    let mut known = BTreeSet::new();
    paths_of_schema(&schema, &schema, "", &mut known);
    for path in &known {
        let pointer = path.replace('.', "/");
        assert!(values.pointer(&pointer).is_some(), "{path} is in the schema and not in the values");
    }
    // The other way round Helm looks itself: no object that the schema names may have others.
    assert!(known.len() > 150, "{}", known.len());
}

fn paths_of_schema(all: &Value, schema: &Value, path: &str, paths: &mut BTreeSet<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        return paths_of_schema(all, all.pointer(name.trim_start_matches('#')).unwrap(), path, paths);
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    let is_open = path == ".global";
    assert!(is_open || schema["additionalProperties"] == false, "{path} takes what it does not know");
    for (name, schema) in properties {
        let path = format!("{path}.{name}");
        paths.insert(path.clone());
        paths_of_schema(all, schema, &path, paths);
    }
}

const SOUND: &str = "kafka: { bootstrap: 'kafka:9092' }";

#[test]
fn values_that_make_no_sense_are_refused() {
    assert_eq!(problem_of(SOUND), None);
    let bad = [
        ("{}", "kafka.bootstrap: say where the brokers are"),
        ("kafka: { bootstrap: 'kafka' }", "bootstrap"),
        ("kafka: { bootstrap: 'http://kafka:9092' }", "bootstrap"),
        ("kafka: { bootstrap: 'kafka:9092', prefix: 'a b' }", "prefix"),
        ("kafka: { bootstrap: 'kafka:9092', bootstrapServers: x }", "bootstrapServers"),
        ("kafka: { bootstrap: 'kafka:9092', sasl: { mechanism: GSSAPI } }", "mechanism"),
        (
            "kafka: { bootstrap: 'kafka:9092', sasl: { mechanism: PLAIN } }",
            "kafka.sasl.secret: name the Secret",
        ),
        ("kafka: { bootstrap: 'kafka:9092', tls: { client: { secret: x } } }", "without kafka.tls.enabled"),
        ("kafka: { bootstrap: 'kafka:9092', config: { sasl.password: x } }", "sasl.password is a secret"),
        (
            "{ kafka: { bootstrap: 'kafka:9092' }, control: { certificates: Secrets } }",
            "control.secrets: name",
        ),
        ("{ kafka: { bootstrap: 'kafka:9092' }, control: { certificates: Helm } }", "certificates"),
        ("{ kafka: { bootstrap: 'kafka:9092' }, dataplane: { replica: 3 } }", "replica"),
        ("{ kafka: { bootstrap: 'kafka:9092' }, dataplane: { replicas: '3' } }", "replicas"),
        ("{ kafka: { bootstrap: 'kafka:9092' }, dataplane: { image: { tag: latest } } }", "tag"),
        ("{ kafka: { bootstrap: 'kafka:9092' }, dataplane: { image: { digest: abc } } }", "digest"),
        ("{ kafka: { bootstrap: 'kafka:9092' }, dataplane: { roles: [] } }", "roles"),
        ("{ kafka: { bootstrap: 'kafka:9092' }, dataplane: { httpRoute: { enabled: true } } }", "parentRefs"),
        ("{ kafka: { bootstrap: 'kafka:9092' }, dataplane: { grpcRoute: { enabled: true } } }", "parentRefs"),
        (
            "{ kafka: { bootstrap: 'kafka:9092' }, dataplane: { autoscaling: { enabled: true, maxReplicas: 2 } } }",
            "maxReplicas is less",
        ),
        ("{ kafka: { bootstrap: 'kafka:9092' }, operator: { namespaces: ['*'] } }", "namespaces"),
        ("{ kafka: { bootstrap: 'kafka:9092' }, monitoring: { kind: Prometheus } }", "kind"),
        (
            "{ kafka: { bootstrap: 'kafka:9092' }, fullnameOverride: 'a-name-that-leaves-no-room-for-what-follows' }",
            "fullname",
        ),
    ];
    for (values, word) in bad {
        let problem = problem_of(values).unwrap_or_else(|| panic!("{values}: it is taken"));
        assert!(problem.contains(word), "{values}: {problem}");
    }
}
