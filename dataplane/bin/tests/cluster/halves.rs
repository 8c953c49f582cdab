//! Half messages over several processes, of which the one that leads is killed: decided by whoever leads, and asked about.

use std::{
    collections::BTreeSet,
    io::{BufReader, Write as _},
    net::{SocketAddr, TcpListener},
    thread,
};

use super::{
    service::{Publisher, Service, head, header},
    site::{Plane, Site},
};

const SHARDS: &str = "4";
const LEADING: [&str; 4] = ["--shards", SHARDS, "--roles", "dispatch,ledger"];

/// Answers questions: of those whose key says so it has committed, of all others it does not know.
fn asked() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                while let Some(head) = head(&mut reader) {
                    let is_committed = header(&head, "ce-id").unwrap().starts_with("asked-");
                    let state = if is_committed { "Committed" } else { "Unknown" };
                    let body = format!(r#"{{"state":"{state}"}}"#);
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn leads(plane: &Plane) -> u64 {
    plane.number("evhub_ledger_shards")
}

#[test]
fn half_messages_are_decided_by_whoever_leads_and_outlive_its_kill() {
    let (service, asked) = (Service::start(), asked());
    let site = Site::new("halves", service.address);
    site.write(
        "orders.yaml",
        &format!(
            "apiVersion: evhub.dev/v1alpha1\nkind: Producer\nmetadata: {{ name: orders, namespace: shop }}\nspec:\n  topic: \
             {{ partitions: 6, replicas: 1, minInSyncReplicas: 1 }}\n  transaction: {{ checkBack: {{ target: {{ url: \
             'http://{asked}/' }}, interval: 5s }} }}\n"
        ),
    );
    let (_control, address) = site.control("127.0.0.1:0");
    let ingest = site.plane_that("ingest", address, &["--shards", SHARDS, "--roles", "ingest"]);
    let (one, two) = (site.plane_that("one", address, &LEADING), site.plane_that("two", address, &LEADING));
    for plane in [&ingest, &one, &two] {
        plane.ready();
    }
    let mut publisher = Publisher::connect(ingest.http);
    let mut halves = Vec::new();
    for number in 0..8 {
        for key in ["committed", "undone", "asked"] {
            halves.push((key, publisher.prepare(key, number)));
        }
    }
    one.process.until("both lead", || leads(&one) > 0 && leads(&two) > 0 && leads(&one) + leads(&two) == 4);
    one.process.kill();
    // The first decision, and then each of both once more.
    let right = |key: &str| if key == "committed" { "commit" } else { "rollback" };
    let decided = || halves.iter().filter(|(key, _)| *key != "asked");
    for (key, half) in decided() {
        let answer = publisher.post(&format!("{half}/{}", right(key)), "");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{key}: {answer}");
    }
    for (key, half) in decided() {
        for verb in ["commit", "rollback"] {
            let status = if verb == right(key) { "200" } else { "409" };
            let answer = publisher.post(&format!("{half}/{verb}"), "");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{key} {verb}: {answer}");
        }
    }
    let all: BTreeSet<(String, u32)> =
        ["committed", "asked"].into_iter().flat_map(|key| (0..8).map(move |n| (key.to_owned(), n))).collect();
    let received = || service.received().into_iter().collect::<BTreeSet<_>>();
    two.process.until("what is committed is delivered", || received().len() >= all.len());
    two.process.until("nothing is undecided", || two.number("evhub_ledger_half_messages") == 0);
    assert_eq!(received(), all, "and nothing else");
    assert_eq!(service.received().len(), all.len(), "once, as nobody was killed who had delivered any");
}
