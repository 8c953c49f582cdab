//! Processes of this project over one broker, each with its log in a file.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use evhub_brokers::{Cluster, Options};
use serde_json::Value;
use tempfile::TempDir;

/// Far longer than anything takes, on however busy a machine.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// Where a process listens that does not.
pub(super) const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// One broker for all tests of this program. It ends with it.
pub(super) fn brokers() -> &'static str {
    static BROKERS: OnceLock<(String, Option<Cluster>)> = OnceLock::new();
    let (addresses, _) = BROKERS.get_or_init(|| {
        if let Ok(addresses) = env::var("EVHUB_KAFKA") {
            return (addresses, None);
        }
        let folder = env::temp_dir().join(format!("evhub-cluster-{}", std::process::id()));
        let options = Options { brokers: 1, secure: false, properties: Vec::new(), folder };
        let cluster = Cluster::start(&options).expect("a broker starts");
        (cluster.bootstrap(), Some(cluster))
    });
    addresses
}

/// A folder with manifests, and everything that processes keep. Names in Kafka are its own.
pub(super) struct Site {
    pub(super) folder: TempDir,
    pub(super) prefix: String,
}

/// A process that ends with this value.
pub(super) struct Process {
    child: Child,
    log: PathBuf,
}

/// A dataplane.
pub(super) struct Plane {
    pub(super) process: Process,
    pub(super) http: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) replica: String,
}

impl Site {
    pub(super) fn new(name: &str, target: SocketAddr) -> Self {
        let site = Self { folder: TempDir::new().unwrap(), prefix: format!("{name}-{}", std::process::id()) };
        fs::create_dir(site.path("manifests")).unwrap();
        // Quick to notice who is gone; nothing else is other than usual.
        let settings = "session.timeout.ms=6000\nheartbeat.interval.ms=1000\n";
        fs::write(site.path("kafka.properties"), settings).unwrap();
        site.write(
            "orders.yaml",
            "apiVersion: evhub.dev/v1alpha1\nkind: Producer\nmetadata: { name: orders, namespace: shop }\n\
             spec: { topic: { partitions: 6, replicas: 1, minInSyncReplicas: 1 } }\n",
        );
        site.write("billing.yaml", &processor("billing", target));
        site
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn write(&self, file: &str, text: &str) {
        fs::write(self.path(".new"), text).unwrap();
        fs::rename(self.path(".new"), self.path("manifests").join(file)).unwrap();
    }

    /// `evhub control`, and where it serves.
    pub(super) fn control(&self, listen: &str) -> (Process, SocketAddr) {
        let mut command = Command::new(evhub());
        command.arg("control").arg(self.path("manifests")).arg("--data").arg(self.path("control"));
        command.args(["--listen", listen, "--prefix", &self.prefix]);
        let process = Process::spawn(&mut command, self.path("control.log"));
        let serving = process.says("serving the control stream");
        (process, serving["listen"].as_str().unwrap().parse().unwrap())
    }

    /// A dataplane with a folder of its own.
    pub(super) fn plane(&self, name: &str, control: SocketAddr) -> Plane {
        self.plane_that(name, control, &[])
    }

    /// The same with more on its command line.
    pub(super) fn plane_that(&self, name: &str, control: SocketAddr, more: &[&str]) -> Plane {
        let mut command = dataplane();
        command.args(["--kafka", brokers(), "--prefix", &self.prefix]).arg("--data").arg(self.path(name));
        command.arg("--kafka-config").arg(self.path("kafka.properties"));
        command.args(["--control", &format!("http://{control}"), "--egress-allow", "127.0.0.0/8"]);
        let process = Process::spawn(command.args(more), self.path(&format!("{name}.log")));
        let listening = process.says("listening");
        let at = |flag: &str| listening[flag].as_str().map_or(NOWHERE, |at| at.parse().unwrap());
        let replica = listening["replica"].as_str().unwrap().to_owned();
        Plane { http: at("http"), admin: at("admin"), replica, process }
    }
}

/// The binary, on ports that the system chooses.
pub(super) fn dataplane() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evhub-dataplane"));
    for flag in ["--http", "--grpc", "--admin", "--api"] {
        command.args([flag, "127.0.0.1:0"]);
    }
    command
}

/// The tool, which another package builds: beside ours, or built there once.
fn evhub() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let ours = Path::new(env!("CARGO_BIN_EXE_evhub-dataplane"));
        let path = ours.with_file_name("evhub");
        if !path.is_file() {
            let target = ours.ancestors().nth(2).unwrap();
            let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            build.args(["build", "--release", "--package", "evhub", "--bin", "evhub"]);
            assert!(
                build.env("CARGO_TARGET_DIR", target).status().unwrap().success(),
                "building evhub failed"
            );
        }
        path
    })
}

pub(super) fn processor(name: &str, target: SocketAddr) -> String {
    format!(
        "apiVersion: evhub.dev/v1alpha1\nkind: Processor\nmetadata: {{ name: {name}, namespace: shop }}\nspec:\n  \
         producers: [{{ name: orders }}]\n  target: {{ url: 'http://{target}/' }}\n"
    )
}

impl Process {
    fn spawn(command: &mut Command, log: PathBuf) -> Self {
        let file = fs::File::options().create(true).append(true).open(&log).unwrap();
        let before = fs::metadata(&log).unwrap().len();
        assert_eq!(before, 0, "one process for one log");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Self { child, log }
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The lines of its log with this message.
    pub(super) fn said(&self, message: &str) -> Vec<Value> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"] == message).collect()
    }

    /// Waits for a line of its log.
    #[track_caller]
    pub(super) fn says(&self, message: &str) -> Value {
        self.until(message, || !self.said(message).is_empty());
        self.said(message).remove(0)
    }

    #[track_caller]
    pub(super) fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        self.until_within(PATIENCE, what, holds);
    }

    /// The same for what takes longer than anything else.
    #[track_caller]
    pub(super) fn until_within(&self, patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
        let since = Instant::now();
        while !holds() {
            assert!(since.elapsed() < patience, "waited in vain until {what}; the log:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A figure of the kernel's about it, such as `Threads`, or `VmHWM` in KiB.
    #[allow(dead_code, reason = "the program with many Processors asks")]
    pub(super) fn proc(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// SIGKILL.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        fs::rename(&self.log, self.log.with_extension("before")).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Plane {
    #[track_caller]
    pub(super) fn ready(&self) {
        self.process.until("it is ready", || self.get("/readyz").0 == 200);
    }

    pub(super) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub(super) fn snapshot(&self) -> Value {
        serde_json::from_str(&self.get("/snapshot").1).unwrap()
    }

    /// How many events it has delivered itself.
    pub(super) fn delivered(&self) -> u64 {
        self.figure("evhub_processor_delivered_total")
    }

    /// A figure of the process.
    pub(super) fn number(&self, name: &str) -> u64 {
        let page = self.get("/metrics").1;
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap().parse().unwrap()
    }

    /// A figure of the one Processor.
    pub(super) fn figure(&self, name: &str) -> u64 {
        let page = self.get("/metrics").1;
        let is_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
        page.lines().find(is_it).unwrap().rsplit_once(' ').unwrap().1.parse().unwrap()
    }
}
