//! What the API server itself makes of our CRDs: defaults, rules, refusals, and how it explains them.

use evhub_crds::{
    Kind::{self, Processor, Producer},
    rules,
};
use kube_client::api::{ListParams, Patch, PatchParams, ValidationDirective};
use serde_json::{Value, json};

use super::site::{Site, control_plane, processor, producer};

/// A spec that is sound but for this.
fn with(mut spec: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let mut at = &mut spec;
    for part in parent.split('/').skip(1) {
        at = &mut at[part];
    }
    at[field] = value;
    spec
}

fn sound(kind: Kind) -> Value {
    match kind {
        Producer => producer(4),
        Processor => processor("orders", "billing"),
    }
}

/// What is wrong with one field, and what of the refusal says so.
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn wrong() -> Vec<(Kind, &'static str, Value, &'static str)> {
    let header = |name: &str| json!([{ "name": name, "value": "x" }]);
    vec![
        (Producer, "/topic/partitions", json!(0), "greater than or equal to 1"),
        (Producer, "/topic/partitions", json!(-1), "greater than or equal to 1"),
        (Producer, "/topic/partitions", json!(100_001), "less than or equal to 1000"),
        (Producer, "/topic/partitions", json!("many"), "must be of type integer"),
        (Producer, "/topic/minInSyncReplicas", json!(2), rules::MIN_OVER_REPLICAS),
        (Producer, "/topic/name", json!("evhub.shop.orders"), rules::TOPIC_OF_OURS),
        (Producer, "/topic/name", json!("__consumer_offsets"), rules::TOPIC_OF_OURS),
        (Producer, "/topic/adopt", json!(true), rules::ADOPT_NEEDS_NAME),
        (Producer, "/topic/config", json!({ "retention.ms": "1" }), rules::CONFIG_MANAGED),
        (Producer, "/topic/config", json!({ "min.insync.replicas": "1" }), rules::CONFIG_MANAGED),
        (Producer, "/topic/retention", json!("10s"), "must be between 1m and 87600h"),
        (Producer, "/topic/retention", json!("P1D"), "should match"),
        (Producer, "/topic/retention", json!("-1s"), "should match"),
        (Producer, "/topic/retention", json!("1h30"), "should match"),
        (Producer, "/topic/retention", json!("NaN"), "should match"),
        (Producer, "/topic/retention", json!("99999h"), "must be between 1m and 87600h"),
        (Producer, "/topic/retentionBytes", json!("1Ki"), "must be between 1Mi and 1Pi"),
        (Producer, "/topic/deletionPolicy", json!("Forget"), "Unsupported value"),
        (Producer, "/limits", json!({ "eventBytes": "1" }), "must be between 1Ki and 8Mi"),
        (Producer, "/limits", json!({ "batchBytes": "1Gi" }), "must be between 1Ki and 32Mi"),
        (Producer, "/limits", json!({ "maxDelay": "0s" }), "must be between 1s and 87600h"),
        (Producer, "/limits", json!({ "eventsPerSecond": 0 }), "greater than or equal to 1"),
        (Producer, "/access", json!({ "processors": { "namespaces": ["сystem"] } }), "should match"),
        (Producer, "/access", json!({ "processors": { "namespaces": ["a", "a"] } }), "Duplicate value"),
        (Producer, "/evhub", json!({ "appId": "a b" }), "should match"),
        (Processor, "/producers", json!([]), "at least 1"),
        (Processor, "/producers", json!([{ "name": "a" }, { "name": "a" }]), "Duplicate value"),
        (Processor, "/target", json!({}), rules::ONE_TARGET),
        (Processor, "/target", json!({ "service": { "name": "a" }, "url": "http://a/" }), rules::ONE_TARGET),
        (Processor, "/target", json!({ "url": "http://a/", "tls": {} }), rules::TLS_NEEDS_HTTPS),
        (Processor, "/target", json!({ "url": "file:///etc/passwd" }), "should match"),
        (Processor, "/target", json!({ "url": "gopher://a/" }), "should match"),
        (Processor, "/target", json!({ "url": "http://user@a/" }), "should match"),
        (Processor, "/target", json!({ "url": "http://a/#x" }), "should match"),
        (Processor, "/target/service/port", json!(0), "must be between 1 and 65535"),
        (Processor, "/target/service/port", json!(70_000), "must be between 1 and 65535"),
        (Processor, "/target/timeout", json!("1h"), "must be between 1ms and 10m"),
        (Processor, "/target/headers", header("Host"), rules::RESERVED_HEADER),
        (Processor, "/target/headers", header("ce-id"), rules::RESERVED_HEADER),
        (
            Processor,
            "/target/headers",
            json!([{ "name": "a", "value": "x" }, { "name": "A", "value": "x" }]),
            rules::SAME_HEADER,
        ),
        (Processor, "/target/headers", json!([{ "name": "a" }]), rules::ONE_VALUE),
        (
            Processor,
            "/target/headers",
            json!([{ "name": "a", "value": "x", "secret": { "name": "s", "key": "k" } }]),
            rules::ONE_VALUE,
        ),
        (Processor, "/target/protocol", json!("SMTP"), "Unsupported value"),
        (Processor, "/filter", json!({ "tags": [] }), "at least 1"),
        (Processor, "/delayKey", json!("a,b"), "should match"),
        (Processor, "/startFrom", json!("2026-02-31T00:00:00Z"), "startFrom"),
        (Processor, "/startFrom", json!("Yesterday"), "startFrom"),
        (Processor, "/delivery", json!({ "maxInFlight": 0 }), "greater than or equal to 1"),
        (Processor, "/delivery", json!({ "maxParked": 5, "maxParkedPerKey": 6 }), rules::PER_KEY_OVER_PARKED),
        (Processor, "/delivery", json!({ "retry": { "maxAttempts": 0 } }), "greater than or equal to 1"),
        (
            Processor,
            "/delivery",
            json!({ "retry": { "maxAttempts": 1_000_000_000 } }),
            "less than or equal to",
        ),
        (
            Processor,
            "/delivery",
            json!({ "retry": { "backoff": { "initial": "2m", "max": "1m" } } }),
            rules::INITIAL_OVER_MAX,
        ),
        (
            Processor,
            "/delivery",
            json!({ "retry": { "backoff": { "multiplier": 0 } } }),
            "greater than or equal to 1",
        ),
        (
            Processor,
            "/delivery",
            json!({ "rateLimit": { "events": 5, "per": "1ms" } }),
            "must be between 100ms and 1h",
        ),
        (Processor, "/suspend", json!("yes"), "must be of type boolean"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_refuses_what_breaks_it_and_says_why() {
    let site = Site::new("rules").await;
    for (kind, pointer, value, said) in wrong() {
        let spec = with(sound(kind), pointer, value.clone());
        let refused = site.create(kind, "wrong", &spec).await;
        let problem = refused.err().unwrap_or_else(|| panic!("{kind} {pointer}={value} is taken"));
        assert!(problem.contains(said), "{kind} {pointer}={value}: {problem}");
    }
    // Two fields at odds.
    let spec =
        with(with(sound(Processor), "/delivery", json!({ "order": "Partition" })), "/delayKey", json!("a"));
    let problem = site.create(Processor, "wrong", &spec).await.unwrap_err();
    assert!(problem.contains(rules::DELAY_IN_ORDER), "{problem}");
    for name in ["a.b", &"a".repeat(64)] {
        let problem = site.create(Producer, name, &producer(1)).await.unwrap_err();
        assert!(problem.contains(rules::NAME), "{problem}");
    }
    // Sound ones are taken, a name that begins with a digit included.
    site.apply(Producer, "1st", &producer(1)).await;
    site.apply(Processor, "sound", &sound(Processor)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_change_cannot() {
    let site = Site::new("fixed").await;
    let named = json!({ "evhub": { "topicId": "a" }, "topic": { "name": "shop.orders", "partitions": 4 } });
    site.apply(Producer, "named", &named).await;
    site.apply(Producer, "plain", &producer(4)).await;
    site.apply(Processor, "plain", &processor("plain", "billing")).await;
    let dispatched = with(processor("plain", "billing"), "/evhub", json!({ "dispatcherId": "a" }));
    site.apply(Processor, "named", &dispatched).await;
    for (kind, name, patch, said) in [
        (Producer, "named", json!({ "topic": { "name": "shop.other" } }), rules::TOPIC_IMMUTABLE),
        (Producer, "named", json!({ "topic": { "name": null } }), rules::TOPIC_IMMUTABLE),
        (Producer, "plain", json!({ "topic": { "name": "shop.new" } }), rules::TOPIC_IMMUTABLE),
        (Producer, "named", json!({ "topic": null }), rules::TOPIC_IMMUTABLE),
        (Producer, "plain", json!({ "topic": { "partitions": 3 } }), rules::PARTITIONS_SHRINK),
        (Producer, "named", json!({ "evhub": { "topicId": "b" } }), rules::EVHUB_IMMUTABLE),
        (Producer, "named", json!({ "evhub": null }), rules::EVHUB_IMMUTABLE),
        (Producer, "plain", json!({ "evhub": { "topicId": "b" } }), rules::EVHUB_IMMUTABLE),
        (Processor, "plain", json!({ "startFrom": "Earliest" }), rules::START_FROM_IMMUTABLE),
        (Processor, "named", json!({ "evhub": { "dispatcherId": "b" } }), rules::DISPATCHER_IMMUTABLE),
        (Processor, "named", json!({ "evhub": null }), rules::DISPATCHER_IMMUTABLE),
    ] {
        let patch = Patch::Merge(json!({ "spec": patch }));
        let refused = site.api(kind).patch(name, &PatchParams::default(), &patch).await;
        let problem = refused.expect_err("it may not change").to_string();
        assert!(problem.contains(said), "{kind} {name}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defaults_are_spelled_out_and_nobody_has_looked_yet() {
    let site = Site::new("defaults").await;
    let object = site.apply(Producer, "plain", &json!({})).await;
    let spec = &object.data["spec"];
    assert_eq!(spec["topic"]["retention"], "168h");
    assert_eq!(spec["topic"]["deletionPolicy"], "Retain");
    assert_eq!(spec["limits"]["batchEvents"], 1000);
    let status = &object.data["status"];
    assert_eq!(status["observedGeneration"], -1);
    assert_eq!(status["conditions"][0]["type"], "Ready");
    assert_eq!(
        (&status["conditions"][0]["status"], &status["conditions"][0]["reason"]),
        (&json!("Unknown"), &json!("Pending"))
    );
    let object = site
        .apply(
            Processor,
            "plain",
            &json!({ "producers": [{ "name": "plain" }], "target": { "service": { "name": "a" } } }),
        )
        .await;
    let delivery = &object.data["spec"]["delivery"];
    assert_eq!((&delivery["order"], &delivery["maxInFlight"]), (&json!("Key"), &json!(64)));
    assert_eq!(delivery["retry"]["retryOn"]["connection"], true);
    assert_eq!(object.data["spec"]["startFrom"], "Latest");
    // What the schema does not know is no part of what is stored; settings of a pod least of all.
    let patch = Patch::Merge(json!({ "spec": { "podTemplate": { "serviceAccountName": "admin" } } }));
    let ignore =
        PatchParams { field_validation: Some(ValidationDirective::Ignore), ..PatchParams::default() };
    let taken = site.api(Processor).patch("plain", &ignore, &patch).await.unwrap();
    assert_eq!(taken.data["spec"]["podTemplate"], json!(null));
    let strict =
        PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::default() };
    let refused = site.api(Processor).patch("plain", &strict, &patch).await.unwrap_err().to_string();
    assert!(refused.contains("podTemplate"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_explains_lists_and_selects() {
    let site = Site::new("kubectl").await;
    site.apply(Producer, "orders", &producer(4)).await;
    site.apply(Processor, "first", &processor("orders", "billing")).await;
    let second = with(processor("orders", "billing"), "/suspend", json!(true));
    site.apply(Processor, "second", &second).await;
    let selected = ListParams::default().fields("spec.suspend=true");
    let found = site.api(Processor).list(&selected).await.unwrap();
    let names: Vec<_> = found.iter().map(|one| one.metadata.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["second"]);
    let namespace = site.namespace.clone();
    let said = tokio::task::spawn_blocking(move || {
        let plane = control_plane().lock().unwrap();
        let explained = plane.said(&["explain", "processor.spec.delivery.maxInFlight"]).unwrap();
        let listed = plane.said(&["get", "evhub", "-n", &namespace]).unwrap();
        let short = plane.said(&["get", "evr,evp", "-n", &namespace, "-o", "name"]).unwrap();
        (explained, listed, short)
    });
    let (explained, listed, short) = said.await.unwrap();
    assert!(explained.contains("attempts"), "{explained}");
    for column in ["SOURCES", "TARGET", "TOPIC", "READY", "REASON", "AGE", "Pending"] {
        assert!(listed.contains(column), "{column}: {listed}");
    }
    assert_eq!(short.lines().count(), 3, "{short}");
}
