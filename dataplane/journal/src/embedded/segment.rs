//! One file of frames, and the index of the chunks in it. Does I/O.
//!
//! While a segment is written its index is in memory; when it is sealed, the index is written behind the frames and memory
//! keeps a line for each partition. The file is made longer in advance, so that a sync need not also make the new length
//! durable; what is not written yet reads as zeros.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    hash::{BuildHasher, Hasher, RandomState},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use bytes::Buf;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{
    FORMAT, StoreError,
    codec::{Corrupt, Part},
    frame::{self, Entry},
};

/// The bytes before the first frame.
pub(super) const HEADER: u64 = 40;
const MAGIC: [u8; 8] = *b"evhublog";
const INDEX_MAGIC: [u8; 8] = *b"evhubidx";
const ENTRY: usize = 44;
const SUMMARY: usize = 48;
const TRAILER: usize = 32;

/// Which segment: numbers rise as segments are begun, versions as old ones are rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) id: u64,
    pub(super) version: u32,
}

/// A segment's file.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) name: Name,
    pub(super) path: PathBuf,
    pub(super) salt: u64,
    pub(super) file: File,
    index: RwLock<Index>,
}

#[derive(Debug)]
enum Index {
    Open(BTreeMap<Part, Vec<Entry>>),
    Sealed(Vec<(Part, Summary)>, u64),
}

/// What a segment holds of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) bytes: u64,
    pub(super) timestamp: i64,
    index: u32,
    count: u32,
}

