//! The hub over a folder of its own, a service that remembers what it received, and manifests.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// Far longer than anything takes, on however busy a machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Hub {
    pub(super) child: Child,
    pub(super) folder: TempDir,
    pub(super) http: u16,
    pub(super) admin: u16,
    pub(super) api: u16,
}

/// A service: what it received, as heads of requests.
pub(super) struct Service {
    pub(super) port: u16,
    heads: Receiver<String>,
}

impl Hub {
    pub(super) fn start(files: &[(&str, String)], more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("resources")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join("resources").join(name), text).unwrap();
        }
        let child = Self::spawn(&folder, more);
        let mut hub = Self { child, folder, http: 0, admin: 0, api: 0 };
        hub.ready();
        hub
    }

    /// Once more over the same folder, after the power failed.
    pub(super) fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::spawn(&self.folder, &[]);
        self.ready();
    }

    fn spawn(folder: &TempDir, more: &[&str]) -> Child {
        let mut hub = Command::new(env!("CARGO_BIN_EXE_evhub"));
        hub.arg("dev").arg(folder.path().join("resources")).args(more);
        for flag in ["--http", "--grpc", "--admin", "--api"] {
            hub.args([flag, "127.0.0.1:0"]);
        }
        if more.is_empty() {
            hub.arg("--data").arg(folder.path().join("data"));
        }
        let log = fs::File::create(folder.path().join("log")).unwrap();
        hub.stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    fn ready(&mut self) {
        self.until("it listens", || self.listening().is_some());
        let listening = self.listening().unwrap();
        let port =
            |name: &str| listening[name].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
        (self.http, self.admin, self.api) = (port("http"), port("admin"), port("api"));
        self.until("it is ready", || get(self.admin, "/readyz").is_some_and(|(status, _)| status == 200));
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        // As editors do: whole, under another name first.
        let folder = self.folder.path().join("resources");
        fs::write(folder.join(".new"), text).unwrap();
        fs::rename(folder.join(".new"), folder.join(name)).unwrap();
    }

    pub(super) fn remove(&self, name: &str) {
        fs::remove_file(self.folder.path().join("resources").join(name)).unwrap();
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// What it says once it listens: on which addresses.
    fn listening(&self) -> Option<Value> {
        let log = self.log();
        let mut said = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        said.find(|line| line["message"] == "listening")
    }

    pub(super) fn snapshot(&self) -> Value {
        serde_json::from_str(&get(self.admin, "/snapshot").unwrap().1).unwrap()
    }

    pub(super) fn revision(&self) -> u64 {
        self.snapshot()["generation"]["revision"].as_u64().unwrap()
    }

    pub(super) fn publish(&self, producer: &str, id: &str) -> u16 {
        let path = format!("/namespaces/shop/producers/{producer}");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ncontent-length: 0\r\nce-specversion: 1.0\r\n\
             ce-id: {id}\r\nce-source: /s\r\nce-type: t\r\n\r\n"
        );
        exchange(self.http, &head).unwrap().0
    }

    #[track_caller]
    pub(super) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let since = Instant::now();
        while !holds() {
            assert!(since.elapsed() < PATIENCE, "waited in vain until {what}; the log:\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    /// It takes everything.
    pub(super) fn start() -> Self {
        Self::that(|_| Some("204 No Content"))
    }

    /// It answers each request, counted from 0, as the script says, or never.
    pub(super) fn that(script: fn(usize) -> Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, heads) = mpsc::channel();
        let asked = Arc::new(AtomicUsize::new(0));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (sender, asked) = (sender.clone(), Arc::clone(&asked));
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let (mut writer, mut head) = (stream, String::new());
                    while reader.read_line(&mut head).is_ok_and(|length| length > 0) {
                        if head.ends_with("\r\n\r\n") {
                            let _ = sender.send(std::mem::take(&mut head));
                            if let Some(status) = script(asked.fetch_add(1, Relaxed)) {
                                let _ = write!(writer, "HTTP/1.1 {status}\r\n\r\n");
                            }
                        }
                    }
                });
            }
        });
        Self { port, heads }
    }

    /// The next event's id and the generation under which it came.
    pub(super) fn next(&self) -> (String, String) {
        let head = self.head();
        (header(&head, "ce-id"), header(&head, "evhub-generation"))
    }

    /// Whether it has received nothing that was not looked at.
    pub(super) fn is_idle(&self) -> bool {
        self.heads.try_recv().is_err()
    }

    pub(super) fn head(&self) -> String {
        self.heads.recv_timeout(PATIENCE).expect("a delivery")
    }
}

#[track_caller]
pub(super) fn header(head: &str, name: &str) -> String {
    head.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap().to_owned()
}

pub(super) fn get(port: u16, path: &str) -> Option<(u16, String)> {
    exchange(port, &format!("GET {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n"))
}

/// Orders something of the api listener.
pub(super) fn post(port: u16, path: &str) -> Option<(u16, String)> {
    let head = "host: 127.0.0.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    exchange(port, &format!("POST {path} HTTP/1.1\r\n{head}"))
}

fn exchange(port: u16, request: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

pub(super) fn producer(name: &str, partitions: u32) -> String {
    format!(
        "apiVersion: evhub.dev/v1alpha1\nkind: Producer\nmetadata: {{ name: {name}, namespace: shop }}\n\
         spec: {{ topic: {{ partitions: {partitions} }} }}\n"
    )
}

pub(super) fn processor(name: &str, port: u16, more: &str) -> String {
    format!(
        "apiVersion: evhub.dev/v1alpha1\nkind: Processor\nmetadata: {{ name: {name}, namespace: shop }}\n\
         spec: {{ producers: [{{ name: orders }}], target: {{ url: 'http://127.0.0.1:{port}/' }}, {more} }}\n"
    )
}
