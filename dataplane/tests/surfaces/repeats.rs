//! EvHub's repeated events from both sides: published once, delivered firing by firing, and cancelled by the target that
//! answers 30000.

use std::{sync::Arc, time::Duration};

use evhub_dataplane::{provision, workers};
use evhub_event::kafka;
use evhub_proto::{
    evhub_comm::{self, CrontabPulser, EventRepeatTrigger, EventTrigger, RegularPulser, RepeatEnd},
    evhub_producer::{ReportReq, evhub_producer_client::EvhubProducerClient},
};
use evhub_routing::{Processor, Protocol, Snapshot};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

use super::{
    h2::channel,
    rig::{Rig, billing},
    wire::{PATIENCE, request},
};

const DUE: &str = "evhub.shop.orders.due";

fn every(millis: i32, times: u32) -> EventRepeatTrigger {
    let interval = Some(prost_types::Duration { seconds: 0, nanos: millis * 1_000_000 });
    EventRepeatTrigger {
        end_type: 2,
        repeat_end: Some(RepeatEnd { repeat_times: times, end_time: None }),
        pulser_type: 1,
        regular_pulser: Some(RegularPulser { interval }),
        ..EventRepeatTrigger::default()
    }
}

async fn report(rig: &Rig, trigger: EventRepeatTrigger) -> String {
    let (app_id, topic_id) = ("shop".to_owned(), "orders".to_owned());
    let data = bytes::Bytes::from_static(b"x");
    let trigger = EventTrigger { trigger_type: 3, repeat_trigger: Some(trigger), ..EventTrigger::default() };
    let request = ReportReq {
        event: Some(evhub_comm::Event { app_id, topic_id, event_comm: None, data }),
        trigger: Some(trigger),
        option: None,
    };
    let mut client = EvhubProducerClient::new(channel(rig.grpc).await);
    let answer = client.report(request).await.unwrap().into_inner();
    assert_eq!(answer.ret, None);
    answer.event_id
}

/// Waits until nothing is to come due any more.
async fn ended(rig: &Rig) {
    let over = async {
        while rig.hub.ledger.board().figures().pending > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, over).await.expect("it ends");
}

#[tokio::test]
async fn it_fires_as_often_as_is_said_at_its_rate_and_under_its_id() {
    let rig = Rig::start().await;
    let id = report(&rig, every(100, 3)).await;
    ended(&rig).await;
    let mut firings = Vec::new();
    for (_, stored) in rig.records(DUE).await {
        let number =
            |name| std::str::from_utf8(stored.record.header(name).unwrap()).unwrap().parse::<i64>().unwrap();
        assert_eq!(kafka::decode(&stored.record).unwrap().id, id);
        assert!(stored.timestamp >= number("evhub-due"), "never early");
        firings.push((number("evhub-occurrence"), number("evhub-due")));
    }
    firings.sort_unstable();
    assert_eq!(firings.iter().map(|(which, _)| *which).collect::<Vec<_>>(), [1, 2, 3]);
    let first = firings[0].1;
    assert!(firings.iter().all(|(_, due)| (due - first) % 100 == 0), "by a fixed rate: {firings:?}");
}

#[tokio::test]
async fn a_crontab_fires_at_once_and_then_by_its_seconds() {
    let rig = Rig::start().await;
    let crontab_pulser = Some(CrontabPulser { crontab: "* * * * * *".to_owned() });
    report(&rig, EventRepeatTrigger { pulser_type: 2, crontab_pulser, ..every(1, 2) }).await;
    ended(&rig).await;
    let due = |stored: &evhub_journal::Stored| {
        std::str::from_utf8(stored.record.header("evhub-due").unwrap()).unwrap().parse::<i64>().unwrap()
    };
    let mut dues: Vec<i64> = rig.records(DUE).await.iter().map(|(_, stored)| due(stored)).collect();
    dues.sort_unstable();
    let [first, second] = dues[..] else { panic!("two firings: {dues:?}") };
    assert!(second % 1000 == 0 && second > first && second - first <= 2000, "{dues:?}");
}

/// A target of EvHub's over HTTP: hands requests on, and answers with the code it is told for a firing.
async fn target(
    answers: impl Fn(u64) -> i64 + Send + Sync + 'static,
) -> (http::Uri, mpsc::UnboundedReceiver<(Value, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/dispatch", listener.local_addr().unwrap()).parse().unwrap();
    let (heard, hears) = mpsc::unbounded_channel();
    let answers = Arc::new(answers);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, heard.clone(), Arc::clone(&answers)));
        }
    });
    (url, hears)
}

