//! The sink against a plain client: what it answers, shows and writes down, and how it ends.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test is no library, and may fail")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

struct Sink {
    child: Child,
    lines: BufReader<ChildStdout>,
    address: String,
}

impl Sink {
    fn start(line: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_evhub"))
            .args(["sink", "--listen", "127.0.0.1:0"])
            .args(line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut first).unwrap();
        let address =
            first.split("http://").nth(1).and_then(|rest| rest.split(';').next()).unwrap().to_owned();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines, address }
    }

    /// One delivery on a connection of its own; the status it was answered.
    fn deliver(&self, id: &str, body: &str) -> u16 {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "POST /events?x=1 HTTP/1.1\r\nhost: sink\r\nconnection: close\r\nce-id: {id}\r\nce-partitionkey: ada\r\n\
             evhub-processor: shop/billing\r\nevhub-attempt: 2\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    /// Asks it to end, as ctrl-c does, and waits until it has.
    fn end(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // Already gone when the test ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_attempt_is_a_line() {
    let mut sink = Sink::start(&[]);
    assert_eq!(sink.deliver("a", "{}"), 200);
    assert_eq!(sink.deliver("b%20c", "{}"), 200);
    for id in ["a", "b c"] {
        let line = sink.line();
        assert!(line.ends_with(&format!("  shop/billing  key ada  {id}  attempt 2  200\n")), "{line}");
    }
    assert_eq!(sink.end(), Some(0));
}

#[test]
fn it_fails_when_asked_to() {
    let sink = Sink::start(&["--fail", "1", "--status", "429"]);
    assert_eq!(sink.deliver("a", ""), 429);
}

#[test]
fn it_takes_its_time_when_asked_to() {
    let sink = Sink::start(&["--delay", "150ms"]);
    let start = Instant::now();
    sink.deliver("a", "");
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[test]
fn what_was_answered_is_on_record_even_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seen.jsonl");
    let mut sink = Sink::start(&["--record", file.to_str().unwrap(), "--status", "500"]);
    for body in ["one", "two"] {
        assert_eq!(sink.deliver(body, body), 500);
    }
    sink.child.kill().unwrap();

    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["path"], "/events?x=1");
    assert_eq!(lines[0]["headers"]["ce-id"], "one");
    assert_eq!(lines[1]["bodyBase64"], "dHdv");
    assert_eq!(lines[1]["status"], 500);
    assert!(lines[0]["time"].as_str().unwrap() <= lines[1]["time"].as_str().unwrap());
}

#[test]
fn a_delay_does_not_hold_up_the_end() {
    let mut sink = Sink::start(&["--delay", "1h"]);
    let mut stream = TcpStream::connect(&sink.address).unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: sink\r\ncontent-length: 0\r\n\r\n").unwrap();
    assert!(sink.line().ends_with("attempt -  200\n"), "the request is there");
    assert_eq!(sink.end(), Some(0));
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "what it had was still answered: {answer}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let sink = Sink::start(&[]);
    let mut second = Command::new(env!("CARGO_BIN_EXE_evhub"));
    let output = second.args(["sink", "--listen", &sink.address]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with(&format!("error: could not listen on {}\n  because: ", sink.address)), "{told}");
}
