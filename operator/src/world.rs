//! From what an API server has to what dataplanes are to run. Pure.
//!
//! An object that was refused since it was accepted runs on as it was accepted last. What is equal to what ran before *is*
//! what ran before, so that a change touches what changed and nothing else, and it is known since when each runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evhub_compile::{
    Kept, Object, Removals, Resource, Secret, Secrets, Service, Services, Settings, Verdict, World, secrets,
    settle::{self, Standing},
};
use evhub_crds::Kind;
use evhub_routing::{Generation, Name, Snapshot};
use serde_json::{Value, json};

use crate::{
    doing::Watched,
    fleet::Fleet,
    index::{Before, Key, Stored},
    told::{Facts, Runs},
};

/// What was decided last.
#[derive(Debug, Default)]
pub struct Decided {
    snapshot: Arc<Snapshot>,
    /// Since when each runs as it does.
    since: BTreeMap<Key, Generation>,
    verdicts: BTreeMap<Key, Verdict>,
    /// What runs as it was accepted earlier.
    stands: BTreeSet<Key>,
}

/// What follows for an object from what was decided: what may not change of it, and whether it is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    /// What may not change from now on.
    pub kept: Option<Kept>,
    /// Whether what it says now is accepted.
    pub accepted: bool,
}

/// What is known beside what was decided.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// What dataplanes say.
    pub fleet: &'a Fleet,
    /// Where applications publish, if that is known.
    pub publish: Option<&'a str>,
    /// The Services that somebody is ready behind, if that is known.
    pub reached: Option<&'a BTreeSet<Name>>,
    /// How Processors are doing.
    pub watched: &'a Watched,
}

impl Decided {
    /// What runs.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Decides anew. Says whether anything else is to run.
    pub fn decide<'a>(
        &mut self,
        settings: &Settings,
        services: BTreeMap<Name, Service>,
        secrets: Arc<BTreeMap<Name, Secret>>,
        objects: impl Iterator<Item = (Key, &'a Stored)>,
        removals: Removals,
        epoch: u64,
    ) -> bool {
        let mut standing = Standing::new();
        let mut all = Vec::new();
        for (key, stored) in objects {
            if let Some(before) = before(key.0, stored) {
                standing
                    .insert(key.clone(), resource(&key, stored, before.generation, before.spec.as_deref()));
            }
            let found = resource(&key, stored, stored.generation, stored.spec.as_deref());
            all.push(Object::Resource(Box::new(found)));
        }
        let services = Services::Cluster(Arc::new(services));
        let secrets = Secrets::Known(secrets);
        let settings = Settings { services, secrets, ..settings.clone() };
        let world = World { removals, ..World::new(settings, all) };
        let settled = settle::settle(&world, &standing);
        let kept = settled.compiled.kept.keys();
        self.stands = kept.filter(|key| settled.stands_as_before(key)).cloned().collect();
        self.verdicts = settled.compiled.verdicts.into_iter().filter_map(keyed).collect();
        self.take(settled.compiled.snapshot, epoch)
    }

    fn take(&mut self, mut next: Snapshot, epoch: u64) -> bool {
        let before = &self.snapshot;
        let generation = if before.generation.epoch == epoch {
            Generation { epoch, revision: before.generation.revision + 1 }
        } else {
            Generation { epoch, revision: 1 }
        };
        share(&mut next.producers, &before.producers);
        share(&mut next.processors, &before.processors);
        if before.generation.epoch == epoch
            && next.producers == before.producers
            && next.processors == before.processors
            && next.removals == before.removals
        {
            return false;
        }
        next.generation = generation;
        let is_new_epoch = before.generation.epoch != epoch;
        let mut since = BTreeMap::new();
        let mut note = |key: Key, same: bool| {
            let known = self.since.get(&key).copied().filter(|_| same && !is_new_epoch);
            since.insert(key, known.unwrap_or(generation));
        };
        for (name, producer) in &next.producers {
            let same = before.producers.get(name).is_some_and(|known| Arc::ptr_eq(known, producer));
            note((Kind::Producer, name.clone()), same);
        }
        for (name, processor) in &next.processors {
            let same = before.processors.get(name).is_some_and(|known| Arc::ptr_eq(known, processor));
            note((Kind::Processor, name.clone()), same);
        }
        self.since = since;
        self.snapshot = Arc::new(next);
        true
    }

