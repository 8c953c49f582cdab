//! What the tool makes of answers that a healthy hub never gives on demand: refusals, broken connections, many pages.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test is no library, and may fail")]

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Output},
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use serde_json::Value;

const ACCEPTED: &str = r#"{"id":"a","producer":"shop/orders","partition":3,"offset":17}"#;
const REFUSED: &str = r#"{"status":400,"reason":"INVALID_TIME","detail":"no such day","outcome":"rejected"}"#;

/// A listener that answers each request, its head and body as one text, as told: with a status and a body, or by hanging
/// up.
fn hub(answer: impl Fn(&str) -> Option<(u16, String)> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = Arc::clone(&answer);
            thread::spawn(move || serve(stream, &*answer));
        }
    });
    address
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&str) -> Option<(u16, String)>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = request(&mut reader) {
        let Some((status, body)) = answer(&request) else { return };
        let length = body.len();
        // The client may have left by now; the test looks at what the client says.
        let _ = write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n{body}");
    }
}

fn request(reader: &mut impl BufRead) -> Option<String> {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        if reader.read_line(&mut text).ok()? == 0 {
            return None;
        }
    }
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(text + std::str::from_utf8(&body).unwrap())
}

fn evhub(server: &str, line: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_evhub")).args(["--server", server]).args(line).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn an_event_goes_out_in_binary_mode_and_its_receipt_is_printed() {
    let server = hub(|request| {
        let sound = request.starts_with("POST /namespaces/shop/producers/orders/events HTTP/1.1\r\n")
            && ["ce-specversion: 1.0", "ce-id: a", "ce-type: t", "ce-partitionkey: k", "ce-tenant: x%20y"]
                .iter()
                .all(|header| request.contains(&format!("\r\n{header}\r\n")))
            && request.contains("\r\ncontent-type: application/json\r\n")
            && request.ends_with("\r\n\r\n{\"n\":1}");
        if sound { Some((202, ACCEPTED.to_owned())) } else { Some((400, REFUSED.to_owned())) }
    });
    let line =
        ["publish", "shop/orders", "--id", "a", "--type", "t", "--key", "k", "--extension", "tenant=x y"];
    let output = evhub(&server, &[&line[..], &["--data", "{\"n\":1}", "-o", "json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let receipt: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(receipt, serde_json::from_str::<Value>(ACCEPTED).unwrap());
}

#[test]
fn one_refused_event_among_many_fails_the_run() {
    let server = hub(|request| {
        let refused = request.contains("\r\nce-id: e-2\r\n");
        Some(if refused { (400, REFUSED.to_owned()) } else { (202, ACCEPTED.to_owned()) })
    });
    let output = evhub(&server, &["publish", "orders", "--id", "e", "--count", "3", "-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let items: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let outcomes: Vec<_> = items.iter().map(|item| item["outcome"].as_str()).collect();
    assert_eq!(outcomes, [None, Some("rejected"), None]);
    assert_eq!(
        text(&output.stderr),
        "error: could not publish 1 of 3 events to default/orders (1 rejected)\n  \
         because: 400 INVALID_TIME: no such day\n"
    );
}

#[test]
fn a_connection_that_breaks_leaves_the_outcome_unknown() {
    let server = hub(|_| None);
    let output = evhub(&server, &["publish", "orders"]);
    assert_eq!(output.status.code(), Some(1), "the hub was reached, so this is no 69");
    let told = text(&output.stderr);
    assert!(
        told.starts_with("error: could not publish the event to default/orders (outcome: unknown)\n"),
        "{told}"
    );
}

#[test]
fn a_success_that_makes_no_sense_is_no_success() {
    let server = hub(|_| Some((200, "<html>".to_owned())));
    let output = evhub(&server, &["publish", "orders"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("(outcome: unknown)") && told.contains("does not answer as a hub does"), "{told}");
}

#[test]
fn at_most_64_events_are_on_their_way_and_at_least_so_many() {
    let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let (seen, wave) = (Arc::clone(&most), Barrier::new(64));
    let server = hub(move |_| {
        seen.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
        wave.wait();
        now.fetch_sub(1, SeqCst);
        Some((202, ACCEPTED.to_owned()))
    });
    let output = evhub(&server, &["publish", "orders", "--count", "128"]);
    assert!(text(&output.stdout).starts_with("accepted 128 of 128 events "), "{}", text(&output.stderr));
    assert_eq!(most.load(SeqCst), 64);
}

#[test]
fn a_list_is_read_to_its_last_page() {
    let server = hub(|request| {
        let letter = |n| {
            format!(
                r#"{{"id":"{n}","topic":"t","partition":0,"offset":{n},"attempts":1,"reason":"MAX_ATTEMPTS"}}"#
            )
        };
        let path = request.split(' ').nth(1)?;
        let path = path.strip_prefix("/namespaces/shop/processors/billing/dead?limit=100")?;
        let (n, next) = match path {
            "" => (1, r#","next":"a b""#),
            "&after=a%20b" => (2, r#","next":"3""#),
            "&after=3" => (3, ""),
            _ => return None,
        };
        Some((200, format!(r#"{{"items":[{}]{next}}}"#, letter(n))))
    });
    let output = evhub(&server, &["dead", "list", "-n", "shop", "billing", "-o", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let items: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(items.iter().map(|item| item["id"].as_str().unwrap()).collect::<Vec<_>>(), ["1", "2", "3"]);
}

#[test]
fn a_refusal_comes_with_a_next_step() {
    let problem = r#"{"reason":"UNKNOWN_PROCESSOR","detail":"no Processor of this name runs here"}"#;
    let server = hub(move |_| Some((404, problem.to_owned())));
    let output = evhub(&server, &["dead", "redrive", "billing", "--all"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "error: could not redrive dead letters of default/billing\n  \
         because: 404 UNKNOWN_PROCESSOR: no Processor of this name runs here\n\
         help: `evhub status -A` lists what there is; a namespace is named by -n NAMESPACE or NAMESPACE/NAME\n"
    );
}
