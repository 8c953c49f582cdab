//! Events that are to come later, on a hub that is killed meanwhile.

use std::{fs, process::Command};

use serde_json::Value;

use crate::{
    process::{err, eventually, exits, json, out},
    site::{PRODUCER, Sink, Site, dev, processor},
};

/// What a sink has recorded of each event: when it came, and when it was due.
fn recorded(file: &std::path::Path) -> Vec<(String, i64, i64)> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let instant =
        |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let one = |line: Value| {
        let headers = &line["headers"];
        (
            headers["ce-id"].as_str().unwrap().to_owned(),
            instant(&line["time"]),
            instant(&headers["evhub-due"]),
        )
    };
    lines.map(one).collect()
}

#[test]
fn a_delayed_event_outlives_a_kill_and_comes_once_and_never_early() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recorded");
    let sink = Sink::start(&["--record", file.to_str().unwrap()]);
    let site = Site::new(&format!("{PRODUCER}---\n{}", processor(&sink.address, "")));
    let hub = site.start();
    for (id, delay) in [("soon", "1ms"), ("later", "3s"), ("cancelled", "4s"), ("moved", "1h")] {
        let said = json(&mut hub.ask(&["publish", "orders", "--id", id, "--delay", delay, "-o", "json"]));
        assert!(said["timer"].is_string() && said["due"].is_string(), "{said}");
    }
    eventually("the first one comes", || (recorded(&file).len() == 1).then_some(()));
    let timers = json(&mut hub.ask(&["timers", "list", "orders", "-o", "json"]));
    let pending = |id: &str| -> Option<String> {
        let found = timers.as_array().unwrap().iter().find(|one| one["eventId"] == id);
        found.map(|one| one["timer"].as_str().unwrap().to_owned())
    };
    let [later, cancelled, moved] = ["later", "cancelled", "moved"].map(|id| pending(id).unwrap());
    exits(0, &mut hub.ask(&["timers", "cancel", "orders", &cancelled]));
    let shown = json(&mut hub.ask(&["timers", "show", "orders", &later, "-o", "json"]));
    assert_eq!(shown["eventId"], "later");
    hub.process.signal("KILL");
    hub.process.ended();
    let hub = site.start();
    exits(0, &mut hub.ask(&["timers", "reschedule", "orders", &moved, "--delay", "1ms"]));
    let has_come = |id: &str| recorded(&file).iter().any(|(came, ..)| came == id);
    eventually("all come", || ["soon", "later", "moved"].into_iter().all(has_come).then_some(()));
    let refused = exits(1, &mut hub.ask(&["timers", "cancel", "orders", &moved]));
    assert!(err(&refused).contains("has fired"), "{}", err(&refused));
    let table = exits(0, &mut hub.ask(&["timers", "list", "orders"]));
    assert_eq!(out(&table), "no timer is pending\n");
    hub.stop();
    let recorded = recorded(&file);
    for (id, came, due) in &recorded {
        assert!(came >= due, "{id} came {} ms early", due - came);
    }
    let times = |id: &str| recorded.iter().filter(|(came, ..)| came == id).count();
    // What came just before the kill may come once more: that it did was not durable.
    assert_eq!((times("later"), times("moved"), times("cancelled")), (1, 1, 0));
    assert!((1..=2).contains(&times("soon")));
}

#[test]
fn the_number_of_shards_is_fixed_from_the_first_timer_on() {
    let site = Site::new(PRODUCER);
    let hub = site.start();
    exits(0, &mut hub.ask(&["publish", "orders", "--delay", "1h"]));
    hub.stop();
    let mut other: Command = dev(&site.dir(), &site.data());
    let refused = exits(78, other.args(["--shards", "5"]));
    assert!(
        err(&refused).contains("--shards: the ledger has 4 shards and 5 are asked for"),
        "{}",
        err(&refused)
    );
}