    /// What follows for an object.
    pub fn learned(&self, key: &Key) -> Learned {
        let stands = self.stands.contains(key);
        let kept = match self.runs(key) {
            Runs::Producer(producer, _) => Some(Kept {
                partitions: Some(producer.partitions),
                evhub: Some(producer.evhub.clone()),
                topic: Some(producer.topic.clone()),
                ..Kept::default()
            }),
            Runs::Processor(processor, _) => Some(Kept {
                partitions: Some(processor.partitions),
                dispatcher: Some(processor.dispatcher_id.clone()),
                ..Kept::default()
            }),
            Runs::Nothing => None,
        };
        let accepted = !stands && self.verdicts.get(key).is_some_and(|verdict| verdict.accepted);
        Learned { kept, accepted }
    }

    /// What was decided on an object, with what else is known of it.
    pub fn facts<'a>(&'a self, key: &'a Key, stored: &'a Stored, around: &Around<'a>) -> Option<Facts<'a>> {
        let (kind, name) = (key.0, &key.1);
        let runs = self.runs(key);
        let service = match runs {
            Runs::Processor(processor, _) => processor.target.service.as_ref(),
            Runs::Producer(..) | Runs::Nothing => None,
        };
        Some(Facts {
            kind,
            name,
            generation: stored.generation,
            verdict: self.verdicts.get(key)?,
            runs,
            stands: self.stands.contains(key),
            fleet: around.fleet,
            publish: around.publish,
            before: stored.before.as_ref(),
            unreached: service.zip(around.reached).is_some_and(|(service, all)| !all.contains(service)),
            observed: around.watched.of(name).filter(|_| kind == Kind::Processor),
        })
    }

    fn runs(&self, key: &Key) -> Runs<'_> {
        let Some(since) = self.since.get(key).copied() else { return Runs::Nothing };
        match key.0 {
            Kind::Producer => self
                .snapshot
                .producers
                .get(&key.1)
                .map_or(Runs::Nothing, |producer| Runs::Producer(producer, since)),
            Kind::Processor => self
                .snapshot
                .processors
                .get(&key.1)
                .map_or(Runs::Nothing, |processor| Runs::Processor(processor, since)),
        }
    }
}

/// The Secrets that an object names.
pub fn named(key: &Key, stored: &Stored) -> Vec<Name> {
    let is_likely = |spec: &&str| key.0 == Kind::Processor && spec.contains("\"secret\"");
    let spec = stored.spec.as_deref().filter(is_likely);
    parsed(spec).map(|spec| secrets(&key.1.namespace, &spec)).unwrap_or_default()
}

/// What is equal to what was before is what was before.
fn share<T: PartialEq>(next: &mut BTreeMap<Name, Arc<T>>, before: &BTreeMap<Name, Arc<T>>) {
    for (name, value) in next {
        if let Some(known) = before.get(name).filter(|known| *known == value) {
            *value = Arc::clone(known);
        }
    }
}

fn keyed(verdict: Verdict) -> Option<(Key, Verdict)> {
    let name = Name::new(verdict.namespace.clone()?, verdict.name.clone()?);
    Some(((verdict.kind?, name), verdict))
}

/// What an object said when it was accepted last. Of one that nobody remembers it is known how many partitions it had: as
/// many may be had again, whatever else it says.
fn before(kind: Kind, stored: &Stored) -> Option<Before> {
    if stored.before.is_some() {
        return stored.before.clone();
    }
    let recorded = stored.kept.partitions.filter(|_| kind == Kind::Producer && !stored.accepted)?;
    let mut spec = parsed(stored.spec.as_deref())?;
    spec.as_object_mut()?.entry("topic").or_insert_with(|| json!({}));
    *spec.pointer_mut("/topic")?.as_object_mut()?.entry("partitions").or_insert(Value::Null) =
        json!(recorded);
    Some(Before { generation: stored.generation, spec: Some(spec.to_string().into_boxed_str()) })
}

fn resource(key: &Key, stored: &Stored, generation: i64, spec: Option<&str>) -> Resource {
    Resource {
        kind: key.0,
        name: key.1.clone(),
        uid: stored.uid.clone(),
        created: stored.created,
        generation,
        kept: stored.kept.clone(),
        origin: None,
        asked: stored.asked.clone(),
        // The API server has dropped what it does not know.
        unknown: Vec::new(),
        spec: parsed(spec),
    }
}

fn parsed(spec: Option<&str>) -> Option<Value> {
    spec.and_then(|text| serde_json::from_str(text).ok())
}

#[cfg(test)]
mod tests;
