//! `evhub dev` while its folder changes: the real binary, a service, and a publisher.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test is no library, and may fail")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use evhub_crds::{ConditionType, Reason, condition::Status};
use serde_json::Value;
use tempfile::TempDir;

/// Far longer than anything takes, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Hub {
    child: Child,
    folder: TempDir,
    http: u16,
    admin: u16,
    api: u16,
}

/// A service: what it received, as heads of requests.
struct Service {
    port: u16,
    heads: Receiver<String>,
}

impl Hub {
    fn start(files: &[(&str, String)], more: &[&str]) -> Self {
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
    fn restart(&mut self) {
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

    fn write(&self, name: &str, text: &str) {
        // As editors do: whole, under another name first.
        let folder = self.folder.path().join("resources");
        fs::write(folder.join(".new"), text).unwrap();
        fs::rename(folder.join(".new"), folder.join(name)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.folder.path().join("resources").join(name)).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// What it says once it listens: on which addresses.
    fn listening(&self) -> Option<Value> {
        let log = self.log();
        let mut said = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        said.find(|line| line["message"] == "listening")
    }

    fn snapshot(&self) -> Value {
        serde_json::from_str(&get(self.admin, "/snapshot").unwrap().1).unwrap()
    }

    fn revision(&self) -> u64 {
        self.snapshot()["generation"]["revision"].as_u64().unwrap()
    }

    fn publish(&self, producer: &str, id: &str) -> u16 {
        let path = format!("/namespaces/shop/producers/{producer}");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ncontent-length: 0\r\nce-specversion: 1.0\r\n\
             ce-id: {id}\r\nce-source: /s\r\nce-type: t\r\n\r\n"
        );
        exchange(self.http, &head).unwrap().0
    }

    #[track_caller]
    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
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
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, heads) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let (mut writer, mut head) = (stream, String::new());
                    while reader.read_line(&mut head).is_ok_and(|length| length > 0) {
                        if head.ends_with("\r\n\r\n") {
                            let _ = sender.send(std::mem::take(&mut head));
                            let _ = writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
                        }
                    }
                });
            }
        });
        Self { port, heads }
    }

    /// The next event's id and the generation under which it came.
    fn next(&self) -> (String, String) {
        let head = self.head();
        (header(&head, "ce-id"), header(&head, "evhub-generation"))
    }

    fn head(&self) -> String {
        self.heads.recv_timeout(PATIENCE).expect("a delivery")
    }
}

#[track_caller]
fn header(head: &str, name: &str) -> String {
    head.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap().to_owned()
}

fn get(port: u16, path: &str) -> Option<(u16, String)> {
    exchange(port, &format!("GET {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n"))
}

