//! What measures, and who else is at work on it meanwhile. Reads `/proc`.

use std::{fs, path::Path, process::Command, time::Instant};

use anyhow::{Context as _, Result};

/// Hundredths of a second, the unit of `/proc`'s times on every Linux that we build for.
const TICK: f64 = 0.01;

/// One line that every table carries.
pub fn describe() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let rustc = said("rustc", "--version");
    format!(
        "{cores} cores ({model}), {} GiB, Linux {}, {rustc}, nice {}, load average {load} before",
        kib >> 20,
        kernel.trim(),
        nice().unwrap_or_default(),
    )
}

/// The file system under a folder, and its device.
pub fn disk(folder: &Path) -> String {
    let told = Command::new("df").args(["--output=fstype,source"]).arg(folder).output();
    let told = told.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    told.lines().nth(1).unwrap_or("unknown file system").split_whitespace().collect::<Vec<_>>().join(" on ")
}

/// What a program answers in one line.
pub fn said(program: &str, argument: &str) -> String {
    let told = Command::new(program).arg(argument).output();
    told.map_or_else(
        |_| format!("no {program}"),
        |out| String::from_utf8_lossy(&out.stdout).trim().to_owned(),
    )
}

fn nice() -> Option<i64> {
    stat("/proc/self/stat").ok()?.get(16)?.parse().ok()
}

/// Seconds of processor time of a process and of its children that have ended.
pub fn used(pid: u32) -> Result<f64> {
    let fields = stat(&format!("/proc/{pid}/stat"))?;
    let ticks: u64 =
        fields.get(11..15).unwrap_or_default().iter().filter_map(|t| t.parse::<u64>().ok()).sum();
    Ok(ticks as f64 * TICK)
}

/// KiB of memory that a process holds: `VmRSS`, `VmHWM`.
pub fn memory(pid: u32, field: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(Path::new(&path)).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.with_context(|| format!("find {field} in {path}"))
}

/// The fields of a process's state from the third on; the second, a name, may hold anything.
fn stat(path: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let (_, fields) = text.rsplit_once(')').context("read a process's state")?;
    Ok(fields.split_whitespace().map(str::to_owned).collect())
}

/// Seconds of processor time that anything on this machine used.
fn busy() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // user nice system idle iowait irq softirq steal; those after are counted in the first two.
    let ticks = fields.take(8).enumerate().filter(|(index, _)| ![3, 4].contains(index));
    ticks.filter_map(|(_, ticks)| ticks.parse::<u64>().ok()).sum::<u64>() as f64 * TICK
}

/// Tells how much of the machine others used while something was measured.
#[derive(Debug)]
pub struct Guard {
    busy: f64,
    since: Instant,
}

impl Guard {
    /// Begins now.
    pub fn start() -> Self {
        Self { busy: busy(), since: Instant::now() }
    }

    /// The share of all cores that was used by none of those who used so many seconds of it, in percent.
    pub fn foreign(&self, ours: f64) -> f64 {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let others = (busy() - self.busy - ours).max(0.0);
        100.0 * others / (self.since.elapsed().as_secs_f64() * cores)
    }
}
