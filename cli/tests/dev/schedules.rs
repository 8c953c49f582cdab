//! Schedules fire in the real binary: each instant once, through `kill -9`, edits and suspension.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    process::{PATIENCE, err, eventually, evhub, exits, json, out},
    site::{Hub, Sink, Site, get, processor},
};

/// A Producer with one schedule.
fn producer(schedule: &str) -> String {
    format!(
        "apiVersion: evhub.dev/v1alpha1\nkind: Producer\nmetadata: {{ name: orders, namespace: shop }}\nspec:\n  topic: \
         {{ partitions: 1 }}\n  schedules:\n  - {{ name: tick, event: {{ type: shop.tick, data: {{ n: 1 }} }}, {schedule} }}\n"
    )
}

/// What reached the sink: when each run was due, and what it was called. A run may come more than once, as the same event.
fn runs(record: &Path) -> BTreeMap<i64, String> {
    let mut runs = BTreeMap::new();
    for line in fs::read_to_string(record).unwrap_or_default().lines() {
        let Ok(seen) = serde_json::from_str::<Value>(line) else { continue };
        let header =
            |name: &str| seen["headers"][name].as_str().unwrap_or_else(|| panic!("no {name}: {seen}"));
        let due: Timestamp = header("evhub-due").parse().unwrap();
        assert_eq!(header("ce-time").parse::<Timestamp>().unwrap(), due);
        assert_eq!(
            (header("ce-type"), header("ce-source")),
            ("shop.tick", "/namespaces/shop/producers/orders")
        );
        let at: Timestamp = seen["time"].as_str().unwrap().parse().unwrap();
        assert!(at >= due, "{at} is before {due}");
        let name = format!("{} {}", header("evhub-occurrence"), header("ce-id"));
        let before = runs.insert(due.as_millisecond(), name.clone());
        assert!(before.is_none_or(|before| before == name), "two events for {due}");
    }
    runs
}

/// When the schedule fires next, as the hub says.
fn next(hub: &Hub) -> Option<Vec<Timestamp>> {
    let (status, body) = get(hub.api, "/namespaces/shop/producers/orders");
    assert_eq!(status, 200, "{body}");
    let found: Value = serde_json::from_str(&body).unwrap();
    let next = found["schedules"].get(0)?["next"].as_array()?.clone();
    Some(next.iter().map(|at| at.as_str().unwrap().parse().unwrap()).collect())
}

#[test]
fn a_schedule_fires_each_instant_once_through_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("seen.jsonl");
    let sink = Sink::start(&["--record", record.to_str().unwrap()]);
    let schedule = "cron: '* * * * * *', missedRuns: { policy: All }";
    let site = Site::new(&format!("{}---\n{}", producer(schedule), processor(&sink.address, "")));
    let hub = site.start();
    let told = eventually("the ledger keeps the schedule", || next(&hub).filter(|next| next.len() == 10));
    assert!(told.windows(2).all(|pair| pair[1].as_second() - pair[0].as_second() == 1), "{told:?}");
    eventually("three runs", || (runs(&record).len() >= 3).then_some(()));
    hub.process.signal("KILL");
    drop(hub);
    let before = runs(&record).len();
    let hub = site.start();
    eventually("four more", || (runs(&record).len() >= before + 4).then_some(()));
    hub.stop();
    let runs = runs(&record);
    let dues: Vec<i64> = runs.keys().map(|due| due / 1000).collect();
    assert!(dues.windows(2).all(|pair| pair[1] == pair[0] + 1), "none is left out: {dues:?}");
    let occurrences: Vec<&str> = runs.values().map(|name| name.split(' ').next().unwrap()).collect();
    let expected: Vec<String> = (1..=runs.len()).map(|n| n.to_string()).collect();
    assert_eq!(occurrences, expected);
}

