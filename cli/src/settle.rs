//! What runs while some resources are refused: each of those stays as it was when it was last accepted. Pure.

use std::collections::{BTreeMap, BTreeSet};

use evhub_compile::{Compiled, Object, Resource, Verdict, World, compile};
use evhub_crds::Kind;
use evhub_routing::Name;

/// What resources said when they were last accepted, by kind and name: those that are in the world or wait for their
/// broken file.
pub(crate) type Standing = BTreeMap<(Kind, Name), Resource>;

/// What a world comes to.
#[derive(Debug)]
pub(crate) struct Settled {
    /// The snapshot of what stands, and the verdicts on what was found.
    pub(crate) compiled: Compiled,
    /// What runs by an earlier spec.
    standing: BTreeSet<(Kind, Name)>,
}

impl Settled {
    /// Whether what was found of this resource was refused, and its earlier spec runs.
    pub(crate) fn stands_as_before(&self, key: &(Kind, Name)) -> bool {
        self.standing.contains(key)
    }

    /// Whether this verdict is on one of those, and it can run as it was.
    pub(crate) fn stands(&self, verdict: &Verdict) -> bool {
        let Some(key) = key(verdict) else { return false };
        let snapshot = &self.compiled.snapshot;
        let runs = match key.0 {
            Kind::Producer => snapshot.producers.contains_key(&key.1),
            Kind::Processor => snapshot.processors.contains_key(&key.1),
        };
        !verdict.accepted && self.standing.contains(&key) && runs
    }
}

/// Decides. A resource that is refused is replaced by what it was, so that the others are decided on beside what runs; which
/// may refuse more of them, until all that ever was accepted stands. Each round replaces at least one.
pub(crate) fn settle(world: &World, standing: &Standing) -> Settled {
    let mut replaced = Standing::new();
    let mut refusals = Vec::new();
    loop {
        let mut compiled = compile(&beside(world, &replaced));
        // Where one of several of a name is accepted, the name is well, whatever is said of the others.
        let is_missing = |key: &(Kind, Name)| !compiled.kept.contains_key(key) && !replaced.contains_key(key);
        let missing: Standing = standing
            .iter()
            .filter(|(key, _)| is_missing(key))
            .map(|(key, old)| (key.clone(), old.clone()))
            .collect();
        let is_of =
            |all: &Standing, verdict: &Verdict| key(verdict).is_some_and(|key| all.contains_key(&key));
        if missing.is_empty() {
            compiled.verdicts.retain(|verdict| !is_of(&replaced, verdict));
            compiled.verdicts.splice(..0, refusals);
            replaced.retain(|key, _| compiled.kept.contains_key(key));
            return Settled { compiled, standing: replaced.into_keys().collect() };
        }
        refusals.extend(compiled.verdicts.into_iter().filter(|verdict| is_of(&missing, verdict)));
        replaced.extend(missing);
    }
}

/// The world with these as they were. Another one of the same name is not it, and stays.
fn beside(world: &World, replaced: &Standing) -> World {
    let is_replaced = |object: &&Object| {
        resource(object).is_some_and(|found| replaced.get(&of(found)).is_some_and(|old| old.uid == found.uid))
    };
    let mut objects: Vec<Object> =
        world.objects.iter().filter(|object| !is_replaced(object)).cloned().collect();
    objects.extend(replaced.values().map(|old| Object::Resource(Box::new(old.clone()))));
    World { settings: world.settings.clone(), objects }
}

fn key(verdict: &Verdict) -> Option<(Kind, Name)> {
    Some((verdict.kind?, Name::new(verdict.namespace.as_deref()?, verdict.name.as_deref()?)))
}

fn resource(object: &Object) -> Option<&Resource> {
    match object {
        Object::Resource(resource) => Some(resource),
        Object::Undecodable { .. } => None,
    }
}

fn of(resource: &Resource) -> (Kind, Name) {
    (resource.kind, resource.name.clone())
}

#[cfg(test)]
mod tests;
