//! Snapshots on their way between processes: as parts of bounded size, whole or as the difference to another. Pure.
//!
//! What is made here and taken apart here is equal. A message that says what this version does not know is found by the
//! digest of the whole, which the sender computed over all of it; it is refused, and never half obeyed.

#[cfg(test)]
mod tests;
mod values;

use std::{collections::BTreeMap, fmt, sync::Arc};

use evhub_messages as proto;
use prost::Message as _;
use xxhash_rust::xxh3::Xxh3;

pub use proto::Update;

use self::values::Wire;
use crate::{Generation, Name, Processor, Producer, Removal, Snapshot};

/// The size that parts are filled up to, in bytes. A single resource that is larger makes a larger part; the receiver's
/// bound on a message, 4 MiB, is far above what a resource of Kubernetes can be.
pub const PART: usize = 512 << 10;
/// The largest snapshot, in bytes on the wire: some fifty thousand Processors. Beyond it the sender is broken.
pub const MAX_BYTES: usize = 64 << 20;

/// What tells whether two snapshots say the same, generations apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 16]);

/// What came is no snapshot that can run here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {problem}")]
pub struct Invalid {
    at: String,
    problem: String,
}

/// Parts on their way to a snapshot.
#[derive(Debug, Default)]
pub struct Assembly {
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    base: Option<Generation>,
    bytes: usize,
    next: Result<Snapshot, Invalid>,
}

/// A snapshot as parts: the difference to `base`, or the whole. There is always at least one, and the last one alone has the
/// digest.
pub fn parts(base: Option<&Snapshot>, snapshot: &Snapshot) -> Vec<Update> {
    let none = Snapshot::default();
    let before = base.unwrap_or(&none);
    let (producers, gone_producers) = changes(&before.producers, &snapshot.producers);
    let (processors, gone_processors) = changes(&before.processors, &snapshot.processors);
    let (removals, gone_removals) = changes(&before.removals, &snapshot.removals);
    let head = Update {
        generation: Some(snapshot.generation.encode()),
        base: base.map(|base| base.generation.encode()),
        ..Update::default()
    };
    let mut parts = Parts { head: head.clone(), done: Vec::new(), open: head, bytes: 0 };
    for name in gone_producers {
        parts.add(name.encode(), |open| &mut open.gone_producers);
    }
    for name in gone_processors {
        parts.add(name.encode(), |open| &mut open.gone_processors);
    }
    for name in gone_removals {
        parts.add(name.encode(), |open| &mut open.gone_removals);
    }
    for removal in removals {
        parts.add(removal.encode(), |open| &mut open.removals);
    }
    for producer in producers {
        parts.add(producer.encode(), |open| &mut open.producers);
    }
    for processor in processors {
        parts.add(processor.encode(), |open| &mut open.processors);
    }
    parts.finish(Digest::of(snapshot))
}

/// The snapshot that these parts of one are, all of them.
pub fn whole(parts: impl IntoIterator<Item = Update>) -> Result<Snapshot, Invalid> {
    let mut assembly = Assembly::default();
    for part in parts {
        if let Some(ended) = assembly.take(&Snapshot::default(), part) {
            return ended;
        }
    }
    Err(Invalid::new("the last part is missing").within("update"))
}

/// A generation's message.
pub fn generation(generation: Generation) -> proto::Generation {
    generation.encode()
}

/// A message's generation; one that is missing is before all others.
pub fn generation_of(message: Option<proto::Generation>) -> Generation {
    message.map(|proto::Generation { epoch, revision }| Generation { epoch, revision }).unwrap_or_default()
}

/// What is new or changed, and what is gone.
fn changes<'a, T: PartialEq>(
    before: &'a BTreeMap<Name, Arc<T>>,
    now: &'a BTreeMap<Name, Arc<T>>,
) -> (Vec<&'a T>, Vec<&'a Name>) {
    let new = now.iter().filter(|(name, value)| before.get(*name) != Some(*value));
    let gone = before.keys().filter(|name| !now.contains_key(*name));
    (new.map(|(_, value)| value.as_ref()).collect(), gone.collect())
}

/// Updates that are being filled.
struct Parts {
    head: Update,
    done: Vec<Update>,
    open: Update,
    bytes: usize,
}

impl Parts {
    fn add<M: prost::Message>(&mut self, message: M, list: impl FnOnce(&mut Update) -> &mut Vec<M>) {
        let bytes = message.encoded_len();
        if self.bytes > 0 && self.bytes + bytes > PART {
            self.done.push(std::mem::replace(&mut self.open, self.head.clone()));
            self.bytes = 0;
        }
        self.bytes += bytes;
        list(&mut self.open).push(message);
    }

    fn finish(mut self, digest: Digest) -> Vec<Update> {
        self.open.digest = digest.0.to_vec().into();
        self.done.push(self.open);
        self.done
    }
}

