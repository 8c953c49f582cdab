//! The two CRDs, as an API server takes them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::{Condition, Kind, Processor, Producer, Reason, condition::Status};

/// A kind's CRD as YAML.
#[expect(clippy::missing_panics_doc, reason = "it depends on nothing but the kind, and a test makes both")]
pub fn yaml(kind: Kind) -> String {
    let text = serde_saphyr::to_string(&value(kind)).expect("a CRD is made of what YAML can say");
    format!("# Generated from the types in crds/src; do not edit.\n{text}")
}

/// A kind's CRD.
pub fn value(kind: Kind) -> Value {
    let crd = match kind {
        Kind::Producer => Producer::crd(),
        Kind::Processor => Processor::crd(),
    };
    finish(kind, &crd)
}

/// What the derive cannot say: the status before the first look; numbers in the formats that an API server knows; and that a
/// Producer has an address at which it takes events, by which Knative's sources find it.
fn finish(kind: Kind, crd: &CustomResourceDefinition) -> Value {
    let mut crd = serde_json::to_value(crd).expect("a CRD is made of what JSON can say");
    plain(&mut crd);
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["default"] =
        json!({ "observedGeneration": -1, "conditions": [pending()] });
    if kind == Kind::Producer {
        crd["metadata"]["labels"] = json!({ "duck.knative.dev/addressable": "true" });
    }
    crd
}

fn pending() -> Condition {
    Condition {
        type_: "Ready".into(),
        status: Status::Unknown,
        observed_generation: None,
        last_transition_time: serde_json::from_value(json!("1970-01-01T00:00:00Z")).expect("an instant"),
        reason: Reason::Pending.to_string(),
        message: "waiting for the operator".into(),
    }
}

/// Limits come as floats and formats as `uint32`, which an API server warns of. And an optional field would take a null,
/// which means nothing that leaving it out does not.
fn plain(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("nullable") == Some(&Value::Bool(true)) {
                map.remove("nullable");
            }
            if let Some(format) = map.get_mut("format")
                && format.as_str().is_some_and(|format| format.starts_with("uint"))
            {
                *format = json!("int32");
            }
            map.values_mut().for_each(plain);
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        Value::Number(number) => {
            if let Some(float) = number.as_f64().filter(|_| number.is_f64())
                && float.fract() == 0.0
            {
                *value = json!(float as i64);
            }
        }
        _ => {}
    }
}
