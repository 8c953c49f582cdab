//! The storage engine: one atomic, synced batch in; ordered records out. Does I/O, and is the only file that knows
//! fjall.
//!
//! Two keyspaces share the engine's write-ahead file, so that one batch (and one fdatasync) covers records and
//! bookkeeping alike. Bodies lie apart from keys: a log never rewrites a record, and so compaction moves only keys.
//!
//! The memtables are rotated here rather than by the engine: its own trigger queues one request per batch into the
//! bounded queue of the very threads that must answer it, and stops for good when that queue is full.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use bytes::Bytes;
use fjall::{
    Database, Guard, JournalRecoveryError, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode,
    Readable,
};

use super::{
    codec::{self, Corrupt, LogKey, NoteKey, TopicNote},
    mend,
};
use crate::{Error, Stored};

/// The format this code reads and writes.
pub(super) const FORMAT: u64 = 1;

/// Bodies from this size on lie apart from their keys; below, a pointer would save too little.
const BODY_APART: u32 = 256;
/// Bookkeeping is rewritten all the time and small: flushed early so that its old versions go away.
const NOTES_MEMTABLE: u64 = 4 << 20;
/// The engine blocks without a way out at 4 sealed memtables, even when the thread that should flush them has died. We
/// wait before that, where we can look whether it has.
const MAX_SEALED: usize = 2;
/// How often to look whether a flush has finished: far below the time that one takes.
const FLUSH_WAIT: Duration = Duration::from_millis(2);

/// Why the folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("i/o failed")]
    Io(#[from] io::Error),
    #[error("the storage engine failed")]
    Engine(#[from] fjall::Error),
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    #[error("the folder has format {0}")]
    Format(u64),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt(corrupt) => Self::Damaged(corrupt.to_string()),
            StoreError::Engine(fjall::Error::Storage(fjall::LsmError::Io(error))) => {
                Self::Unavailable(error.to_string())
            }
            StoreError::Engine(fjall::Error::Storage(error)) => Self::Damaged(error.to_string()),
            error => Self::Unavailable(chain(&error)),
        }
    }
}

/// An error with its causes, as one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Everything that one commit writes.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pub(super) records: Vec<(LogKey, Vec<u8>)>,
    /// At most one value per key: the engine numbers batches, not the writes within.
    pub(super) notes: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Writes {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.notes.is_empty()
    }
}

/// The last record of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tip {
    /// The offset that the next record gets.
    pub(super) next: u64,
    /// The timestamp that the next record gets at the least.
    pub(super) timestamp: i64,
}

/// All that a writer must know before it writes.
#[derive(Debug, Default)]
pub(super) struct Image {
    pub(super) topics: BTreeMap<String, TopicNote>,
    pub(super) tips: BTreeMap<u32, Vec<Tip>>,
    pub(super) groups: BTreeMap<String, u64>,
}

/// The open engine.
pub(super) struct Store {
    db: Database,
    log: Keyspace,
    notes: Keyspace,
    memtable: u64,
    /// Bytes written to each keyspace since its last rotation. Only the writer uses them.
    fresh_log: AtomicU64,
    fresh_notes: AtomicU64,
}

impl Store {
    /// Opens the engine in `dir/log`, making it first where there is none.
    pub(super) fn open(dir: &Path, memtable: u64) -> Result<Self, StoreError> {
        let path = dir.join("log");
        if !path.try_exists()? {
            create(dir, &path, memtable)?;
        }
        let store = match Self::open_at(&path, memtable) {
            Err(StoreError::Engine(fjall::Error::JournalRecovery(
                JournalRecoveryError::ChecksumMismatch,
            ))) if mend::cut_torn_batch(&path)? => Self::open_at(&path, memtable)?,
            other => other?,
        };
        let format = store.notes.get(NoteKey::Format.encode())?;
        match format.map(|bytes| codec::decode_number(&bytes)).transpose()? {
            Some(FORMAT) => Ok(store),
            other => Err(StoreError::Format(other.unwrap_or(0))),
        }
    }

    fn open_at(path: &Path, memtable: u64) -> Result<Self, StoreError> {
        // One worker: with two, the one that waits for flushes spins while the other compacts.
        let db = Database::builder(path).worker_threads(1).max_journaling_size(128 << 20).open()?;
        let apart = KvSeparationOptions::default().separation_threshold(BODY_APART);
        let log = db.keyspace("log", || manual().with_kv_separation(Some(apart)))?;
        let notes = db.keyspace("notes", manual)?;
        Ok(Self { db, log, notes, memtable, fresh_log: AtomicU64::new(0), fresh_notes: AtomicU64::new(0) })
    }

    /// False when the engine has given up writing, be it in the background: it must be opened anew.
    pub(super) fn healthy(&self) -> bool {
        self.db.persist(PersistMode::Buffer).is_ok()
    }

    /// Writes all or nothing. When this returns `Ok`, an fdatasync that covers it has succeeded.
    pub(super) fn commit(&self, writes: Writes) -> Result<(), fjall::Error> {
        self.wait_for_flush()?;
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for (key, value) in writes.records {
            self.fresh_log.fetch_add((size_of::<LogKey>() + value.len()) as u64, Relaxed);
            batch.insert(&self.log, key.encode(), value);
        }
        for (key, value) in writes.notes {
            self.fresh_notes.fetch_add((key.len() + value.len()) as u64, Relaxed);
            batch.insert(&self.notes, key, value);
        }
        batch.commit()
    }

