//! What a request costs in memory beside its size: each kind is sent to a hub in a process of its own, after one of the
//! same size that is as cheap as any.

use std::{env, fs, process::Command};

use prost::Message as _;
use tonic::Code;

use super::{
    h2::{PUBLISH, Raw, STREAM, prefixed, request},
    rig::Rig,
    wire::{self, Wire},
};

/// Which request a child is to send.
const CASE: &str = "EVHUB_TEST_COST";

/// How many times its size a request may cost.
const MOST: f64 = 6.0;

struct Case {
    name: &'static str,
    path: &'static str,
    /// The cheap body, and the one that counts; of one size but for a few bytes.
    bodies: fn() -> [Vec<u8>; 2],
}

const CASES: [Case; 8] = [
    Case { name: "members that nobody knows", path: REPORT, bodies: || report("x", r#"{"":0}"#) },
    Case { name: "tags without end", path: REPORT, bodies: || report("event", r#""""#) },
    Case { name: "entries without end", path: REPORT, bodies: || report("trigger", "{}") },
    Case { name: "events without end", path: PUBLISH, bodies: || publish(&[0x1a, 0]) },
    Case { name: "events without end in a stream", path: STREAM, bodies: || publish(&[0x1a, 0]) },
    Case { name: "attributes without end", path: PUBLISH, bodies: crowded },
    Case { name: "tags without end over gRPC", path: CALL, bodies: || called(&[1, 3, 2, 1]) },
    Case { name: "entries without end over gRPC", path: CALL, bodies: || called(&[2, 4]) },
];

const REPORT: &str = "/v1/report";
const CALL: &str = "/evhub_producer.evhubProducer/Report";
const BYTES: usize = 2 << 20;

/// A member of nothing but a string, and one of a long list, which lies where EvHub has one.
fn report(name: &str, entry: &str) -> [Vec<u8>; 2] {
    let list = vec![entry; BYTES / (entry.len() + 1)].join(",");
    let text = "x".repeat(list.len());
    let listed = match name {
        "event" => format!(r#"{{"event":{{"event_comm":{{"event_tag":{{"tag_list":[{list}]}}}}}}}}"#),
        "trigger" => format!(r#"{{"trigger":{{"delay_process_trigger_list":[{list}]}}}}"#),
        _ => format!(r#"{{"{name}":[{list}]}}"#),
    };
    [format!(r#"{{"x":"{text}"}}"#).into_bytes(), listed.into_bytes()]
}

/// A field that nobody knows, and one that comes again and again.
fn publish(field: &[u8]) -> [Vec<u8>; 2] {
    let head = request(Vec::new()).encode_to_vec();
    let fields = field.repeat(BYTES / field.len());
    [unknown(&head, fields.len()), [head, fields].concat()]
}

/// A report in which the field at the end of this path comes again and again, and holds nothing.
fn called(path: &[u8]) -> [Vec<u8>; 2] {
    let (last, around) = path.split_last().unwrap();
    let entries = [last << 3 | 2, 0].repeat(BYTES / 2);
    let report = around.iter().rev().fold(entries, |inner, number| held(&[], *number, &inner));
    [unknown(&[], report.len()), report]
}

fn unknown(head: &[u8], bytes: usize) -> Vec<u8> {
    held(head, 15, &vec![b'x'; bytes])
}

/// A field of this number behind what stands before it.
fn held(before: &[u8], number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut whole = [before, &[number << 3 | 2]].concat();
    prost::encode_length_delimiter(bytes.len(), &mut whole).unwrap();
    whole.extend_from_slice(bytes);
    whole
}

/// One event, with attributes that are no more than their names.
fn crowded() -> [Vec<u8>; 2] {
    let attribute = |n: u32| [&[0x2a, 6, 0x0a, 4], format!("{n:04x}").as_bytes()].concat();
    let event: Vec<u8> = (0..BYTES as u32 / 8).flat_map(|n| attribute(n % 0x10000)).collect();
    let head = request(Vec::new()).encode_to_vec();
    [unknown(&head, event.len()), held(&head, 3, &event)]
}

#[test]
fn no_request_costs_many_times_its_size() {
    if let Ok(name) = env::var(CASE) {
        let case = CASES.into_iter().find(|case| case.name == name).expect("a case");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return println!("\ncost {}", runtime.block_on(cost(&case)));
    }
    for Case { name, .. } in CASES {
        let test = "surfaces::memory::no_request_costs_many_times_its_size";
        let mut child = Command::new(env::current_exe().unwrap());
        let output = child.args(["--exact", test, "--nocapture"]).env(CASE, name).output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        let cost = output.lines().find_map(|line| line.strip_prefix("cost ")).expect(&output);
        let cost: f64 = cost.parse().unwrap();
        assert!(cost <= MOST, "{name}: {cost:.1} times its size");
    }
}

/// By how many times the size of the second body the process grows for it.
async fn cost(case: &Case) -> f64 {
    let rig = Rig::start().await;
    let [cheap, dear] = (case.bodies)();
    let size = dear.len();
    send(&rig, case.path, cheap).await;
    let before = peak();
    send(&rig, case.path, dear).await;
    peak().saturating_sub(before) as f64 / size as f64
}

/// Sends what is refused, or answered as refused.
async fn send(rig: &Rig, path: &str, body: Vec<u8>) {
    if path == REPORT {
        let request = wire::request("POST", path, &[], body);
        let answer = Wire::connect(rig.http).await.exchange(request).await;
        assert_eq!(answer.json()["ret"]["code"], 10000);
    } else {
        let heard = Raw::connect(rig.grpc).await.call(path, &[], prefixed(0, &body)).await;
        let code = heard.status.expect("a status").code();
        assert_eq!(code == Code::Ok, path != PUBLISH, "{code:?}");
    }
}

/// The most bytes that this process ever had in memory.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
