//! Campaigns against several dataplanes on real brokers, for as long as is wanted: runs the program that makes them. Does I/O.

use std::path::Path;

use anyhow::Result;

use crate::{cargo, test::succeed};

/// Builds what is besieged and who besieges it, and begins.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<()> {
    let bins = ["evhub", "evhub-dataplane", "chaos"].map(|bin| ["--bin", bin]).concat();
    let build = [&["build", "--release", "--workspace"], &bins[..]].concat();
    succeed(cargo::command(root, &build))?;
    let run = [&["run", "--release", "--quiet", "--bin", "chaos", "--"], words].concat();
    succeed(cargo::command(root, &run))
}