impl Segment {
    /// Begins a segment. Durable when this returns.
    pub(super) fn create(dir: &Path, name: Name, length: u64) -> io::Result<Self> {
        let path = dir.join(name.to_string());
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        let salt = RandomState::new().build_hasher().finish();
        let mut header = Vec::with_capacity(HEADER as usize);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&(FORMAT as u32).to_be_bytes());
        header.extend_from_slice(&name.version.to_be_bytes());
        header.extend_from_slice(&name.id.to_be_bytes());
        header.extend_from_slice(&salt.to_be_bytes());
        let sum = xxh3_64(&header);
        header.extend_from_slice(&sum.to_be_bytes());
        file.write_all_at(&header, 0)?;
        file.set_len(length.max(HEADER))?;
        file.sync_all()?;
        File::open(dir)?.sync_all()?;
        Ok(Self { name, path, salt, file, index: RwLock::new(Index::Open(BTreeMap::new())) })
    }

    /// Opens a segment whose index is not known yet.
    pub(super) fn open(dir: &Path, name: Name) -> Result<Self, StoreError> {
        let path = dir.join(name.to_string());
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let mut header = [0; HEADER as usize];
        let read = file.read_exact_at(&mut header, 0);
        let mut rest = read.is_ok().then_some(&header[..]).and_then(|header| header.strip_prefix(&MAGIC));
        let salt = rest.as_mut().and_then(|rest| {
            let right =
                (rest.get_u32(), rest.get_u32(), rest.get_u64()) == (FORMAT as u32, name.version, name.id);
            let salt = rest.get_u64();
            (right && rest.get_u64() == xxh3_64(&header[..32])).then_some(salt)
        });
        let salt =
            salt.ok_or_else(|| Corrupt(format!("{} does not begin as a segment does", path.display())))?;
        Ok(Self { name, path, salt, file, index: RwLock::new(Index::Open(BTreeMap::new())) })
    }

    /// Takes over the index behind the frames, if it is there and whole.
    pub(super) fn load_index(&self, data_end: u64) -> bool {
        let loaded = self.read_index(data_end);
        let found = loaded.is_some();
        if let Some(parts) = loaded {
            *self.index.write().unwrap_or_else(PoisonError::into_inner) = Index::Sealed(parts, data_end);
        }
        found
    }

    fn read_index(&self, data_end: u64) -> Option<Vec<(Part, Summary)>> {
        let len = self.file.metadata().ok()?.len();
        let trailer_at = len.checked_sub(TRAILER as u64)?;
        let trailer = self.read(trailer_at, TRAILER).ok()?;
        let mut rest = trailer.strip_prefix(&INDEX_MAGIC)?;
        let (end, entries, count) = (rest.get_u64(), rest.get_u32(), rest.get_u32());
        let sum = rest.get_u64();
        let parts_at = end + u64::from(entries) * ENTRY as u64;
        let whole = end == data_end && parts_at + u64::from(count) * SUMMARY as u64 == trailer_at;
        let bytes = whole.then(|| self.read(parts_at, count as usize * SUMMARY).ok())??;
        let parts = bytes.chunks_exact(SUMMARY).map(unsummarise).collect();
        (xxh3_64_with_seed(&bytes, self.salt) == sum).then_some(parts)
    }

    /// Makes known what has become durable.
    pub(super) fn add(&self, entries: Vec<(Part, Entry)>) {
        if let Index::Open(parts) = &mut *self.index.write().unwrap_or_else(PoisonError::into_inner) {
            for (part, entry) in entries {
                parts.entry(part).or_default().push(entry);
            }
        }
    }

    /// Ends a segment: its index goes behind its frames, which end at `data_end`. Durable when this returns.
    pub(super) fn seal(&self, data_end: u64) -> io::Result<()> {
        let mut out = Vec::new();
        let mut parts = Vec::new();
        if let Index::Open(index) = &*self.index() {
            let mut count = 0;
            for (part, entries) in index {
                let Some(summary) = summarise(entries, count) else { continue };
                for entry in entries {
                    write_entry(&mut out, entry);
                }
                count += summary.count;
                parts.push((*part, summary));
            }
        }
        let entries = (out.len() / ENTRY) as u32;
        let from = out.len();
        for (part, summary) in &parts {
            write_summary(&mut out, *part, summary);
        }
        let sum = xxh3_64_with_seed(&out[from..], self.salt);
        out.extend_from_slice(&INDEX_MAGIC);
        out.extend_from_slice(&data_end.to_be_bytes());
        out.extend_from_slice(&entries.to_be_bytes());
        out.extend_from_slice(&(parts.len() as u32).to_be_bytes());
        out.extend_from_slice(&sum.to_be_bytes());
        self.file.write_all_at(&out, data_end)?;
        self.file.set_len(data_end + out.len() as u64)?;
        self.file.sync_all()?;
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Index::Sealed(parts, data_end);
        Ok(())
    }

    // === looking up ===

    /// What it holds of each partition.
    pub(super) fn parts(&self) -> Vec<(Part, Summary)> {
        match &*self.index() {
            Index::Open(parts) => {
                parts.iter().filter_map(|(part, entries)| Some((*part, summarise(entries, 0)?))).collect()
            }
            Index::Sealed(parts, _) => parts.clone(),
        }
    }

    /// What it holds of one partition.
    pub(super) fn part(&self, part: Part) -> Option<Summary> {
        match &*self.index() {
            Index::Open(parts) => parts.get(&part).and_then(|entries| summarise(entries, 0)),
            Index::Sealed(parts, _) => find(parts, part),
        }
    }

    /// Where its frames end, once it is sealed.
    pub(super) fn sealed_at(&self) -> Option<u64> {
        match &*self.index() {
            Index::Open(_) => None,
            Index::Sealed(_, data_end) => Some(*data_end),
        }
    }

    /// How many chunks its index has.
    pub(super) fn chunks(&self) -> usize {
        match &*self.index() {
            Index::Open(parts) => parts.values().map(Vec::len).sum(),
            Index::Sealed(parts, _) => parts.iter().map(|(_, summary)| summary.count as usize).sum(),
        }
    }

    /// At most so many chunks of a partition, from the first on for which `before` no longer holds.
    pub(super) fn entries(
        &self,
        part: Part,
        before: impl Fn(&Entry) -> bool,
        most: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        match &*self.index() {
            Index::Open(parts) => {
                let entries = parts.get(&part).map_or(&[][..], Vec::as_slice);
                let first = entries.partition_point(before);
                Ok(entries.iter().skip(first).take(most).copied().collect())
            }
            Index::Sealed(parts, at) => {
                let Some(summary) = find(parts, part) else { return Ok(Vec::new()) };
                let at = at + u64::from(summary.index) * ENTRY as u64;
                let (mut low, mut high) = (0, summary.count as usize);
                while low < high {
                    let middle = low + (high - low) / 2;
                    match self.stored(at, middle, 1)?.first() {
                        Some(entry) if before(entry) => low = middle + 1,
                        _ => high = middle,
                    }
                }
                self.stored(at, low, most.min(summary.count as usize - low))
            }
        }
    }

    fn stored(&self, at: u64, index: usize, count: usize) -> Result<Vec<Entry>, StoreError> {
        let bytes = self.read(at + (index * ENTRY) as u64, count * ENTRY)?;
        Ok(bytes.chunks_exact(ENTRY).map(read_entry).collect())
    }

    /// A chunk's bytes, if they are what was written.
    pub(super) fn body(&self, part: Part, entry: &Entry) -> Result<Vec<u8>, StoreError> {
        let body = self.read(entry.at.into(), entry.len as usize)?;
        if frame::body_checksum(self.salt, part, entry.base, &body) != entry.checksum {
            let Entry { at, base, .. } = entry;
            let path = self.path.display();
            return Err(Corrupt(format!(
                "the chunk at byte {at} of {path} (offset {base}) is not what was written"
            ))
            .into());
        }
        Ok(body)
    }

    pub(super) fn read(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        // A length that a damaged index made up must not ask for more memory than there is.
        let left = self.file.metadata()?.len().saturating_sub(at);
        if len as u64 > left {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Name {
    /// The segment that a file's name stands for.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (id, version) = name.strip_suffix(".log")?.split_once('.')?;
        Some(Self { id: id.parse().ok()?, version: version.parse().ok()? })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:020}.{}.log", self.id, self.version)
    }
}

