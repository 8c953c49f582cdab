//! Dead letters and their redrive.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use evhub_dispatch::dead::{Cause, DeadLetter, Reason};
use evhub_event::{Event, Header, Record, kafka};
use evhub_journal::{Journal, Place, TopicSettings};
use evhub_routing::Snapshot;
use serde_json::{Value, json};

use super::{
    rig::{Rig, TOPIC, billing},
    wire::{Answer, get, request},
};

const DEAD: &str = "/namespaces/shop/processors/billing/dead";
const REPLAYS: &str = "/namespaces/shop/processors/billing/replays";
const INBOX: &str = "evhub.shop.billing.inbox";
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// Buries an event that lay at this offset of partition 0.
async fn bury(rig: &Rig, offset: u64, key: Option<&str>) -> String {
    let mut extensions = Vec::new();
    extensions.extend(key.map(|key| ("partitionkey".to_owned(), key.to_owned())));
    let event = Event {
        id: format!("e{offset}"),
        source: "/till".to_owned(),
        kind: "shop.paid".to_owned(),
        subject: None,
        time: None,
        datacontenttype: None,
        dataschema: None,
        extensions,
        data: Some(Bytes::from_static(b"data")),
    };
    bury_record(rig, offset, kafka::encode(&event)).await
}

async fn bury_record(rig: &Rig, offset: u64, record: Record) -> String {
    bury_for(rig, "uid-billing", offset, record).await
}

async fn bury_for(rig: &Rig, uid: &str, offset: u64, record: Record) -> String {
    let cause = |attempt, status, text: &str| Cause {
        attempt,
        time: 1000 + i64::from(attempt),
        status,
        text: text.to_owned(),
    };
    let letter = DeadLetter {
        topic: TOPIC.to_owned(),
        partition: 0,
        offset,
        processor_uid: uid.to_owned(),
        generation: 7,
        reason: Reason::MaxAttempts,
        attempts: 2,
        first_attempt: Some(500),
        last_attempt: Some(1002),
        causes: vec![cause(1, None, "refused"), cause(2, Some(503), "answered 503")],
    };
    let settings = TopicSettings {
        partitions: 1,
        max_record_bytes: 1 << 20,
        reserved: true,
        ..TopicSettings::default()
    };
    rig.hub.journal.ensure("evhub.shop.billing.dead", settings).await.unwrap();
    let record = letter.encode(record);
    rig.hub.journal.append("evhub.shop.billing.dead", Place::Partition(0), record).await.unwrap();
    letter.id()
}

async fn replay(rig: &Rig, order: &Value) -> Answer {
    rig.ask(rig.api, request("POST", REPLAYS, JSON, order.to_string())).await
}

/// Dead-letter ids and event ids in the inbox, in the order of each partition.
async fn inbox(rig: &Rig) -> Vec<(String, String)> {
    let records = rig.records(INBOX).await;
    let id = |record: &Record| String::from_utf8(record.header("evhub-replayed").unwrap().to_vec()).unwrap();
    records
        .iter()
        .map(|(_, stored)| (id(&stored.record), kafka::decode(&stored.record).unwrap().id))
        .collect()
}

#[tokio::test]
async fn without_dead_letters_there_are_none() {
    let rig = Rig::start().await;
    assert_eq!(rig.ask(rig.api, get(DEAD)).await.json(), json!({"items": []}));
    assert_eq!(rig.ask(rig.api, get(&format!("{DEAD}/a:0:1"))).await.problem().1, "UNKNOWN_DEAD_LETTER");
    let answer = replay(&rig, &json!({"from": "Dead"})).await;
    assert_eq!((answer.status, &answer.json()["matched"]), (202, &json!(0)));
    assert_eq!(rig.hub.journal.partitions(INBOX), None, "an inbox is made when first needed");
    let missing = rig.ask(rig.api, get("/namespaces/shop/processors/x/dead")).await;
    assert_eq!(missing.problem().1, "UNKNOWN_PROCESSOR");
}

