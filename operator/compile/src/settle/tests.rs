//! An edit, and what runs after it.

use serde_json::{Value, json};

use super::*;
use crate::{Apps, Asked, Egress, Log, Secrets, Services, Settings};

/// What was written first and accepted, what is found now, and what that comes to: what runs, then what is refused.
struct Case {
    about: &'static str,
    before: Vec<Resource>,
    after: Vec<Resource>,
    runs: &'static [&'static str],
    refused: &'static [&'static str],
}

fn producer(name: &str, partitions: u32) -> Resource {
    resource(Kind::Producer, name, json!({ "topic": { "partitions": partitions } }))
}

fn processor(name: &str, producer: &str, more: &Value) -> Resource {
    let mut spec = json!({ "producers": [{ "name": producer }], "target": { "url": "http://127.0.0.1/" } });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    resource(Kind::Processor, name, spec)
}

fn resource(kind: Kind, name: &str, spec: Value) -> Resource {
    Resource {
        kind,
        name: Name::new("shop", name),
        uid: name.into(),
        created: 0,
        generation: 1,
        kept: crate::Kept::default(),
        origin: None,
        asked: Asked::default(),
        unknown: Vec::new(),
        spec: Some(spec),
    }
}

/// A later one of the same name.
fn copy(resource: Resource) -> Resource {
    Resource { uid: "copy".into(), created: 1, ..resource }
}

fn world(resources: &[Resource]) -> World {
    let settings = Settings {
        prefix: "evhub".into(),
        egress: Egress::Loopback,
        apps: Apps::Any,
        services: Services::Assumed,
        secrets: Secrets::Assumed,
        log: Log::Embedded,
    };
    let objects = resources.iter().map(|resource| Object::Resource(Box::new(resource.clone()))).collect();
    World::new(settings, objects)
}

fn running(compiled: &Compiled) -> Vec<String> {
    let producers = compiled.snapshot.producers.values();
    let processors = compiled.snapshot.processors.values();
    let producers = producers.map(|producer| format!("{} {}", producer.name, producer.partitions));
    let processors =
        processors.map(|processor| format!("{} {}", processor.name, processor.policy.max_in_flight));
    producers.chain(processors).collect()
}

fn refused(settled: &Settled) -> Vec<String> {
    let wrong = settled.compiled.verdicts.iter().filter(|verdict| !verdict.findings.is_empty());
    let line = |verdict: &Verdict| {
        let reasons = verdict.findings.iter().map(|finding| finding.reason.as_str());
        let stands = if settled.stands(verdict) { " stands" } else { "" };
        format!(
            "{} {}{stands}",
            verdict.name.as_deref().unwrap_or_default(),
            reasons.collect::<Vec<_>>().join(" ")
        )
    };
    wrong.map(line).collect()
}

fn cases() -> Vec<Case> {
    let wide = || json!({ "delivery": { "maxInFlight": 0 } });
    vec![
        Case {
            about: "a sound edit runs",
            before: vec![producer("orders", 4), processor("billing", "orders", &json!({}))],
            after: vec![
                producer("orders", 4),
                processor("billing", "orders", &json!({ "delivery": { "maxInFlight": 3 } })),
            ],
            runs: &["shop/orders 4", "shop/billing 3"],
            refused: &[],
        },
        Case {
            about: "a refused edit leaves what was",
            before: vec![producer("orders", 4), processor("billing", "orders", &json!({}))],
            after: vec![producer("orders", 4), processor("billing", "orders", &wide())],
            runs: &["shop/orders 4", "shop/billing 64"],
            refused: &["billing Invalid stands"],
        },
        Case {
            about: "what is said of a copy is not said of the one that has the name",
            before: vec![producer("orders", 4)],
            after: vec![producer("orders", 8), copy(producer("orders", 4))],
            runs: &["shop/orders 8"],
            refused: &["orders DuplicateName"],
        },
        Case {
            about: "nor does a copy replace one that is refused",
            before: vec![producer("orders", 4)],
            after: vec![producer("orders", 2), copy(producer("orders", 6))],
            runs: &["shop/orders 4"],
            refused: &["orders DuplicateName stands", "orders FieldImmutable stands"],
        },
        Case {
            about: "what stands may refuse another edit, which then stands as well",
            before: vec![producer("orders", 4), processor("billing", "orders", &json!({}))],
            after: vec![producer("orders", 8), processor("billing", "orders", &wide())],
            runs: &["shop/orders 4", "shop/billing 64"],
            refused: &["billing Invalid stands", "orders OrderBreak stands"],
        },
        Case {
            about: "what stands and names what is gone does not run",
            before: vec![producer("orders", 4), processor("billing", "orders", &json!({}))],
            after: vec![processor("billing", "orders", &wide())],
            runs: &[],
            refused: &["billing Invalid"],
        },
    ]
}

#[test]
fn an_edit_comes_to_what_can_run() {
    for Case { about, before, mut after, runs, refused: expected } in cases() {
        let accepted = compile(&world(&before));
        assert!(accepted.is_sound(), "{about}: {:?}", accepted.verdicts);
        let kept = |resource: &Resource| accepted.kept[&of(resource)].clone();
        let standing: Standing =
            before.iter().map(|old| (of(old), Resource { kept: kept(old), ..old.clone() })).collect();
        for resource in after.iter_mut().filter(|resource| resource.uid != "copy") {
            resource.kept = kept(resource);
        }
        // What has gone altogether is forgotten; `identity` sees to that.
        let met: BTreeSet<_> = after.iter().map(of).collect();
        let standing = standing.into_iter().filter(|(key, _)| met.contains(key)).collect();
        let settled = settle(&world(&after), &standing);
        assert_eq!(running(&settled.compiled), runs, "{about}");
        assert_eq!(refused(&settled), expected, "{about}");
    }
}

/// Edits wait, and so does what they would break.
#[test]
fn what_is_paused_runs_as_it_was_until_it_no_longer_is() {
    let before = resource(Kind::Producer, "orders", json!({ "topic": { "partitions": 2 } }));
    let edited = resource(Kind::Producer, "orders", json!({ "topic": { "partitions": 4 } }));
    let paused = Resource { asked: Asked { pause: true, ..Asked::default() }, ..edited.clone() };
    let standing = Standing::from([((Kind::Producer, before.name.clone()), before.clone())]);
    let partitions = |found: &[Resource]| {
        let settled = settle(&world(found), &standing);
        let producers: Vec<u32> =
            settled.compiled.snapshot.producers.values().map(|one| one.partitions).collect();
        let told: Vec<_> =
            settled.compiled.verdicts.iter().flat_map(|one| one.findings.iter().map(|f| f.reason)).collect();
        let key = (Kind::Producer, before.name.clone());
        (producers, told, settled.compiled.verdicts.len(), settled.stands_as_before(&key))
    };
    let noted = vec![evhub_crds::Reason::NotObeyed];
    assert_eq!(partitions(std::slice::from_ref(&paused)), (vec![2], noted.clone(), 1, true));
    let broken = Resource { spec: Some(json!({ "topic": { "partitions": 0 } })), ..paused.clone() };
    assert_eq!(partitions(&[broken]), (vec![2], noted.clone(), 1, true));
    assert_eq!(partitions(&[edited]), (vec![4], Vec::new(), 1, false));
    // One that never ran runs as it is written first.
    let settled = settle(&world(&[paused]), &Standing::new());
    assert_eq!(settled.compiled.snapshot.producers.len(), 1);
    assert!(settled.compiled.verdicts[0].accepted);
}
