//! EvHub v1 in both forms: what is accepted, what is refused in `ret`, and that no transport ever fails.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use evhub_event::Controls;
use evhub_proto::{
    evhub_comm::{Event, EventDelayProcessTrigger, EventDelayTrigger, EventTrigger},
    evhub_producer::{
        CommitReq, PrepareReq, ReportReq, RollbackReq, evhub_producer_client::EvhubProducerClient,
    },
};
use serde_json::{Value, json};
use tonic::Code;

use super::{
    h2::{Raw, channel, frame, prefixed},
    rig::{EVENT_BYTES, Rig, SINK, TOPIC},
    wire::{Wire, request},
};

fn report(topic: &str, data: &'static [u8]) -> ReportReq {
    let (app_id, topic_id) = ("shop".to_owned(), topic.to_owned());
    let event = Event { app_id, topic_id, event_comm: None, data: bytes::Bytes::from_static(data) };
    ReportReq { event: Some(event), trigger: None, option: None }
}

#[tokio::test]
async fn a_report_is_an_event_with_its_id() {
    let rig = Rig::start().await;
    let mut client = EvhubProducerClient::new(channel(rig.grpc).await);
    let answer = client.report(report("orders", b"data")).await.unwrap();
    assert_eq!(answer.metadata().get("status-code").unwrap(), "0");
    let answer = answer.into_inner();
    assert_eq!(answer.ret, None);
    let [event] = &rig.events().await[..] else { panic!("one event") };
    assert_eq!((&event.id, event.data.as_deref()), (&answer.event_id, Some(&b"data"[..])));
    assert_eq!(rig.hub.door.in_flight(), 0);
}

#[tokio::test]
async fn what_is_refused_has_a_code_an_id_and_a_sentence() {
    let rig = Rig::start().await;
    let mut client = EvhubProducerClient::new(channel(rig.grpc).await);
    let delay_time = Some(prost_types::Duration { seconds: 5, nanos: 0 });
    let trigger = |trigger_type| EventTrigger {
        trigger_type,
        delay_trigger: Some(EventDelayTrigger { delay_time }),
        ..EventTrigger::default()
    };
    let with = |kind| ReportReq { trigger: Some(trigger(kind)), ..report("orders", b"x") };
    let cases = [
        (ReportReq::default(), 10000),
        (report("", b"x"), 10000),
        (report("nowhere", b"x"), 10000),
        (report("late", b"x"), 20000),
        (report("orders", &[b'x'; EVENT_BYTES]), 10000),
        (with(3), 10000),
        (with(77), 10000),
    ];
    for (request, code) in cases {
        let shown = format!("{:?} {:.60?}", request.trigger, request.event);
        let answer = client.report(request).await.unwrap().into_inner();
        let ret = answer.ret.expect(&shown);
        assert_eq!(ret.code, code, "{shown}");
        assert!(!ret.msg.is_empty() && !answer.event_id.is_empty(), "{shown}");
        assert_eq!(client.report(report("orders", b"good")).await.unwrap().into_inner().ret, None);
    }
    assert!(rig.events().await.iter().all(|event| event.data.as_deref() == Some(b"good")));
    let event_id = "7".to_owned();
    let prepared = client.prepare(PrepareReq::default()).await.unwrap().into_inner();
    assert_eq!(prepared.ret.unwrap().code, 10000);
    let trigger = Some(trigger(1));
    let committed =
        client.commit(CommitReq { event_id: event_id.clone(), trigger }).await.unwrap().into_inner();
    assert_eq!(committed.ret.unwrap().code, 20005);
    let rolled_back = client.rollback(RollbackReq { event_id }).await.unwrap().into_inner();
    assert_eq!(rolled_back.ret.unwrap().code, 20005);
}

fn body(topic: &str, data: &[u8]) -> Value {
    json!({"event": {"app_id": "shop", "topic_id": topic, "data": STANDARD.encode(data)}})
}