fn exchange(port: u16, request: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

fn producer(name: &str, partitions: u32) -> String {
    format!(
        "apiVersion: evhub.dev/v1alpha1\nkind: Producer\nmetadata: {{ name: {name}, namespace: shop }}\n\
         spec: {{ topic: {{ partitions: {partitions} }} }}\n"
    )
}

fn processor(name: &str, port: u16, more: &str) -> String {
    format!(
        "apiVersion: evhub.dev/v1alpha1\nkind: Processor\nmetadata: {{ name: {name}, namespace: shop }}\n\
         spec: {{ producers: [{{ name: orders }}], target: {{ url: 'http://127.0.0.1:{port}/' }}, {more} }}\n"
    )
}

#[test]
fn what_the_folder_says_runs_and_what_it_no_longer_says_does_not() {
    let hub = Hub::start(&[("orders.yaml", producer("orders", 2))], &[]);
    assert_eq!(hub.publish("late", "0"), 404);
    hub.write("late.yaml", &producer("late", 3));
    hub.until("the new Producer takes events", || hub.publish("late", "1") == 202);

    let service = Service::start();
    hub.write("billing.yaml", &processor("billing", service.port, ""));
    hub.until("the new Processor listens", || {
        hub.snapshot()["processors"]["shop/billing"].is_object()
            && get(hub.admin, "/readyz").unwrap().0 == 200
    });
    assert_eq!(hub.publish("orders", "2"), 202);
    assert_eq!(service.next(), ("2".to_owned(), "1".to_owned()));

    hub.write("billing.yaml", &processor("billing", service.port, "delivery: { maxInFlight: 3 }"));
    hub.until("the edit runs", || hub.snapshot()["processors"]["shop/billing"]["generation"] == 2);
    assert_eq!(hub.publish("orders", "3"), 202);
    let (id, generation) = service.next();
    assert_eq!(id, "3", "nothing is delivered again because of an edit");
    // The old generation may take what comes while it drains.
    assert!(["1", "2"].contains(&generation.as_str()));

    hub.remove("billing.yaml");
    hub.until("the Processor is gone", || hub.snapshot()["processors"].as_object().unwrap().is_empty());
    hub.remove("late.yaml");
    hub.until("the Producer is gone", || hub.publish("late", "4") == 404);
    assert_eq!(hub.publish("orders", "5"), 202);
    // What another Processor receives of the same and of a later event shows that the removed one had every chance.
    hub.write("audit.yaml", &processor("audit", service.port, "startFrom: Earliest"));
    let mut seen = Vec::new();
    assert_eq!(hub.publish("orders", "6"), 202);
    while !["5", "6"].iter().all(|id| seen.iter().any(|(seen, by)| seen == id && by == "shop/audit")) {
        let head = service.head();
        seen.push((header(&head, "ce-id"), header(&head, "evhub-processor")));
    }
    assert!(seen.iter().all(|(_, by)| by == "shop/audit"), "{seen:?}");
}

#[test]
fn a_later_one_of_the_same_name_begins_anew() {
    let service = Service::start();
    let billing = processor("billing", service.port, "");
    let hub = Hub::start(&[("orders.yaml", producer("orders", 2)), ("billing.yaml", billing.clone())], &[]);
    let status = || -> Value {
        let (_, body) = get(hub.api, "/namespaces/shop/processors/billing").unwrap();
        serde_json::from_str(&body).unwrap()
    };
    assert_eq!(hub.publish("orders", "1"), 202);
    hub.until("it is delivered", || status()["lastDelivery"].is_string());
    hub.remove("billing.yaml");
    hub.until("it is gone", || get(hub.api, "/namespaces/shop/processors/billing").unwrap().0 == 404);
    hub.write("billing.yaml", &billing);
    hub.until("the next one listens", || status()["ready"] == true);
    assert_eq!(status().get("lastDelivery"), None, "{}", status());

    hub.write("billing.yaml", &processor("billing", service.port, "suspend: true"));
    let suspended = || status()["suspended"] == true && status()["ready"] == true;
    hub.until("it is suspended", suspended);
    let conditions: Vec<(ConditionType, Status, Reason)> = status()["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let word = |name: &str| one[name].clone();
            // Whatever is said must be of the table that the resources' users are given.
            let type_ = serde_json::from_value(word("type")).unwrap();
            let reason = serde_json::from_value(word("reason")).unwrap();
            (type_, serde_json::from_value(word("status")).unwrap(), reason)
        })
        .collect();
    assert_eq!(conditions[0], (ConditionType::Ready, Status::True, Reason::Suspended));
    assert!(conditions.contains(&(ConditionType::Suspended, Status::True, Reason::Suspended)));
}

#[test]
fn a_broken_edit_keeps_what_runs_and_says_so() {
    let service = Service::start();
    let files =
        [("orders.yaml", producer("orders", 2)), ("billing.yaml", processor("billing", service.port, ""))];
    let hub = Hub::start(&files, &[]);
    let before = hub.snapshot();
    let edits = [
        ("billing.yaml", processor("billing", service.port, "delivery: { maxInFlight: 0 }"), "maxInFlight"),
        (
            "billing.yaml",
            processor("billing", service.port, "startFrom: Earliest"),
            "Accepted/FieldImmutable",
        ),
        ("billing.yaml", "kind: [".to_owned(), "Accepted/Undecodable"),
        ("orders.yaml", producer("orders", 1), "partitions may grow, never shrink"),
    ];
    for (index, (file, text, told)) in edits.iter().enumerate() {
        hub.write(file, text);
        hub.until(told, || hub.log().contains(told));
        assert_eq!(hub.publish("orders", &index.to_string()), 202);
        assert_eq!(service.next(), (index.to_string(), "1".to_owned()));
        assert_eq!(hub.snapshot(), before, "not even the generation rises");
    }
    assert!(hub.log().contains("it runs on as it was accepted last"));
}

