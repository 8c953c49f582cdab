//! How many files and connections the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a hub with a log of some size and its listeners needs at the least, to be out of the way.
const FEW: u64 = 16 << 10;

/// Raises the limit of open files as far as the process may, and gives it back. Shells and service managers set it low for
/// programs that still use `select`, which none of ours does.
pub fn allow_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let now = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    let files = now.unwrap_or(u64::MAX);
    if files < FEW {
        tracing::warn!(
            files,
            "few files may be open at once: each connection takes one, and so does each 64 MiB of the log"
        );
    }
    files
}
