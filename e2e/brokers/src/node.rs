//! One broker's process: started, stopped, hung, killed. Does I/O.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    asks,
    jars::Libs,
    settings::{Ports, USER},
};

/// How long a clean stop may take.
const STOP: Duration = Duration::from_secs(30);
/// Every cluster of ours has the same identity: none ever meets another.
const CLUSTER: &str = "ZXZodWItdGVzdHMtMDAwMA";

/// One broker.
#[derive(Debug)]
pub struct Node {
    home: PathBuf,
    libs: Libs,
    pub(crate) ports: Ports,
    process: Option<Child>,
    hangs: bool,
}

impl Node {
    pub(crate) fn new(home: &Path, settings: &str, libs: &Libs, ports: Ports) -> Result<Self> {
        fs::create_dir_all(home).with_context(|| format!("make {}", home.display()))?;
        fs::write(home.join("server.properties"), settings).context("write a broker's settings")?;
        Ok(Self { home: home.to_owned(), libs: libs.clone(), ports, process: None, hangs: false })
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    fn settings(&self) -> PathBuf {
        self.home.join("server.properties")
    }

    fn java(&self, options: &[&str], class: &str) -> Result<Command> {
        let log =
            File::options().create(true).append(true).open(self.log()).context("open a broker's log")?;
        let mut java = Command::new("java");
        java.args(options).arg(format!("-Dlog4j2.configurationFile={}", self.libs.logging.display()));
        java.arg("-cp").arg(format!("{}/*", self.libs.jars.display())).arg(class);
        java.stdin(Stdio::null()).stdout(log.try_clone().context("share a broker's log")?).stderr(log);
        Ok(java)
    }

    pub(crate) fn format(&self, secure: bool) -> Result<Child> {
        let options = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];
        let mut java = self.java(&options, "kafka.tools.StorageTool")?;
        java.args(["format", "-t", CLUSTER, "-c"]).arg(self.settings());
        if secure {
            let (name, password) = USER;
            for mechanism in ["SCRAM-SHA-512", "SCRAM-SHA-256"] {
                java.arg("--add-scram").arg(format!("{mechanism}=[name={name},password={password}]"));
            }
        }
        java.spawn().context("run java: is a JDK installed?")
    }

    /// Starts it, on the data it has.
    pub fn start(&mut self) -> Result<()> {
        ensure!(!self.is_running(), "the broker in {} is running", self.home.display());
        let options = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"];
        let mut java = self.java(&options, "kafka.Kafka")?;
        java.arg(self.settings());
        // Not stopped by the terminal's Ctrl-C: whoever holds the cluster ends it.
        std::os::unix::process::CommandExt::process_group(&mut java, 0);
        let process = java.spawn().context("run java: is a JDK installed?")?;
        fs::write(self.home.join("pid"), process.id().to_string()).context("note a broker's process")?;
        (self.process, self.hangs) = (Some(process), false);
        Ok(())
    }

    /// Whether its process is there.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Whether it is there and does not hang.
    pub fn is_answering(&self) -> bool {
        self.process.is_some() && !self.hangs
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.kill().context("kill a broker")?;
        process.wait().context("wait for a killed broker")?;
        Ok(())
    }

    /// SIGTERM, and waits until it has ended cleanly.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        signal(&process, Signal::TERM)?;
        let until = Instant::now() + STOP;
        while process.try_wait().context("wait for a broker")?.is_none() {
            if Instant::now() > until {
                process.kill().context("kill a broker")?;
                bail!("a broker did not stop in {} s, and was killed", STOP.as_secs());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// SIGSTOP: it hangs.
    pub fn hang(&mut self) -> Result<()> {
        self.hangs = true;
        self.process.as_ref().map_or(Ok(()), |process| signal(process, Signal::STOP))
    }

    /// SIGCONT: it goes on.
    pub fn resume(&mut self) -> Result<()> {
        self.hangs = false;
        self.process.as_ref().map_or(Ok(()), |process| signal(process, Signal::CONT))
    }

    /// How much memory it has now, in KiB.
    pub fn resident(&self) -> Result<u64> {
        let process = self.process.as_ref().context("the broker is not running")?;
        let status =
            fs::read_to_string(format!("/proc/{}/status", process.id())).context("read its status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("find VmRSS")?;
        line.trim().trim_end_matches(" kB").parse().context("read VmRSS")
    }

    /// Waits until it lists so many live brokers.
    pub(crate) fn await_live(&self, count: usize, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        while asks::live(self.ports.plain).unwrap_or(0) < count {
            if Instant::now() > until {
                bail!(
                    "no {count} brokers are ready after {} s; see {}",
                    patience.as_secs(),
                    self.log().display()
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A kept cluster's brokers go on; a child that nobody waits for is the system's.
        self.process = None;
    }
}

fn signal(process: &Child, signal: Signal) -> Result<()> {
    let pid =
        i32::try_from(process.id()).ok().and_then(Pid::from_raw).context("a process id out of range")?;
    kill_process(pid, signal).context("signal a broker")
}

/// The process of the broker that was kept there, if it still is that broker.
pub(crate) fn pid_of(home: &Path) -> Option<Pid> {
    let noted = fs::read_to_string(home.join("pid")).ok()?;
    let command = fs::read(format!("/proc/{}/cmdline", noted.trim())).ok()?;
    let settings = home.join("server.properties");
    let is_it = String::from_utf8_lossy(&command).contains(&*settings.to_string_lossy());
    noted.trim().parse().ok().filter(|_| is_it).and_then(Pid::from_raw)
}

/// Kills the broker that was kept there, if it still is that broker. Returns whether it was.
pub(crate) fn kill_of(home: &Path) -> Result<bool> {
    let Some(pid) = pid_of(home) else { return Ok(false) };
    kill_process(pid, Signal::KILL).context("kill a broker")?;
    Ok(true)
}