#[test]
fn the_generation_rises_only_with_what_runs() {
    let hub = Hub::start(&[("orders.yaml", producer("orders", 2))], &[]);
    assert_eq!(hub.revision(), 1);
    hub.write("orders.yaml", &format!("# a comment\n{}", producer("orders", 2)));
    hub.until("the comment is read", || hub.log().contains("what runs stays the same"));
    assert_eq!(hub.revision(), 1);
    hub.write("late.yaml", &producer("late", 2));
    hub.until("a Producer more runs", || hub.snapshot()["producers"]["shop/late"].is_object());
    assert_eq!(hub.revision(), 2);
}

#[test]
fn a_folder_that_vanishes_changes_nothing() {
    let hub = Hub::start(&[("orders.yaml", producer("orders", 2))], &[]);
    let (folder, aside) = (hub.folder.path().join("resources"), hub.folder.path().join("aside"));
    fs::rename(&folder, &aside).unwrap();
    hub.until("it is told", || hub.log().contains("there is no such file or directory"));
    assert_eq!((hub.publish("orders", "1"), hub.revision()), (202, 1));
    fs::rename(&aside, &folder).unwrap();
    hub.write("late.yaml", &producer("late", 2));
    hub.until("the folder is followed again", || hub.publish("late", "1") == 202);
}

#[test]
fn a_file_that_cannot_be_read_is_not_one_that_was_removed() {
    let hub = Hub::start(&[("orders.yaml", producer("orders", 2))], &[]);
    let (linked, target) = (hub.folder.path().join("resources/linked.yaml"), hub.folder.path().join("ext"));
    fs::write(&target, producer("linked", 2)).unwrap();
    std::os::unix::fs::symlink(&target, &linked).unwrap();
    let uid = |hub: &Hub| hub.snapshot()["producers"]["shop/linked"]["uid"].clone();
    hub.until("it runs", || uid(&hub).is_string());
    let before = uid(&hub);
    fs::remove_file(&target).unwrap();
    hub.until("it is told", || hub.log().contains("this link leads nowhere"));
    assert_eq!(hub.publish("linked", "1"), 202);
    fs::write(&target, "").unwrap();
    hub.until("that too is told", || hub.log().contains("the file is empty"));
    assert_eq!(hub.publish("linked", "2"), 202);
    fs::write(&target, producer("linked", 3)).unwrap();
    hub.until("the edit runs", || hub.snapshot()["producers"]["shop/linked"]["partitions"] == 3);
    assert_eq!(uid(&hub), before, "it is the same one all along");
}

/// Told apart from a file that holds up edits because it is written on and on: what is no manifest does not.
#[test]
fn what_is_no_manifest_does_not_matter() {
    let hub = Hub::start(&[("orders.yaml", producer("orders", 2))], &[]);
    let noise = hub.folder.path().join("resources/hub.log");
    let (stop, stopped) = mpsc::channel::<()>();
    let writer = thread::spawn(move || {
        let mut length = 0;
        while stopped
            .recv_timeout(Duration::from_millis(5))
            .is_err_and(|e| e == mpsc::RecvTimeoutError::Timeout)
        {
            length += 1;
            fs::write(&noise, "x".repeat(length)).unwrap();
        }
    });
    hub.write("late.yaml", &producer("late", 2));
    hub.until("the edit runs all the same", || hub.publish("late", "1") == 202);
    drop(stop);
    writer.join().unwrap();
    assert_eq!(hub.log().matches("the folder changed").count(), 1, "{}", hub.log());
}

