//! The rows that are HTTP/1.1: as bytes, and what must come back.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
};

use serde_json::Value;

use super::{
    hub::{Acked, Site},
    table::{Listener, Mode, Request, bytes, text},
};
use crate::process::PATIENCE;

const SINK: &str = "/namespaces/shop/producers/orders";

/// One connection.
pub(super) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// One answer.
pub(super) struct Answer {
    pub(super) status: u16,
    headers: HashMap<String, String>,
    body: String,
}

/// Sends a row and looks at what comes back; then a good event, on this connection if it lives and on a new one.
pub(super) fn check(site: &mut Site, index: usize, row: &Request) -> Result<(), String> {
    let id = format!("{}-{index}", row.row);
    let at = match row.to {
        Listener::Http => site.http,
        Listener::Api => site.api,
        Listener::Admin => site.admin,
    };
    let sent = written(row, &id);
    let mut wire = Wire::connect(at);
    for _ in 1..row.times.unwrap_or(1) {
        wire.send(&sent);
        let answer = wire.answer().ok_or("no answer before the last")?;
        site.heard(path(row), &answer);
    }
    wire.send(&sent);
    if row.cut {
        wire.stream.shutdown(Shutdown::Write).map_err(|error| error.to_string())?;
    }
    let answer = wire.answer();
    let lives = judged(site, row, answer.as_ref())?;
    if !lives && !wire.ends() {
        return Err("the connection did not end".to_owned());
    }
    if lives && !matches!(row.to, Listener::Admin) {
        good(site, &mut wire).map_err(|error| format!("then on the same connection: {error}"))?;
    }
    let mut fresh = Wire::connect(site.http);
    good(site, &mut fresh).map_err(|error| format!("then on a new connection: {error}"))
}

/// Publishes a good event.
pub(super) fn good(site: &mut Site, wire: &mut Wire) -> Result<(), String> {
    let id = site.next_id();
    let row = Request { mode: Mode::Binary, body: "good".to_owned(), ..Request::default() };
    wire.send(&written(&row, &id));
    let answer = wire.answer().ok_or("a good event got no answer")?;
    if answer.status != 202 {
        return Err(format!("a good event was answered {} {}", answer.status, answer.body));
    }
    site.heard(SINK, &answer);
    Ok(())
}

/// Whether the answer is as the row says, and whether the connection lives on.
fn judged(site: &mut Site, row: &Request, answer: Option<&Answer>) -> Result<bool, String> {
    let Some(answer) = answer else {
        return if row.silent { Ok(false) } else { Err("no answer".to_owned()) };
    };
    let Answer { status, headers, body } = answer;
    let shown = format!("{status} {body:.400}");
    if let Some(taken) = row.taken {
        expect("status", &taken, status, &shown)?;
        site.heard(path(row), answer);
        if let Some(keeps) = &row.keeps {
            site.keeps(path(row), keeps)?;
        }
    } else if let Some(bare) = row.bare {
        expect("status", &bare, status, &shown)?;
        expect("body", &"", &body.as_str(), &shown)?;
        return Ok(false);
    } else if let Some(refused) = &row.refused {
        expect("refusal", &text(refused), &refusal(answer)?, &shown)?;
    } else {
        return Err(format!("an answer: {shown}"));
    }
    for says in &row.says {
        expect(says, &true, &body.contains(says.as_str()), &shown)?;
    }
    for (name, value) in &row.answers {
        expect(name, &Some(value), &headers.get(name), &shown)?;
    }
    let closes = headers.get("connection").is_some_and(|value| value == "close");
    expect("the connection closes", &row.closes, &closes, &shown)?;
    Ok(!closes)
}

/// `STATUS REASON FIELD` of a whole problem document that says that nothing happened.
fn refusal(Answer { status, headers, body }: &Answer) -> Result<String, String> {
    let shown = || format!("no problem document: {status} {body:.400}");
    let problem: Value = serde_json::from_str(body).map_err(|_| shown())?;
    let text = |member: &str| problem[member].as_str().filter(|text| !text.is_empty());
    let whole = ["type", "title", "detail", "requestId"].iter().all(|member| text(member).is_some())
        && problem["status"] == *status
        && headers.get("content-type").is_some_and(|kind| kind == "application/problem+json");
    if !whole || text("outcome") != Some("rejected") {
        return Err(shown());
    }
    let field = text("field").map(|field| format!(" {field}")).unwrap_or_default();
    Ok(format!("{status} {}{field}", text("reason").unwrap_or_default()))
}

