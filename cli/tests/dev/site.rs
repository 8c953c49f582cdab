//! A folder of manifests and data, and hubs that run on it.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{PATIENCE, Process, evhub};

pub(crate) const PRODUCER: &str = "\
apiVersion: evhub.dev/v1alpha1
kind: Producer
metadata: { name: orders, namespace: shop }
spec: { topic: { partitions: 1 } }
";

/// Where manifests and data are kept across the lives of a hub.
pub(crate) struct Site {
    folder: TempDir,
}

/// A hub that listens where the system found room.
pub(crate) struct Hub {
    pub(crate) process: Process,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) api: SocketAddr,
}

/// A test receiver.
pub(crate) struct Sink {
    pub(crate) process: Process,
    pub(crate) address: String,
}

/// A Processor of `shop/orders` with this delivery.
pub(crate) fn processor(target: &str, delivery: &str) -> String {
    format!(
        "apiVersion: evhub.dev/v1alpha1\nkind: Processor\nmetadata: {{ name: billing, namespace: shop }}\nspec:\n  \
         producers: [{{ name: orders }}]\n  target: {{ url: 'http://{target}/events', timeout: 1m }}\n  delivery: \
         {{ {delivery} }}\n"
    )
}

/// One GET on a connection of its own: status and body.
pub(crate) fn get(at: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("chunked"), "{head}");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The quickstart of this repository.
pub(crate) fn quickstart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart")
}

// === impl Site ===

impl Site {
    pub(crate) fn new(manifests: &str) -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(site.dir()).unwrap();
        site.write("all.yaml", manifests);
        site
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        fs::write(self.dir().join(file), text).unwrap();
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("manifests")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The command line of a hub here, on ports that the system chooses.
    pub(crate) fn command(&self) -> Command {
        dev(&self.dir(), &self.data())
    }

    /// A hub that is ready.
    #[track_caller]
    pub(crate) fn start(&self) -> Hub {
        self.start_until("ready: every accepted Processor listens")
    }

    /// A hub that runs, and something that it is to run cannot.
    #[track_caller]
    pub(crate) fn start_unready(&self) -> Hub {
        self.start_until("not ready: accepted Processors name what is not there; all others listen")
    }

    #[track_caller]
    fn start_until(&self, message: &str) -> Hub {
        let mut process = Process::spawn(&mut self.command());
        let listening = process.logs("listening");
        let at = |flag: &str| listening[flag].as_str().unwrap().parse().unwrap();
        let (http, grpc, admin, api) = (at("http"), at("grpc"), at("admin"), at("api"));
        process.logs(message);
        Hub { process, http, grpc, admin, api }
    }
}

/// `evhub dev`, on ports that the system chooses.
pub(crate) fn dev(dir: &Path, data: &Path) -> Command {
    let mut command = evhub();
    command.arg("dev").arg(dir).arg("--data").arg(data);
    for flag in ["--http", "--grpc", "--admin", "--api"] {
        command.args([flag, "127.0.0.1:0"]);
    }
    command
}

// === impl Hub ===

impl Hub {
    /// A verb of the tool, asked of this hub.
    pub(crate) fn ask(&self, line: &[&str]) -> Command {
        let mut command = evhub();
        command.args(["--server", &format!("http://{}", self.api), "-n", "shop"]).args(line);
        command
    }

    /// What the hub says that it runs.
    pub(crate) fn snapshot(&self) -> Value {
        let (status, body) = get(self.admin, "/snapshot");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// A graceful stop; all that was said.
    #[track_caller]
    pub(crate) fn stop(self) -> Vec<String> {
        self.process.signal("TERM");
        let (code, said) = self.process.ended();
        assert_eq!(code, Some(0), "{}", said.join("\n"));
        said
    }
}

// === impl Sink ===

impl Sink {
    pub(crate) fn start(line: &[&str]) -> Self {
        Self::at("127.0.0.1:0", line)
    }

    pub(crate) fn at(address: &str, line: &[&str]) -> Self {
        let mut process = Process::spawn(evhub().args(["sink", "--listen", address]).args(line));
        let first = process.line(|line| line.starts_with("listening on "));
        let address = first.split("http://").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
        Self { address: address.to_owned(), process }
    }

    /// The next attempt for this event.
    #[track_caller]
    pub(crate) fn attempt(&mut self, event: &str) -> String {
        self.process.line(|line| line.contains(&format!("  {event}  attempt ")))
    }
}
