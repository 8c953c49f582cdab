//! The hub under test: the real binary as a process, with a folder, ports and a log of its own.

use std::{
    env,
    fs::{self, OpenOptions},
    net::TcpListener,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::wire;

/// The longest that a hub may take to become ready, or to stop.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Where a hub lives across its lives.
#[derive(Debug)]
pub struct Site {
    /// Everything on disk; removed with this value.
    pub folder: TempDir,
    /// Where the hub keeps its data.
    pub data: PathBuf,
    /// What stands before the binary on its command line, for example a tracer.
    pub before: Vec<String>,
    /// The listeners' ports.
    pub ports: Ports,
}

/// The ports of a hub.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Publishing.
    pub http: u16,
    /// Publishing over gRPC.
    pub grpc: u16,
    /// Tools.
    pub api: u16,
    /// Readiness.
    pub admin: u16,
}

/// A running hub. Dropping it kills it.
#[derive(Debug)]
pub struct Hub {
    child: Child,
    pid: Pid,
    ports: Ports,
}

impl Site {
    /// A fresh folder with these resources.
    pub fn new(resources: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("evhub-e2e-").tempdir().context("make a folder")?;
        fs::create_dir(folder.path().join("resources")).context("make a folder")?;
        let data = folder.path().join("data");
        let site = Self { data, before: Vec::new(), ports: Ports::free()?, folder };
        site.write(resources)?;
        Ok(site)
    }

    /// Replaces the resources, whole at once.
    pub fn write(&self, resources: &str) -> Result<()> {
        let fresh = self.folder.path().join("fresh.yaml");
        fs::write(&fresh, resources).context("write the resources")?;
        fs::rename(&fresh, self.resources().join("all.yaml")).context("replace the resources")
    }

    /// The folder with the resources.
    pub fn resources(&self) -> PathBuf {
        self.folder.path().join("resources")
    }

    /// Starts the hub; it is not yet ready.
    pub fn start(&self) -> Result<Hub> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .context("open the hub's log")?;
        let mut words: Vec<std::ffi::OsString> = self.before.iter().map(Into::into).collect();
        words.push(binary("evhub")?.into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("dev").arg(self.resources()).arg("--data").arg(&self.data);
        let Ports { http, grpc, api, admin } = self.ports;
        for (flag, port) in [("--http", http), ("--grpc", grpc), ("--api", api), ("--admin", admin)] {
            command.arg(flag).arg(format!("127.0.0.1:{port}"));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().context("open the hub's log")?).stderr(log);
        Hub::spawn(&mut command, self.ports)
    }

    /// Starts the hub for the first time, on other ports if somebody was faster, and waits until it is ready.
    pub async fn first_start(&mut self) -> Result<Hub> {
        for _ in 0..3 {
            match self.start_ready().await {
                Err(_) if self.log().contains("in use") => {
                    fs::remove_file(self.log_path()).context("begin a new log")?;
                    self.ports = Ports::free()?;
                }
                started => return started,
            }
        }
        self.start_ready().await
    }

    /// Starts the hub and waits until it is ready.
    pub async fn start_ready(&self) -> Result<Hub> {
        let mut hub = self.start()?;
        hub.ready().await.with_context(|| format!("the hub's log ends:\n{}", self.log_end()))?;
        Ok(hub)
    }

    /// The end of what the hub said.
    pub fn log_end(&self) -> String {
        let text = self.log();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// All that the hub said.
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("hub.log")
    }
}

impl Ports {
    /// Free ports below the range from which the system lends ports to clients: a hub that is down for a moment must find
    /// its own again.
    pub fn free() -> Result<Self> {
        Ok(Self { http: free_port()?, grpc: free_port()?, api: free_port()?, admin: free_port()? })
    }
}

/// A free port of that range, which no earlier call has had.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 20_000).unwrap_or_default();
    for _ in 0..1000 {
        let port = 10_000 + first.wrapping_add(NEXT.fetch_add(1, Relaxed)) % 22_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("find a free port")
}

impl Hub {
    /// Starts a process that listens at these ports; it is not yet ready.
    pub fn spawn(command: &mut Command, ports: Ports) -> Result<Self> {
        let child = command.kill_on_drop(true).spawn().context("start the hub")?;
        let pid =
            child.id().and_then(|id| Pid::from_raw(id.cast_signed())).context("the hub has no process id")?;
        Ok(Self { child, pid, ports })
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&mut self) -> Result<()> {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().context("look at the hub")? {
                bail!("the hub ended instead of becoming ready ({status})");
            }
            let answer = wire::get(self.ports.admin, "/readyz", Duration::from_secs(2)).await;
            if answer.is_ok_and(|answer| answer.status() == Some(200)) {
                return Ok(());
            }
            ensure!(since.elapsed() < PATIENCE, "the hub is not ready after {PATIENCE:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The process.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// How the hub ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// SIGKILL; whether that ended it.
    pub async fn kill(&mut self) -> Result<bool> {
        self.signal(Signal::KILL)?;
        let status = self.child.wait().await.context("wait for the hub")?;
        Ok(status.signal() == Some(Signal::KILL.as_raw()))
    }

    /// SIGTERM; whether it ended well and in time.
    pub async fn stop(&mut self) -> Result<bool> {
        self.signal(Signal::TERM)?;
        let ended = timeout(PATIENCE, self.child.wait()).await;
        let status = ended.context("the hub did not stop in time")?.context("wait for the hub")?;
        Ok(status.success())
    }

    /// SIGSTOP; whether the system shows it stopped.
    pub async fn pause(&self) -> Result<bool> {
        self.signal(Signal::STOP)?;
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(1) {
            if self.state()? == 'T' {
                return Ok(true);
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(false)
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid, signal).context("signal the hub")
    }

    fn state(&self) -> Result<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).context("look at the hub")?;
        let (_, rest) = stat.rsplit_once(") ").context("read the hub's state")?;
        rest.chars().next().context("read the hub's state")
    }
}

/// One of the product's binaries: `evhub` is what `EVHUB_BIN` names; else it lies beside this test's own folder, or is built
/// there once.
pub fn binary(name: &'static str) -> Result<PathBuf> {
    static FINDING: Mutex<()> = Mutex::new(());
    let _turn = FINDING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(named) = env::var_os("EVHUB_BIN").filter(|_| name == "evhub") {
        let path = PathBuf::from(named);
        ensure!(path.is_file(), "EVHUB_BIN names {}, which is no file", path.display());
        return Ok(path);
    }
    let folder = build_folder()?;
    let path = folder.join(name);
    if !path.is_file() {
        let target = folder.parent().context("find the target folder")?;
        let mut build = std::process::Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--release", "--bin", name]).env("CARGO_TARGET_DIR", target);
        ensure!(build.status().context("build the binary")?.success(), "building {name} failed");
    }
    Ok(path)
}

/// The folder of this profile's binaries: our own, or the one above it, as a test lies in `deps`.
pub fn build_folder() -> Result<PathBuf> {
    let mine = env::current_exe().context("find this program's folder")?;
    let folder = mine.parent().context("find this program's folder")?;
    let above = folder.parent().filter(|_| folder.ends_with("deps"));
    Ok(above.unwrap_or(folder).to_owned())
}
