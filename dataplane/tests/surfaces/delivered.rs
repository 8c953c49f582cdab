//! The same rules from the other side: what a target gets, byte for byte, of an event that was published.
//!
//! A row is a name, the document and section that it is a rule of, the protocol of the target, an event in the JSON format
//! (without what every event needs), and lines that its request has, or with a `!` before them has not; last the body.

use std::sync::Arc;

use evhub_dataplane::{provision, workers};
use evhub_routing::{Processor, Protocol, Snapshot};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};

use super::{
    rig::{Rig, SINK, billing},
    wire::{PATIENCE, request},
};

const BASE: &str = r#""specversion":"1.0","id":"1","source":"/s","type":"t""#;

/// Publishes an event, and hears the one request that delivers it.
async fn check(rule: &str, protocol: Protocol, more: &str, lines: &[&str], body: &[u8]) {
    let rig = Rig::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap()).parse().unwrap();
    aim(&rig, protocol, url);
    let snapshot: Arc<Snapshot> = rig.snapshots.borrow().clone();
    provision::provision(&rig.hub.journal, &snapshot).await.unwrap();
    let (trigger, drain) = evhub_lifecycle::channel();
    let working = tokio::spawn(workers::run(rig.hub.clone(), drain));
    let event = format!("{{{BASE}{more}}}");
    let published = request("POST", SINK, &[("content-type", "application/cloudevents+json")], event);
    assert_eq!(rig.ask(rig.http, published).await.status, 202, "{rule}");

    let (head, found) = timeout(PATIENCE, heard(&listener)).await.expect("a delivery");
    assert!(head.starts_with("POST /events HTTP/1.1\r\n"), "{rule}: {head}");
    for line in lines {
        let (wanted, line) = line.strip_prefix('!').map_or((true, *line), |line| (false, line));
        let has = head.to_ascii_lowercase().contains(&format!("\r\n{}", line.to_ascii_lowercase()));
        assert_eq!(has, wanted, "{rule}: {line} in {head}");
    }
    assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(body), "{rule}");
    trigger.begin();
    timeout(PATIENCE, working).await.expect("workers end").unwrap();
}

/// Has the Processor deliver there.
pub(super) fn aim(rig: &Rig, protocol: Protocol, url: http::Uri) {
    rig.snapshots.send_modify(|snapshot| {
        let mut changed = Snapshot::clone(snapshot);
        let processor = changed.processors.get_mut(&billing()).expect("the rig has it");
        let mut target = processor.target.clone();
        (target.url, target.protocol) = (url, protocol);
        *processor = Arc::new(Processor { target, ..Processor::clone(processor) });
        changed.generation.revision += 1;
        *snapshot = Arc::new(changed);
    });
}

/// The head and the body of one request, which is answered.
async fn heard(listener: &TcpListener) -> (String, Vec<u8>) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.unwrap();
        assert!(read > 0, "the connection ended early");
        bytes.extend_from_slice(&chunk[..read]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end + 2].to_vec()).unwrap();
        let length = head
            .to_ascii_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if bytes.len() - (end + 4) >= length.unwrap_or(0) {
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            return (head, bytes[end + 4..].to_vec());
        }
    }
}

macro_rules! rules {
    ($($name:ident: $rule:literal, $protocol:ident, $more:expr => $lines:expr, $body:expr;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let rule = concat!(stringify!($name), " (", $rule, ")");
                check(rule, Protocol::$protocol, $more, &$lines, $body.as_ref()).await;
            }
        )*
    };
}

rules! {
    each_attribute_is_a_header: "HTTP 3.1.3.1", CloudEvents,
        r#","subject":"a","time":"2018-04-05T17:31:00Z","dataschema":"https://x/y","ext":5"#
        => ["ce-specversion: 1.0\r\n", "ce-id: 1\r\n", "ce-source: /s\r\n", "ce-type: t\r\n", "ce-subject: a\r\n",
            "ce-time: 2018-04-05T17:31:00Z\r\n", "ce-dataschema: https://x/y\r\n", "ce-ext: 5\r\n"], "";
    the_type_of_the_data_is_the_content_type: "HTTP 3.1.1", CloudEvents, r#","datacontenttype":"text/xml; charset=utf-8","data":"<a/>""#
        => ["content-type: text/xml; charset=utf-8\r\n", "!ce-datacontenttype"], "<a/>";
    data_without_a_type_has_none: "HTTP 3.1.1", CloudEvents, r#","data_base64":"eA==""# => ["!content-type", "!ce-data"], "x";
    what_is_not_ascii_is_encoded: "HTTP 3.1.3.2", CloudEvents, r#","subject":"Euro € 😀""#
        => ["ce-subject: Euro%20%E2%82%AC%20%F0%9F%98%80\r\n"], "";
    space_quote_and_percent_are_encoded: "HTTP 3.1.3.2", CloudEvents, r#","subject":"a \"%""# => ["ce-subject: a%20%22%25\r\n"], "";
    what_need_not_be_encoded_is_not: "HTTP 3.1.3.2", CloudEvents, r#","subject":"~!#$&'()*+,/:;=?@[]\\^`{|}-._""#
        => ["ce-subject: ~!#$&'()*+,/:;=?@[]\\^`{|}-._\r\n"], "";
    the_data_is_the_body: "HTTP 3.1.2", CloudEvents, r#","data":{"a" : 9007199254740993}"#
        => ["content-type: application/json\r\n"], r#"{"a" : 9007199254740993}"#;
    bytes_are_bytes: "HTTP 3.1.2", CloudEvents, r#","datacontenttype":"image/png","data_base64":"/wB7""#
        => ["content-type: image/png\r\n", "content-length: 3\r\n"], [0xff, 0, 0x7b];
    no_data_is_no_body: "HTTP 3.1.2", CloudEvents, "" => ["!content-type"], "";
    no_control_reaches_a_target: "CE extensions", CloudEvents, r#","evhubtags":"a","evhubmaxattempts":3"# => ["!ce-evhub"], "";
    an_empty_extension_is_a_header: "HTTP 3.1.3.2", CloudEvents, r#","ext":"""# => ["ce-ext: \r\n"], "";

    a_whole_event_is_the_body: "HTTP 3.2.2", CloudEventsStructured, r#","subject":"ü","data":{"a" : 1}"#
        => ["content-type: application/cloudevents+json", "!ce-id"],
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"ü","datacontenttype":"application/json","data":{"a" : 1}}"#;
    text_is_a_string_in_it: "JSON 3.1.1", CloudEventsStructured, r#","datacontenttype":"text/plain","data":"a\"b""#
        => ["content-type: application/cloudevents+json"],
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain","data":"a\"b"}"#;
    bytes_are_base64_in_it: "JSON 3.1.1", CloudEventsStructured, r#","datacontenttype":"image/png","data_base64":"/wB7""#
        => ["content-type: application/cloudevents+json"],
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"image/png","data_base64":"/wB7"}"#;

    raw_is_the_data_alone: "evhub", Raw, r#","datacontenttype":"text/plain","data":"x""# => ["content-type: text/plain\r\n", "!ce-"], "x";
}