#[tokio::test]
async fn json_is_read_whatever_it_is_called() {
    let rig = Rig::start().await;
    let mut wire = Wire::connect(rig.http).await;
    let mut whole = body("orders", b"\0\xff");
    whole["option"] = json!({"orderingKey": "k"});
    whole["trigger"] = json!({
        "trigger_type": 4,
        "delay_process_trigger_list": [{"key": "reminder", "delay_time": {"seconds": 60}}],
    });
    for content_type in ["application/octet-stream", "application/json", "text/plain"] {
        let answer = wire
            .exchange(request("POST", "/v1/report", &[("content-type", content_type)], whole.to_string()))
            .await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json().as_object().unwrap().keys().collect::<Vec<_>>(), ["event_id"]);
    }
    let records = rig.records(TOPIC).await;
    assert_eq!(records.len(), 3);
    for (_, stored) in records {
        let event = evhub_event::kafka::decode(&stored.record).unwrap();
        assert_eq!((event.data.as_deref(), event.partition_key()), (Some(&b"\0\xff"[..]), Some("k")));
        assert_eq!(Controls::of(&stored.record).delay_keys.len(), 1);
    }
}

fn triggered(trigger: Value) -> String {
    let mut whole = body("orders", b"x");
    whole["trigger"] = trigger;
    whole.to_string()
}

/// Delayed for Processors of one key by so many hours.
fn keyed(hours: &str) -> String {
    let seconds = hours.parse::<u64>().unwrap() * 3600;
    let entry = json!({"key": "reminder", "delay_time": {"seconds": seconds}});
    triggered(json!({"trigger_type": 4, "delay_process_trigger_list": [entry]}))
}

/// The longest delay is the Producer's to say.
#[tokio::test]
async fn a_delay_is_as_long_as_the_producer_allows_in_either_form() {
    let rig = Rig::start().await;
    let publish = |keys: &str| request("POST", SINK, &[("evhub-delay-keys", keys)], "x");
    assert_eq!(rig.ask(rig.http, publish("reminder=3599h")).await.status, 202);
    let refused = rig.ask(rig.http, publish("reminder=3600h1ms")).await.problem();
    let field = Some("evhubdelaykeys".to_owned());
    assert_eq!(refused, (400, "DELAY_TOO_LONG".to_owned(), "rejected".to_owned(), field));
    let batch = r#"[{"specversion":"1.0","id":"1","source":"/s","type":"t","evhubdelaykeys":"a=9601h"}]"#;
    let batch = request("POST", SINK, &[("content-type", "application/cloudevents-batch+json")], batch);
    let refused = rig.ask(rig.http, batch).await.problem();
    assert_eq!((refused.1.as_str(), refused.3.as_deref()), ("DELAY_TOO_LONG", Some("[0].evhubdelaykeys")));
    for (hours, code) in [("3599", Value::Null), ("3601", json!(10000)), ("87601", json!(10000))] {
        let answer = rig.ask(rig.http, request("POST", "/v1/report", &[], keyed(hours))).await.json();
        assert_eq!(answer["ret"]["code"], code, "{answer}");
    }
    let mut client = EvhubProducerClient::new(channel(rig.grpc).await);
    let entry = EventDelayProcessTrigger {
        key: "reminder".to_owned(),
        delay_time: Some(prost_types::Duration { seconds: 3601 * 3600, nanos: 0 }),
    };
    let trigger =
        EventTrigger { trigger_type: 4, delay_process_trigger_list: vec![entry], ..EventTrigger::default() };
    let answer = client.report(ReportReq { trigger: Some(trigger), ..report("orders", b"x") }).await.unwrap();
    let ret = answer.into_inner().ret.unwrap();
    assert_eq!(ret.code, 10000);
    assert!(ret.msg.contains("at most 3600h"), "{}", ret.msg);
    assert_eq!(rig.events().await.len(), 2);
}

