//! One process for one folder. I/O.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::exit::Configuration;

/// How long a process that was just killed may take to be gone, and how often that is looked for.
const GOING: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(20));

/// Holds a folder of `--data` for this process, as long as what is given back lives; the folder is made if need be. Two that
/// are at work in one would each undo what the other keeps there. Waits a moment for one that is on its way out.
pub fn alone(data: &Path) -> Result<File, Configuration> {
    let unusable = |error: io::Error| {
        let hint = "name a folder that may be written to, with --data";
        Configuration(vec![format!("--data: {}: {error} ({hint})", data.display())])
    };
    fs::create_dir_all(data).map_err(unusable)?;
    let file = File::create(data.join("lock")).map_err(unusable)?;
    let since = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if since.elapsed() < GOING.0 => thread::sleep(GOING.1),
            Err(TryLockError::WouldBlock) => {
                let hint = "stop it, or name another folder with --data";
                let problem = format!("--data: {}: another process uses it ({hint})", data.display());
                return Err(Configuration(vec![problem]));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
    }
}
