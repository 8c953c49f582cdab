//! Clients and targets that somebody else made, in another language: they keep us from understanding only ourselves.

use std::{env, path::PathBuf, process::Stdio, sync::Arc};

use evhub_dataplane::{provision, workers};
use evhub_event::{Controls, kafka};
use evhub_lifecycle::Trigger;
use evhub_routing::{Name, Processor, Protocol, Snapshot};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

use super::{
    rig::{Rig, TOPIC, billing},
    wire::{PATIENCE, request},
};

/// The Python that `cargo xtask test` installs beside its other tools, about to run one of ours.
fn python(script: &str) -> Command {
    let given = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let caches = given.or_else(|| Some(env::home_dir()?.join(".cache"))).expect("there is a home folder");
    let python = caches.join("evhub/tools/python/bin/python");
    assert!(python.exists(), "{} is missing: `cargo xtask tools` installs it", python.display());
    let mut command = Command::new(python);
    command.arg(format!("{}/tests/peers/{script}", env!("CARGO_MANIFEST_DIR")));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

const PROTOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/protos");

/// The first line that a script says: where it listens.
async fn ports(child: &mut Child) -> Vec<u16> {
    let said = child.stdout.as_mut().expect("its output was asked for");
    let mut line = String::new();
    timeout(PATIENCE, BufReader::new(said).read_line(&mut line)).await.expect("a line in time").unwrap();
    line.split_whitespace().map(|port| port.parse().expect("a port")).collect()
}

/// Waits for a script to end well.
#[track_caller]
fn ended(output: &std::process::Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
}

/// Delivers to these ports and paths, each by a Processor of its own, until the trigger.
async fn deliver(rig: &Rig, targets: &[(&str, Protocol, u16)]) -> (Trigger, JoinHandle<()>) {
    rig.snapshots.send_modify(|snapshot| {
        let mut changed = Snapshot::clone(snapshot);
        let pattern = changed.processors.remove(&billing()).expect("the rig has it");
        for (name, protocol, port) in targets {
            let own = |what: &str| format!("evhub.shop.{name}.{what}");
            let mut target = pattern.target.clone();
            // A path would stand before that of the call.
            let path = if *protocol == Protocol::EvHubGrpc { "" } else { name };
            target.url = format!("http://127.0.0.1:{port}/{path}").parse().expect("a URL");
            target.protocol = *protocol;
            let processor = Processor {
                name: Name::new("shop", *name),
                uid: format!("uid-{name}"),
                group: own("12345678"),
                state_topic: own("state"),
                dead_topic: own("dead"),
                inbox_topic: own("inbox"),
                target,
                ..Processor::clone(&pattern)
            };
            changed.processors.insert(processor.name.clone(), Arc::new(processor));
        }
        changed.generation.revision += 1;
        *snapshot = Arc::new(changed);
    });
    let snapshot = rig.snapshots.borrow().clone();
    provision::provision(&rig.hub.journal, &snapshot).await.unwrap();
    let (trigger, drain) = evhub_lifecycle::channel();
    (trigger, tokio::spawn(workers::run(rig.hub.clone(), drain)))
}

#[tokio::test]
async fn the_cloudevents_sdk_publishes_and_receives() {
    let rig = Rig::start().await;
    let mut child = python("events.py").arg(rig.http.to_string()).spawn().unwrap();
    let port = ports(&mut child).await[0];
    let targets =
        [("binary", Protocol::CloudEvents, port), ("structured", Protocol::CloudEventsStructured, port)];
    let (trigger, working) = deliver(&rig, &targets).await;
    ended(&child.wait_with_output().await.unwrap());
    assert_eq!(rig.events().await.len(), 24, "eight events in three modes");
    trigger.begin();
    timeout(PATIENCE, working).await.expect("workers end").unwrap();
}

#[tokio::test]
async fn an_evhub_client_needs_no_change() {
    let rig = Rig::start().await;
    let mut command = python("evhub.py");
    let output =
        command.arg(PROTOS).args([rig.grpc.to_string(), rig.http.to_string()]).output().await.unwrap();
    ended(&output);

    let records = rig.records(TOPIC).await;
    let mut events: Vec<_> = records
        .iter()
        .map(|(_, stored)| (kafka::decode(&stored.record).unwrap(), Controls::of(&stored.record)))
        .collect();
    events.sort_by_key(|(event, controls)| (event.data.clone(), controls.delay_keys.len()));
    let shown: Vec<_> = events.iter().map(|(event, _)| event.data.clone().unwrap_or_default()).collect();
    let [(first, controls), (keyed, later), (bare, _), (json, tagged), (canonical, both)] = &events[..]
    else {
        panic!("only what was accepted is there: {shown:?}")
    };
    assert_eq!((first.source.as_str(), first.kind.as_str()), ("till/3", "evhub.orders"));
    assert_eq!((first.partition_key(), first.extension("evhubqua")), (Some("customer-7"), Some("V1")));
    assert_eq!(first.time.as_deref(), Some("1970-01-01T00:00:01Z"));
    assert_eq!(controls.tags, ["paid", "vip"]);
    assert_eq!((keyed.partition_key(), later.delay_keys.len()), (None, 1));
    assert_eq!((bare.source.as_str(), bare.partition_key()), ("/evhub/shop/orders", None));
    assert!(bare.time.is_some(), "an event without a time gets one");
    assert_eq!((json.partition_key(), &tagged.tags[..]), (Some("customer-7"), &["paid".to_owned()][..]));
    assert_eq!((canonical.time.as_deref(), both.delay_keys.len()), (Some("1970-01-01T00:00:01.5Z"), 2));
}

#[tokio::test]
async fn an_evhub_consumer_needs_no_change() {
    let rig = Rig::start().await;
    let mut child = python("evhub_target.py").args([PROTOS, "3"]).spawn().unwrap();
    let ports = ports(&mut child).await;
    let targets = [("http", Protocol::EvHubHttp, ports[0]), ("grpc", Protocol::EvHubGrpc, ports[1])];
    let (trigger, working) = deliver(&rig, &targets).await;
    let events = [
        ("dGFrZQ==", "a", "till/3"),
        // What MIME writes: its lines end.
        ("bGF0\r\nZXI=", "b", "10.0.0.1:8080"),
        ("Y2FuY2Vs", "c", "100% 收银台"),
    ];
    for (data, key, source) in events {
        let report = json!({
            "event": {
                "app_id": "shop", "topic_id": "orders", "data": data,
                "event_comm": {
                    "event_source": { "source": source, "qua": "V1", "create_time": { "seconds": 1 } },
                    "event_tag": { "tag_list": ["paid", ""] },
                },
            },
            "trigger": { "trigger_type": 1 },
            "option": { "orderingKey": key },
        });
        let answer = rig.ask(rig.http, request("POST", "/v1/report", &[], report.to_string())).await;
        assert!(answer.json()["ret"].is_null(), "{}", answer.json());
    }
    ended(&child.wait_with_output().await.unwrap());
    trigger.begin();
    timeout(PATIENCE, working).await.expect("workers end").unwrap();
}
