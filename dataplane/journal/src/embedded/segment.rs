//! One file of frames, and the index of the chunks in it. Does I/O.
//!
//! While a segment is written its index is in memory; when it is sealed, the index is written behind the frames and memory
//! keeps a line for each partition. The file is made longer in advance, so that a sync need not also make the new length
//! durable; what is not written yet reads as zeros.

use std::{
    fs::{self, File, OpenOptions},
    hash::{BuildHasher, Hasher, RandomState},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use bytes::Buf;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    FORMAT, StoreError,
    codec::{Corrupt, Part},
    frame::{self, Entries, Entry, Head},
    index::{self, Growing, Sealed, Summary, Trailer},
};

/// The bytes before the first frame.
pub(super) const HEADER: u64 = 40;
const MAGIC: [u8; 8] = *b"evhublog";

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
    Growing(Growing),
    Sealed(Sealed),
}

/// A frame but for its bodies.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) head: Head,
    pub(super) entries: Entries,
    pub(super) notes: Vec<u8>,
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
        Ok(Self { name, path, salt, file, index: RwLock::new(Index::Growing(Growing::default())) })
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
        Ok(Self { name, path, salt, file, index: RwLock::new(Index::Growing(Growing::default())) })
    }

    /// The index at the file's end, if there is a whole one.
    pub(super) fn index_behind(&self) -> io::Result<Option<Sealed>> {
        let len = self.file.metadata()?.len();
        let Some(at) = len.checked_sub(index::TRAILER as u64) else { return Ok(None) };
        let Some(trailer) = Trailer::decode(&self.read(at, index::TRAILER)?) else { return Ok(None) };
        let Some(summaries) = trailer.summaries(at) else { return Ok(None) };
        let bytes = self.read(summaries.start, (summaries.end - summaries.start) as usize)?;
        Ok(trailer.open(self.salt, &bytes))
    }

    /// Takes over an index that lies behind the frames.
    pub(super) fn sealed_with(&self, sealed: Sealed) {
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Index::Sealed(sealed);
    }

    /// Makes known what has become durable.
    pub(super) fn add(&self, entries: Entries) {
        if let Index::Growing(growing) = &mut *self.index.write().unwrap_or_else(PoisonError::into_inner) {
            for (part, entry) in entries {
                growing.add(part, entry);
            }
        }
    }

    /// Ends a segment: its index goes behind its frames. Durable when this returns.
    pub(super) fn seal(&self, frames_end: u64) -> io::Result<()> {
        let (bytes, sealed) = match &*self.index() {
            Index::Growing(growing) => growing.seal(self.salt, frames_end),
            Index::Sealed(_) => return Ok(()),
        };
        self.file.write_all_at(&bytes, frames_end)?;
        self.file.set_len(frames_end + bytes.len() as u64)?;
        self.file.sync_all()?;
        self.sealed_with(sealed);
        Ok(())
    }

    /// Whether its file still is the one that has its name.
    pub(super) fn is_there(&self) -> bool {
        let place = |found: fs::Metadata| (found.dev(), found.ino());
        let (named, open) = (fs::metadata(&self.path).map(place), self.file.metadata().map(place));
        matches!((named, open), (Ok(named), Ok(open)) if named == open)
    }

    // === looking up ===

    /// What it holds of each partition.
    pub(super) fn parts(&self) -> Vec<(Part, Summary)> {
        match &*self.index() {
            Index::Growing(growing) => growing.parts(),
            Index::Sealed(sealed) => sealed.parts.clone(),
        }
    }

    /// What it holds of one partition.
    pub(super) fn part(&self, part: Part) -> Option<Summary> {
        match &*self.index() {
            Index::Growing(growing) => growing.part(part),
            Index::Sealed(sealed) => sealed.part(part),
        }
    }

    /// Where its frames end, once it is sealed.
    pub(super) fn sealed_at(&self) -> Option<u64> {
        match &*self.index() {
            Index::Growing(_) => None,
            Index::Sealed(sealed) => Some(sealed.frames_end),
        }
    }

    /// How many chunks the index in memory has.
    pub(super) fn chunks(&self) -> usize {
        match &*self.index() {
            Index::Growing(growing) => growing.len(),
            Index::Sealed(_) => 0,
        }
    }

    /// At most so many chunks of a partition, from the first on for which `before` no longer holds.
    pub(super) fn entries(
        &self,
        part: Part,
        before: impl Fn(&Entry) -> bool,
        most: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let (frames_end, summary) = match &*self.index() {
            Index::Growing(growing) => {
                let chunks = growing.chunks(part);
                let first = chunks.partition_point(before);
                return Ok(chunks.iter().skip(first).take(most).copied().collect());
            }
            Index::Sealed(sealed) => match sealed.part(part) {
                Some(summary) => (sealed.frames_end, summary),
                None => return Ok(Vec::new()),
            },
        };
        if let Some(entries) = self.look(frames_end, &summary, &before, most)? {
            return Ok(entries);
        }
        self.mend_index(frames_end)?;
        let mended = self.look(frames_end, &summary, &before, most)?;
        mended.ok_or_else(|| self.corrupt("the index"))
    }

    /// Looks into the lines behind the frames; `None` when one is not what was written.
    fn look(
        &self,
        frames_end: u64,
        summary: &Summary,
        before: impl Fn(&Entry) -> bool,
        most: usize,
    ) -> io::Result<Option<Vec<Entry>>> {
        let lines = |from: u32, count: u32| {
            let number = summary.line + from;
            let bytes = self.read(index::line_at(frames_end, number), count as usize * index::LINE);
            bytes.map(|bytes| index::read_lines(self.salt, number, &bytes))
        };
        let (mut low, mut high) = (0, summary.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(line) = lines(middle, 1)? else { return Ok(None) };
            if line.first().is_some_and(&before) { low = middle + 1 } else { high = middle }
        }
        lines(low, u32::try_from(most).unwrap_or(u32::MAX).min(summary.count - low))
    }

    /// Writes the lines behind the frames anew, from what the frames say. Readers beside it read the same bytes.
    fn mend_index(&self, frames_end: u64) -> Result<(), StoreError> {
        tracing::warn!(file = %self.path.display(), "the index of a segment is damaged and is written anew");
        let mut growing = Growing::default();
        let mut at = HEADER;
        while at < frames_end {
            let Some(directory) = self.directory(at)? else { return Err(self.corrupt("the index")) };
            directory.entries.into_iter().for_each(|(part, entry)| growing.add(part, entry));
            at += directory.head.len();
        }
        let (bytes, sealed) = growing.seal(self.salt, frames_end);
        if !matches!(&*self.index(), Index::Sealed(known) if *known == sealed) {
            return Err(self.corrupt("the index"));
        }
        // Not synced: a reader waits for this, and what a crash takes away is mended again.
        Ok(self.file.write_all_at(&bytes, frames_end)?)
    }

    /// The frame that begins here, if all but its bodies is whole.
    pub(super) fn directory(&self, at: u64) -> io::Result<Option<Directory>> {
        let Some(head) = self.read_if_there(at, frame::HEAD)?.as_deref().and_then(Head::decode) else {
            return Ok(None);
        };
        let inner_at = at.saturating_add(frame::HEAD as u64);
        let Some(inner) = self.read_if_there(inner_at, head.inner())? else { return Ok(None) };
        let opened = head.open(self.salt, at, &inner);
        Ok(opened.map(|(entries, notes)| Directory { head, entries, notes: notes.to_vec() }))
    }

    /// A chunk's bytes, if they are what was written.
    pub(super) fn body(&self, part: Part, entry: &Entry) -> Result<Vec<u8>, StoreError> {
        let body = self.read(entry.at.into(), entry.len as usize)?;
        if frame::body_checksum(self.salt, part, entry.base, &body) != entry.checksum {
            let Entry { at, base, .. } = entry;
            return Err(self.corrupt(&format!("the chunk at byte {at} (offset {base})")));
        }
        Ok(body)
    }

    fn corrupt(&self, what: &str) -> StoreError {
        Corrupt(format!("{what} of {} is not what was written", self.path.display())).into()
    }

    /// Bytes of the file; `None` if it ends before.
    fn read_if_there(&self, at: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
        match self.read(at, len) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
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