fn expect<T: PartialEq + std::fmt::Debug>(
    what: &str,
    wanted: &T,
    found: &T,
    shown: &str,
) -> Result<(), String> {
    if wanted == found { Ok(()) } else { Err(format!("{what}: {found:?}, not {wanted:?} ({shown})")) }
}

fn path(row: &Request) -> &str {
    row.path.as_deref().unwrap_or(SINK)
}

/// The request as bytes.
fn written(row: &Request, id: &str) -> Vec<u8> {
    if let Some(raw) = &row.raw {
        return bytes(raw);
    }
    let base = format!(r#""specversion":"1.0","id":"{id}","source":"/s","type":"t""#);
    let body = bytes(&row.body.replace("<<BASE>>", &base));
    let mut out = format!("{} ", row.method.as_deref().unwrap_or("POST")).into_bytes();
    out.extend(bytes(path(row)));
    out.extend(b" HTTP/1.1\r\nHost: hub\r\n");
    for line in headers(row, id) {
        out.extend(bytes(&line));
        out.extend(b"\r\n");
    }
    let cut = usize::from(row.cut);
    if let Some(length) = row.declares {
        out.extend(format!("Content-Length: {length}\r\n\r\n").as_bytes());
    } else if row.chunked {
        out.extend(format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len()).as_bytes());
        out.extend(body);
        out.extend(b"\r\n0\r\n\r\n");
    } else {
        out.extend(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        out.extend(&body[..body.len() - cut]);
    }
    out
}

/// What the mode brings, less what the row takes away or says otherwise, and what the row says.
fn headers(row: &Request, id: &str) -> Vec<String> {
    let brought = match row.mode {
        Mode::Plain => vec![],
        Mode::Binary => {
            let id = format!("ce-id: {id}");
            vec!["ce-specversion: 1.0".to_owned(), id, "ce-source: /s".to_owned(), "ce-type: t".to_owned()]
        }
        Mode::Structured => vec!["content-type: application/cloudevents+json".to_owned()],
        Mode::Batch => vec!["content-type: application/cloudevents-batch+json".to_owned()],
    };
    let said = |brought: &str| {
        row.without.iter().any(|gone| gone == name(brought))
            || row.headers.iter().any(|line| name(line) == name(brought))
    };
    brought.into_iter().filter(|line| !said(line)).chain(row.headers.iter().cloned()).collect()
}

fn name(line: &str) -> &str {
    line.split(':').next().unwrap_or_default()
}

// === impl Wire ===

impl Wire {
    pub(super) fn connect(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// The other side may have enough before all is sent.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Whether the connection ends, whatever comes before.
    pub(super) fn ends(&mut self) -> bool {
        while self.more() {}
        true
    }

    /// The next answer, or `None` when the connection ends before one.
    fn answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if !self.more() {
                return None;
            }
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let headers: HashMap<_, _> = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        while self.buffer.len() < length {
            assert!(self.more(), "the connection ended within an answer's body");
        }
        let body = String::from_utf8(self.buffer.drain(..length).collect()).unwrap();
        Some(Answer { status, headers, body })
    }

    fn more(&mut self) -> bool {
        let mut chunk = [0; 4096];
        let read = match self.stream.read(&mut chunk) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("waited too long"),
            // A reset ends a connection as well as an end does.
            read => read.unwrap_or(0),
        };
        self.buffer.extend_from_slice(&chunk[..read]);
        read > 0
    }
}

impl Answer {
    /// What a receipt in headers says.
    pub(super) fn receipt(&self) -> Option<Acked> {
        let header = |name: &str| self.headers.get(name);
        let (partition, offset) = (header("evhub-partition")?, header("evhub-offset")?);
        let id = header("evhub-id")?.clone();
        Some(Acked { id, partition: partition.parse().ok()?, offset: offset.parse().ok()? })
    }
}
