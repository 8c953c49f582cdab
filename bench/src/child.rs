//! Processes that are measured: ours in another role, the hub, a peer. Starts processes.

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _},
    path::PathBuf,
    process::{self, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::machine;

/// A process that ends with this value.
#[derive(Debug)]
pub struct Child(process::Child);

/// Starts this program again in another role.
pub fn role(words: &[&str]) -> Result<Child> {
    let mut command = Command::new(env::current_exe().context("find this program")?);
    command.arg("role").args(words);
    Child::spawn(&mut command)
}

/// The folder of this profile's programs, as ours lies in it, or in its `deps`.
pub fn folder() -> Result<PathBuf> {
    let mine = env::current_exe().context("find this program")?;
    let folder = mine.parent().context("find this program's folder")?;
    let deps = folder.file_name().is_some_and(|name| name == "deps");
    Ok(if deps { folder.parent().unwrap_or(folder) } else { folder }.to_owned())
}

/// The hub's binary: the one that `EVHUB_BIN` names, or the one beside us.
pub fn evhub() -> Result<PathBuf> {
    env::var_os("EVHUB_BIN").map(PathBuf::from).map_or_else(|| program("evhub"), Ok)
}

/// One of the project's binaries: the one beside us.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = folder()?.join(name);
    ensure!(path.is_file(), "{} is missing: cargo build --release --workspace --bins", path.display());
    Ok(path)
}

impl Child {
    /// Starts a process, whose standard output is read by [`Self::line`] and [`Self::rest`].
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        started.map(Self).with_context(|| format!("start {}", command.get_program().display()))
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Seconds of processor time that it used so far.
    pub fn used(&self) -> Result<f64> {
        machine::used(self.0.id())
    }

    /// KiB of memory that it holds: `VmRSS`, `VmHWM`.
    pub fn memory(&self, field: &str) -> Result<u64> {
        machine::memory(self.0.id(), field)
    }

    /// The one line that it says when it is ready.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let output = self.0.stdout.as_mut().context("hear a process")?;
        // Unbuffered, so that what follows the line is still there for whoever reads on.
        BufReader::with_capacity(1, output).read_line(&mut line).context("hear a process")?;
        ensure!(!line.is_empty(), "a process ended before it was ready");
        Ok(line.trim().to_owned())
    }

    /// Waits until it has ended, and tells what it said and how many seconds of processor time it used.
    pub fn rest(mut self) -> Result<String> {
        let mut text = String::new();
        let output = self.0.stdout.as_mut().context("hear a process")?;
        output.read_to_string(&mut text).context("hear a process")?;
        let status = self.0.wait().context("wait for a process")?;
        ensure!(status.success(), "a process failed ({status}): {text}");
        Ok(text)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
