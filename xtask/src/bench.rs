//! The measurements of `docs/performance.md`: builds the hub and the programs that measure it, then runs one of them. Does
//! I/O.

use std::path::Path;

use anyhow::Result;

use crate::{cargo, test::succeed};

/// Runs the measurement that these words name, with its options.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<()> {
    succeed(cargo::command(root, &["build", "--release", "--package", "evhub", "--package", "evhub-bench"]))?;
    let mut measurement = cargo::command(root, &["run", "--quiet", "--release", "--package", "evhub-bench"]);
    measurement.args(["--bin", "bench", "--"]).args(words);
    succeed(measurement)
}
