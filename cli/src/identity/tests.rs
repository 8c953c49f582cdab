//! What is remembered, and what is forgotten.

use std::{fs::File, os::unix::fs::PermissionsExt as _};

use evhub_compile::{Apps, Asked, Compiled, Egress, Log, Secrets, Services, Settings, World};
use serde_json::json;

use super::*;
use evhub_compile::settle::settle;

fn producer(file: &str, partitions: u32) -> Object {
    resource(Kind::Producer, file, json!({ "topic": { "partitions": partitions } }))
}

fn resource(kind: Kind, file: &str, spec: Value) -> Object {
    Object::Resource(Box::new(Resource {
        kind,
        name: Name::new("shop", "orders"),
        uid: String::new(),
        created: 0,
        generation: 1,
        kept: Kept::default(),
        origin: Some(Origin { file: file.into(), line: 1 }),
        asked: Asked::default(),
        unknown: Vec::new(),
        spec: Some(spec),
    }))
}

fn broken(file: &str) -> Object {
    let origin = Origin { file: file.into(), line: 1 };
    Object::Undecodable { kind: None, origin, problem: "no".into() }
}

fn fresh() -> (tempfile::TempDir, Identities) {
    let data = tempfile::tempdir().unwrap();
    let identities = Identities::open(data.path()).unwrap();
    (data, identities)
}

/// One round as `dev` makes it; the resources as they were told who they are.
fn round(identities: &mut Identities, objects: Vec<Object>, now: i64) -> (Vec<Resource>, Compiled) {
    round_over(None, identities, objects, now)
}

/// Likewise, where topics of the names have this many partitions.
fn round_over(
    made: Option<u32>,
    identities: &mut Identities,
    mut objects: Vec<Object>,
    now: i64,
) -> (Vec<Resource>, Compiled) {
    identities.assign(&mut objects, now, |_| made);
    let settings = Settings {
        prefix: "evhub".into(),
        egress: Egress::Loopback,
        apps: Apps::Any,
        services: Services::Assumed,
        secrets: Secrets::None,
        log: Log::Embedded,
    };
    let world = World::new(settings, objects);
    let settled = settle(&world, &identities.standing());
    identities.save(&settled).unwrap();
    let compiled = settled.compiled;
    let resources = world.objects.into_iter().filter_map(|object| match object {
        Object::Resource(resource) => Some(*resource),
        Object::Undecodable { .. } => None,
    });
    (resources.collect(), compiled)
}

#[test]
fn a_restart_changes_nothing_but_the_epoch() {
    let data = tempfile::tempdir().unwrap();
    let mut first = Identities::open(data.path()).unwrap();
    let (before, _) = round(&mut first, vec![producer("a", 4)], 10);
    let mut second = Identities::open(data.path()).unwrap();
    let (after, _) = round(&mut second, vec![producer("a", 4)], 20);
    assert_eq!((first.epoch(), second.epoch()), (1, 2));
    assert_eq!(before[0].uid, after[0].uid);
    assert_eq!((after[0].created, after[0].generation), (10, 1));
    assert_eq!(after[0].kept.partitions, Some(4));
    assert_eq!(Identities::open(data.path()).unwrap().epoch(), 3);
}

#[test]
fn a_changed_spec_is_a_new_generation() {
    let (_data, mut identities) = fresh();
    let (before, _) = round(&mut identities, vec![producer("a", 4)], 10);
    let (after, _) = round(&mut identities, vec![producer("a", 5)], 20);
    assert_eq!((&before[0].uid, 2), (&after[0].uid, after[0].generation));
}

#[test]
fn deleting_and_creating_makes_another() {
    let (_data, mut identities) = fresh();
    let (before, _) = round(&mut identities, vec![producer("a", 4)], 10);
    round(&mut identities, vec![], 20);
    let (after, compiled) = round(&mut identities, vec![producer("a", 2)], 30);
    assert_ne!(before[0].uid, after[0].uid);
    assert_eq!(after[0].created, 30);
    assert!(compiled.is_sound(), "{:?}", compiled.verdicts);
}

#[test]
fn a_topic_outlives_its_resource() {
    let (_data, mut identities) = fresh();
    round(&mut identities, vec![producer("a", 4)], 10);
    round_over(Some(4), &mut identities, vec![], 20);
    for (partitions, sound) in [(2, false), (3, false), (4, true), (6, true)] {
        let (_, compiled) = round_over(Some(4), &mut identities, vec![producer("a", partitions)], 30);
        assert_eq!(compiled.is_sound(), sound, "{partitions}: {:?}", compiled.verdicts);
    }
}

#[test]
fn a_broken_file_forgets_nobody() {
    let (_data, mut identities) = fresh();
    let (before, _) = round(&mut identities, vec![producer("a", 4)], 10);
    round(&mut identities, vec![broken("a")], 20);
    let (after, _) = round(&mut identities, vec![producer("a", 4)], 30);
    assert_eq!(before[0].uid, after[0].uid);
    round(&mut identities, vec![broken("b")], 40);
    let (other, _) = round(&mut identities, vec![producer("a", 4)], 50);
    assert_ne!(before[0].uid, other[0].uid);
}

