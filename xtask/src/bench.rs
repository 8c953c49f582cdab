//! The measurements of `docs/performance.md`: builds the hub and the programs that measure it, then runs one of them, or all.
//! Does I/O.

use std::{env, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{cargo, test::succeed};

/// Runs the measurement that these words name, with its options. Programs of one profile lie in one folder, so what is built
/// lies beside us.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<()> {
    // A test among them: with it the libraries are those of the test command, and nothing is built a second time.
    let build = [
        "build",
        "--release",
        "--workspace",
        "--bin",
        "evhub",
        "--bin",
        "evhub-operator",
        "--bin",
        "bench",
        "--test",
        "gates",
    ];
    succeed(cargo::command(root, &build))?;
    let ours = env::current_exe().context("find this program")?;
    let mut measurement = Command::new(ours.with_file_name("bench"));
    measurement.args(words).current_dir(root);
    succeed(measurement)
}
