//! From an event that nobody wants to its delivery after all, every JSON shape on the way field by field.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    process::{Process, err, eventually, exits, json, out},
    site::{Hub, PRODUCER, Sink, Site, processor},
};

/// The value is an object of exactly these fields.
#[track_caller]
fn fields<'a>(value: &'a Value, names: &[&str]) -> &'a Map<String, Value> {
    let mut expected = names.to_vec();
    expected.sort_unstable();
    let object = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
    assert_eq!(object.keys().collect::<Vec<_>>(), expected, "{value}");
    object
}

/// RFC 3339, UTC, milliseconds.
#[track_caller]
fn instant(value: &Value) -> Timestamp {
    let text = value.as_str().unwrap_or_else(|| panic!("no instant: {value}"));
    let instant: Timestamp = text.parse().unwrap();
    assert_eq!(text, format!("{instant:.3}"));
    instant
}

#[track_caller]
fn one(list: &Value) -> &Value {
    let [item] = &list.as_array().unwrap()[..] else { panic!("not one: {list}") };
    item
}

fn status(hub: &Hub) -> Value {
    json(&mut hub.ask(&["status", "-o", "json"]))
}

const SUMMARY: [&str; 13] = [
    "id",
    "eventId",
    "source",
    "type",
    "key",
    "topic",
    "partition",
    "offset",
    "attempts",
    "reason",
    "cause",
    "firstAttempt",
    "lastAttempt",
];