#[test]
fn what_is_refused_or_broken_runs_on_as_it_was() {
    let (_data, mut identities) = fresh();
    let partitions = |compiled: &Compiled| {
        let producer = compiled.snapshot.producers.get(&Name::new("shop", "orders"))?;
        Some((producer.partitions, producer.uid.clone()))
    };
    let (_, first) = round(&mut identities, vec![producer("a", 0)], 10);
    assert_eq!(partitions(&first), None, "nothing was ever accepted");
    let (before, sound) = round(&mut identities, vec![producer("a", 4)], 20);
    let stands = Some((4, before[0].uid.clone()));
    assert_eq!(partitions(&sound), stands);
    for bad in [producer("a", 0), producer("a", 2), broken("a")] {
        let (_, compiled) = round(&mut identities, vec![bad], 30);
        assert_eq!(partitions(&compiled), stands);
        assert!(!compiled.is_sound(), "its author is told");
        assert_eq!(compiled.verdicts.len(), 1, "{:?}", compiled.verdicts);
    }
    let (_, mended) = round(&mut identities, vec![producer("a", 8)], 40);
    assert_eq!(partitions(&mended), Some((8, before[0].uid.clone())));
    assert!(mended.is_sound());
    let (_, gone) = round(&mut identities, vec![], 50);
    assert_eq!(partitions(&gone), None, "what is removed does not stand");
}

#[test]
fn a_processor_goes_on_while_its_producers_edit_is_refused() {
    let (_data, mut identities) = fresh();
    let processor = || {
        let spec = json!({ "producers": [{ "name": "orders" }], "target": { "url": "http://127.0.0.1/" } });
        resource(Kind::Processor, "b", spec)
    };
    for partitions in [4, 0] {
        let (_, compiled) = round(&mut identities, vec![producer("a", partitions), processor()], 10);
        assert_eq!(compiled.snapshot.processors.len(), 1);
        let verdict = compiled.verdicts.iter().find(|verdict| verdict.kind == Some(Kind::Processor)).unwrap();
        assert!(verdict.accepted && verdict.is_resolved(), "{verdict:?}");
    }
}

#[test]
fn what_stands_survives_a_restart() {
    let data = tempfile::tempdir().unwrap();
    round(&mut Identities::open(data.path()).unwrap(), vec![producer("a", 4)], 10);
    let mut again = Identities::open(data.path()).unwrap();
    let (_, compiled) = round(&mut again, vec![producer("a", 0)], 20);
    assert_eq!(compiled.snapshot.producers[&Name::new("shop", "orders")].partitions, 4);
}

#[test]
fn only_what_was_accepted_is_held_against_its_author() {
    let (_data, mut identities) = fresh();
    let (_, refused) = round(&mut identities, vec![producer("a", 5000)], 10);
    assert!(!refused.is_sound());
    let (_, accepted) = round(&mut identities, vec![producer("a", 8)], 20);
    assert!(accepted.is_sound(), "{:?}", accepted.verdicts);
    let (_, shrunk) = round(&mut identities, vec![producer("a", 4)], 30);
    assert!(!shrunk.is_sound());
    let (_, again) = round(&mut identities, vec![producer("a", 8)], 40);
    assert!(again.is_sound(), "{:?}", again.verdicts);
}

#[test]
fn a_copy_does_not_take_the_name() {
    let (_data, mut identities) = fresh();
    let (before, _) = round(&mut identities, vec![producer("b", 4)], 10);
    let (after, compiled) = round(&mut identities, vec![producer("a", 2), producer("b", 4)], 20);
    assert_eq!(before[0].uid, after[1].uid);
    assert_ne!(before[0].uid, after[0].uid);
    assert_eq!(compiled.snapshot.producers[&Name::new("shop", "orders")].partitions, 4);
}

#[test]
fn nobody_else_may_read_what_is_kept() {
    let (data, mut identities) = fresh();
    File::create(data.path().join("objects.json.new")).unwrap();
    round(&mut identities, vec![producer("a", 4)], 10);
    let mode = fs::metadata(data.path().join("objects.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn kinds_do_not_share_a_name() {
    let (_data, mut identities) = fresh();
    let (found, _) =
        round(&mut identities, vec![producer("a", 4), resource(Kind::Processor, "a", json!({}))], 10);
    assert_ne!(found[0].uid, found[1].uid);
}

#[test]
fn a_damaged_file_is_refused_and_kept() {
    let data = tempfile::tempdir().unwrap();
    for text in ["", "{", r#"{"epoch":1,"objects":[],"later":true}"#] {
        fs::write(data.path().join("objects.json"), text).unwrap();
        assert!(matches!(Identities::open(data.path()), Err(Error::Damaged { .. })), "{text}");
        assert_eq!(fs::read_to_string(data.path().join("objects.json")).unwrap(), text);
    }
}

#[test]
fn fixed_identities_are_fixed() {
    let mut objects = vec![producer("a", 4), resource(Kind::Processor, "a", json!({}))];
    fixed(&mut objects, 0);
    let uids: Vec<&str> = objects
        .iter()
        .map(|object| match object {
            Object::Resource(resource) => resource.uid.as_str(),
            Object::Undecodable { .. } => "",
        })
        .collect();
    assert_eq!(uids[0].len(), 36);
    assert_ne!(uids[0], uids[1]);
    let mut again = vec![producer("z", 1)];
    fixed(&mut again, 0);
    assert!(matches!(&again[0], Object::Resource(resource) if resource.uid == uids[0]));
}
