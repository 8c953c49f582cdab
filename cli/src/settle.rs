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

    /// Likewise, of a verdict.
    pub(crate) fn stands(&self, verdict: &Verdict) -> bool {
        !verdict.accepted && key(verdict).is_some_and(|key| self.standing.contains(&key))
    }
}

/// Decides. A resource that is refused is replaced by what it was, so that the others are decided on beside what runs.
pub(crate) fn settle(world: &World, standing: &Standing) -> Settled {
    let found = compile(world);
    let refused: BTreeSet<_> =
        found.verdicts.iter().filter(|verdict| !verdict.accepted).filter_map(key).collect();
    let met: BTreeSet<_> = world.objects.iter().filter_map(resource).map(of).collect();
    let stands = |key: &(Kind, Name)| refused.contains(key) || !met.contains(key);
    let replacing: BTreeMap<_, _> = standing.iter().filter(|(key, _)| stands(key)).collect();
    if replacing.is_empty() {
        return Settled { compiled: found, standing: BTreeSet::new() };
    }
    // Another one of the same name is not it.
    let is_replaced = |object: &&Object| {
        resource(object)
            .is_some_and(|found| replacing.get(&of(found)).is_some_and(|old| old.uid == found.uid))
    };
    let mut objects: Vec<Object> =
        world.objects.iter().filter(|object| !is_replaced(object)).cloned().collect();
    objects.extend(replacing.values().map(|old| Object::Resource(Box::new(Resource::clone(old)))));
    let mut compiled = compile(&World { settings: world.settings.clone(), objects });
    let of_replaced = |verdict: &Verdict| key(verdict).is_some_and(|key| replacing.contains_key(&key));
    let refusals = found.verdicts.into_iter().filter(|verdict| !verdict.accepted && of_replaced(verdict));
    let others = std::mem::take(&mut compiled.verdicts).into_iter().filter(|verdict| !of_replaced(verdict));
    compiled.verdicts = refusals.chain(others).collect();
    let standing = replacing.into_keys().filter(|key| compiled.kept.contains_key(key)).cloned().collect();
    Settled { compiled, standing }
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
