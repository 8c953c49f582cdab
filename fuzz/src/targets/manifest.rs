//! A file of manifests, as `evhub check` and `evhub dev` read one, and what it comes to.

use std::collections::BTreeSet;

use evhub_compile::{Apps, Egress, Log, Object, Secrets, Services, Settings, World, compile};

/// The tool is a program and no library, so its reader of manifests is taken as a file.
#[path = "../../../cli/src/manifests/document.rs"]
mod document;

/// What that file fills.
#[derive(Default)]
struct Loaded {
    objects: Vec<Object>,
    warnings: Vec<String>,
}

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut loaded = Loaded::default();
    document::read("any.yaml", text, &mut loaded);
    assert!(loaded.warnings.len() + loaded.objects.len() <= 1 + text.matches("---").count());
    let objects = loaded.objects.len();
    let settings = Settings {
        prefix: "evhub".into(),
        egress: Egress::Loopback,
        apps: Apps::Any,
        services: Services::Assumed,
        secrets: Secrets::Assumed,
        log: Log::Embedded,
    };
    let mut world = World::new(settings, loaded.objects);
    let compiled = compile(&world);
    assert_eq!(compiled.verdicts.len(), objects, "one verdict for each object");
    let sound: BTreeSet<_> = compiled
        .verdicts
        .iter()
        .filter(|verdict| verdict.accepted && verdict.is_resolved())
        .filter_map(|verdict| Some((verdict.namespace.clone()?, verdict.name.clone()?)))
        .collect();
    let runs = (compiled.snapshot.producers.keys()).chain(compiled.snapshot.processors.keys());
    for name in runs {
        assert!(sound.contains(&(name.namespace.clone(), name.name.clone())), "{name} runs, and was refused");
    }
    world.objects.reverse();
    assert_eq!(compile(&world), compiled, "the order of objects does not matter");
}
