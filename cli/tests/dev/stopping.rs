//! A stop finishes what is under way and repeats nothing; a second signal does not wait.

use serde_json::json;

use crate::{
    process::{Process, json},
    site::{PRODUCER, Sink, Site, processor},
};

#[test]
fn a_stop_waits_for_an_attempt_under_way_and_repeats_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("seen.jsonl");
    let mut sink = Sink::start(&["--delay", "1s", "--record", record.to_str().unwrap()]);
    let site = Site::new(&format!("{PRODUCER}---\n{}", processor(&sink.address, "")));
    let mut hub = site.start();
    json(&mut hub.ask(&["publish", "orders", "--id", "slow", "-o", "json"]));
    sink.attempt("slow");
    hub.process.signal("TERM");
    hub.process.logs("stopping: finishing what is under way");
    let (code, said) = hub.process.ended();
    assert_eq!(code, Some(0), "{}", said.join("\n"));
    let last: serde_json::Value = serde_json::from_str(said.last().unwrap()).unwrap();
    assert_eq!(last["message"], "stopped");
    assert!(!said.iter().any(|line| line.contains(r#""level":"WARN""#)), "{}", said.join("\n"));

    let hub = site.start();
    let status = json(&mut hub.ask(&["status", "-o", "json"]));
    assert_eq!(status["processors"][0]["lag"], json!(0), "its delivery is committed");
    json(&mut hub.ask(&["publish", "orders", "--id", "next", "-o", "json"]));
    sink.attempt("next");
    hub.stop();
    let text = std::fs::read_to_string(&record).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains(r#""ce-id":"slow""#)).count(), 1, "{text}");
}

#[test]
fn a_second_signal_aborts_and_the_attempt_is_repeated() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut sink = Sink::start(&["--delay", "1h"]);
        let site = Site::new(&format!("{PRODUCER}---\n{}", processor(&sink.address, "")));
        let mut hub = site.start();
        json(&mut hub.ask(&["publish", "orders", "--id", "endless", "-o", "json"]));
        sink.attempt("endless");
        hub.process.signal("TERM");
        hub.process.logs("stopping: finishing what is under way");
        hub.process.signal(signal);
        let (ended, said) = hub.process.ended();
        assert_eq!(ended, Some(code), "{}", said.join("\n"));

        let hub = site.start();
        assert!(sink.attempt("endless").contains("  attempt 1  "), "its outcome was never durable");
        drop(hub);
    }
}

#[test]
fn a_stop_while_starting_is_a_stop() {
    let site = Site::new(&format!("{PRODUCER}---\n{}", processor("127.0.0.1:9", "")));
    let mut process = Process::spawn(&mut site.command());
    process.logs("compiled");
    process.signal("INT");
    let (code, said) = process.ended();
    assert_eq!(code, Some(0), "{}", said.join("\n"));
    assert!(said.last().unwrap().contains(r#""message":"stopped""#), "{}", said.join("\n"));
}
