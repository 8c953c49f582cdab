//! Schedules that are put while their Producer runs: on every surface, in its limits, and over with it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use evhub_dataplane::schedules;
use evhub_journal::Stored;
use evhub_lifecycle::Trigger;
use evhub_proto::ledger::{
    DeleteScheduleRequest, FireScheduleRequest, GetScheduleRequest, ListSchedulesRequest, MissedPolicy,
    MissedRuns, PutScheduleRequest, ScheduleSpec, ScheduledEvent, ledger_client::LedgerClient,
    schedule_spec::Pace, scheduled_event::Data,
};
use evhub_routing::{Generation, Name, Producer, Schedule, Snapshot};
use serde_json::{Value, json};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{
    h2::channel,
    rig::{Rig, SINK},
    wire::{Answer, PATIENCE, get, request},
};

const DUE: &str = "evhub.shop.orders.due";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

fn path(name: &str) -> String {
    format!("{SINK}/schedules/{name}")
}

async fn put(rig: &Rig, name: &str, schedule: &Value) -> Answer {
    rig.ask(rig.http, request("PUT", &path(name), &JSON, schedule.to_string())).await
}

async fn delete(rig: &Rig, name: &str) -> Answer {
    rig.ask(rig.http, request("DELETE", &path(name), &[], "")).await
}

async fn listed(rig: &Rig) -> Vec<Value> {
    let answer = rig.ask(rig.api, get(&format!("{SINK}/schedules"))).await;
    assert_eq!(answer.status, 200);
    answer.json()["items"].as_array().unwrap().clone()
}