// === impl Assembly ===

impl Assembly {
    /// Takes the next part. With the last one comes the snapshot, or why it is none: one answer for all parts of it. What
    /// runs now is what a difference is applied to; of it, whatever stays the same is shared.
    pub fn take(&mut self, running: &Snapshot, part: Update) -> Option<Result<Snapshot, Invalid>> {
        let generation = generation_of(part.generation);
        let base = part.base.map(|base| generation_of(Some(base)));
        let mut begun = self.begun.take().unwrap_or_else(|| Begun::new(running, generation, base));
        begun.bytes = begun.bytes.saturating_add(part.encoded_len());
        let digest = part.digest.clone();
        begun.next = begun.next.and_then(|mut next| {
            if (next.generation, begun.base) != (generation, base) {
                return Err(Invalid::new("another snapshot began before this one ended").within("update"));
            }
            if begun.bytes > MAX_BYTES {
                return Err(Invalid::new(format!("larger than {MAX_BYTES} bytes")).within("update"));
            }
            apply(running, &mut next, part)?;
            Ok(next)
        });
        if digest.is_empty() {
            self.begun = Some(begun);
            return None;
        }
        Some(
            begun
                .next
                .and_then(|next| if Digest::of(&next).0 == *digest { Ok(next) } else { Err(unknown()) }),
        )
    }
}

impl Begun {
    fn new(running: &Snapshot, generation: Generation, base: Option<Generation>) -> Self {
        let next = match base {
            None => Ok(Snapshot { generation, ..Snapshot::default() }),
            Some(base) if base == running.generation => Ok(Snapshot { generation, ..running.clone() }),
            Some(base) => {
                let problem = format!("the difference to {base}, and {} runs here", running.generation);
                Err(Invalid::new(problem).within("update.base"))
            }
        };
        Self { base, bytes: 0, next }
    }
}

fn unknown() -> Invalid {
    let problem = "does not come to what its sender says: it asks for what this version does not know (run the sender's \
                   version here), or it was damaged";
    Invalid::new(problem).within("update.digest")
}

fn apply(running: &Snapshot, next: &mut Snapshot, part: Update) -> Result<(), Invalid> {
    for name in part.gone_producers {
        next.producers.remove(&Name::decode(name)?);
    }
    for name in part.gone_processors {
        next.processors.remove(&Name::decode(name)?);
    }
    for name in part.gone_removals {
        next.removals.remove(&Name::decode(name)?);
    }
    for message in part.removals {
        let name = display(message.name.as_ref());
        let removal = Removal::decode(message).map_err(|error| error.within(&format!("removals[{name}]")))?;
        let shared = share(running.removals.get(&removal.name), removal);
        next.removals.insert(shared.name.clone(), shared);
    }
    for message in part.producers {
        let name = display(message.name.as_ref());
        let producer =
            Producer::decode(message).map_err(|error| error.within(&format!("producers[{name}]")))?;
        let shared = share(running.producers.get(&producer.name), producer);
        next.producers.insert(shared.name.clone(), shared);
    }
    for message in part.processors {
        let name = display(message.name.as_ref());
        let processor =
            Processor::decode(message).map_err(|error| error.within(&format!("processors[{name}]")))?;
        let shared = share(running.processors.get(&processor.name), processor);
        next.processors.insert(shared.name.clone(), shared);
    }
    Ok(())
}

/// What runs already, if this is the same.
fn share<T: PartialEq>(running: Option<&Arc<T>>, value: T) -> Arc<T> {
    match running {
        Some(running) if **running == value => Arc::clone(running),
        _ => Arc::new(value),
    }
}

fn display(name: Option<&proto::Name>) -> String {
    name.map(|name| format!("{}/{}", name.namespace, name.name)).unwrap_or_default()
}

// === impl Digest ===

impl Digest {
    /// Of all that a snapshot says.
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut hash = Xxh3::new();
        let mut add = |kind: u8, message: Vec<u8>| {
            hash.update(&[kind]);
            hash.update(&(message.len() as u64).to_le_bytes());
            hash.update(&message);
        };
        for producer in snapshot.producers.values() {
            add(0, producer.encode().encode_to_vec());
        }
        for processor in snapshot.processors.values() {
            add(1, processor.encode().encode_to_vec());
        }
        for removal in snapshot.removals.values() {
            add(2, removal.encode().encode_to_vec());
        }
        Self(hash.digest128().to_le_bytes())
    }

    /// Its bytes, for a message.
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// The digest of a message, if it is one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

// === impl Invalid ===

impl Invalid {
    fn new(problem: impl fmt::Display) -> Self {
        Self { at: String::new(), problem: problem.to_string() }
    }

    /// The same, seen from what holds the field.
    fn within(mut self, field: &str) -> Self {
        self.at = if self.at.is_empty() { field.to_owned() } else { format!("{field}.{}", self.at) };
        self
    }
}
