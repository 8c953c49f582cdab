//! What an API server has, as its watches tell. Pure.
//!
//! A [`Mirror`] holds what one watch told: a list begins, its objects come, it is complete, and then the list *is* what there
//! is: whatever was deleted while nobody looked is gone, and nothing is before. In between come single changes. A change that
//! says less than what is known already (an older generation of the same object, the end of an object of the same name that
//! was replaced) is one that comes late, and changes nothing.

use std::collections::BTreeMap;

use evhub_compile::{Asked, Kept, Service};
use evhub_crds::Kind;
use evhub_routing::Name;

use crate::{told::Told, world::Learned};

/// A resource of ours by kind and name.
pub type Key = (Kind, Name);

/// What a watch tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<T> {
    /// A list begins.
    Begun,
    /// It has this.
    Listed(Name, T),
    /// It is complete.
    Done,
    /// This is new, or has changed.
    Applied(Name, T),
    /// This has gone.
    Deleted(Name, T),
}

/// What can be told apart from what was of its name before.
pub trait Versioned {
    /// Its identity, which a later object of the same name does not share.
    fn uid(&self) -> &str;
    /// When it was created, in milliseconds since the Unix epoch.
    fn created(&self) -> i64;
    /// How often what its author says of it was written.
    fn generation(&self) -> i64;
    /// Takes over what is known of the version that this one replaces.
    fn succeed(&mut self, before: Self);
}

/// All that one watch told.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror<T> {
    objects: BTreeMap<Name, T>,
    /// A list that is not complete.
    coming: Option<BTreeMap<Name, T>>,
    /// Whether there ever was a complete one: before, that nothing is known says nothing.
    is_known: bool,
}

/// A resource of ours, as an API server has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its identity.
    pub uid: String,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created: i64,
    /// How often its spec has been written.
    pub generation: i64,
    /// What every write changes.
    pub version: String,
    /// What it says, as JSON: a tenth of the size that it has as a tree.
    pub spec: Option<Box<str>>,
    /// What its annotations ask.
    pub asked: Asked,
    /// What its status says.
    pub told: Told,
    /// What may not change of it.
    pub kept: Kept,
    /// Whether it was accepted when it was last looked at.
    pub accepted: bool,
    /// What it said when it was accepted last, if it says something else now.
    pub before: Option<Before>,
}

/// What a resource said when it was accepted last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// Its generation then.
    pub generation: i64,
    /// What it said.
    pub spec: Option<Box<str>>,
}

/// A Service, as an API server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its identity.
    pub uid: String,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created: i64,
    /// Where it can be reached.
    pub service: Service,
}

/// Some of the endpoints of a Service, as an API server has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Its identity.
    pub uid: String,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created: i64,
    /// The Service's name.
    pub service: String,
    /// Whether any of them is ready.
    pub ready: bool,
}

// === impl Mirror ===

impl<T> Default for Mirror<T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), coming: None, is_known: false }
    }
}

impl<T: Versioned + PartialEq> Mirror<T> {
    /// Takes what was told.
    pub fn take(&mut self, change: Change<T>) {
        match change {
            Change::Begun => self.coming = Some(BTreeMap::new()),
            Change::Listed(name, object) => {
                self.coming.get_or_insert_default().insert(name, object);
            }
            Change::Done => self.done(),
            Change::Applied(name, object) => self.apply(name, object),
            Change::Deleted(name, object) => {
                if self.objects.get(&name).is_some_and(|known| known.uid() == object.uid()) {
                    self.objects.remove(&name);
                }
            }
        }
    }

    fn done(&mut self) {
        let coming = self.coming.take().unwrap_or_default();
        let mut before = std::mem::replace(&mut self.objects, coming);
        for (name, object) in &mut self.objects {
            if let Some(known) = before.remove(name).filter(|known| known.uid() == object.uid()) {
                object.succeed(known);
            }
        }
        self.is_known = true;
    }

    fn apply(&mut self, name: Name, mut object: T) {
        let Some(known) = self.objects.remove(&name) else {
            self.objects.insert(name, object);
            return;
        };
        let is_late = if known.uid() == object.uid() {
            object.generation() < known.generation()
        } else {
            object.created() < known.created()
        };
        if is_late {
            self.objects.insert(name, known);
            return;
        }
        if known.uid() == object.uid() {
            object.succeed(known);
        }
        self.objects.insert(name, object);
    }
}

impl<T> Mirror<T> {
    /// Whether a whole list was told.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// What there is.
    pub fn objects(&self) -> impl Iterator<Item = (&Name, &T)> {
        self.objects.iter()
    }

    /// What there is of this name.
    pub fn get(&self, name: &Name) -> Option<&T> {
        self.objects.get(name)
    }

    /// What there is, to be changed.
    pub fn objects_mut(&mut self) -> impl Iterator<Item = (&Name, &mut T)> {
        self.objects.iter_mut()
    }

    /// What there is of this name, to be changed.
    pub fn get_mut(&mut self, name: &Name) -> Option<&mut T> {
        self.objects.get_mut(name)
    }
}

// === impl Stored ===

impl Stored {
    /// Takes what was decided on it.
    pub fn learn(&mut self, learned: Learned) {
        if let Some(kept) = learned.kept {
            self.kept = kept;
        }
        self.accepted = learned.accepted;
        if learned.accepted {
            self.before = None;
        }
    }

    /// It is this now.
    pub fn renew(&mut self, now: Self) {
        let before = std::mem::replace(self, now);
        self.succeed(before);
    }
}

impl Versioned for Stored {
    fn uid(&self) -> &str {
        &self.uid
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn generation(&self) -> i64 {
        self.generation
    }

    fn succeed(&mut self, before: Self) {
        self.kept = before.kept;
        if self.spec == before.spec {
            self.accepted = before.accepted;
            self.before = before.before;
        } else if before.accepted {
            self.before = Some(Before { generation: before.generation, spec: before.spec });
        } else {
            self.before = before.before;
        }
    }
}

impl Versioned for Seen {
    fn uid(&self) -> &str {
        &self.uid
    }

    fn created(&self) -> i64 {
        self.created
    }

    /// An API server counts none of a Service: what came last is what there is.
    fn generation(&self) -> i64 {
        0
    }

    fn succeed(&mut self, _before: Self) {}
}

impl Versioned for Slice {
    fn uid(&self) -> &str {
        &self.uid
    }

    fn created(&self) -> i64 {
        self.created
    }

    /// What came last is what there is.
    fn generation(&self) -> i64 {
        0
    }

    fn succeed(&mut self, _before: Self) {}
}

#[cfg(test)]
mod tests;
