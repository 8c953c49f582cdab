//! Golden cases: `tests/data/NAME.in.yaml` is a world, `tests/data/NAME.out.yaml` what it comes to. `UPDATE=1` writes
//! the latter.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what stands beside the tests is part of them")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

use evhub_compile::{
    Apps, Asked, Compiled, Egress, Kept, Log, Object, Origin, Resource, Secret, Secrets, Services, Settings,
    Verdict, World, compile, names,
};
use evhub_crds::{Kind, Reason, schema};
use evhub_routing::{Name, Removal, Snapshot};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A world as a case writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    /// What is shown.
    about: String,
    #[serde(default)]
    egress_denied: bool,
    #[serde(default)]
    own_apps_only: bool,
    #[serde(default)]
    services: Vec<String>,
    /// What Secrets say, by `NAMESPACE/NAME`: a value for each key, or nothing for a key that has gone.
    secrets: Option<BTreeMap<String, BTreeMap<String, Option<String>>>>,
    /// Which topics may be brought, where there is Kafka.
    kafka: Option<Vec<String>>,
    /// The Producers whose topics are being deleted, as `NAMESPACE/NAME`.
    #[serde(default)]
    removals: Vec<String>,
    objects: Vec<Given>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Given {
    /// The document.
    manifest: Option<Value>,
    /// Instead of one: why there is none.
    undecodable: Option<String>,
    kind: Option<Kind>,
    #[serde(default)]
    uid: Option<String>,
    #[serde(default)]
    created: i64,
    #[serde(default)]
    kept: Kept,
}

#[derive(Serialize)]
struct Outcome<'a> {
    about: &'a str,
    verdicts: &'a [Verdict],
    kept: BTreeMap<String, &'a Kept>,
    snapshot: &'a Snapshot,
}

#[test]
fn cases_come_to_what_they_came_to() {
    let cases = cases();
    assert!(cases.len() >= 20, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for (name, case) in &cases {
        let compiled = compile(&world(case));
        let found = serde_saphyr::to_string(&outcome(case, &compiled)).unwrap();
        let path = data().join(format!("{name}.out.yaml"));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &found).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if found != expected {
            wrong.push(format!("--- {name}: expected\n{expected}\n--- {name}: found\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_reason_has_a_case() {
    let seen: BTreeSet<Reason> = cases()
        .values()
        .flat_map(|case| compile(&world(case)).verdicts)
        .flat_map(|verdict| verdict.findings)
        .map(|finding| finding.reason)
        .collect();
    for reason in Reason::ALL.into_iter().filter(|reason| reason.denies().is_some()) {
        assert!(seen.contains(&reason), "no case shows {reason}");
    }
}

#[test]
fn one_verdict_for_each_object() {
    for (name, case) in cases() {
        assert_eq!(compile(&world(&case)).verdicts.len(), case.objects.len(), "{name}");
    }
}

fn data() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data"))
}

fn cases() -> BTreeMap<String, Case> {
    let mut cases = BTreeMap::new();
    for entry in fs::read_dir(data()).unwrap() {
        let path = entry.unwrap().path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".in.yaml")) {
            let case = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap());
            cases.insert(name.to_owned(), case.unwrap_or_else(|error| panic!("{name}: {error}")));
        }
    }
    cases
}

fn world(case: &Case) -> World {
    let egress = if case.egress_denied { Egress::Only(Vec::new()) } else { Egress::Loopback };
    let apps = if case.own_apps_only { Apps::Granted(Vec::new()) } else { Apps::Any };
    let services = Services::Mapped(case.services.iter().map(|text| text.parse().unwrap()).collect());
    let objects = case.objects.iter().enumerate().map(|(index, given)| object(index, given)).collect();
    let log = match &case.kafka {
        None => Log::Embedded,
        Some(grants) => Log::Kafka(grants.iter().map(|text| text.parse().unwrap()).collect()),
    };
    let secrets = case.secrets.as_ref().map_or(Secrets::None, known);
    let settings = Settings { prefix: "evhub".into(), egress, apps, services, secrets, log };
    let removals = case.removals.iter().map(|text| removal(text)).collect();
    World { removals, ..World::new(settings, objects) }
}

fn removal(text: &str) -> (Name, Arc<Removal>) {
    let (namespace, name) = text.split_once('/').unwrap();
    let name = Name::new(namespace, name);
    let (topic, due_topic) = (names::events("evhub", &name), names::due("evhub", &name));
    (name.clone(), Arc::new(Removal { name, uid: "gone".into(), topic, due_topic }))
}

fn known(given: &BTreeMap<String, BTreeMap<String, Option<String>>>) -> Secrets {
    let all = given.iter().map(|(name, keys)| {
        let (namespace, name) = name.split_once('/').unwrap();
        let mut secret = Secret::default();
        for (key, value) in keys {
            match value {
                Some(value) => drop(secret.values.insert(key.clone(), value.parse().unwrap())),
                None => drop(secret.problems.insert(Some(key.clone()), format!("key {key} is empty"))),
            }
        }
        (Name::new(namespace, name), secret)
    });
    Secrets::Known(std::sync::Arc::new(all.collect()))
}

fn object(index: usize, given: &Given) -> Object {
    let origin = Origin { file: "case.yaml".into(), line: index as u64 + 1 };
    let Some(manifest) = &given.manifest else {
        let problem = given.undecodable.clone().expect("a case has a manifest or is undecodable");
        return Object::Undecodable { kind: given.kind, origin, problem };
    };
    let kind: Kind = serde_json::from_value(manifest["kind"].clone()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let metadata = &manifest["metadata"];
    Object::Resource(Box::new(Resource {
        kind,
        name: Name::new(text(&metadata["namespace"]), text(&metadata["name"])),
        uid: given.uid.clone().unwrap_or_else(|| format!("00000000-0000-7000-8000-{index:012x}")),
        created: given.created,
        generation: 1,
        kept: given.kept.clone(),
        origin: Some(origin),
        asked: Asked::of(kind, manifest),
        unknown: schema::unknown_fields(kind, manifest),
        spec: manifest.get("spec").cloned(),
    }))
}

fn outcome<'a>(case: &'a Case, compiled: &'a Compiled) -> Outcome<'a> {
    Outcome {
        about: &case.about,
        verdicts: &compiled.verdicts,
        kept: compiled.kept.iter().map(|((kind, name), kept)| (format!("{kind} {name}"), kept)).collect(),
        snapshot: &compiled.snapshot,
    }
}
