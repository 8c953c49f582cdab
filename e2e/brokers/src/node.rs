//! One broker's process: started, stopped, hung, killed. Does I/O.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
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
}

impl Node {
    pub(crate) fn new(home: &Path, settings: &str, libs: &Libs, ports: Ports) -> Result<Self> {
        fs::create_dir_all(home).with_context(|| format!("make {}", home.display()))?;
        fs::write(home.join("server.properties"), settings).context("write a broker's settings")?;
        Ok(Self { home: home.to_owned(), libs: libs.clone(), ports, process: None })
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    fn settings(&self) -> PathBuf {
        self.home.join("server.properties")
    }

    fn java(&self, options: &[&str], class: &str) -> Result<Command> {
        let log = File::options().create(true).append(true).open(self.log()).context("open a broker's log")?;
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
        self.process = Some(process);
        Ok(())
    }

    /// Whether its process is there.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
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
    pub fn hang(&self) -> Result<()> {
        self.process.as_ref().map_or(Ok(()), |process| signal(process, Signal::STOP))
    }

    /// SIGCONT: it goes on.
    pub fn resume(&self) -> Result<()> {
        self.process.as_ref().map_or(Ok(()), |process| signal(process, Signal::CONT))
    }

    /// How much memory it has now, in KiB.
    pub fn resident(&self) -> Result<u64> {
        let process = self.process.as_ref().context("the broker is not running")?;
        let status = fs::read_to_string(format!("/proc/{}/status", process.id())).context("read its status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("find VmRSS")?;
        line.trim().trim_end_matches(" kB").parse().context("read VmRSS")
    }

    /// Waits until it lists so many live brokers.
    pub(crate) fn await_live(&self, count: usize, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        while live(self.ports.plain).unwrap_or(0) < count {
            if Instant::now() > until {
                bail!("no {count} brokers are ready after {} s; see {}", patience.as_secs(), self.log().display());
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
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).context("a process id out of range")?;
    kill_process(pid, signal).context("signal a broker")
}

/// Kills the broker that was kept there, if it still is that broker. Returns whether it was.
pub(crate) fn kill_of(home: &Path) -> Result<bool> {
    let Ok(noted) = fs::read_to_string(home.join("pid")) else { return Ok(false) };
    let command = fs::read(format!("/proc/{}/cmdline", noted.trim())).unwrap_or_default();
    let settings = home.join("server.properties");
    if !String::from_utf8_lossy(&command).contains(&*settings.to_string_lossy()) {
        return Ok(false);
    }
    let pid = noted.trim().parse().ok().and_then(Pid::from_raw).context("a process id out of range")?;
    kill_process(pid, Signal::KILL).context("kill a broker")?;
    Ok(true)
}

/// How many live brokers the one at this port lists: a Metadata request (version 1, no topics), by hand.
fn live(port: u16) -> Result<usize> {
    const REQUEST: [u8; 18] =
        [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0];
    let mut stream = TcpStream::connect(("127.0.0.1", port)).context("reach a broker")?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).context("set a time-out")?;
    stream.write_all(&REQUEST).context("ask a broker")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).context("hear a broker")?;
    // Size, correlation, and the number of brokers.
    Ok(u32::from_be_bytes([answer[8], answer[9], answer[10], answer[11]]) as usize)
}