fn find(parts: &[(Part, Summary)], part: Part) -> Option<Summary> {
    let at = parts.binary_search_by_key(&part, |(part, _)| *part).ok()?;
    parts.get(at).map(|(_, summary)| *summary)
}

fn summarise(entries: &[Entry], index: u32) -> Option<Summary> {
    let (first, last) = (entries.first()?, entries.last()?);
    let bytes = entries.iter().map(|entry| u64::from(entry.len)).sum();
    let count = entries.len() as u32;
    Some(Summary { first: first.base, next: last.next, bytes, timestamp: last.timestamp, index, count })
}

fn write_entry(out: &mut Vec<u8>, entry: &Entry) {
    out.extend_from_slice(&entry.base.to_be_bytes());
    out.extend_from_slice(&entry.next.to_be_bytes());
    out.extend_from_slice(&entry.timestamp.to_be_bytes());
    out.extend_from_slice(&entry.checksum.to_be_bytes());
    out.extend_from_slice(&entry.at.to_be_bytes());
    out.extend_from_slice(&entry.len.to_be_bytes());
    out.extend_from_slice(&entry.count.to_be_bytes());
}

fn read_entry(mut rest: &[u8]) -> Entry {
    let (base, next, timestamp) = (rest.get_u64(), rest.get_u64(), rest.get_i64());
    let checksum = rest.get_u64();
    Entry { base, next, timestamp, checksum, at: rest.get_u32(), len: rest.get_u32(), count: rest.get_u32() }
}

fn write_summary(out: &mut Vec<u8>, part: Part, summary: &Summary) {
    out.extend_from_slice(&part.topic.to_be_bytes());
    out.extend_from_slice(&part.partition.to_be_bytes());
    out.extend_from_slice(&summary.first.to_be_bytes());
    out.extend_from_slice(&summary.next.to_be_bytes());
    out.extend_from_slice(&summary.bytes.to_be_bytes());
    out.extend_from_slice(&summary.timestamp.to_be_bytes());
    out.extend_from_slice(&summary.index.to_be_bytes());
    out.extend_from_slice(&summary.count.to_be_bytes());
}

fn unsummarise(mut rest: &[u8]) -> (Part, Summary) {
    let part = Part { topic: rest.get_u32(), partition: rest.get_u32() };
    let (first, next, bytes) = (rest.get_u64(), rest.get_u64(), rest.get_u64());
    let timestamp = rest.get_i64();
    (part, Summary { first, next, bytes, timestamp, index: rest.get_u32(), count: rest.get_u32() })
}