#[test]
fn nothing_accrues_while_suspended_and_a_schedule_that_is_gone_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("seen.jsonl");
    let sink = Sink::start(&["--record", record.to_str().unwrap()]);
    let manifests = |schedule: &str| format!("{}---\n{}", producer(schedule), processor(&sink.address, ""));
    let ticking = "cron: '* * * * * *', missedRuns: { policy: All }";
    let site = Site::new(&manifests(ticking));
    let hub = site.start();
    eventually("two runs", || (runs(&record).len() >= 2).then_some(()));
    site.write("all.yaml", &manifests(&format!("{ticking}, suspend: true")));
    eventually("it is suspended", || next(&hub).filter(Vec::is_empty));
    let last = *runs(&record).last_key_value().unwrap().0;
    // Long enough that a run would be made up for.
    eventually("two seconds", || (Timestamp::now().as_millisecond() > last + 3500).then_some(()));
    let resumed = Timestamp::now().as_millisecond();
    site.write("all.yaml", &manifests(ticking));
    eventually("it goes on", || runs(&record).keys().find(|due| **due > resumed).copied());
    let between: Vec<i64> =
        runs(&record).into_keys().filter(|due| (last + 1001..resumed).contains(due)).collect();
    assert!(between.is_empty(), "{between:?} between {last} and {resumed}");
    hub.stop();

    // It is taken out while nobody is there to see it.
    site.write("all.yaml", &format!("{}---\n{}", crate::site::PRODUCER, processor(&sink.address, "")));
    let hub = site.start();
    eventually("nothing is kept any more", || next(&hub).is_none().then_some(()));
    hub.stop();
}

#[test]
fn a_schedule_is_listed_and_fired_at_will() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("seen.jsonl");
    let sink = Sink::start(&["--record", record.to_str().unwrap()]);
    let site = Site::new(&format!("{}---\n{}", producer("every: 24h"), processor(&sink.address, "")));
    let hub = site.start();
    let listed = eventually("the ledger keeps the schedule", || {
        let listed = json(&mut hub.ask(&["schedules", "list", "orders", "-o", "json"]));
        listed.get(0).cloned()
    });
    assert_eq!((&listed["name"], listed["next"].as_array().unwrap().len()), (&Value::from("tick"), 10));
    let fired = json(&mut hub.ask(&["schedules", "fire", "orders", "tick", "-o", "json"]));
    let id = fired["id"].as_str().unwrap();
    let came = eventually("it comes", || {
        let text = fs::read_to_string(&record).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.into_iter().find(|line| line["headers"]["ce-id"] == id)
    });
    assert_eq!(came["headers"]["ce-type"], "shop.tick");
    assert!(came["headers"].get("evhub-occurrence").is_none(), "it is no run: {came}");
    let again = json(&mut hub.ask(&["schedules", "list", "orders", "-o", "json"]));
    assert_eq!(again[0], listed, "its runs are as they were");
    let unknown = exits(1, &mut hub.ask(&["schedules", "fire", "orders", "nightly"]));
    assert!(err(&unknown).contains("no schedule of this name"), "{}", err(&unknown));
    hub.stop();
}

