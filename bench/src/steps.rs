//! The steps of an event's way through the hub that happen for each event, one at a time, without any I/O: what
//! `tests/gates.rs` holds against committed numbers.
//!
//! - [`surfaces`]: publishing whole, from a request to its answer, over a log that keeps nothing

mod surfaces;

use std::{hint::black_box, num::NonZeroU64, sync::Arc};

use bytes::Bytes;
use evhub_compile::{
    Apps, Asked, Egress, Kept, Log, Object, Resource, Secrets, Services, Settings, World, compile,
};
use evhub_crds::Kind;
use evhub_cron::{Beat, Dialect};
use evhub_dispatch::{
    protocol::{Behind, Claim, Committed, Loading, Metadata, Partition, Place, Planted, Rules, Verdict},
    wanted,
};
use evhub_event::{
    Event, Record,
    http::{Plain, decode, encode},
    kafka,
};
use evhub_routing::{Name, Processor, Snapshot};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use crate::wire;

/// Every step that can be asked for.
pub const NAMES: [&str; 12] = [
    "publish-http",
    "publish-stream",
    "decode-http",
    "encode-record",
    "decode-record",
    "match-filter",
    "match-expression",
    "protocol",
    "encode-http",
    "claim-metadata",
    "cron-by-wall",
    "cron-by-instant",
];

/// One step, ready to be done again and again.
pub type Step = Box<dyn FnMut()>;

/// The step of this name. `planted-` before it does what a careless change might: it copies the event once more.
pub fn step(name: &str) -> Option<Step> {
    Some(match name {
        "publish-http" => surfaces::http(),
        "publish-stream" => surfaces::stream(),
        "decode-http" => decode_http(false),
        "planted-decode-http" => decode_http(true),
        "encode-record" => encode_record(),
        "decode-record" => decode_record(),
        "match-filter" => {
            matches(&json!({ "tags": ["paid", "late"], "types": ["shop.cart.*", "shop.order.*"] }))
        }
        "match-expression" => {
            matches(&json!({ "cel": "event.type.startsWith('shop.order') && event.subject != ''" }))
        }
        "protocol" => protocol(),
        "cron-by-wall" => next("30 2 * * 1-5"),
        "cron-by-instant" => next("*/5 * * * *"),
        "encode-http" => encode_http(),
        "claim-metadata" => claim_metadata(),
        _ => return None,
    })
}

/// A request's head and body as an event.
fn decode_http(planted: bool) -> Step {
    let (headers, body) = (headers(), Bytes::from(wire::data()));
    let plain = Plain { source: "/bench", kind: None, subject: None, key: None };
    Box::new(move || {
        let decoded = decode(black_box(&headers), body.clone(), &plain);
        if planted {
            black_box(decoded.clone()).ok();
        }
        black_box(decoded).ok();
    })
}

/// An event as the record that is appended.
fn encode_record() -> Step {
    let event = event();
    Box::new(move || drop(black_box(kafka::encode(black_box(&event)))))
}

/// A record as the event that is delivered.
fn decode_record() -> Step {
    let record = record();
    Box::new(move || drop(black_box(kafka::decode(black_box(&record)))))
}

/// Whether a Processor wants a record.
fn matches(filter: &serde_json::Value) -> Step {
    let (processor, record) = (processor(filter), record());
    Box::new(move || {
        black_box(wanted::intake(&processor, black_box(0), black_box(&record)));
    })
}

/// A record received, attempted, delivered, and committed with every hundredth.
fn protocol() -> Step {
    let (mut partition, mut offset) = (partition(), 0u64);
    let mut effects = Vec::new();
    Box::new(move || {
        // Of one of a thousand keys.
        let lane = NonZeroU64::new(1 + offset % 1000);
        partition.received(Place { source: 0, offset }, lane, &mut effects);
        if let Some(start) = partition.start() {
            partition.ended(start.place, Verdict::Delivered, &mut effects);
        }
        offset += 1;
        if offset.is_multiple_of(100) && partition.commit().is_some() {
            partition.committed(&mut effects);
        }
    })
}

/// An event as the headers and body of a delivery.
fn encode_http() -> Step {
    let event = event();
    Box::new(move || drop(black_box(encode(black_box(&event)))))
}

