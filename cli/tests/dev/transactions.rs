//! Half messages of a real binary that is killed: what was acknowledged holds, and what was not may be asked for again.

use std::{fs, net::TcpListener, thread};

use crate::{
    barrier::{ALL, came, post, prepare, producer, state},
    process::{eventually, exits, json, out},
    site::{Hub, Sink, Site, processor},
};

#[test]
fn what_was_decided_outlives_a_kill_and_nothing_else_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recorded");
    let sink = Sink::start(&["--record", file.to_str().unwrap()]);
    // Nobody listens there by the time that somebody is asked.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let held = ", maxChecks: 2, onExhausted: Hold";
    let site = Site::new(&format!("{}---\n{}", producer(nobody, held), processor(&sink.address, "")));
    let mut hub = site.start();
    let [committed, undone, later, open] =
        ["committed", "undone", "later", "open"].map(|id| prepare(&hub, id));
    hub.process.signal("KILL");
    hub.process.ended();
    hub = site.start();
    assert_eq!(prepare(&hub, "open"), open, "the same again is the same");
    for (what, at) in [("tools", hub.api), ("watchers", hub.admin)] {
        let asked = serde_json::json!({
            "event": {"app_id": "shop", "topic_id": "orders", "data": "eA=="},
            "txCallback": {"endpoint": {"protocol_type": 5, "address": format!("http://{at}/")}},
        });
        let (_, said) = post(hub.http, "/v1/prepare", "", &asked.to_string());
        assert_eq!(said["ret"]["code"], 10000, "{what}: {said}");
    }
    for half in [&committed, &undone, &later, &open] {
        assert_eq!(state(&hub, half), "Prepared");
    }
    let decide = |hub: &Hub, half: &str, verb: &str, body: &str| {
        post(hub.http, &format!("{ALL}/{half}/{verb}"), "content-type: application/json\r\n", body).0
    };
    assert_eq!(decide(&hub, &later, "commit", r#"{"delay":"3s"}"#), 200);
    assert_eq!(decide(&hub, &undone, "rollback", ""), 200);
    assert_eq!(decide(&hub, &committed, "commit", ""), 200);
    // It is acknowledged, and that is enough.
    hub.process.signal("KILL");
    hub.process.ended();
    hub = site.start();
    for (half, now, contrary) in [
        (&committed, "Committed", "rollback"),
        (&undone, "RolledBack", "commit"),
        (&later, "Committed", "rollback"),
    ] {
        assert_eq!(state(&hub, half), now);
        assert_eq!(decide(&hub, half, contrary, ""), 409);
    }
    eventually("what was committed comes", || (came(&file) == ["committed", "later"]).then_some(()));
    let listed = |hub: &Hub| json(&mut hub.ask(&["tx", "list", "orders", "--state", "held", "-o", "json"]));
    let held = eventually("nobody decides on the last one", || {
        Some(listed(&hub)).filter(|held| held.as_array().is_some_and(|held| held.len() == 1))
    });
    assert_eq!((&held[0]["id"], &held[0]["checks"]), (&open.as_str().into(), &2.into()));
    let shown = exits(0, &mut hub.ask(&["tx", "commit", "orders", &open]));
    assert!(out(&shown).contains("Committed"), "{}", out(&shown));
    eventually("it comes", || (came(&file).len() == 3).then_some(()));
    assert_eq!(came(&file), ["committed", "later", "open"]);
    let none = exits(0, &mut hub.ask(&["tx", "list", "orders"]));
    assert_eq!(out(&none), "no half message is undecided\n");
    hub.stop();
    // One line for each, but for what came just before a kill.
    let lines = fs::read_to_string(&file).unwrap().lines().count();
    assert!((3..=5).contains(&lines), "{lines}");
}

#[test]
fn of_many_that_decide_at_once_one_wins_and_all_are_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recorded");
    let sink = Sink::start(&["--record", file.to_str().unwrap()]);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let site =
        Site::new(&format!("{}---\n{}", producer(nobody, ", maxChecks: 1000"), processor(&sink.address, "")));
    let hub = site.start();
    let mut expected = Vec::new();
    for round in 0..8 {
        let id = format!("round-{round}");
        let half = prepare(&hub, &id);
        let statuses: Vec<(bool, u16)> = thread::scope(|scope| {
            let ask = |n: usize| {
                let (at, half, commit) = (hub.http, &half, n % 2 == round % 2);
                let verb = if commit { "commit" } else { "rollback" };
                scope.spawn(move || (commit, post(at, &format!("{ALL}/{half}/{verb}"), "", "").0))
            };
            let asking: Vec<_> = (0..24).map(ask).collect();
            asking.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let committed = state(&hub, &half) == "Committed";
        for (commit, status) in statuses {
            assert_eq!(status, if commit == committed { 200 } else { 409 }, "{id}");
        }
        if committed {
            expected.push(id);
        }
    }
    eventually("what was committed comes", || (came(&file) == expected).then_some(()));
    hub.stop();
}
