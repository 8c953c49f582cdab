//! One program of the control plane: started, hung, killed. Does I/O.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// One of the programs.
#[derive(Debug)]
pub struct Part {
    folder: PathBuf,
    name: &'static str,
    program: PathBuf,
    flags: Vec<String>,
    process: Option<Child>,
}

impl Part {
    pub(crate) fn new(folder: &Path, name: &'static str, programs: &Path, flags: Vec<String>) -> Self {
        Self::run_by(folder, name, &programs.join(name), flags)
    }

    /// One that another program starts.
    pub(crate) fn run_by(folder: &Path, name: &'static str, program: &Path, flags: Vec<String>) -> Self {
        Self { folder: folder.to_owned(), name, program: program.to_owned(), flags, process: None }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        self.name
    }

    /// Where it logs.
    pub fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    /// Starts it, with the data it has.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "{} is running", self.name);
        let log = File::options().create(true).append(true).open(self.log()).context("open a log")?;
        let mut command = Command::new(&self.program);
        command.args(&self.flags).current_dir(&self.folder).stdin(Stdio::null());
        command.stdout(log.try_clone().context("share a log")?).stderr(log);
        // Not stopped by the terminal's Ctrl-C: whoever holds the control plane ends it.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let process = command.spawn().with_context(|| format!("start {}", self.program.display()))?;
        fs::write(note(&self.folder, self.name), process.id().to_string()).context("note a process")?;
        self.process = Some(process);
        Ok(())
    }

    /// Whether it ended by itself. Of a process that has only begun there is no command line yet, so that is not asked.
    pub(crate) fn has_ended(&self) -> bool {
        self.process.as_ref().is_some_and(|process| {
            let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap_or_default();
            // It is not gone before it was waited for.
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
        })
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.kill().context("kill a part of the control plane")?;
        process.wait().context("wait for a killed part")?;
        Ok(())
    }

    /// Hangs it: its connections stay open, and nothing comes.
    pub fn hang(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn go_on(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process.as_ref().with_context(|| format!("{} is not running", self.name))?;
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process id out of range")?, signal).context("signal a part")
    }

    /// A child that nobody waits for is the system's.
    pub(crate) fn release(&mut self) {
        self.process = None;
    }
}

fn note(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.pid"))
}

/// Which parts were started in a folder, and whether each runs.
pub(crate) fn noted(folder: &Path) -> Result<Vec<(String, bool)>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("no control plane in {}", folder.display()))?;
    let mut noted = Vec::new();
    for entry in entries {
        let name = entry.context("list the control plane")?.file_name();
        if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".pid")) {
            noted.push((name.to_owned(), pid_of(folder, name).is_some()));
        }
    }
    noted.sort();
    Ok(noted)
}

/// The process of a part that was started there, if it still is that part: its flags name the folder.
fn pid_of(folder: &Path, name: &str) -> Option<Pid> {
    let noted = fs::read_to_string(note(folder, name)).ok()?;
    let command = fs::read(format!("/proc/{}/cmdline", noted.trim())).ok()?;
    let folder = format!("{}/", folder.display());
    let is_it = String::from_utf8_lossy(&command).contains(&folder);
    noted.trim().parse().ok().filter(|_| is_it).and_then(Pid::from_raw)
}

/// Kills the part that was kept there, if it still is that part. Returns whether it was.
pub(crate) fn kill_of(folder: &Path, name: &str) -> Result<bool> {
    let Some(pid) = pid_of(folder, name) else { return Ok(false) };
    kill_process(pid, Signal::KILL).context("kill a part of the control plane")?;
    Ok(true)
}
