//! `evhub dev` tells a collector of traces what it did: the real binary, a real OTLP receiver, real sockets.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test is no library, and may fail")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message as _;

/// Far longer than anything takes, on however busy a machine.
const PATIENCE: Duration = Duration::from_mins(1);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";

/// A request, as a server reads it.
struct Heard {
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// A server whose first answers are so many failures.
fn server(failures: usize) -> (u16, Receiver<Heard>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, heard) = mpsc::channel();
    let count = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (sender, count) = (sender.clone(), Arc::clone(&count));
            thread::spawn(move || {
                let (mut reader, mut writer) = (BufReader::new(stream.try_clone().unwrap()), stream);
                while let Some(request) = read(&mut reader) {
                    let status = if count.fetch_add(1, SeqCst) < failures { 503 } else { 200 };
                    // Whoever has what it waits for hears no more.
                    let _ = sender.send(request);
                    if write!(writer, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n").is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, heard)
}

fn read(reader: &mut impl std::io::BufRead) -> Option<Heard> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let headers: BTreeMap<String, String> = lines
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    Some(Heard { path, headers, body })
}

struct Hub {
    child: Child,
    http: String,
    _folder: tempfile::TempDir,
}

impl Hub {
    /// A hub with one Producer and one Processor, in this environment.
    fn start(target: u16, environment: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manifests = format!(
            "apiVersion: evhub.dev/v1alpha1\nkind: Producer\nmetadata: {{ name: orders, namespace: shop }}\n\
             spec: {{ topic: {{ partitions: 1 }} }}\n---\napiVersion: evhub.dev/v1alpha1\nkind: Processor\n\
             metadata: {{ name: billing, namespace: shop }}\nspec: {{ producers: [{{ name: orders }}], target: {{ url: \
             'http://127.0.0.1:{target}/' }}, delivery: {{ retry: {{ backoff: {{ initial: 20ms }} }} }} }}\n"
        );
        fs::create_dir(folder.path().join("hub")).unwrap();
        fs::write(folder.path().join("hub/all.yaml"), manifests).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_evhub"));
        command.arg("dev").arg(folder.path().join("hub")).arg("--data").arg(folder.path().join("data"));
        for flag in ["--http", "--grpc", "--admin", "--api"] {
            command.args([flag, "127.0.0.1:0"]);
        }
        let usual = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("OTEL_"));
        for name in usual {
            command.env_remove(name);
        }
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let http = loop {
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0, "it ended");
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if let Some(http) = line["http"].as_str() {
                break http.to_owned();
            }
        };
        thread::spawn(move || said.lines().for_each(drop));
        Self { child, http, _folder: folder }
    }

    fn publish(&self, id: &str, more: &str) {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        let head = "POST /namespaces/shop/producers/orders HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n";
        let event = "ce-specversion: 1.0\r\nce-source: /s\r\nce-type: t\r\ncontent-length: 2\r\n";
        write!(stream, "{head}{event}ce-id: {id}\r\n{more}\r\nhi").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == name)?.value.clone()?.value?;
    Some(match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Collects spans until there are so many; beside them the name of the service that they come from.
fn spans(collector: &Receiver<Heard>, count: usize) -> (Vec<Span>, String) {
    let (mut spans, mut service) = (Vec::new(), String::new());
    while spans.len() < count {
        let heard = collector.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("only {spans:#?}"));
        assert_eq!(
            (heard.path.as_str(), heard.headers["content-type"].as_str()),
            ("/v1/traces", "application/x-protobuf")
        );
        for of_one in ExportTraceServiceRequest::decode(&heard.body[..]).unwrap().resource_spans {
            service = text(&of_one.resource.unwrap().attributes, "service.name").unwrap();
            spans.extend(of_one.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    (spans, service)
}

fn to(collector: u16, more: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{collector}")),
        ("OTEL_BSP_SCHEDULE_DELAY", "50".to_owned()),
    ];
    all.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    all
}

#[test]
fn publish_append_and_every_attempt_are_one_trace() {
    let ((target, attempts), (collector, told)) = (server(1), server(0));
    let hub = Hub::start(target, &to(collector, &[("OTEL_SERVICE_NAME", "hub-1")]));
    hub.publish("e1", &format!("traceparent: 00-{TRACE}-{CLIENT}-01\r\ntracestate: a=1\r\n"));
    let heard: Vec<Heard> = (0..2).map(|_| attempts.recv_timeout(PATIENCE).unwrap()).collect();
    let (spans, service) = spans(&told, 4);
    assert_eq!(service, "hub-1");
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE && span.trace_state == "a=1"), "{spans:#?}");
    let of = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let (publish, append, attempt) =
        (of("publish shop/orders"), of("append shop/orders"), of("attempt shop/billing"));
    assert_eq!((publish.len(), append.len(), attempt.len()), (1, 1, 2), "{spans:#?}");
    let publish = publish[0];
    assert_eq!((hex(&publish.parent_span_id).as_str(), publish.kind()), (CLIENT, SpanKind::Producer));
    assert_eq!(append[0].parent_span_id, publish.span_id);
    for (name, value) in [
        ("messaging.system", "evhub"),
        ("messaging.operation.type", "send"),
        ("messaging.destination.name", "shop/orders"),
        ("messaging.message.id", "e1"),
        ("messaging.message.body.size", "2"),
        ("messaging.destination.partition.id", "0"),
    ] {
        assert_eq!(text(&publish.attributes, name).as_deref(), Some(value), "{name}");
    }
    for (heard, number) in heard.iter().zip(["1", "2"]) {
        let span =
            attempt.iter().find(|span| text(&span.attributes, "evhub.attempt").unwrap() == number).unwrap();
        assert_eq!((&span.parent_span_id, span.kind()), (&publish.span_id, SpanKind::Consumer));
        // What the service does is a part of the attempt that reached it.
        assert_eq!(heard.headers["evhub-attempt"], number);
        assert_eq!(heard.headers["traceparent"], format!("00-{TRACE}-{}-01", hex(&span.span_id)));
        assert_eq!(heard.headers["tracestate"], "a=1");
        let status = if number == "1" { "503" } else { "200" };
        assert_eq!(text(&span.attributes, "http.response.status_code").as_deref(), Some(status));
        let failed = span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error);
        assert_eq!((failed, text(&span.attributes, "error.type").is_some()), (number == "1", number == "1"));
        assert_eq!(text(&span.attributes, "messaging.consumer.group.name").as_deref(), Some("shop/billing"));
    }
}

#[test]
fn an_event_without_a_trace_begins_one_and_the_sampler_decides() {
    let ((target, attempts), (collector, told)) = (server(0), server(0));
    let hub = Hub::start(target, &to(collector, &[]));
    hub.publish("e1", "");
    let heard = attempts.recv_timeout(PATIENCE).unwrap();
    let (spans, service) = spans(&told, 3);
    assert_eq!(service, "evhub");
    let trace = hex(&spans[0].trace_id);
    assert!(spans.iter().all(|span| hex(&span.trace_id) == trace), "{spans:#?}");
    assert!(heard.headers["traceparent"].starts_with(&format!("00-{trace}-")));

    let ((target, attempts), (collector, told)) = (server(0), server(0));
    let hub = Hub::start(target, &to(collector, &[("OTEL_TRACES_SAMPLER", "parentbased_always_off")]));
    hub.publish("unsampled", "");
    hub.publish("sampled", &format!("traceparent: 00-{TRACE}-{CLIENT}-01\r\n"));
    for _ in 0..2 {
        let heard = attempts.recv_timeout(PATIENCE).unwrap();
        let flag = if heard.headers["ce-id"] == "sampled" { "-01" } else { "-00" };
        assert!(heard.headers["traceparent"].ends_with(flag), "{:?}", heard.headers);
    }
    let told = self::spans(&told, 3).0;
    assert!(told.iter().all(|span| hex(&span.trace_id) == TRACE), "{told:#?}");
}

#[test]
fn without_the_variables_a_trace_only_passes_through() {
    let ((target, attempts), (collector, told)) = (server(0), server(0));
    let hub = Hub::start(target, &to(collector, &[("OTEL_SDK_DISABLED", "true")]));
    let place = format!("00-{TRACE}-{CLIENT}-01");
    hub.publish("with", &format!("traceparent: {place}\r\n"));
    assert_eq!(attempts.recv_timeout(PATIENCE).unwrap().headers["traceparent"], place);
    hub.publish("without", "");
    assert!(!attempts.recv_timeout(PATIENCE).unwrap().headers.contains_key("traceparent"));
    assert!(told.try_recv().is_err(), "nobody is told");
}

#[test]
fn a_collector_that_is_not_there_harms_nobody() {
    let (target, attempts) = server(0);
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut hub = Hub::start(target, &to(nowhere, &[]));
    for n in 0..50 {
        hub.publish(&n.to_string(), "");
    }
    for _ in 0..50 {
        attempts.recv_timeout(PATIENCE).unwrap();
    }
    assert!(Command::new("kill").arg(hub.child.id().to_string()).status().unwrap().success());
    assert_eq!(hub.child.wait().unwrap().code(), Some(0), "and it stops as ever");
}