    /// Hands what is in memory to the background thread when it has grown enough. Not part of [`Self::commit`]: what
    /// that wrote is durable, whatever becomes of this.
    pub(super) fn rotate(&self) -> Result<(), fjall::Error> {
        let log_full = self.fresh_log.load(Relaxed) >= self.memtable;
        if log_full {
            self.log.rotate_memtable()?;
            self.fresh_log.store(0, Relaxed);
        }
        // With the log's: an old write-ahead file goes away only when every keyspace has flushed past it.
        if log_full || self.fresh_notes.load(Relaxed) >= NOTES_MEMTABLE {
            self.notes.rotate_memtable()?;
            self.fresh_notes.store(0, Relaxed);
        }
        Ok(())
    }

    fn wait_for_flush(&self) -> Result<(), fjall::Error> {
        let sealed = || self.log.sealed_memtable_count().max(self.notes.sealed_memtable_count());
        while sealed() > MAX_SEALED {
            self.db.persist(PersistMode::Buffer)?;
            thread::sleep(FLUSH_WAIT);
        }
        Ok(())
    }

    /// Syncs whatever is left.
    pub(super) fn sync(&self) -> Result<(), fjall::Error> {
        self.db.persist(PersistMode::SyncAll)
    }

    // === reading ===

    /// What a writer must know.
    pub(super) fn image(&self) -> Result<Image, StoreError> {
        let mut image = Image::default();
        for entry in self.notes.prefix(NoteKey::TOPICS) {
            let (key, value) = entry.into_inner()?;
            let (name, note) = (NoteKey::name(&key)?, TopicNote::decode(&value)?);
            let tips = (0..note.settings.partitions).map(|partition| self.tip(note.id, partition));
            image.tips.insert(note.id, tips.collect::<Result<_, _>>()?);
            image.topics.insert(name, note);
        }
        for entry in self.notes.prefix(NoteKey::GROUPS) {
            let (key, value) = entry.into_inner()?;
            image.groups.insert(NoteKey::name(&key)?, codec::decode_number(&value)?);
        }
        Ok(image)
    }

    fn tip(&self, topic: u32, partition: u32) -> Result<Tip, StoreError> {
        let last = self.range(LogKey { topic, partition, offset: 0 }, u64::MAX).next_back();
        let last = last.map(decode).transpose()?;
        Ok(last.map_or_else(Tip::default, |last| Tip { next: last.offset + 1, timestamp: last.timestamp }))
    }

    /// Records from a place on and before an end: at least one if there is one, else as the limits allow.
    pub(super) fn read(
        &self,
        from: LogKey,
        end: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        for entry in self.range(from, end).take(max_records) {
            let stored = decode(entry)?;
            bytes += stored.record.size();
            if !records.is_empty() && bytes > max_bytes {
                break;
            }
            records.push(stored);
        }
        Ok(records)
    }

    /// The first record from a place on and before an end.
    pub(super) fn first(&self, from: LogKey, end: u64) -> Result<Option<Stored>, StoreError> {
        self.range(from, end).next().map(decode).transpose()
    }

    /// What a group has committed for these partitions, all of the same moment.
    pub(super) fn offsets(
        &self,
        group: &str,
        partitions: &[(u32, u32)],
    ) -> Result<Vec<Option<(u64, String)>>, StoreError> {
        let snapshot = self.db.snapshot();
        let one = |(topic, partition): &(u32, u32)| {
            let bytes = snapshot.get(&self.notes, NoteKey::Offset(group, *topic, *partition).encode())?;
            Ok(bytes.map(|bytes| codec::decode_offset(&bytes)).transpose()?)
        };
        partitions.iter().map(one).collect()
    }

    fn range(&self, from: LogKey, end: u64) -> fjall::Iter {
        let end = LogKey { offset: end.max(from.offset), ..from };
        self.log.range(from.encode()..end.encode())
    }
}

fn manual() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(u64::MAX)
}

fn decode(entry: Guard) -> Result<Stored, StoreError> {
    let (key, value) = entry.into_inner()?;
    Ok(codec::decode_record(LogKey::decode(&key)?, &Bytes::from(value))?)
}

/// Makes the engine's files under another name first: it cannot open what a crash left of a half-made folder.
fn create(dir: &Path, path: &Path, memtable: u64) -> Result<(), StoreError> {
    let unfinished: PathBuf = dir.join("log.new");
    if unfinished.try_exists()? {
        fs::remove_dir_all(&unfinished)?;
    }
    let store = Store::open_at(&unfinished, memtable)?;
    let mut writes = Writes::default();
    writes.notes.insert(NoteKey::Format.encode(), codec::encode_number(FORMAT));
    store.commit(writes)?;
    store.sync()?;
    drop(store);
    fs::rename(&unfinished, path)?;
    File::open(dir)?.sync_all()?;
    Ok(())
}
