//! The real binaries, with a folder of their own. Starts processes.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, de::DeserializeOwned};
use tempfile::TempDir;

use crate::child::{Child, evhub, program};

/// Longer than any start takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A hub that listens.
#[derive(Debug)]
pub struct Hub {
    /// Its process.
    pub child: Child,
    /// Where it listens.
    pub at: Addresses,
    folder: TempDir,
    /// Who tells it what to run, if that is another process.
    _control: Option<Child>,
}

/// Where control is served.
#[derive(Deserialize)]
struct Serving {
    listen: SocketAddr,
}

/// Where a hub listens.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Addresses {
    /// Publishing over HTTP.
    pub http: SocketAddr,
    /// Publishing over gRPC.
    pub grpc: SocketAddr,
    /// Health and metrics.
    pub admin: SocketAddr,
}

impl Hub {
    /// Starts a hub with these resources: on a log in a new folder under this one, or in memory.
    pub fn start(resources: &str, disk: Option<&Path>) -> Result<Self> {
        let folder = disk.map_or_else(tempfile::tempdir, tempfile::tempdir_in).context("make a folder")?;
        let path = folder.path();
        fs::create_dir(path.join("resources"))?;
        fs::write(path.join("resources/all.yaml"), resources)?;
        let log = File::create(path.join("stderr"))?;
        let mut command = Command::new(evhub()?);
        command.arg("dev").arg(path.join("resources")).env("EVHUB_LOG", "info").stderr(log);
        for listener in ["--http", "--grpc", "--admin", "--api"] {
            command.args([listener, "127.0.0.1:0"]);
        }
        match disk {
            Some(_) => command.arg("--data").arg(path.join("data")),
            None => command.arg("--memory"),
        };
        let child = Child::spawn(&mut command)?;
        let at = said(&path.join("stderr"), "listening")?;
        Ok(Self { child, at, folder, _control: None })
    }

    /// Starts a dataplane on these brokers, whose names there begin with the prefix, and `evhub control`, which serves it
    /// these resources.
    pub fn on_kafka(resources: &str, bootstrap: &str, prefix: &str) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder")?;
        let path = folder.path();
        fs::create_dir(path.join("resources"))?;
        fs::write(path.join("resources/all.yaml"), resources)?;
        let mut command = Command::new(evhub()?);
        command.arg("control").arg(path.join("resources")).arg("--data").arg(path.join("control"));
        command.args(["--listen", "127.0.0.1:0", "--prefix", prefix]).env("EVHUB_LOG", "info");
        let control = Child::spawn(command.stderr(File::create(path.join("control.log"))?))?;
        let Serving { listen } = said(&path.join("control.log"), "serving the control stream")?;
        let mut command = Command::new(program("evhub-dataplane")?);
        command.args(["--kafka", bootstrap, "--prefix", prefix, "--egress-allow", "127.0.0.0/8"]);
        command.args(["--control", &format!("http://{listen}")]).arg("--data").arg(path.join("data"));
        for listener in ["--http", "--grpc", "--admin", "--api"] {
            command.args([listener, "127.0.0.1:0"]);
        }
        command.env("EVHUB_LOG", "info").stderr(File::create(path.join("stderr"))?);
        let child = Child::spawn(&mut command)?;
        let at: Addresses = said(&path.join("stderr"), "listening")?;
        let hub = Self { child, at, folder, _control: Some(control) };
        hub.until_ready()?;
        Ok(hub)
    }

    /// Waits until it serves what it was told to.
    fn until_ready(&self) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let mut stream = TcpStream::connect(self.at.admin).context("ask whether the hub is ready")?;
            write!(stream, "GET /readyz HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            if answer.starts_with("HTTP/1.1 200") {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default();
        bail!("the hub is not ready: {log}")
    }

    /// Adds a file of resources, or changes it.
    pub fn apply(&self, name: &str, resources: &str) -> Result<()> {
        fs::write(self.folder.path().join("resources").join(name), resources).context("write a resource")
    }
}

/// Waits until a process has a line with this message in its log, and reads the rest of it.
fn said<T: DeserializeOwned>(log: &Path, message: &str) -> Result<T> {
    let (began, message) = (Instant::now(), format!(r#""message":"{message}""#));
    while began.elapsed() < PATIENCE {
        let text = fs::read_to_string(log).context("read a process's log")?;
        if let Some(line) = text.lines().find(|line| line.contains(&message)) {
            return serde_json::from_str(line).context("read where a process listens");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    bail!("a process does not listen: {}", fs::read_to_string(log).unwrap_or_default())
}

/// A Producer `shop/orders` with so many partitions.
pub fn producer(partitions: u32) -> String {
    format!(
        "apiVersion: evhub.dev/v1alpha1\nkind: Producer\nmetadata: {{name: orders, namespace: shop}}\nspec:\n  topic: \
         {{partitions: {partitions}}}\n"
    )
}

/// The same for a single broker.
pub fn producer_alone(partitions: u32) -> String {
    producer(partitions).replace(
        &format!("partitions: {partitions}"),
        &format!("partitions: {partitions}, replicas: 1, minInSyncReplicas: 1"),
    )
}

/// A Processor of all its events, from the first one on.
pub fn processor(url: &str, max_in_flight: u32) -> String {
    processor_by("CloudEvents", url, max_in_flight)
}

/// The same, speaking another protocol to its target.
pub fn processor_by(protocol: &str, url: &str, max_in_flight: u32) -> String {
    format!(
        "apiVersion: evhub.dev/v1alpha1\nkind: Processor\nmetadata: {{name: billing, namespace: shop}}\nspec:\n  \
         producers: [{{name: orders}}]\n  startFrom: Earliest\n  target: {{url: \"{url}\", protocol: {protocol}}}\n  delivery: {{order: Key, \
         maxInFlight: {max_in_flight}}}\n"
    )
}
