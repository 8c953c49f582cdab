//! The real binary, with a folder of its own. Starts a process.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use tempfile::TempDir;

use crate::child::{Child, evhub};

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
        let at = listening(&path.join("stderr"))?;
        Ok(Self { child, at, folder })
    }

    /// Adds a file of resources, or changes it.
    pub fn apply(&self, name: &str, resources: &str) -> Result<()> {
        fs::write(self.folder.path().join("resources").join(name), resources).context("write a resource")
    }
}

/// Waits until the hub tells where it listens.
fn listening(log: &Path) -> Result<Addresses> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let text = fs::read_to_string(log).context("read the hub's log")?;
        let told = text.lines().find(|line| line.contains(r#""message":"listening""#));
        if let Some(line) = told {
            return serde_json::from_str(line).context("read where the hub listens");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    bail!("the hub does not listen: {}", fs::read_to_string(log).unwrap_or_default())
}

/// A Producer `shop/orders` with so many partitions.
pub fn producer(partitions: u32) -> String {
    format!(
        "apiVersion: evhub.dev/v1alpha1\nkind: Producer\nmetadata: {{name: orders, namespace: shop}}\nspec:\n  topic: \
         {{partitions: {partitions}}}\n"
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