#[tokio::test]
async fn a_dead_letter_tells_its_whole_story() {
    let rig = Rig::start().await;
    let id = bury(&rig, 17, Some("k")).await;
    assert_eq!(id, "evhub.shop.orders:0:17");
    let summary = json!({
        "id": id, "eventId": "e17", "source": "/till", "type": "shop.paid", "key": "k", "topic": TOPIC, "partition": 0,
        "offset": 17, "attempts": 2, "reason": "MAX_ATTEMPTS", "cause": "answered 503",
        "firstAttempt": "1970-01-01T00:00:00.500Z", "lastAttempt": "1970-01-01T00:00:01.002Z",
    });
    assert_eq!(rig.ask(rig.api, get(DEAD)).await.json(), json!({"items": [summary]}));
    let mut whole = rig.ask(rig.api, get(&format!("{DEAD}/{id}"))).await.json();
    let headers = whole.as_object_mut().unwrap().remove("headers").unwrap();
    assert!(headers.as_array().unwrap().contains(&json!({"name": "ce_id", "value": "e17"})), "{headers}");
    assert!(!headers.to_string().contains("evhub-dead"), "the story is not the event's: {headers}");
    let mut expected = summary;
    expected["dataBase64"] = json!("ZGF0YQ==");
    expected["processorUid"] = json!("uid-billing");
    expected["generation"] = json!(7);
    expected["causes"] = json!([
        {"attempt": 1, "time": "1970-01-01T00:00:01.001Z", "text": "refused"},
        {"attempt": 2, "time": "1970-01-01T00:00:01.002Z", "status": 503, "text": "answered 503"},
    ]);
    assert_eq!(whole, expected);
}

