//! A memory cgroup of its own for the hub: the kernel ends what takes more. Version 1 or 2, as this machine has.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use anyhow::{Context as _, Result, bail};

/// A group. Dropping it removes it, when nothing is in it any more.
#[derive(Debug)]
pub struct Cage {
    path: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// How much of its bounds was used, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// The most that the kernel charged it with, what it may take back at any time included.
    pub charged: u64,
    /// How often something in it was ended for want of memory.
    pub ended: u64,
}

impl Cage {
    /// A group of this size.
    pub fn new(bytes: u64) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("evhub-e2e-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let mut refusals = Vec::new();
        for (root, version) in [("/sys/fs/cgroup/memory", Version::One), ("/sys/fs/cgroup", Version::Two)] {
            let cage = Self { path: Path::new(root).join(&name), version };
            match cage.make(Path::new(root), bytes) {
                Ok(()) => return Ok(cage),
                Err(error) => refusals.push(format!("{root}: {error:#}")),
            }
        }
        bail!("a memory cgroup is needed, and the right to make one (root): {}", refusals.join("; "))
    }

    fn make(&self, root: &Path, bytes: u64) -> Result<()> {
        let limit = match self.version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => {
                let known = fs::read_to_string(root.join("cgroup.controllers")).context("not version 2")?;
                anyhow::ensure!(known.split_whitespace().any(|name| name == "memory"), "without memory");
                // Where it was given on before, this is refused and not needed.
                let _ = fs::write(root.join("cgroup.subtree_control"), "+memory");
                "memory.max"
            }
        };
        fs::create_dir(&self.path).context("make the group")?;
        fs::write(self.path.join(limit), bytes.to_string()).with_context(|| format!("set {limit}"))?;
        // What is swapped out is not bounded memory. Not every kernel counts it.
        let _ = match self.version {
            Version::One => fs::write(self.path.join("memory.memsw.limit_in_bytes"), bytes.to_string()),
            Version::Two => fs::write(self.path.join("memory.swap.max"), "0"),
        };
        Ok(())
    }

    /// What must stand before a command so that it runs in here.
    pub fn before(&self) -> Vec<String> {
        let enter = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;
        ["sh", "-c", enter].map(str::to_owned).into_iter().chain([self.path.display().to_string()]).collect()
    }

    /// How much was used so far.
    pub fn used(&self) -> Result<Used> {
        let read =
            |name: &str| fs::read_to_string(self.path.join(name)).with_context(|| format!("read {name}"));
        let (most, events) = match self.version {
            Version::One => ("memory.max_usage_in_bytes", "memory.oom_control"),
            Version::Two => ("memory.peak", "memory.events"),
        };
        let ended = read(events)?;
        let ended = ended.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
        Ok(Used { charged: read(most)?.trim().parse().context("a number")?, ended: ended.unwrap_or(0) })
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        // A process that was just killed may take a moment to leave. Nothing can be done if it stays.
        for _ in 0..50 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// The most memory of its own that a process ever had, in bytes.
pub fn resident(pid: i32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("look at the hub")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("read the hub's memory")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().context("read the hub's memory")?;
    Ok(kilobytes * 1024)
}
