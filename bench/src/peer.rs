//! NATS `JetStream` as a peer: built once by Go's own tool into the cache where the project keeps its tools, and run with
//! `sync_interval: always`, so that it promises what evhub promises. Starts processes.

use std::{
    env, fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::child::Child;

/// The version that is compared with.
pub const VERSION: &str = "v2.15.2";
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that listens.
#[derive(Debug)]
pub struct Nats {
    /// Its process.
    pub child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    _folder: TempDir,
}

impl Nats {
    /// Starts a server with an empty store under this folder.
    pub fn start(disk: &Path) -> Result<Self> {
        let folder = tempfile::tempdir_in(disk).context("make a folder")?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let store = folder.path().join("store");
        let settings = format!(
            "listen: \"{address}\"\njetstream {{ store_dir: \"{}\", sync_interval: always, max_file_store: 50G }}\n",
            store.display()
        );
        let file = folder.path().join("nats.conf");
        fs::write(&file, settings)?;
        let mut command = Command::new(binary()?);
        command.arg("--config").arg(&file).arg("--log").arg(folder.path().join("log"));
        let child = Child::spawn(&mut command)?;
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(began.elapsed() < PATIENCE, "NATS does not listen");
            sleep(Duration::from_millis(5));
        }
        Ok(Self { child, address, _folder: folder })
    }
}

/// The server's program; built when it is missing, which takes a minute or two.
fn binary() -> Result<PathBuf> {
    let caches = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let caches =
        caches.or_else(|| Some(env::home_dir()?.join(".cache"))).context("find a folder for tools")?;
    let folder = caches.join("evhub").join("tools").join(format!("nats-server-{VERSION}")).join("bin");
    let program = folder.join("nats-server");
    if !program.is_file() {
        eprintln!("nats-server {VERSION} is missing: building it once into {}", folder.display());
        let mut go = Command::new("go");
        go.args(["install", &format!("github.com/nats-io/nats-server/v2@{VERSION}")]).env("GOBIN", &folder);
        ensure!(go.status().context("run go")?.success(), "building nats-server failed");
    }
    Ok(program)
}
