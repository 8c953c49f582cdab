//! The hub that bad inputs are sent to: what it acknowledged, what it has, and how much memory it takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
};

use serde_json::Value;

use super::request::Answer;
use crate::{
    process::{eventually, json},
    site::{self, Hub, PRODUCER, Sink, get, processor},
};

/// One that takes little, and one that takes little at a time.
const OTHERS: &str = "\
apiVersion: evhub.dev/v1alpha1
kind: Producer
metadata: { name: tight, namespace: shop }
spec: { topic: { partitions: 1 }, limits: { eventBytes: 1Ki, batchEvents: 3, batchBytes: 16Ki } }
---
apiVersion: evhub.dev/v1alpha1
kind: Producer
metadata: { name: slow, namespace: shop }
spec: { topic: { partitions: 1 }, limits: { eventsPerSecond: 1 } }
";

/// An event that the hub took.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Acked {
    pub(super) id: String,
    pub(super) partition: u32,
    pub(super) offset: u64,
}

/// A hub with a good Processor, and the story so far.
pub(super) struct Site {
    pub(super) http: SocketAddr,
    pub(super) grpc: SocketAddr,
    pub(super) api: SocketAddr,
    pub(super) admin: SocketAddr,
    hub: Hub,
    _folder: site::Site,
    sink: Sink,
    seen: tempfile::NamedTempFile,
    acked: BTreeMap<String, Vec<Acked>>,
    good: u32,
}

impl Site {
    pub(super) fn start() -> Self {
        let seen = tempfile::NamedTempFile::new().unwrap();
        let sink = Sink::start(&["--record", seen.path().to_str().unwrap()]);
        let site = site::Site::new(&format!("{PRODUCER}---\n{OTHERS}---\n{}", processor(&sink.address, "")));
        let hub = site.start();
        let Hub { http, grpc, api, admin, .. } = hub;
        Self { http, grpc, api, admin, hub, _folder: site, sink, seen, acked: BTreeMap::new(), good: 0 }
    }

    /// The id of the next good event.
    pub(super) fn next_id(&mut self) -> String {
        self.good += 1;
        format!("good-{}", self.good)
    }

    /// Notes what the hub acknowledged.
    pub(super) fn heard(&mut self, path: &str, answer: &Answer) {
        if let Some(acked) = answer.receipt() {
            let producer = path.rsplit('/').next().unwrap_or_default();
            self.took(producer, acked);
        }
    }

    /// Notes what the hub acknowledged of a Producer's.
    pub(super) fn took(&mut self, producer: &str, acked: Acked) {
        // However it was written, it is this Producer.
        let producer = if ["tight", "slow"].contains(&producer) { producer } else { "orders" };
        self.acked.entry(producer.to_owned()).or_default().push(acked);
    }

    /// Whether the log lists what it took last with this text.
    pub(super) fn keeps(&self, path: &str, text: &str) -> Result<(), String> {
        let producer = path.rsplit('/').next().unwrap_or_default();
        let Some(last) = self.acked.get(producer).and_then(|all| all.last()) else {
            return Err("no receipt".to_owned());
        };
        let at = format!(
            "/namespaces/shop/producers/{producer}/events?from={}:{}&limit=1",
            last.partition, last.offset
        );
        let (_, body) = get(self.api, &at);
        if body.contains(text) { Ok(()) } else { Err(format!("the log has {body:.300}, not {text}")) }
    }

    /// How many KiB of memory the hub has.
    pub(super) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.hub.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The hub is ready, has all that it acknowledged where it said and nothing else, and has delivered it; then stops.
    pub(super) fn ends_sound(mut self) {
        assert_eq!(get(self.admin, "/readyz").0, 200);
        let (_, metrics) = get(self.admin, "/metrics");
        let panics: Vec<_> =
            metrics.lines().filter(|line| line.starts_with("evhub_http_panics_total")).collect();
        assert!(panics.iter().all(|line| line.ends_with(" 0")) && !panics.is_empty(), "{panics:?}");
        let acked = std::mem::take(&mut self.acked);
        assert!(acked.len() == 3, "each Producer took something: {:?}", acked.keys());
        for (producer, mut acked) in acked {
            acked.sort_by_key(|acked| (acked.partition, acked.offset));
            assert_eq!(self.events(&producer), acked, "{producer}");
            if producer == "orders" {
                self.delivered(&acked.into_iter().map(|acked| acked.id).collect());
            }
        }
        let said = self.hub.stop();
        let bad: Vec<_> =
            said.iter().filter(|line| line.contains("panic") || line.contains("ERROR")).collect();
        assert!(bad.is_empty(), "{bad:?}");
        drop(self.sink);
    }

    /// All events of a Producer, by their places.
    fn events(&self, producer: &str) -> Vec<Acked> {
        let (mut all, mut from) = (Vec::new(), None);
        loop {
            let from_where = from.map(|from| format!("&from={from}")).unwrap_or_default();
            let path = format!("/namespaces/shop/producers/{producer}/events?limit=1000{from_where}");
            let (status, body) = get(self.api, &path);
            assert_eq!(status, 200, "{body}");
            // As text: not every number of an event is one that this library holds.
            let page: Page = serde_json::from_str(&body).unwrap();
            all.extend(page.items.iter().map(|entry| Acked {
                id: entry.event.id.clone(),
                partition: entry.partition,
                offset: entry.offset,
            }));
            match page.next {
                Some(next) => from = Some(next),
                None => return all,
            }
        }
    }

    /// Waits until the sink has seen them all.
    fn delivered(&mut self, ids: &BTreeSet<String>) {
        let ask = || json(&mut self.hub.ask(&["status", "-o", "json"]));
        eventually("all is delivered", || {
            let status = ask();
            let billing = &status["processors"][0];
            (billing["lag"] == 0 && billing["inFlight"] == 0 && billing["parked"] == 0).then_some(())
        });
        let seen = fs::read_to_string(self.seen.path()).unwrap();
        let seen: BTreeSet<String> = seen.lines().map(id).collect();
        assert_eq!(ids.difference(&seen).collect::<Vec<_>>(), Vec::<&String>::new(), "not delivered");
        assert_eq!(
            seen.difference(ids).collect::<Vec<_>>(),
            Vec::<&String>::new(),
            "delivered, and never taken"
        );
    }
}

#[derive(serde::Deserialize)]
struct Page {
    items: Vec<Entry>,
    next: Option<String>,
}

#[derive(serde::Deserialize)]
struct Entry {
    partition: u32,
    offset: u64,
    event: Identified,
}

#[derive(serde::Deserialize)]
struct Identified {
    id: String,
}

/// The event that an attempt was for.
fn id(line: &str) -> String {
    let attempt: Value = serde_json::from_str(line).unwrap();
    attempt["headers"]["ce-id"].as_str().unwrap_or_else(|| panic!("no id: {line}")).to_owned()
}