/// One exchange with a JSON body on a connection of its own.
fn put(at: SocketAddr, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head =
        format!("PUT {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\ncontent-type: application/json");
    write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

#[test]
fn one_that_is_put_outlives_a_kill_and_fires_each_instant_once_until_it_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("seen.jsonl");
    let sink = Sink::start(&["--record", record.to_str().unwrap()]);
    let site = Site::new(&format!("{}---\n{}", crate::site::PRODUCER, processor(&sink.address, "")));
    let hub = site.start();
    let order =
        ["schedules", "put", "orders", "tick", "--cron", "* * * * * *", "--type", "shop.tick", "--data", "1"];
    let said = exits(0, &mut hub.ask(&order));
    assert!(out(&said).starts_with("put tick, which fires next at "), "{}", out(&said));
    eventually("three runs", || (runs(&record).len() >= 3).then_some(()));
    hub.process.signal("KILL");
    drop(hub);
    let before = runs(&record).len();
    let hub = site.start();
    eventually("four more", || (runs(&record).len() >= before + 4).then_some(()));
    let listed = json(&mut hub.ask(&["schedules", "list", "orders", "-o", "json"]));
    assert_eq!((&listed[0]["name"], &listed[0]["declared"]), (&Value::from("tick"), &Value::from(false)));
    // As it is shown it can be put, and the same again changes nothing.
    let shown = out(&exits(0, &mut hub.ask(&["schedules", "show", "orders", "tick"]))).to_owned();
    let file = folder.path().join("tick.yaml");
    fs::write(&file, shown).unwrap();
    exits(0, &mut hub.ask(&["schedules", "put", "orders", "tick", "-f", file.to_str().unwrap()]));
    exits(0, &mut hub.ask(&["schedules", "delete", "orders", "tick"]));
    hub.process.signal("KILL");
    drop(hub);
    let hub = site.start();
    assert_eq!(json(&mut hub.ask(&["schedules", "list", "orders", "-o", "json"])), Value::Array(Vec::new()));
    let refused = exits(1, &mut hub.ask(&["schedules", "show", "orders", "tick"]));
    assert!(err(&refused).contains("no schedule of this name"), "{}", err(&refused));
    hub.stop();
    let runs = runs(&record);
    let dues: Vec<i64> = runs.keys().map(|due| due / 1000).collect();
    assert!(dues.windows(2).all(|pair| pair[1] == pair[0] + 1), "none is left out: {dues:?}");
    let occurrences: Vec<&str> = runs.values().map(|name| name.split(' ').next().unwrap()).collect();
    let expected: Vec<String> = (1..=runs.len()).map(|n| n.to_string()).collect();
    assert_eq!(occurrences, expected);
}

/// What `check` says of a schedule in a Producer, putting it says as well, at the same field and in the same words.
#[test]
fn what_check_says_of_a_schedule_is_said_when_it_is_put() {
    let documents: Vec<Value> = serde_json::from_str(include_str!("schedules.json")).unwrap();
    let site = Site::new(crate::site::PRODUCER);
    let manifest = |(index, schedule): (usize, &Value)| {
        format!(
            "apiVersion: evhub.dev/v1alpha1\nkind: Producer\nmetadata: {{ name: p{index}, namespace: shop }}\nspec:\n  \
             schedules: [{schedule}]\n"
        )
    };
    let manifests: Vec<String> = documents.iter().enumerate().map(manifest).collect();
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("all.yaml");
    fs::write(&path, manifests.join("---\n")).unwrap();
    let checked = evhub().args(["check", path.to_str().unwrap(), "-o", "json"]).output().unwrap();
    let verdicts: Vec<Value> = serde_json::from_slice(&checked.stdout).unwrap();
    let hub = site.start();
    let mut refused = 0;
    for (index, schedule) in documents.iter().enumerate() {
        let verdict = verdicts.iter().find(|verdict| verdict["name"] == format!("p{index}")).unwrap();
        let name = schedule["name"].as_str().unwrap();
        let path = format!("/namespaces/shop/producers/orders/schedules/{name}");
        let (status, said) = put(hub.api, &path, &schedule.to_string());
        let accepted = verdict["accepted"] == true;
        assert_eq!(accepted, status < 300, "{schedule}: {verdict} {said}");
        if accepted {
            continue;
        }
        refused += 1;
        let field = said["field"].as_str().map(|field| format!(".{field}")).unwrap_or_default();
        let field = Value::from(format!("spec.schedules[0]{field}"));
        let findings = verdict["findings"].as_array().unwrap();
        let same = |finding: &Value| finding["field"] == field && finding["message"] == said["detail"];
        assert!(findings.iter().any(same), "{schedule}: {verdict} {said}");
    }
    assert!(refused > 20 && refused < documents.len());
    hub.stop();
}