#[tokio::test]
async fn repeats_are_one_and_strangers_none() {
    let rig = Rig::start().await;
    for offset in [1, 2, 1, 3, 2] {
        bury(&rig, offset, None).await;
    }
    let stranger = Record { value: Some(Bytes::from_static(b"x")), ..Record::default() };
    rig.hub.journal.append("evhub.shop.billing.dead", Place::Partition(0), stranger).await.unwrap();
    bury(&rig, 4, None).await;
    let mut offsets = Vec::new();
    let mut after = String::new();
    loop {
        let page = rig.ask(rig.api, get(&format!("{DEAD}?limit=2{after}"))).await.json();
        offsets.extend(page["items"].as_array().unwrap().iter().map(|item| item["offset"].as_u64().unwrap()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(offsets, [1, 2, 3, 4]);
    let status = rig.ask(rig.api, get("/namespaces/shop/processors/billing")).await.json();
    assert_eq!(status["deadLettered"], 4);
}

#[tokio::test]
async fn the_letters_of_a_predecessor_neither_hide_nor_mix_with_ours() {
    let rig = Rig::start().await;
    let record =
        |text: &'static str| Record { value: Some(Bytes::from_static(text.as_bytes())), ..Record::default() };
    bury_for(&rig, "uid-before", 1, record("old")).await;
    let gone = bury_for(&rig, "uid-before", 2, record("old")).await;
    let id = bury_for(&rig, "uid-billing", 1, record("new")).await;
    let page = rig.ask(rig.api, get(DEAD)).await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 1, "{page}");
    let whole = rig.ask(rig.api, get(&format!("{DEAD}/{id}"))).await.json();
    assert_eq!((&whole["processorUid"], &whole["dataBase64"]), (&json!("uid-billing"), &json!("bmV3")));
    assert_eq!(rig.ask(rig.api, get(&format!("{DEAD}/{gone}"))).await.problem().1, "UNKNOWN_DEAD_LETTER");
    assert_eq!(replay(&rig, &json!({"from": "Dead"})).await.json()["matched"], 1);
    let redriven = &rig.records(INBOX).await[0].1.record;
    assert_eq!(redriven.header("evhub-processor-uid").unwrap(), "uid-billing");
    assert_eq!(redriven.value.as_deref(), Some(&b"new"[..]));
    rig.snapshots.send_modify(|snapshot| {
        let mut again = Snapshot::clone(snapshot);
        let processor = again.processors.get_mut(&billing()).unwrap();
        Arc::make_mut(processor).uid = "uid-before".to_owned();
        *snapshot = Arc::new(again);
    });
    let page = rig.ask(rig.api, get(DEAD)).await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 2, "the index is of one uid at a time: {page}");
}

#[tokio::test]
async fn what_is_no_event_is_a_dead_letter_too() {
    let rig = Rig::start().await;
    let header = Header { name: "x".to_owned(), value: Bytes::from_static(&[0xff]) };
    let record = Record { key: None, value: Some(Bytes::from_static(b"?")), headers: vec![header] };
    let id = bury_record(&rig, 9, record).await;
    let whole = rig.ask(rig.api, get(&format!("{DEAD}/{id}"))).await.json();
    assert_eq!((whole.get("eventId"), whole.get("key")), (None, None));
    assert_eq!(whole["headers"], json!([{"name": "x", "valueBase64": "/w=="}]));
}

#[tokio::test]
async fn all_are_redriven_in_order_and_keep_their_ids() {
    let rig = Rig::start().await;
    let made = rig.hub.inboxes.watch(&billing());
    for offset in [3, 1, 2, 1] {
        bury(&rig, offset, Some("same")).await;
    }
    let answer = replay(&rig, &json!({"from": "Dead", "dryRun": true})).await;
    assert_eq!((answer.status, &answer.json()["matched"]), (202, &json!(3)));
    assert!(!*made.borrow() && rig.hub.journal.partitions(INBOX).is_none(), "a dry run does nothing");
    let answer = replay(&rig, &json!({"from": "Dead"})).await;
    assert_eq!((answer.status, &answer.json()["matched"]), (202, &json!(3)));
    assert!(answer.json()["id"].as_str().is_some_and(|id| !id.is_empty()));
    assert!(*made.borrow(), "the worker is told");
    assert_eq!(rig.hub.journal.partitions(INBOX), Some(4));
    let id = |offset: u64| (format!("{TOPIC}:0:{offset}"), format!("e{offset}"));
    assert_eq!(inbox(&rig).await, [id(3), id(1), id(2)]);
    let record = &rig.records(INBOX).await[0].1.record;
    assert!(record.header("evhub-dead-letter").is_none(), "the old story stays behind");
}

/// What waits in the inbox for a target that is away outlives the letters it came from.
#[tokio::test]
async fn what_is_redriven_is_kept_for_longer_than_the_letters() {
    let rig = Rig::start().await;
    rig.snapshots.send_modify(|snapshot| {
        let processor = Arc::make_mut(snapshot).processors.get_mut(&billing()).unwrap();
        Arc::make_mut(processor).policy.dead_letter_retention = Duration::from_millis(1);
    });
    bury(&rig, 1, None).await;
    assert_eq!(replay(&rig, &json!({"from": "Dead"})).await.status, 202);
    // Both topics' records are older than a millisecond by now, and lie in segments of their own.
    for _ in 0..3 {
        rig.hub.journal.clean().await.unwrap();
    }
    assert_eq!(inbox(&rig).await.len(), 1);
}

#[tokio::test]
async fn only_those_named_are_redriven() {
    let rig = Rig::start().await;
    let mut ids = Vec::new();
    for offset in 0..600 {
        ids.push(bury(&rig, offset, Some("same")).await);
    }
    let order = json!({"from": "Dead", "ids": [ids[599], ids[0], ids[300], "nobody:0:0"]});
    assert_eq!(replay(&rig, &order).await.json()["matched"], 3);
    let found: Vec<String> = inbox(&rig).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(found, [ids[0].clone(), ids[300].clone(), ids[599].clone()]);
}

#[tokio::test]
async fn a_replay_keeps_its_pace_is_the_only_one_and_can_be_stopped() {
    let rig = Rig::start().await;
    for offset in 0..600 {
        bury(&rig, offset, Some("same")).await;
    }
    // The first comes at once, the second in a second.
    let order = json!({"from": "Dead", "rate": 1});
    let answer = replay(&rig, &order).await;
    assert_eq!((answer.status, &answer.json()["matched"]), (202, &json!(600)), "they are counted before");
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let path = format!("{REPLAYS}/{id}");
    let running = replay(&rig, &json!({"from": "Dead"})).await;
    assert_eq!(running.problem(), (409, "REPLAY_RUNNING".to_owned(), "rejected".to_owned(), None));
    let told = async || rig.ask(rig.api, get(&path)).await.json();
    let until = async |state: &str| {
        let asked = async {
            loop {
                let told = told().await;
                if told["state"] == state && told["replayed"] != 0 {
                    return told;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(super::wire::PATIENCE, asked).await.unwrap()
    };
    let under_way = until("Running").await;
    assert_eq!(under_way["matched"], 600);
    let stop = || request("DELETE", &path, &[], "");
    assert_eq!(rig.ask(rig.api, stop()).await.status, 204);
    let stopped = until("Stopped").await["replayed"].as_u64().unwrap();
    assert!((1..600).contains(&stopped), "{stopped}");
    assert_eq!(inbox(&rig).await.len() as u64, stopped);
    assert_eq!(rig.ask(rig.api, stop()).await.status, 204, "twice does no harm");
    let other = format!("{REPLAYS}/other");
    assert_eq!(rig.ask(rig.api, get(&other)).await.problem().1, "UNKNOWN_REPLAY");

    // And now another one may.
    let answer = replay(&rig, &json!({"from": "Dead", "ids": [format!("{TOPIC}:0:599")]})).await;
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let told = rig.ask(rig.api, get(&format!("{REPLAYS}/{id}"))).await.json();
    assert_eq!(told, json!({"id": id, "state": "Done", "matched": 1, "replayed": 1}));
    assert_eq!(rig.ask(rig.api, get(&path)).await.problem().1, "UNKNOWN_REPLAY", "only the last is known");
}

#[tokio::test]
async fn a_bad_order_replays_nothing() {
    let rig = Rig::start().await;
    bury(&rig, 1, None).await;
    let cases = [
        (JSON, "{}", 400, "INVALID_JSON"),
        (JSON, "{\"from\":\"Log\"}", 400, "INVALID_JSON"),
        (JSON, "{\"from\":\"Dead\",\"filter\":1}", 400, "INVALID_JSON"),
        (JSON, "[]", 400, "INVALID_JSON"),
        (JSON, "{\"from\":\"Dead\",\"rate\":0}", 400, "INVALID_JSON"),
        (JSON, "{\"from\":\"Dead\",\"rate\":\"fast\"}", 400, "INVALID_JSON"),
        (&[("content-type", "text/plain")], "{\"from\":\"Dead\"}", 415, "UNSUPPORTED_MEDIA_TYPE"),
        (&[], "{\"from\":\"Dead\"}", 415, "UNSUPPORTED_MEDIA_TYPE"),
    ];
    for (headers, body, status, reason) in cases {
        let answer = rig.ask(rig.api, request("POST", REPLAYS, headers, body)).await;
        assert_eq!(answer.problem().0, status, "{body}");
        assert_eq!(answer.problem().1, reason, "{body}");
    }
    let long = request("POST", REPLAYS, JSON, vec![b' '; (1 << 20) + 1]);
    let mut wire = super::wire::Wire::connect(rig.api).await;
    wire.try_send(&long).await;
    assert_eq!(wire.answer().await.unwrap().problem().1, "BODY_TOO_LARGE");
    assert_eq!(rig.hub.journal.partitions(INBOX), None);
}

#[tokio::test]
async fn more_dead_letters_than_one_request_reads_are_told_of_all_the_same() {
    const LETTERS: u64 = 70;
    let rig = Rig::start().await;
    for offset in 0..LETTERS {
        // A little less than what the topic takes.
        let value = Some(Bytes::from(vec![0; (1 << 20) - (4 << 10)]));
        bury_record(&rig, offset, Record { value, ..Record::default() }).await;
    }
    let show = async |offset: u64| rig.ask(rig.api, get(&format!("{DEAD}/{TOPIC}:0:{offset}"))).await;
    let status = async || rig.ask(rig.api, get("/namespaces/shop/processors/billing")).await.json();
    assert_eq!(show(LETTERS - 1).await.problem(), (503, "NOT_READY".to_owned(), "rejected".to_owned(), None));
    assert_eq!(show(0).await.status, 200, "what is known is shown; and by now all is");
    assert_eq!(show(LETTERS - 1).await.status, 200);
    assert_eq!(show(LETTERS).await.problem().1, "UNKNOWN_DEAD_LETTER");
    assert_eq!(status().await["deadLettered"], LETTERS);
    let (mut found, mut after, mut pages) = (0, String::new(), 0);
    loop {
        let page = rig.ask(rig.api, get(&format!("{DEAD}?limit=1000{after}"))).await.json();
        let items = page["items"].as_array().unwrap();
        assert!((1..=9).contains(&items.len()), "a page has so many bytes: {} items", items.len());
        (found, pages) = (found + items.len() as u64, pages + 1);
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(found, LETTERS);
    assert!(pages >= 8, "{pages} pages");
}
