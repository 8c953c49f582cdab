//! Decides what a set of resources comes to: what a dataplane runs, and what the resources' authors are told.
//!
//! In: a [`World`], with whatever is in it, decodable or not. Out: a [`Snapshot`] of what can be obeyed and one
//! [`Verdict`] for each object, from one computation, so that the two cannot disagree. Pure and total: no I/O, no
//! clock, no environment; every world has a result, and the order of its objects does not matter. Whatever an API
//! server would refuse is refused here too, with its words or better ones, because not every world comes from one.
//!
//! - [`world`]: what goes in
//! - [`verdict`]: what authors are told
//! - [`names`]: topics and groups
//! - [`settle`]: what runs while some resources are refused
//! - `annotations`: what annotations ask of the hub
//! - `producer`, `processor`: what one object comes to

mod annotations;
pub mod names;
mod processor;
mod producer;
pub mod settle;
pub mod verdict;
pub mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evhub_crds::{Kind, Reason, rules};
use evhub_routing::{Name, Snapshot};

pub use crate::{
    processor::target::secrets,
    verdict::{Finding, Verdict},
    world::{
        Apps, Asked, Egress, Grant, Kept, Log, Mapping, Object, Origin, Removals, Resource, Secret, Secrets,
        Service, Services, Settings, World,
    },
};

/// What a world comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// What a dataplane runs. Its generation is for the caller to stamp.
    pub snapshot: Snapshot,
    /// One for each object, ordered by kind, name and place.
    pub verdicts: Vec<Verdict>,
    /// What accepted resources may not change from now on; the caller keeps it and hands it back with the next world.
    pub kept: BTreeMap<(Kind, Name), Kept>,
}

/// Decides.
pub fn compile(world: &World) -> Compiled {
    let mut compiled = Compiled::default();
    let mut resources: Vec<&Resource> = Vec::new();
    for object in &world.objects {
        match object {
            Object::Resource(resource) => resources.push(resource),
            Object::Undecodable { kind, origin, problem } => {
                compiled.verdicts.push(Verdict::undecodable(*kind, origin, problem));
            }
        }
    }
    resources.sort_by(|a, b| a.seniority().cmp(&b.seniority()));

    let mut named = BTreeSet::new();
    let (first, later): (Vec<&Resource>, Vec<&Resource>) =
        resources.into_iter().partition(|resource| named.insert((resource.kind, &resource.name)));
    compiled.verdicts.extend(later.into_iter().map(duplicate));

    let (producers, processors): (Vec<&Resource>, Vec<&Resource>) =
        first.into_iter().partition(|resource| resource.kind == Kind::Producer);
    compiled.snapshot.removals = world.removals.clone();
    let grants = producer::compile(world, &producers, &processors, &mut compiled);
    processor::compile(&world.settings, &processors, &grants, &mut compiled);
    compiled.verdicts.sort_by(|a, b| a.rank().cmp(&b.rank()));
    compiled
}

// === impl Compiled ===

impl Compiled {
    /// Whether everything is accepted and resolved.
    pub fn is_sound(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.accepted && verdict.is_resolved())
    }

    /// Keeps what an accepted one may not change; it runs if everything that it names is there.
    fn admit_producer(&mut self, resource: &Resource, producer: Option<evhub_routing::Producer>, kept: Kept) {
        self.kept.insert((Kind::Producer, resource.name.clone()), kept);
        let running = producer.map(|producer| (resource.name.clone(), Arc::new(producer)));
        self.snapshot.producers.extend(running);
    }
}

fn duplicate(resource: &Resource) -> Verdict {
    let message = format!(
        "there is an older {} named {}; this one is ignored: rename or remove one of them",
        resource.kind, resource.name
    );
    Verdict::new(resource, vec![Finding::new(Reason::DuplicateName, Some("metadata.name"), message)])
}

/// What is wrong with an object whatever its kind: its names, and fields that do not exist.
fn common(resource: &Resource) -> Vec<Finding> {
    let Name { namespace, name } = &resource.name;
    let names = [("metadata.namespace", namespace), ("metadata.name", name)];
    let mut findings: Vec<Finding> = names
        .into_iter()
        .filter(|(_, name)| !rules::is_dns_label(name))
        .map(|(field, _)| Finding::new(Reason::Invalid, Some(field), rules::NAME.into()))
        .collect();
    findings.extend(resource.unknown.iter().map(Finding::from));
    findings.extend(resource.asked.findings());
    findings
}
