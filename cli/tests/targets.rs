//! A cluster's manifests on a laptop: Services by name, mapped to where they are, in every protocol; and the sink that plays
//! them. Two processes of the real binary.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test is no library, and may fail")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStderr, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// Far longer than anything takes, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn evhub() -> Command {
    Command::new(env!("CARGO_BIN_EXE_evhub"))
}

/// A sink, and where it listens.
fn sink(line: &[&str]) -> (Running, String) {
    let mut child = evhub()
        .args(["sink", "--listen", "127.0.0.1:0"])
        .args(line)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::<ChildStderr>::new(child.stderr.take().unwrap()).read_line(&mut first).unwrap();
    let address = first.split("http://").nth(1).and_then(|rest| rest.split(';').next()).unwrap().to_owned();
    (Running(child), address)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn exchange(port: u16, request: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some((answer.split(' ').nth(1)?.parse().ok()?, answer))
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn processor(name: &str, target: &str) -> String {
    format!(
        "---\napiVersion: evhub.dev/v1alpha1\nkind: Processor\nmetadata: {{ name: {name}, namespace: shop }}\n\
         spec: {{ producers: [{{ name: orders }}], target: {target},\n  \
         delivery: {{ retry: {{ backoff: {{ initial: 20ms, max: 20ms }} }} }} }}\n"
    )
}

/// What each Processor's target received: every event once, in its protocol.
fn check(protocols: &[&str], delivered: &[Value]) {
    for (index, protocol) in protocols.iter().enumerate() {
        let own = format!("shop/p{index}");
        let seen: Vec<&Value> =
            delivered.iter().filter(|line| line["headers"]["evhub-processor"] == own).collect();
        assert_eq!(seen.len(), 10, "{protocol}");
        let path = match *protocol {
            "EvHubGRPC" => "/evhub_processor.evhubProcessor/Dispatch",
            "Stream" => "/evhub.dispatch.v1.Receiver/Deliver",
            _ => "/",
        };
        for line in seen {
            assert_eq!(line["path"], path);
            assert!(line["headers"]["evhub-attempt"].is_string());
            if ["EvHubGRPC", "Stream", "CloudEvents"].contains(protocol) {
                assert!(line["headers"]["ce-id"].as_str().unwrap().starts_with('e'));
                assert_eq!(line["bodyBase64"], "Ym9keQ==");
            }
        }
    }
}

#[test]
fn services_are_where_somebody_says_in_every_protocol() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("seen.jsonl");
    let (_sink, address) = sink(&["--record", record.to_str().unwrap(), "--fail", "0.3"]);
    let producer = "apiVersion: evhub.dev/v1alpha1\nkind: Producer\nmetadata: { name: orders, namespace: shop }\nspec: {}\n";
    let protocols = ["CloudEvents", "CloudEventsStructured", "Raw", "EvHubHTTP", "EvHubGRPC", "Stream"];
    let mut manifests = producer.to_owned();
    for (index, protocol) in protocols.iter().enumerate() {
        let target = format!("{{ service: {{ name: billing, port: p{index} }}, protocol: {protocol} }}");
        manifests += &processor(&format!("p{index}"), &target);
    }
    manifests += &processor("unmapped", "{ service: { name: audit } }");
    fs::create_dir(folder.path().join("resources")).unwrap();
    fs::write(folder.path().join("resources/shop.yaml"), manifests).unwrap();
    let [http, admin] = [free_port(), free_port()];
    let log = fs::File::create(folder.path().join("log")).unwrap();
    let mut hub = evhub();
    hub.arg("dev").arg(folder.path().join("resources")).arg("--data").arg(folder.path().join("data"));
    hub.args(["--http", &format!("127.0.0.1:{http}"), "--admin", &format!("127.0.0.1:{admin}")]);
    hub.args(["--grpc", "127.0.0.1:0", "--api", "127.0.0.1:0"]);
    // One port of its own, the others by what is said of all.
    hub.args(["--service", "shop/billing=127.0.0.1:1", "--service", &format!("shop/billing:p0={address}")]);
    for index in 1..protocols.len() {
        hub.args(["--service", &format!("shop/billing:p{index}={address}")]);
    }
    let _hub = Running(hub.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    let publish = |id: &str| {
        let head = format!(
            "POST /namespaces/shop/producers/orders HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ncontent-length: 4\r\n\
             ce-specversion: 1.0\r\nce-id: {id}\r\nce-source: /s\r\nce-type: t\r\ncontent-type: text/plain\r\n\r\nbody"
        );
        exchange(http, &head).map(|(status, _)| status)
    };
    until("the Processors are there", || {
        let (_, answer) = exchange(admin, "GET /snapshot HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")?;
        let snapshot: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        (snapshot["processors"].as_object()?.len() == protocols.len()).then_some(())
    });
    for n in 0..10 {
        assert_eq!(until("it is accepted", || publish(&format!("e{n}"))), 202);
    }
    let delivered = until("everything is delivered", || {
        let text = fs::read_to_string(&record).ok()?;
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let good: Vec<Value> = lines.into_iter().filter(|line| line["status"] == 200).collect();
        (good.len() == 10 * protocols.len()).then_some(good)
    });
    check(&protocols, &delivered);
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("ResolvedRefs/NotFound"), "{log}");
    assert!(log.contains("--service shop/audit=127.0.0.1:8089"), "{log}");
}

#[test]
fn a_mapping_that_is_none_is_refused() {
    let output = evhub().args(["dev", ".", "--service", "shop/billing"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("NAMESPACE/SERVICE=HOST:PORT"), "{told}");
}