/// Its topic is still there, and has more partitions than are wanted now.
#[test]
fn one_that_cannot_be_made_again_holds_up_nobody() {
    let mut hub =
        Hub::start(&[("orders.yaml", producer("orders", 2)), ("big.yaml", producer("big", 4))], &[]);
    hub.remove("big.yaml");
    hub.until("it is gone", || hub.publish("big", "1") == 404);
    hub.write("big.yaml", &producer("big", 2));
    hub.until("it is told", || hub.log().contains("never shrink"));
    hub.write("late.yaml", &producer("late", 2));
    hub.until("another edit runs", || hub.publish("late", "1") == 202);
    assert_eq!((hub.publish("big", "2"), hub.publish("orders", "2")), (404, 202));
    hub.restart();
    assert_eq!((hub.publish("big", "3"), hub.publish("late", "3")), (404, 202));
    hub.write("big.yaml", &producer("big", 4));
    hub.until("it is mended", || hub.publish("big", "4") == 202);
}

#[test]
fn memory_keeps_nothing() {
    let mut hub = Hub::start(&[("orders.yaml", producer("orders", 2))], &["--memory"]);
    assert_eq!(hub.publish("orders", "1"), 202);
    assert!(!hub.folder.path().join("data").exists());
    let ours = |pid: u32| {
        let found = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        found
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .find(|path| path.to_string_lossy().starts_with("/dev/shm/evhub-"))
    };
    let file = ours(hub.child.id()).expect("its log lies in memory");
    let folder = file.ancestors().find(|path| path.parent().is_some_and(|p| p.ends_with("shm"))).unwrap();
    assert!(folder.is_dir());
    let stop = Command::new("kill").arg(hub.child.id().to_string()).status().unwrap();
    assert!(stop.success());
    assert!(hub.child.wait().unwrap().success(), "{}", hub.log());
    assert!(!folder.exists(), "nothing is left");
}

#[test]
fn tail_shows_and_listen_forwards_what_comes() {
    let hub = Hub::start(&[("orders.yaml", producer("orders", 2))], &[]);
    let service = Service::start();
    assert_eq!(hub.publish("orders", "before"), 202);
    let run = |line: &[&str]| {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_evhub"));
        tool.args(line).args(["--server", &format!("http://127.0.0.1:{}", hub.api), "--count", "2"]);
        let mut tool = tool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It says so once it watches.
        let (mut told, mut said) = (BufReader::new(tool.stderr.take().unwrap()), String::new());
        told.read_line(&mut said).unwrap();
        assert!(said.contains("shop/orders"), "{said}");
        (tool, told)
    };
    let url = format!("http://127.0.0.1:{}/", service.port);
    let (tail, _told) = run(&["tail", "shop/orders"]);
    let (listen, _too) = run(&["listen", "-n", "shop", "orders", "--forward-to", &url]);
    for id in ["one", "two"] {
        assert_eq!(hub.publish("orders", id), 202);
    }
    let mut received = [service.head(), service.head()].map(|head| header(&head, "ce-id"));
    received.sort();
    assert_eq!(received, ["one", "two"]);
    for tool in [tail, listen] {
        let output = tool.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("one") && text.contains("two") && !text.contains("before"), "{text}");
    }
}

#[test]
fn a_stop_does_not_wait_for_those_who_watch() {
    let mut hub = Hub::start(&[("orders.yaml", producer("orders", 2))], &[]);
    let mut tail = Command::new(env!("CARGO_BIN_EXE_evhub"));
    tail.args(["tail", "shop/orders", "--server", &format!("http://127.0.0.1:{}", hub.api)]);
    let mut tail = tail.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut told, mut said) = (BufReader::new(tail.stderr.take().unwrap()), String::new());
    told.read_line(&mut said).unwrap();
    hub.write("late.yaml", &producer("late", 2));
    hub.until("an edit runs", || hub.revision() == 2);
    let since = Instant::now();
    assert!(Command::new("kill").arg(hub.child.id().to_string()).status().unwrap().success());
    assert!(hub.child.wait().unwrap().success(), "{}", hub.log());
    assert!(since.elapsed() < Duration::from_secs(20), "a drain that waits for watchers takes 30 s");
    told.read_to_string(&mut said).unwrap();
    assert_eq!(tail.wait().unwrap().code(), Some(1));
    assert!(said.contains("because: the hub is gone"), "{said}");
}
