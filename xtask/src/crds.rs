//! Writes the generated CRD YAML anew from the Rust types. Does I/O, by the very test that verifies the files.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::cargo;

/// Runs that test so that it writes instead of comparing.
pub(crate) fn run(root: &Path) -> Result<()> {
    let arguments = ["test", "--release", "--package", "evhub-crds", "--test", "generated"];
    let status = cargo::command(root, &arguments).env("UPDATE", "1").status().context("run cargo test")?;
    ensure!(status.success(), "the CRD YAML was not written");
    Ok(())
}
