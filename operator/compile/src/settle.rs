//! What runs while some resources are refused: each of those stays as it was when it was last accepted. Pure.

use std::collections::{BTreeMap, BTreeSet};

use evhub_crds::Kind;
use evhub_routing::Name;

use crate::{Asked, Compiled, Object, Resource, Verdict, World, compile};

/// What resources said when they were last accepted, by kind and name: those that are in the world or wait for their
/// broken file.
pub type Standing = BTreeMap<(Kind, Name), Resource>;

/// What a world comes to.
#[derive(Debug)]
pub struct Settled {
    /// The snapshot of what stands, and the verdicts on what was found.
    pub compiled: Compiled,
    /// What runs by an earlier spec.
    standing: BTreeSet<(Kind, Name)>,
}

impl Settled {
    /// Whether what was found of this resource was refused, and its earlier spec runs.
    pub fn stands_as_before(&self, key: &(Kind, Name)) -> bool {
        self.standing.contains(key)
    }

    /// Whether this verdict is on one of those, and it can run as it was.
    pub fn stands(&self, verdict: &Verdict) -> bool {
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
pub fn settle(world: &World, standing: &Standing) -> Settled {
    let paused = paused(world, standing);
    let mut replaced = paused.clone();
    let mut refusals = Vec::new();
    loop {
        let mut compiled = compile(&beside(world, &replaced));
        // Where one of several of a name is accepted, the name is well, whatever is said of the others.
        let is_missing = |key: &(Kind, Name)| !compiled.kept.contains_key(key) && !replaced.contains_key(key);
        let missing: Standing = standing
            .iter()
            .filter(|(key, _)| is_missing(key))
            .map(|(key, old)| (key.clone(), as_asked(world, key, old)))
            .collect();
        let is_of =
            |all: &Standing, verdict: &Verdict| key(verdict).is_some_and(|key| all.contains_key(&key));
        if missing.is_empty() {
            compiled.verdicts.retain(|verdict| !is_of(&replaced, verdict) || is_of(&paused, verdict));
            compiled.verdicts.splice(..0, refusals);
            replaced.retain(|key, _| compiled.kept.contains_key(key));
            return Settled { compiled, standing: replaced.into_keys().collect() };
        }
        refusals.extend(compiled.verdicts.into_iter().filter(|verdict| is_of(&missing, verdict)));
        replaced.extend(missing);
    }
}

/// Those that are to go on as they were accepted last, because their authors say so.
fn paused(world: &World, standing: &Standing) -> Standing {
    let is_paused = |found: &&Resource| found.asked.pause;
    let keys = world.objects.iter().filter_map(resource).filter(is_paused).map(of);
    keys.filter_map(|key| Some((key.clone(), as_asked(world, &key, standing.get(&key)?)))).collect()
}

/// What a resource was, with what its annotations ask now: they are no part of what is accepted or refused. An order that
/// broke has broken already.
fn as_asked(world: &World, key: &(Kind, Name), old: &Resource) -> Resource {
    let mut found = world.objects.iter().filter_map(resource);
    let asked =
        found.find(|found| of(found) == *key && found.uid == old.uid).map(|found| found.asked.clone());
    Resource { asked: Asked { order_break: false, ..asked.unwrap_or_default() }, ..old.clone() }
}

/// The world with these as they were. Another one of the same name is not it, and stays.
fn beside(world: &World, replaced: &Standing) -> World {
    let is_replaced = |object: &&Object| {
        resource(object).is_some_and(|found| replaced.get(&of(found)).is_some_and(|old| old.uid == found.uid))
    };
    let mut objects: Vec<Object> =
        world.objects.iter().filter(|object| !is_replaced(object)).cloned().collect();
    objects.extend(replaced.values().map(|old| Object::Resource(Box::new(old.clone()))));
    World { settings: world.settings.clone(), objects, removals: world.removals.clone() }
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