#[test]
fn a_dead_letter_is_listed_shown_and_redriven() {
    let mut sink = Sink::start(&["--status", "400"]);
    let site = Site::new(&format!("{PRODUCER}---\n{}", processor(&sink.address, "")));
    let hub = site.start();
    let before = status(&hub);
    let idle = fields(
        one(&before["processors"]),
        &[
            "namespace",
            "name",
            "ready",
            "generation",
            "routes",
            "lag",
            "parked",
            "inFlight",
            "deadLettered",
            "suspended",
            "conditions",
        ],
    );
    assert_eq!((&idle["lag"], &idle["parked"], &idle["deadLettered"]), (&json!(0), &json!(0), &json!(0)));
    let fact = |word: &str| json!({ "type": word, "status": "True", "reason": word });
    assert_eq!(
        one(&before["producers"]),
        &json!({
            "namespace": "shop", "name": "orders", "ready": true, "topic": "evhub.shop.orders", "partitions": 1,
            "conditions": [fact("Ready"), fact("Accepted"), fact("ResolvedRefs")],
        })
    );

    let line = [
        "publish",
        "orders",
        "--id",
        "order-1",
        "--type",
        "shop.order.paid",
        "--source",
        "/till",
        "--key",
        "ada",
    ];
    let receipt = json(hub.ask(&line).args(["--data", r#"{"total":42}"#, "-o", "json"]));
    assert_eq!(receipt, json!({ "id": "order-1", "producer": "shop/orders", "partition": 0, "offset": 0 }));
    assert!(sink.attempt("order-1").ends_with("attempt 1  400"));

    let list = eventually("the letter is listed", || {
        Some(json(&mut hub.ask(&["dead", "list", "billing", "-o", "json"]))).filter(|list| *list != json!([]))
    });
    let letter = one(&list);
    listed(letter);
    shown(&hub, letter, &before);
    redriven(&hub, sink, letter);
    hub.stop();
}

fn listed(letter: &Value) {
    let letter = fields(letter, &SUMMARY);
    for (name, value) in [
        ("id", json!("evhub.shop.orders:0:0")),
        ("eventId", json!("order-1")),
        ("source", json!("/till")),
        ("type", json!("shop.order.paid")),
        ("key", json!("ada")),
        ("topic", json!("evhub.shop.orders")),
        ("partition", json!(0)),
        ("offset", json!(0)),
        ("attempts", json!(1)),
        ("reason", json!("NOT_RETRYABLE")),
    ] {
        assert_eq!(letter[name], value, "{name}");
    }
    assert!(letter["cause"].as_str().unwrap().contains("400"), "{}", letter["cause"]);
    assert!(instant(&letter["firstAttempt"]) <= instant(&letter["lastAttempt"]));
}

fn shown(hub: &Hub, letter: &Value, status: &Value) {
    let id = letter["id"].as_str().unwrap();
    let shown = json(&mut hub.ask(&["dead", "show", "billing", id, "-o", "json"]));
    let whole = one(&shown);
    fields(
        whole,
        &[&SUMMARY[..], &["headers", "dataBase64", "processorUid", "generation", "causes"]].concat(),
    );
    for name in SUMMARY {
        assert_eq!(whole[name], letter[name], "{name}");
    }
    assert_eq!(whole["dataBase64"], "eyJ0b3RhbCI6NDJ9");
    assert_eq!(whole["processorUid"], hub.snapshot()["processors"]["shop/billing"]["uid"]);
    assert_eq!(whole["generation"], one(&status["processors"])["generation"]);
    let cause = fields(one(&whole["causes"]), &["attempt", "time", "status", "text"]);
    assert_eq!((&cause["attempt"], &cause["status"]), (&json!(1), &json!(400)));
    assert_eq!(cause["text"], letter["cause"]);
    instant(&cause["time"]);
    let headers = whole["headers"].as_array().unwrap();
    assert!(headers.contains(&json!({ "name": "ce_id", "value": "order-1" })), "{headers:?}");

    let text = out(&exits(0, &mut hub.ask(&["dead", "show", "billing", id]))).to_owned();
    assert!(text.starts_with("evhub.shop.orders:0:0\n  event          order-1\n"), "{text}");
}

fn redriven(hub: &Hub, sink: Sink, letter: &Value) {
    let id = letter["id"].as_str().unwrap();
    let missing = exits(1, &mut hub.ask(&["dead", "redrive", "billing", "--dry-run", id, "no-such-id"]));
    assert_eq!(out(&missing), "1 dead letter of shop/billing would be delivered again\n");
    let hint = "1 of the 2 ids name no dead letter; `evhub dead list shop/billing` shows which there are";
    assert!(err(&missing).contains(hint), "{}", err(&missing));

    let address = sink.address.clone();
    drop(sink);
    let mut sink = Sink::at(&address, &[]);
    let started = json(&mut hub.ask(&["dead", "redrive", "billing", id, "-o", "json"]));
    let started = fields(&started, &["id", "matched"]);
    assert!(started["id"].is_string());
    assert_eq!(started["matched"], 1);
    assert!(sink.attempt("order-1").ends_with("attempt 1  200"));

    let after = eventually("all is delivered", || {
        let after = status(hub);
        let billing = one(&after["processors"]);
        (billing["lag"] == 0 && billing["inFlight"] == 0 && billing["lastDelivery"].is_string())
            .then_some(after)
    });
    instant(&one(&after["processors"])["lastDelivery"]);
}

#[test]
fn a_redrive_keeps_its_rate_tells_how_far_it_is_and_stops_on_an_interrupt() {
    let mut sink = Sink::start(&["--status", "400"]);
    let site = Site::new(&format!("{PRODUCER}---\n{}", processor(&sink.address, "")));
    let hub = site.start();
    for n in 0..6 {
        exits(0, &mut hub.ask(&["publish", "orders", "--id", &format!("order-{n}"), "--data", "{}"]));
        sink.attempt(&format!("order-{n}"));
    }
    eventually("the letters are listed", || {
        let letters = json(&mut hub.ask(&["dead", "list", "billing", "-o", "json"]));
        (letters.as_array().unwrap().len() == 6).then_some(())
    });
    let address = sink.address.clone();
    drop(sink);
    let _sink = Sink::at(&address, &[]);

    let rate = |rate| ["dead", "redrive", "billing", "--all", "--rate", rate];
    let quick = exits(0, &mut hub.ask(&rate("1000")));
    assert_eq!(out(&quick), "6 dead letters of shop/billing are being delivered again\n");
    assert!(err(&quick).ends_with("6 of 6 dead letters of shop/billing\n"), "{}", err(&quick));

    let mut slow = Process::spawn(&mut hub.ask(&rate("1")));
    slow.line(|line| line == "1 of 6 dead letters of shop/billing");
    slow.signal("INT");
    let (code, said) = slow.ended();
    let said = said.join("\n");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("it was stopped after"), "{said}");
    hub.stop();
}

#[test]
fn the_wrong_listener_is_told_from_the_api() {
    let site = Site::new(PRODUCER);
    let hub = site.start();
    for address in [hub.http, hub.admin] {
        let mut command = crate::process::evhub();
        let output = exits(1, command.args(["status", "--server", &format!("http://{address}")]));
        assert!(
            err(&output).contains("help: does --server (or EVHUB_SERVER) name the hub's api listener?"),
            "{}",
            err(&output)
        );
    }
    let output = exits(1, &mut hub.ask(&["dead", "list", "no-such"]));
    assert!(err(&output).contains("help: `evhub status -A` lists what there is"), "{}", err(&output));
    hub.stop();
}
