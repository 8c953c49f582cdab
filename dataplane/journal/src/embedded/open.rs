//! Opening the log: what can be set, what can go wrong. Does I/O.

use std::{
    fs::{self, File},
    io,
    panic::resume_unwind,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::{
    FORMAT, StoreError,
    core::Core,
    lock::{Lock, LockError},
    recover::{self, Opened},
};

/// How to open the log.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder; made if it does not exist.
    pub dir: PathBuf,
    /// How much of the disk events must leave free. Half of it is for what lets the hub finish events it has; the other
    /// half for the log's own housekeeping.
    pub reserve_bytes: u64,
    /// How many requests may wait for the writer.
    pub max_waiting: usize,
    /// How many bytes of requests may wait for the writer.
    pub max_waiting_bytes: usize,
    /// How large a segment grows before the next is begun. Retention and compaction look at whole segments.
    pub segment_bytes: u64,
    /// How often retention and compaction look whether there is something to do.
    pub clean_every: Duration,
    /// How long a tombstone stays when nothing older of its key is left, for readers who have seen that.
    pub tombstones: Duration,
    /// How long members may take to give partitions up before they lose them.
    pub rebalance: Duration,
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
        FORMAT
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
        Self {
            dir: dir.into(),
            // Enough for the manifest, for what a cleaner writes before it removes anything, and for every commit of a
            // busy hub meanwhile.
            reserve_bytes: 64 << 20,
            // A tenth of a second of work on a slow disk.
            max_waiting: 16 << 10,
            max_waiting_bytes: 32 << 20,
            // Read through at every start, in a tenth of a second or two.
            segment_bytes: 64 << 20,
            clean_every: Duration::from_secs(30),
            // A take-over reads its state in seconds.
            tombstones: Duration::from_mins(10),
            // Longer than nearly every attempt that a drain waits for.
            rebalance: Duration::from_mins(1),
        }
    }
}

/// Locks the folder, recovers what is in it and makes that known. Folders that are made for it are durable when this returns:
/// one that a power cut takes away takes along whatever was synced in it.
pub(super) fn open(options: Options) -> Result<(Lock, Core, Opened), OpenError> {
    let dir = options.dir.clone();
    let io = |source| OpenError::Io { dir: dir.clone(), source };
    let core = Core::new(options);
    let changed = changed_by_making(&core.dir);
    fs::create_dir_all(&core.dir).map_err(io)?;
    let lock = Lock::acquire(&dir.join("lock")).map_err(|error| match error {
        LockError::Held(holder) => OpenError::InUse { dir: dir.clone(), holder },
        LockError::Io(source) => io(source),
    })?;
    // At once: what waits for the disk together waits hardly longer than one alone, and a start consists of that.
    let (opened, synced) = thread::scope(|scope| {
        let syncing = changed.iter().map(|dir| scope.spawn(move || File::open(dir)?.sync_all()));
        let syncing: Vec<_> = syncing.collect();
        let opened = recover::open(&core.dir, core.options.segment_bytes, &[]);
        let synced = syncing.into_iter().map(|sync| sync.join().unwrap_or_else(|panic| resume_unwind(panic)));
        (opened, synced.collect::<io::Result<()>>())
    });
    synced.map_err(io)?;
    let opened = opened.map_err(|error| match error {
        StoreError::Format(found) => OpenError::Format { dir: dir.clone(), found },
        error => unreadable(&dir, error),
    })?;
    core.registry.reset(&opened.image).map_err(|error| unreadable(&dir, error))?;
    core.set_log(Some(opened.log.clone()));
    Ok((lock, core, opened))
}

/// The folders that get a new entry when this one is made.
fn changed_by_making(dir: &Path) -> Vec<PathBuf> {
    let missing = dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists());
    let above = missing.filter_map(Path::parent);
    above.map(|dir| if dir.as_os_str().is_empty() { ".".into() } else { dir.to_owned() }).collect()
}

fn unreadable(dir: &Path, error: impl std::error::Error + Send + Sync + 'static) -> OpenError {
    OpenError::Unreadable { dir: dir.to_owned(), source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_that_gets_a_new_one_is_synced() {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path();
        assert_eq!(changed_by_making(there), Vec::<PathBuf>::new());
        assert_eq!(changed_by_making(&there.join("a")), [there]);
        let (a, b) = (there.join("a"), there.join("a/b"));
        assert_eq!(changed_by_making(&there.join("a/b/c")), [b, a, there.to_owned()]);
        assert_eq!(changed_by_making(Path::new("not/there")), [Path::new("not"), Path::new(".")]);
    }
}
