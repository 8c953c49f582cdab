//! Who a resource is when no API server says so: its uid, age, generation and what it may not change, kept in
//! `objects.json` of the data folder. Does I/O.
//!
//! A resource that disappears is forgotten, so that deleting and creating it makes a new one, as in Kubernetes. One
//! whose file is broken at the moment has not disappeared: its identity waits.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use evhub_compile::{
    Asked, Kept, Object, Origin, Resource,
    settle::{Settled, Standing},
};
use evhub_crds::Kind;
use evhub_routing::Name;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::exit::Configuration;

/// The identities in a data folder. Nothing compiled from them may run before [`Identities::save`] has succeeded.
#[derive(Debug)]
pub(crate) struct Identities {
    path: PathBuf,
    epoch: u64,
    entries: BTreeMap<(Kind, Name), Entry>,
    /// What the file says, so that nothing is written that it says already.
    written: Option<Vec<u8>>,
}

/// Why identities cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The disk or its permissions.
    #[error("{}: cannot keep the identities of resources here", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else wrote it.
    #[error("{}: not what evhub wrote there; restore it, or start with an empty data folder", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// The file. Unknown fields are refused: a later version's file is not ours to rewrite.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    epoch: u64,
    objects: Vec<Entry>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    kind: Kind,
    namespace: String,
    name: String,
    uid: String,
    created: i64,
    generation: i64,
    kept: Kept,
    file: Option<String>,
    spec: Option<Value>,
    /// What it said when it was accepted last: what runs while a later spec is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accepted: Option<Accepted>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Accepted {
    generation: i64,
    spec: Option<Value>,
}

/// Those of a data folder, or what is wrong with `--data`.
pub(crate) fn of(data: &Path) -> anyhow::Result<Identities> {
    Identities::open(data).map_err(|error| unusable(&error, ""))
}

/// What is wrong with `--data`, and what to do about it.
pub(crate) fn unusable(error: &(dyn std::error::Error + 'static), hint: &str) -> anyhow::Error {
    Configuration(vec![format!("--data: {}{hint}", evhub_lifecycle::exit::line(error))]).into()
}

// === impl Identities ===

impl Identities {
    /// Opens those of a data folder, which is made if need be. This counts as a start.
    pub(crate) fn open(data: &Path) -> Result<Self, Error> {
        let path = data.join("objects.json");
        let failed = |source| Error::Io { path: path.clone(), source };
        fs::create_dir_all(data).map_err(failed)?;
        let document = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| Error::Damaged { path: path.clone(), source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Document::default(),
            Err(error) => return Err(failed(error)),
        };
        let entries = document.objects.into_iter().map(|entry| (entry.key(), entry)).collect();
        Ok(Self { path, epoch: document.epoch + 1, entries, written: None })
    }

    /// How often this data folder has been started from, this time included.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Tells each resource who it is. Those that are new are created `now`, in milliseconds since the Unix epoch. Topics
    /// outlive their resource, and `made` says of each how many partitions it finds: they hold for a new one, too.
    pub(crate) fn assign(
        &mut self,
        objects: &mut [Object],
        now: i64,
        made: impl Fn(&Resource) -> Option<u32>,
    ) {
        let mut before = std::mem::take(&mut self.entries);
        let holders = holders(objects, &before);
        for (index, object) in objects.iter_mut().enumerate() {
            let Object::Resource(resource) = object else { continue };
            let key = (resource.kind, resource.name.clone());
            let holds = holders.get(&key) == Some(&index);
            let known = if holds { before.remove(&key) } else { None };
            let mut entry = known.map_or_else(|| Entry::new(resource, now), |entry| entry.met(resource));
            entry.kept.partitions = entry.kept.partitions.max(made(resource));
            entry.tell(resource);
            if holds {
                self.entries.insert(key, entry);
            }
        }
        let broken: BTreeSet<&str> = objects.iter().filter_map(broken_file).collect();
        before.retain(|_, entry| entry.file.as_deref().is_some_and(|file| broken.contains(file)));
        self.entries.extend(before);
    }

    /// What each of these resources, and those that wait for their broken files, said when it was accepted last.
    pub(crate) fn standing(&self) -> Standing {
        self.entries.iter().filter_map(|(key, entry)| Some((key.clone(), entry.standing()?))).collect()
    }

    /// Makes durable who everything is, and what was accepted and so may not change.
    pub(crate) fn save(&mut self, settled: &Settled) -> Result<(), Error> {
        for (key, kept) in &settled.compiled.kept {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.kept = kept.clone();
                if !settled.stands_as_before(key) {
                    let (generation, spec) = (entry.generation, entry.spec.clone());
                    entry.accepted = Some(Accepted { generation, spec });
                }
            }
        }
        let document = Document { epoch: self.epoch, objects: self.entries.values().cloned().collect() };
        let bytes = serde_json::to_vec_pretty(&document).expect("identities are made of what JSON can say");
        if self.written.as_ref() != Some(&bytes) {
            evhub_lifecycle::replace(&self.path, &bytes)
                .map_err(|source| Error::Io { path: self.path.clone(), source })?;
            self.written = Some(bytes);
        }
        Ok(())
    }
}