/// What travels with a commit, there and back.
fn claim_metadata() -> Step {
    let dead = (0..20).map(|index| 5_000 + index * 3).collect();
    let claim =
        Claim { epoch: 12, nonce: 0x0123_4567_89ab_cdef, floor: 4_800, low: 4_700, high: 4_900, dead };
    let completed = (0..32).map(|index| (100_010 + index * 8, 100_015 + index * 8)).collect();
    let metadata = Metadata { claim, completed };
    Box::new(move || {
        let text = black_box(&metadata).encode(100_000);
        black_box(Metadata::decode(&text, 100_000)).ok();
    })
}

// === what they work on ===

/// The next firing of a crontab on clocks that change.
fn next(crontab: &str) -> Step {
    let expression = Dialect::Standard.parse(crontab).expect("the crontab is sound");
    let zone = "Europe/Berlin".parse().expect("the zone is known");
    let beat = Beat::new(expression, zone, 0).expect("it is no interval");
    let mut at = 1_767_225_600_000;
    Box::new(move || at = beat.next(black_box(at)).expect("it fires again"))
}

fn headers() -> HeaderMap {
    let pairs = [
        ("host", "127.0.0.1:8080"),
        ("user-agent", "bench/1"),
        ("accept", "*/*"),
        ("content-type", "application/octet-stream"),
        ("content-length", "1024"),
        ("ce-specversion", "1.0"),
        ("ce-id", "0000000000123456"),
        ("ce-source", "/shop/checkout"),
        ("ce-type", "shop.order.paid"),
        ("ce-time", "2026-01-31T08:00:00.123Z"),
        ("ce-subject", "orders/123456"),
        ("ce-partitionkey", "0042"),
        ("ce-evhubtags", "paid,large"),
    ];
    pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

fn event() -> Event {
    let plain = Plain { source: "/bench", kind: None, subject: None, key: None };
    decode(&headers(), Bytes::from(wire::data()), &plain).expect("the headers above are an event's").0
}

fn record() -> Record {
    let plain = Plain { source: "/bench", kind: None, subject: None, key: None };
    let decoded = decode(&headers(), Bytes::from(wire::data()), &plain);
    let (event, controls) = decoded.expect("the headers above are an event's");
    let mut record = kafka::encode(&event);
    record.headers.extend(controls.headers());
    record
}

/// A Processor with this filter, as it is compiled.
fn processor(filter: &serde_json::Value) -> Arc<Processor> {
    let snapshot = snapshot(filter);
    let found = snapshot.processors.get(&Name::new("shop", "billing")).cloned();
    found.unwrap_or_else(|| unreachable!("the resources are accepted"))
}

/// What runs with a Producer and a Processor that has this filter.
fn snapshot(filter: &serde_json::Value) -> Snapshot {
    let producer = json!({});
    let processor = json!({ "producers": [{ "name": "orders" }], "target": { "url": "http://127.0.0.1:1/" }, "filter": filter });
    let settings = Settings {
        prefix: "evhub".into(),
        egress: Egress::Loopback,
        apps: Apps::Any,
        services: Services::Mapped(Vec::new()),
        secrets: Secrets::None,
        log: Log::Embedded,
    };
    let objects =
        vec![resource(Kind::Producer, "orders", producer), resource(Kind::Processor, "billing", processor)];
    compile(&World::new(settings, objects)).snapshot
}

fn resource(kind: Kind, name: &str, spec: serde_json::Value) -> Object {
    Object::Resource(Box::new(Resource {
        kind,
        name: Name::new("shop", name),
        uid: format!("00000000-0000-7000-8000-{:012}", name.len()),
        created: 0,
        generation: 1,
        kept: Kept::default(),
        origin: None,
        asked: Asked::default(),
        unknown: Vec::new(),
        spec: Some(spec),
    }))
}

/// A partition that is ours, with the bounds of a worker's, and lanes that are numbers as a worker's are.
fn partition() -> Partition<NonZeroU64> {
    let rules = Rules {
        max_unresolved: 512,
        max_waiting: 64,
        max_parked_in_lane: 10_000,
        behind: Behind::Park,
        planted: Planted::NONE,
    };
    let mut claiming = Loading::new(rules, 7, &[Committed { offset: 0, metadata: None }], 0)
        .expect("nothing was there before")
        .finish();
    claiming.claim().expect("nothing was parked, so nothing stands before the claim");
    claiming.acknowledged(&mut Vec::new())
}
