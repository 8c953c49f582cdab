//! Opening the log: what can be set, what can go wrong. Does I/O.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    core::Core,
    lock::{Lock, LockError},
    queue::Queue,
    store::{self, Image, StoreError},
};

/// How to open the log.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder; made if it does not exist.
    pub dir: PathBuf,
    /// How much of the disk events must leave free. Half of it is for what lets the hub finish events it has; the other
    /// half for the engine's own housekeeping.
    pub reserve_bytes: u64,
    /// How many requests may wait for the writer.
    pub max_waiting: usize,
    /// How many bytes of requests may wait for the writer.
    pub max_waiting_bytes: usize,
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "{} is in use by {holder}: stop that one, or choose another folder with --data",
        dir.display(),
        holder = holder.map_or("another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// Who has it, if known.
        holder: Option<u32>,
    },
    /// It was written by another version.
    #[error(
        "{} has log format {found}, this version reads {}: run the version that wrote it, or choose another folder \
         with --data",
        dir.display(),
        store::FORMAT
    )]
    Format {
        /// The folder.
        dir: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The folder cannot be used.
    #[error("cannot use {} as the log's folder", dir.display())]
    Io {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in the folder cannot be read.
    #[error("cannot read the log in {}", dir.display())]
    Unreadable {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Options {
    /// The usual settings for this folder.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        // 64 MiB hold every flush and every commit of a busy hub; 16 Ki requests and 32 MiB are a tenth of a second of
        // work on a slow disk.
        let (max_waiting, max_waiting_bytes) = (16 << 10, 32 << 20);
        Self { dir: dir.into(), reserve_bytes: 64 << 20, max_waiting, max_waiting_bytes }
    }
}

/// Locks the folder, opens the engine and makes known what it holds.
pub(super) fn open(options: Options) -> Result<(Lock, Core, Image), OpenError> {
    let Options { dir, reserve_bytes, max_waiting, max_waiting_bytes } = options;
    let io = |source| OpenError::Io { dir: dir.clone(), source };
    fs::create_dir_all(&dir).map_err(io)?;
    let lock = Lock::acquire(&dir.join("lock")).map_err(|error| match error {
        LockError::Held(holder) => OpenError::InUse { dir: dir.clone(), holder },
        LockError::Io(source) => io(source),
    })?;
    // What is in memory must find room on the disk once the reserve is all that is left.
    let memtable = (reserve_bytes / 4).clamp(1 << 20, 64 << 20);
    let core = Core::new(dir.clone(), reserve_bytes, memtable, Queue::new(max_waiting, max_waiting_bytes));
    let image = core.open().map_err(|error| match error {
        StoreError::Format(found) => OpenError::Format { dir: dir.clone(), found },
        error => unreadable(&dir, error),
    })?;
    core.registry.publish(&image).map_err(|error| unreadable(&dir, error))?;
    Ok((lock, core, image))
}

fn unreadable(dir: &Path, error: impl std::error::Error + Send + Sync + 'static) -> OpenError {
    OpenError::Unreadable { dir: dir.to_owned(), source: Box::new(error) }
}
