//! Running cargo: always the one that runs us, always in the workspace's folder. Does I/O.

use std::{env, ffi::OsString, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

/// A cargo command, not yet run.
pub(crate) fn command(root: &Path, arguments: &[&str]) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root);
    command
}

/// What a cargo command writes to its standard output; its errors go to ours.
pub(crate) fn output(root: &Path, arguments: &[&str]) -> Result<String> {
    let intent = || format!("run cargo {}", arguments.join(" "));
    let output = command(root, arguments).output().with_context(intent)?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo {} failed: {}", arguments.join(" "), complaint.trim_end());
    String::from_utf8(output.stdout).with_context(intent)
}
