//! The trace of an event, from every surface into its record; and what is no trace, which refuses nothing.

use bytes::Bytes;
use evhub_event::kafka;
use evhub_proto::{
    cloudevents::cloud_event::{CloudEventAttributeValue, cloud_event_attribute_value::Attr},
    evhub_comm::Event,
    evhub_producer::{ReportReq, evhub_producer_client::EvhubProducerClient},
    ingest::ingest_client::IngestClient,
};
use futures_util::stream;
use tonic::metadata::MetadataValue;

use super::{
    h2::{channel, event, request as message},
    rig::{Rig, SINK, TOPIC},
    wire::{get, request},
};

type Headers<'a> = &'a [(&'a str, &'a str)];

/// Of a request.
const THEIRS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// Of an event.
const OWN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const STATE: &str = "congo=t61rcWkgMzE";
const BINARY: [(&str, &str); 4] =
    [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];

/// The places of all records, in the order in which the events were published (as their data says).
async fn places(rig: &Rig) -> Vec<String> {
    let mut records = rig.records(TOPIC).await;
    records.sort_by_key(|(_, stored)| stored.record.value.clone());
    let one = |stored: &evhub_journal::Stored| {
        let header =
            |name| stored.record.header(name).map(|value| String::from_utf8(value.to_vec()).unwrap());
        ["traceparent", "tracestate"].into_iter().filter_map(header).collect::<Vec<_>>().join(" ")
    };
    records.iter().map(|(_, stored)| one(stored)).collect()
}

/// A place with what its request says besides.
fn stated(place: &str) -> String {
    format!("{place} {STATE}")
}

/// How many were ignored, as the metrics say.
async fn ignored(rig: &Rig) -> u64 {
    let text = String::from_utf8(rig.ask(rig.admin, get("/metrics")).await.body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("evhub_ingest_traces_ignored_total "));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn http_takes_the_request_s_trace_and_sooner_the_event_s_own() {
    let long = "0".repeat(10 << 10);
    let (theirs, own) = (stated(THEIRS), stated(OWN));
    let cases: [(Headers<'_>, &str, u64); 11] = [
        (&[], "", 0),
        (&[("traceparent", THEIRS)], THEIRS, 0),
        (&[("traceparent", THEIRS), ("tracestate", STATE)], &theirs, 0),
        (&[("ce-traceparent", OWN)], OWN, 0),
        (&[("ce-traceparent", OWN), ("ce-tracestate", STATE)], &own, 0),
        (&[("ce-traceparent", OWN), ("traceparent", THEIRS), ("tracestate", STATE)], OWN, 0),
        // What makes no sense counts as absent, and is counted.
        (&[("traceparent", "00-not-a-trace")], "", 1),
        (&[("traceparent", &long)], "", 1),
        (&[("traceparent", THEIRS), ("traceparent", THEIRS)], "", 1),
        (&[("traceparent", THEIRS), ("tracestate", "==")], THEIRS, 1),
        (&[("ce-traceparent", "00-not-a-trace"), ("traceparent", THEIRS)], THEIRS, 1),
    ];
    let rig = Rig::start().await;
    let (mut expected, mut bad) = (Vec::new(), 0);
    for (n, (headers, place, ignored)) in cases.into_iter().enumerate() {
        let headers = [&BINARY[..], headers].concat();
        let answer = rig.ask(rig.http, request("POST", SINK, &headers, format!("{n:02}"))).await;
        assert_eq!(answer.status, 202, "{headers:.100?}");
        expected.push(place);
        bad += ignored;
    }
    assert_eq!(places(&rig).await, expected);
    assert_eq!(ignored(&rig).await, bad);
    // The event is what it was, its own attributes included.
    let malformed = |event: &evhub_event::Event| event.extension("traceparent") == Some("00-not-a-trace");
    assert_eq!(rig.events().await.iter().filter(|event| malformed(event)).count(), 1);
}

#[tokio::test]
async fn each_event_of_a_batch_has_its_own_trace_or_the_request_s() {
    let rig = Rig::start().await;
    let one = |n: u32, more: &str| {
        format!(r#"{{"specversion":"1.0","id":"{n}","source":"/s","type":"t","data":{n}{more}}}"#)
    };
    let body = format!("[{},{}]", one(1, ""), one(2, &format!(r#","traceparent":"{OWN}""#)));
    let headers = [("content-type", "application/cloudevents-batch+json"), ("traceparent", THEIRS)];
    assert_eq!(rig.ask(rig.http, request("POST", SINK, &headers, body)).await.status, 202);
    assert_eq!(places(&rig).await, [THEIRS, OWN]);
}

fn with_metadata<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("traceparent", MetadataValue::from_static(THEIRS));
    request.metadata_mut().insert("tracestate", MetadataValue::from_static(STATE));
    request
}

#[tokio::test]
async fn calls_and_streams_take_metadata_and_sooner_the_event_s_own() {
    let rig = Rig::start().await;
    let mut client = IngestClient::new(channel(rig.grpc).await);
    let own = |id: &str, data: &str| {
        let mut event = event(id, None, data);
        let attr = Some(Attr::CeString(OWN.to_owned()));
        event.attributes.insert("traceparent".to_owned(), CloudEventAttributeValue { attr });
        event
    };
    client.publish(with_metadata(message(vec![event("a", None, "1"), own("b", "2")]))).await.unwrap();
    client.publish(message(vec![own("c", "3")])).await.unwrap();
    client.publish(message(vec![event("d", None, "4")])).await.unwrap();
    let requests = [message(vec![event("e", None, "5")]), message(vec![own("f", "6")])];
    let mut answers =
        client.publish_stream(with_metadata(stream::iter(requests))).await.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
    let expected = [&*stated(THEIRS), OWN, OWN, "", &stated(THEIRS), OWN];
    assert_eq!(places(&rig).await, expected);
}

#[tokio::test]
async fn evhub_s_reports_take_metadata_and_headers() {
    let rig = Rig::start().await;
    let mut client = EvhubProducerClient::new(channel(rig.grpc).await);
    let data = Bytes::from_static(b"1");
    let event = Event { app_id: "shop".to_owned(), topic_id: "orders".to_owned(), event_comm: None, data };
    let report = ReportReq { event: Some(event), trigger: None, option: None };
    assert_eq!(client.report(with_metadata(report)).await.unwrap().into_inner().ret, None);
    let body = r#"{"event":{"app_id":"shop","topic_id":"orders","data":"Mg=="}}"#;
    let headers = [("traceparent", THEIRS)];
    let answer = rig.ask(rig.http, request("POST", "/v1/report", &headers, body)).await;
    assert!(answer.json().get("ret").is_none(), "{}", answer.json());
    assert_eq!(places(&rig).await, [&*stated(THEIRS), THEIRS]);
}

#[tokio::test]
async fn a_trace_is_no_attribute() {
    let rig = Rig::start().await;
    rig.ask(rig.http, request("POST", SINK, &[("traceparent", THEIRS)], "x")).await;
    let [(_, stored)] = &rig.records(TOPIC).await[..] else { panic!("one record") };
    assert_eq!(kafka::decode(&stored.record).unwrap().extension("traceparent"), None);
}