/// What is no call is the transport's to refuse, and its code is in the header all the same.
#[tokio::test]
async fn the_code_of_every_call_is_in_a_header() {
    let rig = Rig::start().await;
    let mut client = EvhubProducerClient::new(channel(rig.grpc).await);
    let refused = client.report(ReportReq::default()).await.unwrap();
    assert_eq!(refused.metadata().get("status-code").unwrap(), "0", "a refusal is in ret");
    let mut large = report("orders", b"");
    large.event.as_mut().unwrap().data = vec![b'x'; 5 << 20].into();
    let answer = client.report(large).await.unwrap();
    assert_eq!(answer.metadata().get("status-code").unwrap(), "0");
    let answer = answer.into_inner();
    assert_eq!(answer.ret.unwrap().code, 10000, "over 4 MiB");
    assert!(!answer.event_id.is_empty());
    let mut raw = Raw::connect(rig.grpc).await;
    for (method, message, code) in [
        ("Nobody", frame(&report("orders", b"x")), Code::Unimplemented),
        ("Report", prefixed(0, b"\xff"), Code::InvalidArgument),
    ] {
        let heard = raw.call(&format!("/evhub_producer.evhubProducer/{method}"), &[], message).await;
        let status = heard.status.unwrap();
        assert_eq!(status.code(), code, "{method}");
        assert_eq!(status.metadata().get("status-code").unwrap(), &(code as i32).to_string(), "{method}");
    }
}

#[tokio::test]
async fn what_is_refused_over_http_is_200_all_the_same() {
    let rig = Rig::start().await;
    let large = "x".repeat((6 << 20) + 1);
    let over = body("orders", &[b'x'; EVENT_BYTES]).to_string();
    let gzip = [("content-encoding", "gzip")];
    let none: &[(&str, &str)] = &[];
    let cases = [
        ("/v1/report", none, String::new(), 10000),
        ("/v1/report", none, "{".to_owned(), 10000),
        ("/v1/report", none, "{}".to_owned(), 10000),
        ("/v1/report", none, body("nowhere", b"x").to_string(), 10000),
        ("/v1/report", none, over, 10000),
        ("/v1/report", none, large, 10000),
        ("/v1/report", &gzip[..], body("orders", b"x").to_string(), 10000),
        ("/v1/report", none, body("late", b"x").to_string(), 20000),
        (
            "/v1/report",
            none,
            triggered(json!({"triggerType": "EVENT_TRIGGER_TYPE_REPEAT", "repeat_trigger": {}})),
            10000,
        ),
        ("/v1/report", none, keyed("3601"), 10000),
        ("/v1/prepare", none, "{}".to_owned(), 10000),
        ("/v1/commit", none, r#"{"eventID": "1", "trigger": {}}"#.to_owned(), 20005),
        ("/v1/rollback", none, "{}".to_owned(), 10000),
    ];
    let good = || request("POST", "/v1/report", &[], body("orders", b"good").to_string());
    for (path, headers, body, code) in cases {
        let shown = format!("{path} {body:.60}");
        let mut wire = Wire::connect(rig.http).await;
        let answer = wire.exchange(request("POST", path, headers, &body)).await;
        assert_eq!(answer.status, 200, "{shown}");
        let said = answer.json();
        let ret = &said["ret"];
        assert_eq!(ret["code"], code, "{shown}");
        let has_id = said["event_id"].as_str().is_some_and(|id| !id.is_empty());
        assert_eq!(has_id, path == "/v1/report", "{shown}");
        assert!(ret["msg"].as_str().is_some_and(|text| !text.is_empty()), "{shown}");
        if !answer.closes() {
            assert!(wire.exchange(good()).await.json()["ret"].is_null(), "after {shown}");
        }
        assert!(rig.ask(rig.http, good()).await.json()["ret"].is_null(), "beside {shown}");
    }
    assert!(rig.events().await.iter().all(|event| event.data.as_deref() == Some(b"good")));
}
