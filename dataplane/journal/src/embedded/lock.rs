//! One process per folder: an advisory lock that the system releases when its holder dies. Does I/O.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::Path,
};

/// Held for as long as the folder is ours.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Why the folder is not ours.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another process has it; its id when it could be read.
    Held(Option<u32>),
    /// The lock could not be tried.
    Io(io::Error),
}

impl Lock {
    pub(super) fn acquire(path: &Path) -> Result<Self, LockError> {
        // Never truncated when opened: until the lock is ours, the text is its holder's.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(LockError::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held(holder(&mut file))),
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
        // Only a courtesy to whoever finds the lock taken, so a full disk must not fail it.
        let _ = note(&mut file);
        Ok(Self { _file: file })
    }
}

fn note(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