/// Identities for a look at files that nothing will run: made from the names, the same each time, and created then.
pub(crate) fn fixed(objects: &mut [Object], created: i64) {
    for object in objects {
        if let Object::Resource(resource) = object {
            let text = format!("{} {}", resource.kind, resource.name);
            resource.uid = Uuid::from_u128(fnv(text.as_bytes())).to_string();
            resource.created = created;
        }
    }
}

/// Which object is the one that has the name: the one that had it before, or else the first.
fn holders(objects: &[Object], before: &BTreeMap<(Kind, Name), Entry>) -> BTreeMap<(Kind, Name), usize> {
    let mut holders = BTreeMap::new();
    let mut claims: Vec<(usize, &Resource)> = objects
        .iter()
        .enumerate()
        .filter_map(|(index, object)| match object {
            Object::Resource(resource) => Some((index, resource.as_ref())),
            Object::Undecodable { .. } => None,
        })
        .collect();
    claims.sort_by_key(|(index, resource)| {
        let entry = before.get(&(resource.kind, resource.name.clone()));
        (entry.is_none_or(|entry| entry.file != file(resource)), &resource.origin, *index)
    });
    for (index, resource) in claims {
        holders.entry((resource.kind, resource.name.clone())).or_insert(index);
    }
    holders
}

fn broken_file(object: &Object) -> Option<&str> {
    match object {
        Object::Undecodable { origin, .. } => Some(&origin.file),
        Object::Resource(_) => None,
    }
}

fn file(resource: &Resource) -> Option<String> {
    resource.origin.as_ref().map(|Origin { file, .. }| file.clone())
}

/// FNV-1a, which never changes; nothing depends on its being hard to invert.
fn fnv(bytes: &[u8]) -> u128 {
    let step = |hash: u128, byte: &u8| {
        (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    };
    bytes.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, step)
}

// === impl Entry ===

impl Entry {
    fn new(resource: &Resource, now: i64) -> Self {
        Self {
            kind: resource.kind,
            namespace: resource.name.namespace.clone(),
            name: resource.name.name.clone(),
            uid: Uuid::now_v7().to_string(),
            created: now,
            generation: 1,
            kept: Kept::default(),
            file: file(resource),
            spec: resource.spec.clone(),
            accepted: None,
        }
    }

    fn key(&self) -> (Kind, Name) {
        (self.kind, Name::new(self.namespace.as_str(), self.name.as_str()))
    }

    /// The same resource, met again.
    fn met(mut self, resource: &Resource) -> Self {
        if self.spec != resource.spec {
            self.spec.clone_from(&resource.spec);
            self.generation += 1;
        }
        self.file = file(resource);
        self
    }

    /// The resource as it was accepted last. An order that broke then has broken already.
    fn standing(&self) -> Option<Resource> {
        let Accepted { generation, spec } = self.accepted.clone()?;
        Some(Resource {
            kind: self.kind,
            name: self.key().1,
            uid: self.uid.clone(),
            created: self.created,
            generation,
            kept: self.kept.clone(),
            origin: self.file.clone().map(|file| Origin { file, line: 1 }),
            asked: Asked::default(),
            unknown: Vec::new(),
            spec,
        })
    }

    fn tell(&self, resource: &mut Resource) {
        resource.uid.clone_from(&self.uid);
        resource.created = self.created;
        resource.generation = self.generation;
        resource.kept = self.kept.clone();
    }
}

#[cfg(test)]
mod tests;