/// Waits until it is so.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let it = async {
        loop {
            if let Some(it) = ask().await {
                return it;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(3 * PATIENCE, it).await.unwrap_or_else(|_| panic!("{what}"))
}

/// What has fired, when it is so much.
async fn fired(rig: &Rig, count: usize) -> Vec<Stored> {
    let enough = async || Some(rig.records(DUE).await).filter(|records| records.len() >= count);
    until("they fire", enough).await.into_iter().map(|(_, stored)| stored).collect()
}

fn header(stored: &Stored, name: &str) -> String {
    String::from_utf8(stored.record.header(name).unwrap().to_vec()).unwrap()
}

/// Another snapshot, of which this is different.
fn publish(rig: &Rig, change: impl FnOnce(&mut Snapshot)) {
    rig.snapshots.send_modify(|snapshot| {
        let mut next = Snapshot::clone(snapshot);
        next.generation = Generation { revision: next.generation.revision + 1, ..next.generation };
        change(&mut next);
        *snapshot = Arc::new(next);
    });
}

/// The ledger is told of what the snapshot has, until the trigger goes.
fn telling(rig: &Rig) -> Trigger {
    let (trigger, drain) = evhub_lifecycle::channel();
    tokio::spawn(schedules::run(rig.hub.clone(), drain));
    trigger
}

fn declaring(snapshot: &mut Snapshot, name: &str) {
    let orders = snapshot.producers.get_mut(&Name::new("shop", "orders")).unwrap();
    let written = evhub_routing::written::Written {
        name: name.to_owned(),
        cron: None,
        every: Some(Duration::from_hours(24)),
        time_zone: None,
        start: None,
        end: None,
        missed_runs: evhub_cron::MissedRuns::default(),
        jitter: Duration::ZERO,
        suspend: false,
        event: evhub_routing::ScheduledEvent {
            kind: "shop.daily".to_owned(),
            data: None,
            partition_key: None,
            tags: Vec::new(),
        },
    };
    let schedule: Schedule = written.schedule(0, 4096).unwrap();
    let orders: &mut Producer = Arc::make_mut(orders);
    orders.ledger.schedules = vec![schedule];
}

#[tokio::test]
async fn one_is_put_shown_replaced_and_deleted() {
    let rig = Rig::start().await;
    assert_eq!(rig.ask(rig.http, get(&path("daily"))).await.problem().1, "UNKNOWN_SCHEDULE");
    assert_eq!(delete(&rig, "daily").await.problem().1, "UNKNOWN_SCHEDULE");
    let event =
        json!({ "type": "shop.daily", "data": { "n": [1, null] }, "partitionKey": "k", "tags": ["a", "b"] });
    let daily = json!({ "every": "24h", "jitter": "30s", "event": event });
    let first = put(&rig, "daily", &daily).await;
    assert_eq!(first.status, 201, "{}", first.json());
    let first = first.json();
    let status = &first["status"];
    assert_eq!(
        (&status["declared"], &status["fired"], &status["skipped"]),
        (&json!(false), &json!(0), &json!(0))
    );
    assert_eq!(status["next"].as_array().unwrap().len(), 10);
    assert_eq!((&first["name"], &first["every"], &first["event"]), (&json!("daily"), &json!("24h"), &event));
    assert_eq!(first["missedRuns"], json!({ "policy": "Latest", "max": 1000, "deadline": "1m" }));
    let again = put(&rig, "daily", &daily).await;
    assert_eq!((again.status, again.json()), (200, first.clone()), "the same again changes nothing");
    for at in [rig.http, rig.api] {
        let shown = rig.ask(at, get(&path("daily"))).await;
        assert_eq!((shown.status, shown.json()), (200, first.clone()));
    }
    let shown = put(&rig, "daily", &first).await;
    assert_eq!((shown.status, shown.json()), (200, first), "what is shown can be put");
    let cron = json!({ "cron": "0 2 * * *", "timeZone": "Europe/Berlin", "suspend": true, "event": { "type": "b" } });
    let replaced = put(&rig, "daily", &cron).await;
    assert_eq!(replaced.status, 200);
    let replaced = replaced.json();
    assert_eq!((&replaced["cron"], &replaced["timeZone"]), (&cron["cron"], &cron["timeZone"]));
    assert!(replaced.get("every").is_none() && replaced["status"]["next"] == json!([]), "{replaced}");
    put(&rig, "another", &daily).await;
    let all = listed(&rig).await;
    let line = |one: &Value| (one["name"].clone(), one["declared"].clone(), one["suspended"].clone());
    let lines = [(json!("another"), json!(false), json!(false)), (json!("daily"), json!(false), json!(true))];
    assert_eq!(all.iter().map(line).collect::<Vec<_>>(), lines);
    assert!(all[0].get("event").is_none(), "a list does not say what they are");
    assert_eq!(delete(&rig, "daily").await.status, 204);
    assert_eq!(delete(&rig, "daily").await.status, 204, "twice is once");
    assert_eq!(rig.ask(rig.http, get(&path("daily"))).await.status, 404);
    assert_eq!(listed(&rig).await.len(), 1);
    assert_eq!(put(&rig, "daily", &daily).await.status, 201, "it is new again");
}

#[tokio::test]
async fn it_fires_each_instant_once_and_once_more_when_told() {
    let rig = Rig::start().await;
    let tick = json!({ "every": "1s", "event": { "type": "shop.tick", "data": 7, "partitionKey": "k" } });
    assert_eq!(put(&rig, "tick", &tick).await.status, 201);
    let runs = fired(&rig, 2).await;
    assert!(
        runs.iter()
            .all(|run| header(run, "ce_type") == "shop.tick" && run.record.value.as_deref() == Some(b"7"))
    );
    let dues: Vec<i64> = runs.iter().map(|run| header(run, "evhub-due").parse().unwrap()).collect();
    assert!(dues.windows(2).all(|pair| pair[1] - pair[0] == 1000), "{dues:?}");
    let ids: BTreeSet<String> = runs.iter().map(|run| header(run, "ce_id")).collect();
    assert_eq!(ids.len(), runs.len());
    let asleep = json!({ "every": "1s", "suspend": true, "event": { "type": "shop.tick", "data": 8 } });
    assert_eq!(put(&rig, "tick", &asleep).await.status, 200);
    let before = rig.records(DUE).await.len();
    let told = rig.ask(rig.http, request("POST", &(path("tick") + "/fire"), &[], "")).await;
    assert_eq!((told.status, told.json()["producer"].as_str()), (202, Some("shop/orders")));
    let all = fired(&rig, before + 1).await;
    let id = told.json()["id"].as_str().unwrap().to_owned();
    let more = all.iter().find(|record| header(record, "ce_id") == id).expect("it fires");
    assert_eq!(more.record.value.as_deref(), Some(&b"8"[..]), "it fires as it is now");
    assert!(more.record.header("evhub-occurrence").is_none(), "it is no run");
    assert_eq!(all.len(), before + 1, "nothing else fires");
    delete(&rig, "tick").await;
    let gone = rig.ask(rig.http, request("POST", &(path("tick") + "/fire"), &[], "")).await;
    assert_eq!((gone.status, gone.problem().1.as_str()), (404, "UNKNOWN_SCHEDULE"));
}

#[tokio::test]
async fn what_cannot_be_put_is_refused_and_says_where() {
    let rig = Rig::start().await;
    publish(&rig, |snapshot| declaring(snapshot, "declared"));
    let event = json!({ "type": "a" });
    let plain = json!({ "every": "1h", "event": event });
    let large = json!({ "every": "1h", "event": { "type": "a", "data": "x".repeat(4000) } });
    for (name, schedule, status, reason, field) in [
        ("declared", &plain, 409, "SCHEDULE_DECLARED", None),
        ("Upper", &plain, 422, "INVALID_SCHEDULE", Some("name")),
        ("a", &json!({ "event": event }), 422, "INVALID_SCHEDULE", None),
        ("a", &json!({ "cron": "* 24 * * *", "event": event }), 422, "INVALID_SCHEDULE", Some("cron")),
        ("a", &json!({ "every": "999ms", "event": event }), 422, "INVALID_SCHEDULE", Some("every")),
        ("a", &json!({ "every": "1h", "evnt": event }), 422, "INVALID_SCHEDULE", Some("evnt")),
        (
            "a",
            &json!({ "cron": "0 0 * * *", "timeZone": "Mars", "event": event }),
            422,
            "INVALID_SCHEDULE",
            Some("timeZone"),
        ),
        ("a", &large, 422, "INVALID_SCHEDULE", Some("event")),
    ] {
        let answer = put(&rig, name, schedule).await;
        let (known, word, outcome, at) = answer.problem();
        assert_eq!((known, word.as_str(), at.as_deref()), (status, reason, field), "{schedule}");
        assert_eq!(outcome, "rejected");
    }
    let malformed = rig.ask(rig.http, request("PUT", &path("a"), &JSON, "{")).await;
    assert_eq!((malformed.status, malformed.problem().1.as_str()), (400, "INVALID_JSON"));
    let untyped = rig.ask(rig.http, request("PUT", &path("a"), &[], "{}")).await;
    assert_eq!(untyped.status, 415);
    let long = rig.ask(rig.http, request("PUT", &path("a"), &JSON, " ".repeat((1 << 20) + 1))).await;
    assert_eq!((long.status, long.problem().1.as_str()), (413, "BODY_TOO_LARGE"));
    let nobodys = path("a").replace("/orders/", "/nobody/");
    let nobodys = rig.ask(rig.http, request("PUT", &nobodys, &JSON, plain.to_string())).await;
    assert_eq!((nobodys.status, nobodys.problem().1.as_str()), (404, "UNKNOWN_PRODUCER"));
    assert_eq!(delete(&rig, "declared").await.problem().1, "SCHEDULE_DECLARED");
    assert!(listed(&rig).await.is_empty(), "nothing came of any of it");
}

#[tokio::test]
async fn it_is_over_when_its_producer_declares_one_of_its_name_or_is_gone() {
    let rig = Rig::start().await;
    let daily = json!({ "every": "24h", "event": { "type": "a" } });
    for name in ["daily", "nightly"] {
        assert_eq!(put(&rig, name, &daily).await.status, 201);
    }
    let telling = telling(&rig);
    publish(&rig, |snapshot| declaring(snapshot, "daily"));
    let kept = async || -> BTreeSet<(bool, Option<String>)> {
        let all = rig.hub.ledger.series().await.unwrap();
        all.into_iter().map(|one| (one.dynamic.is_none(), one.dynamic)).collect()
    };
    let nightly = (false, Some("nightly".to_owned()));
    let both = BTreeSet::from([(true, None), nightly.clone()]);
    until("the declared one takes its place", async || (kept().await == both).then_some(())).await;
    let shown = rig.ask(rig.http, get(&path("daily"))).await.json();
    assert_eq!((&shown["status"]["declared"], &shown["event"]["type"]), (&json!(true), &json!("shop.daily")));
    let lines: Vec<_> =
        listed(&rig).await.iter().map(|one| (one["name"].clone(), one["declared"].clone())).collect();
    assert_eq!(lines, [(json!("daily"), json!(true)), (json!("nightly"), json!(false))]);
    publish(&rig, |snapshot| drop(snapshot.producers.remove(&Name::new("shop", "orders"))));
    until("nothing is kept", async || kept().await.is_empty().then_some(())).await;
    drop(telling);
}

#[tokio::test]
async fn what_is_put_outlives_whoever_tells_the_ledger_of_what_is_declared() {
    let rig = Rig::start().await;
    publish(&rig, |snapshot| declaring(snapshot, "daily"));
    assert_eq!(put(&rig, "nightly", &json!({ "every": "24h", "event": { "type": "a" } })).await.status, 201);
    // Whoever begins drops what is kept and not declared.
    let telling = telling(&rig);
    until("it is told", async || (listed(&rig).await.len() == 2).then_some(())).await;
    publish(&rig, |snapshot| {
        let orders = snapshot.producers.get_mut(&Name::new("shop", "orders")).unwrap();
        Arc::make_mut(orders).ledger.schedules.clear();
    });
    let names = async || {
        listed(&rig).await.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    until("it is not declared any more", async || {
        let all = rig.hub.ledger.series().await.unwrap();
        (all.len() == 1).then_some(())
    })
    .await;
    assert_eq!(names().await, ["nightly"]);
    drop(telling);
}

#[tokio::test]
async fn the_same_over_grpc() {
    let rig = Rig::start().await;
    let mut ledger = LedgerClient::new(channel(rig.grpc).await);
    let (namespace, producer, schedule) = ("shop".to_owned(), "orders".to_owned(), "daily".to_owned());
    let spec = ScheduleSpec {
        pace: Some(Pace::Cron("0 2 * * *".to_owned())),
        time_zone: "Europe/Berlin".to_owned(),
        missed_runs: Some(MissedRuns { policy: MissedPolicy::All.into(), max: Some(3), deadline: None }),
        event: Some(ScheduledEvent {
            r#type: "shop.daily".to_owned(),
            data: Some(Data::Binary(bytes::Bytes::from_static(&[0, 255]))),
            partition_key: "k".to_owned(),
            tags: vec!["a".to_owned()],
        }),
        ..ScheduleSpec::default()
    };
    let order = PutScheduleRequest {
        namespace: namespace.clone(),
        producer: producer.clone(),
        schedule: schedule.clone(),
        spec: Some(spec.clone()),
    };
    let put = ledger.put_schedule(order.clone()).await.unwrap().into_inner();
    assert_eq!((put.schedule.as_str(), put.declared, put.next.len()), ("daily", false, 10));
    let deadline = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let missed = MissedRuns { policy: MissedPolicy::All.into(), max: Some(3), deadline };
    assert_eq!(put.spec, Some(ScheduleSpec { missed_runs: Some(missed), ..spec.clone() }));
    let which = GetScheduleRequest {
        namespace: namespace.clone(),
        producer: producer.clone(),
        schedule: schedule.clone(),
    };
    assert_eq!(ledger.get_schedule(which.clone()).await.unwrap().into_inner(), put);
    let shown = rig.ask(rig.http, get(&path("daily"))).await.json();
    assert_eq!(shown["event"]["dataBase64"], "AP8=", "{shown}");
    let list = ListSchedulesRequest { namespace: namespace.clone(), producer: producer.clone() };
    let all = ledger.list_schedules(list).await.unwrap().into_inner().schedules;
    assert_eq!((all.len(), &all[0].spec), (1, &None));
    let wrong = ScheduleSpec { time_zone: "Mars".to_owned(), ..spec };
    let refused = ledger.put_schedule(PutScheduleRequest { spec: Some(wrong), ..order }).await.unwrap_err();
    let details = refused.get_error_details();
    assert_eq!(
        (refused.code(), details.error_info().unwrap().reason.as_str()),
        (Code::InvalidArgument, "INVALID_SCHEDULE")
    );
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "timeZone");
    let fire = FireScheduleRequest {
        namespace: namespace.clone(),
        producer: producer.clone(),
        schedule: schedule.clone(),
    };
    let event = ledger.fire_schedule(fire.clone()).await.unwrap().into_inner().event_id;
    assert_eq!(header(&fired(&rig, 1).await[0], "ce_id"), event);
    let gone = DeleteScheduleRequest { namespace, producer, schedule };
    ledger.delete_schedule(gone.clone()).await.unwrap();
    ledger.delete_schedule(gone).await.unwrap();
    assert_eq!(ledger.get_schedule(which).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(ledger.fire_schedule(fire).await.unwrap_err().code(), Code::NotFound);
}