async fn serve(
    mut stream: TcpStream,
    heard: mpsc::UnboundedSender<(Value, String)>,
    answers: Arc<impl Fn(u64) -> i64>,
) {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&chunk[..read]),
            _ => return,
        }
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
        let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let length: usize = value("content-length: ").unwrap().parse().unwrap();
        if bytes.len() < end + 4 + length {
            continue;
        }
        let body: Value = serde_json::from_slice(&bytes[end + 4..end + 4 + length]).unwrap();
        bytes.drain(..end + 4 + length);
        let answer =
            json!({"ret": {"code": answers(body["repeat_times"].as_u64().unwrap_or(0))}}).to_string();
        let _ = heard.send((body, value("evhub-delivery: ").unwrap()));
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_processor_that_cancels_gets_no_more_and_the_others_go_on() {
    let rig = Rig::start().await;
    let (one, mut heard) = target(|repeat| if repeat == 1 { 30000 } else { 0 }).await;
    let (other, mut others) = target(|_| 0).await;
    rig.snapshots.send_modify(|snapshot| {
        let mut changed = Snapshot::clone(snapshot);
        let first = changed.processors.remove(&billing()).unwrap();
        for (name, url) in [("billing", one), ("audit", other)] {
            let mut processor = Processor::clone(&first);
            processor.name.name = name.to_owned();
            processor.uid = format!("uid-{name}");
            for topic in [
                &mut processor.state_topic,
                &mut processor.dead_topic,
                &mut processor.inbox_topic,
                &mut processor.group,
            ] {
                *topic = topic.replace("billing", name);
            }
            (processor.target.url, processor.target.protocol) = (url, Protocol::EvHubHttp);
            changed.processors.insert(processor.name.clone(), Arc::new(processor));
        }
        changed.generation.revision += 1;
        *snapshot = Arc::new(changed);
    });
    let snapshot: Arc<Snapshot> = rig.snapshots.borrow().clone();
    provision::provision(&rig.hub.journal, &snapshot).await.unwrap();
    let (trigger, drain) = evhub_lifecycle::channel();
    let working = tokio::spawn(workers::run(rig.hub.clone(), drain));
    let id = report(&rig, every(300, 6)).await;
    ended(&rig).await;
    let all = async {
        let (mut repeats, mut deliveries) = (Vec::new(), Vec::new());
        while repeats.len() < 6 {
            let (request, delivery) = others.recv().await.unwrap();
            assert_eq!(request["event_id"], id.as_str());
            repeats.push(request["repeat_times"].as_u64().unwrap_or(0));
            deliveries.push(delivery);
        }
        repeats.sort_unstable();
        deliveries.sort_unstable();
        deliveries.dedup();
        (repeats, deliveries.len())
    };
    let found = timeout(PATIENCE, all).await.expect("the other one gets all of it");
    assert_eq!(found, ((0..6).collect::<Vec<_>>(), 6), "each firing has a key of its own");
    trigger.begin();
    timeout(PATIENCE, working).await.expect("workers end").unwrap();
    let mut repeats = Vec::new();
    while let Ok((request, _)) = heard.try_recv() {
        repeats.push(request["repeat_times"].as_u64().unwrap_or(0));
    }
    repeats.sort_unstable();
    assert_eq!(repeats, [0, 1], "the one that cancelled gets no more");
    let records = rig.records(DUE).await;
    let muted =
        records.iter().filter(|(_, it)| &it.record.header("evhub-chain").unwrap()[..] == b"uid-billing");
    assert!(muted.count() >= 3, "those that fire later say whom they are not for");
}

#[tokio::test]
async fn when_the_last_processor_cancels_it_has_ended() {
    let rig = Rig::start().await;
    let (url, _heard) = target(|repeat| if repeat == 1 { 30000 } else { 0 }).await;
    super::delivered::aim(&rig, Protocol::EvHubHttp, url);
    let snapshot: Arc<Snapshot> = rig.snapshots.borrow().clone();
    provision::provision(&rig.hub.journal, &snapshot).await.unwrap();
    let (trigger, drain) = evhub_lifecycle::channel();
    let working = tokio::spawn(workers::run(rig.hub.clone(), drain));
    report(&rig, every(100, 0)).await;
    ended(&rig).await;
    assert_eq!(rig.hub.ledger.board().figures().tally.cancelled, 1);
    trigger.begin();
    timeout(PATIENCE, working).await.expect("workers end").unwrap();
}

#[tokio::test]
async fn it_is_read_as_json_and_seen_among_the_timers() {
    let rig = Rig::start().await;
    let body = json!({
        "event": {"app_id": "shop", "topic_id": "orders"},
        "trigger": {"trigger_type": 3, "repeat_trigger": {
            "begin_time": {"seconds": jiff::Timestamp::now().as_second() + 3600},
            "end_type": 1, "pulser_type": 2, "crontab_pulser": {"crontab": "0 0 9 * * *"},
        }},
    });
    let answer = rig.ask(rig.http, request("POST", "/v1/report", &[], body.to_string())).await.json();
    assert!(answer["ret"].is_null(), "{answer}");
    let path = "/namespaces/shop/producers/orders/timers";
    let items = rig.ask(rig.http, request("GET", path, &[], "")).await.json()["items"].clone();
    assert_eq!(items[0]["eventId"], answer["event_id"]);
    let timer = format!("{path}/{}", items[0]["timer"].as_str().unwrap());
    assert_eq!(rig.ask(rig.http, request("DELETE", &timer, &[], "")).await.status, 204);
    assert_eq!(rig.hub.ledger.board().figures().pending, 0);
}
