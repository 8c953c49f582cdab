//! The barrier of `docs/transactions.md` in a real PostgreSQL: a publisher that crashes anywhere leaves a row and its event, or
//! neither.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
};

use serde_json::Value;

use crate::{
    process::eventually,
    site::{Hub, Sink, Site, get, processor},
};

const PAGE: &str = include_str!("../../../docs/transactions.md");
/// PostgreSQL does not run as root; this is nobody.
const NOBODY: u32 = 65_534;

/// A block of the page.
fn block(name: &str) -> String {
    let (_, rest) = PAGE.split_once(&format!("```sql postgresql {name}\n")).expect("the page has the block");
    rest.split("```").next().unwrap().to_owned()
}

/// A PostgreSQL of this test's own, on a socket in its folder.
struct Postgres {
    folder: tempfile::TempDir,
    programs: PathBuf,
    server: Child,
}

impl Postgres {
    fn start() -> Self {
        let versions =
            fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed: cargo xtask test does that");
        let newest = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).max().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        if is_root {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let program = |name: &str| {
            let mut command = Command::new(newest.join(name));
            command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
            if is_root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        let data = folder.path().join("data");
        let made = program("initdb")
            .args(["--username", "evhub", "--auth", "trust", "--no-sync", "--pgdata"])
            .arg(&data)
            .status();
        assert!(made.unwrap().success(), "initdb");
        let mut server = program("postgres");
        server.arg("-D").arg(&data).arg("-k").arg(folder.path()).args([
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
        ]);
        let server = server.spawn().unwrap();
        let postgres = Self { programs: newest, server, folder };
        eventually("PostgreSQL answers", || {
            postgres.psql().args(["-c", "SELECT 1"]).output().unwrap().status.success().then_some(())
        });
        postgres
    }

    fn psql(&self) -> Command {
        psql(&self.programs, self.folder.path())
    }

    /// What a statement selects.
    fn select(&self, sql: &str) -> String {
        let output = self.psql().args(["-c", sql]).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

fn psql(programs: &Path, folder: &Path) -> Command {
    let mut command = Command::new(programs.join("psql"));
    command
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "evhub", "-d", "postgres", "-h"])
        .arg(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs statements of a half message; what they select, unless one fails.
fn run(mut psql: Command, half: &str, sql: &str) -> Result<String, String> {
    let mut child = psql.arg("-v").arg(format!("half={half}")).spawn().unwrap();
    child.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Answers questions by the page's statements, each on a thread of its own.
fn publisher(programs: PathBuf, folder: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let check = Arc::new(block("check"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (psql, check) = (psql(&programs, &folder), Arc::clone(&check));
            thread::spawn(move || answer(stream.unwrap(), psql, &check));
        }
    });
    address
}

fn answer(mut stream: TcpStream, psql: Command, check: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut half, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) <= 2 {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "evhub-transaction" => value.trim().clone_into(&mut half),
            "content-length" => length = value.trim().parse().unwrap(),
            _ => {}
        }
    }
    reader.take(length).read_to_end(&mut Vec::new()).unwrap();
    let state = run(psql, &half, check).unwrap_or_else(|_| "Unknown".to_owned());
    let body = format!(r#"{{"state":"{state}"}}"#);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    // Whoever asked may have given up.
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

/// One POST on a connection of its own: the status, and the JSON that came.
pub(crate) fn post(at: SocketAddr, path: &str, headers: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(at).unwrap();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
}

pub(crate) const ALL: &str = "/namespaces/shop/producers/orders/transactions";

/// Prepares an event of this id; its half message.
pub(crate) fn prepare(hub: &Hub, id: &str) -> String {
    let headers = format!("ce-specversion: 1.0\r\nce-id: {id}\r\nce-source: /s\r\nce-type: t\r\n");
    let (status, said) = post(hub.http, ALL, &headers, "x");
    assert_eq!(status, 201, "{said}");
    said["id"].as_str().unwrap().to_owned()
}

/// How a half message is.
pub(crate) fn state(hub: &Hub, half: &str) -> String {
    let (status, body) = get(hub.http, &format!("{ALL}/{half}"));
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["state"].as_str().unwrap().to_owned()
}

/// A Producer whose publishers are asked here, each second.
pub(crate) fn producer(at: SocketAddr, more: &str) -> String {
    format!(
        "apiVersion: evhub.dev/v1alpha1\nkind: Producer\nmetadata: {{ name: orders, namespace: shop }}\nspec:\n  topic: \
         {{ partitions: 1 }}\n  transaction:\n    checkBack: {{ target: {{ url: 'http://{at}/check' }}, interval: 1s{more} }}\n"
    )
}

/// The events that a sink has recorded.
pub(crate) fn came(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut ids: Vec<String> =
        lines.map(|line| line["headers"]["ce-id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids.dedup();
    ids
}

#[test]
fn a_publisher_that_crashes_anywhere_leaves_a_row_and_its_event_or_neither() {
    let postgres = Postgres::start();
    postgres.select(&block("table"));
    postgres.select("CREATE TABLE orders (id text PRIMARY KEY)");
    let address = publisher(postgres.programs.clone(), postgres.folder.path().to_owned());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recorded");
    let sink = Sink::start(&["--record", file.to_str().unwrap()]);
    let site = Site::new(&format!("{}---\n{}", producer(address, ""), processor(&sink.address, "")));
    let hub = site.start();
    let local = |id: &str| format!("BEGIN;\n{}INSERT INTO orders VALUES ('{id}');\n", block("local"));

    // It dies behind its local transaction: the row is there, and a question finds it.
    let behind = prepare(&hub, "behind");
    run(postgres.psql(), &behind, &format!("{}COMMIT;", local("behind"))).unwrap();
    // It stops before its local transaction, and goes on when the question has decided.
    let before = prepare(&hub, "before");
    // It is in the midst of its local transaction when the question comes, and commits, or does not.
    let [mut slow, mut undone] = ["slow", "undone"].map(|id| {
        let half = prepare(&hub, id);
        let mut session = postgres.psql().arg("-v").arg(format!("half={half}")).spawn().unwrap();
        session.stdin.as_mut().unwrap().write_all(local(id).as_bytes()).unwrap();
        (half, session)
    });
    eventually("both questions wait for their local transactions", || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        (postgres.select(waiting).parse::<u32>().unwrap() >= 2).then_some(())
    });
    for ((_, session), end) in [(&mut slow, "COMMIT;"), (&mut undone, "ROLLBACK;")] {
        session.stdin.take().unwrap().write_all(end.as_bytes()).unwrap();
        assert!(session.wait().unwrap().success());
    }
    for (half, expected) in
        [(&behind, "Committed"), (&before, "RolledBack"), (&slow.0, "Committed"), (&undone.0, "RolledBack")]
    {
        eventually("the question is decided", || (state(&hub, half) == expected).then_some(()));
    }
    let late = run(postgres.psql(), &before, &format!("{}COMMIT;", local("before"))).unwrap_err();
    assert!(late.contains("duplicate key"), "the local transaction that comes too late fails: {late}");
    eventually("the events come", || (came(&file).len() == 2).then_some(()));
    assert_eq!(came(&file), ["behind", "slow"]);
    assert_eq!(postgres.select("SELECT string_agg(id, ' ' ORDER BY id) FROM orders"), "behind slow");
    hub.stop();
}
