//! Alive, ready, counting, and what it runs.

use std::sync::{Arc, atomic::Ordering};

use evhub_dataplane::{Unserved, follow::Status, hub::Of};
use evhub_routing::{Name, Snapshot};
use serde_json::json;
use tokio::sync::watch;

use super::{
    rig::{BILLING, GENERATION, Rig, SINK, TOPIC},
    wire::{get, request},
};

#[tokio::test]
async fn it_is_ready_when_every_processor_listens() {
    let rig = Rig::start().await;
    assert_eq!(rig.ask(rig.admin, get("/livez")).await.status, 200);
    let answer = rig.ask(rig.admin, get("/readyz")).await;
    assert_eq!(answer.status, 503);
    let waiting = json!({"ready": false, "draining": false, "configured": true, "waiting": ["shop/billing"]});
    assert_eq!(answer.json(), waiting);
    rig.listen(GENERATION - 1);
    let answer = rig.ask(rig.admin, get("/readyz")).await;
    assert_eq!(answer.json(), waiting, "what was written before still runs");
    rig.listen(GENERATION);
    let answer = rig.ask(rig.admin, get("/readyz")).await;
    assert_eq!((answer.status, &answer.json()["ready"]), (200, &json!(true)));
}

#[tokio::test]
async fn an_accepted_processor_that_cannot_run_is_waited_for_and_a_refused_one_is_told_of() {
    let unserved = |name: &str, accepted, reason: &str| Unserved {
        of: Of::Processor,
        name: Name::new("shop", name),
        accepted,
        reason: reason.to_owned(),
    };
    let rig = Rig::that(|hub| {
        let both = [unserved("audit", true, "NotFound"), unserved("bad", false, "UnknownField")];
        hub.unserved = watch::channel(Arc::from(both)).1;
    })
    .await;
    rig.listen(GENERATION);
    let answer = rig.ask(rig.admin, get("/readyz")).await;
    assert_eq!((answer.status, &answer.json()["waiting"]), (503, &json!(["shop/audit"])));
    let billing = rig.ask(rig.api, get("/namespaces/shop/processors/billing")).await.json();
    assert_eq!(billing["routes"], json!([{"producer": "shop/orders", "topic": TOPIC}]));

    let listed = rig.ask(rig.api, get("/namespaces/shop/processors")).await.json();
    let told: Vec<_> =
        listed["items"].as_array().unwrap().iter().map(|one| (&one["name"], &one["ready"])).collect();
    let (audit, bad, runs) = (json!("audit"), json!("bad"), json!("billing"));
    assert_eq!(told, [(&audit, &json!(false)), (&bad, &json!(false)), (&runs, &json!(true))]);
    let condition = |r#type: &str, status: &str, reason: &str| json!({"type": r#type, "status": status, "reason": reason});
    let one = rig.ask(rig.api, get("/namespaces/shop/processors/audit")).await.json();
    assert_eq!(
        one["conditions"],
        json!([
            condition("Ready", "False", "NotFound"),
            condition("Accepted", "True", "Accepted"),
            condition("ResolvedRefs", "False", "NotFound"),
        ])
    );
    let one = rig.ask(rig.api, get("/namespaces/shop/processors/bad")).await.json();
    let refused =
        [condition("Ready", "False", "UnknownField"), condition("Accepted", "False", "UnknownField")];
    assert_eq!(one["conditions"], json!(refused));
}

#[tokio::test]
async fn a_refused_producer_is_told_of_and_waited_for_by_nobody() {
    let rig = Rig::that(|hub| {
        let name = Name::new("shop", "typo");
        let refused = Unserved { of: Of::Producer, name, accepted: false, reason: "UnknownField".to_owned() };
        hub.unserved = watch::channel(Arc::from([refused])).1;
    })
    .await;
    rig.listen(GENERATION);
    assert_eq!(rig.ask(rig.admin, get("/readyz")).await.status, 200);
    let condition = |r#type: &str, status: &str, reason: &str| json!({"type": r#type, "status": status, "reason": reason});
    let refused = json!({
        "namespace": "shop", "name": "typo", "ready": false,
        "conditions": [condition("Ready", "False", "UnknownField"), condition("Accepted", "False", "UnknownField")],
    });
    let one = rig.ask(rig.api, get("/namespaces/shop/producers/typo")).await.json();
    assert_eq!(one, refused);
    let listed = rig.ask(rig.api, get("/namespaces/shop/producers")).await.json();
    let listed = listed["items"].as_array().unwrap();
    assert_eq!(listed.last(), Some(&refused), "{listed:?}");
    let runs = listed.iter().find(|one| one["name"] == "orders").unwrap();
    assert_eq!((&runs["ready"], &runs["conditions"][0]["reason"]), (&json!(true), &json!("Ready")));
    assert_eq!(
        rig.ask(rig.api, get("/namespaces/shop/processors/typo")).await.problem().1,
        "UNKNOWN_PROCESSOR"
    );
}

#[tokio::test]
async fn told_nothing_is_not_ready_and_told_of_nothing_is() {
    let rig = Rig::start().await;
    rig.snapshots.send_replace(Arc::new(Snapshot::default()));
    let answer = rig.ask(rig.admin, get("/readyz")).await;
    assert_eq!((answer.status, &answer.json()["configured"]), (503, &json!(false)));
    let generation = evhub_routing::Generation { epoch: 1, revision: 2 };
    rig.snapshots.send_replace(Arc::new(Snapshot { generation, ..Snapshot::default() }));
    assert_eq!(rig.ask(rig.admin, get("/readyz")).await.status, 200);
}

#[tokio::test]
async fn a_draining_hub_is_alive_but_not_ready() {
    let rig = Rig::start().await;
    rig.listen(GENERATION);
    let (trigger, drain) = evhub_lifecycle::channel();
    let router = evhub_dataplane::admin::router(rig.hub.clone(), drain);
    // On a listener that outlives the drain, so that the answer can be seen.
    let (_other, open) = evhub_lifecycle::channel();
    let limits = evhub_dataplane::server::Limits::default();
    let (address, _task) = super::rig::serve("watch", router, limits, &rig.hub, &open).await;
    assert_eq!(rig.ask(address, get("/readyz")).await.status, 200);
    trigger.begin();
    let answer = rig.ask(address, get("/readyz")).await;
    assert_eq!((answer.status, &answer.json()["draining"]), (503, &json!(true)));
    assert_eq!(rig.ask(address, get("/livez")).await.status, 200);
}

#[tokio::test]
async fn it_only_lets_itself_be_read() {
    let rig = Rig::start().await;
    for path in ["/livez", "/readyz", "/metrics", "/snapshot"] {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let answer = rig.ask(rig.admin, request(method, path, &[], "")).await;
            assert_eq!(answer.problem().1, "METHOD_NOT_ALLOWED");
            assert_eq!(answer.headers["allow"], "GET,HEAD");
        }
    }
    assert_eq!(rig.ask(rig.admin, get("/")).await.problem().1, "NOT_FOUND");
}

#[tokio::test]
async fn the_snapshot_is_what_runs() {
    let rig = Rig::start().await;
    let answer = rig.ask(rig.admin, get("/snapshot")).await.json();
    assert_eq!(answer["generation"], json!({"epoch": 1, "revision": 1}));
    assert_eq!(answer["producers"]["shop/orders"]["topic"], "evhub.shop.orders");
    assert_eq!(answer["processors"]["shop/billing"]["group"], "evhub.shop.billing.12345678");
}

#[tokio::test]
async fn the_page_of_metrics_and_the_metrics_name_the_same() {
    let rig = Rig::that(|hub| hub.following = Some(watch::channel(Status::default()).1)).await;
    rig.ask(rig.http, request("POST", SINK, &[], "x")).await;
    rig.ask(rig.http, request("POST", SINK, &[("content-encoding", "gzip")], "x")).await;
    let progress = rig.hub.board.of(BILLING);
    progress.last_delivery.store(1, Ordering::Relaxed);
    progress.delivered.store(3, Ordering::Relaxed);
    let answer = rig.ask(rig.admin, get("/metrics")).await;
    assert!(answer.headers["content-type"].starts_with("application/openmetrics-text"));
    let text = String::from_utf8(answer.body).unwrap();
    for line in [
        "evhub_ingest_events_total{namespace=\"shop\",producer=\"orders\",outcome=\"accepted\"} 1",
        "evhub_ingest_events_total{namespace=\"shop\",producer=\"orders\",outcome=\"rejected\"} 1",
        "evhub_http_requests_total{listener=\"http\",status=\"415\"} 1",
        "evhub_processor_delivered_total{namespace=\"shop\",processor=\"billing\"} 3",
        "evhub_ingest_append_seconds_count 1",
        "evhub_snapshot_revision 1",
        "evhub_control_connected 0",
        "evhub_control_source{source=\"nothing\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let page = include_str!("../../../docs/metrics.md");
    let documented: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let described = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|rest| rest.split_once(' ').unwrap());
    let mut found = 0;
    for (name, kind) in described {
        let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        assert!(documented.contains(&name.as_str()), "docs/metrics.md lacks {name}");
        found += 1;
    }
    assert_eq!(found, documented.len(), "docs/metrics.md names what does not exist\n{text}");
}

/// All pairs of labels on the page.
fn labels(text: &str) -> std::collections::BTreeSet<(String, String)> {
    let of_line = |line: &str| {
        let (_, rest) = line.split_once('{')?;
        let (labels, _) = rest.rsplit_once('}')?;
        let pair = |pair: &str| {
            let (name, value) = pair.split_once("=\"").unwrap();
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        };
        Some(labels.split(',').map(pair).collect::<Vec<_>>())
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(of_line).flatten().collect()
}

async fn page(rig: &Rig) -> String {
    String::from_utf8(rig.ask(rig.admin, get("/metrics")).await.body).unwrap()
}

#[tokio::test]
async fn what_clients_send_never_becomes_a_label() {
    let rig = Rig::start().await;
    for n in 0..200 {
        let hostile = [
            request("POST", &format!("/namespaces/n{n}/producers/p{n}"), &[], "x"),
            request("POST", &format!("/hostile/{n}?q={n}"), &[], "x"),
            request(&format!("M{n}"), SINK, &[], "x"),
            request("POST", &format!("{SINK}?type=t{n}&key=k{n}"), &[("user-agent", &format!("u{n}"))], "x"),
            request("POST", SINK, &[("content-encoding", &format!("e{n}"))], "x"),
        ];
        for request in hostile {
            rig.ask(rig.http, request).await;
        }
        let mut raw = super::h2::Raw::connect(rig.grpc).await;
        raw.call(&format!("/no.such.Service{n}/Call"), &[], bytes::Bytes::new()).await;
    }
    let text = page(&rig).await;
    let found = labels(&text);
    let known = |name: &str| -> Vec<&str> {
        match name {
            "namespace" => vec!["shop", "tight"],
            "producer" => vec!["orders", "late"],
            "processor" => vec!["billing"],
            "listener" => vec!["http", "grpc", "api", "admin"],
            "outcome" => vec!["accepted", "rejected", "unknown"],
            "reason" => {
                vec![
                    "tags",
                    "type",
                    "expression",
                    "unclear",
                    "exhausted",
                    "cancelled",
                    "predecessor",
                    "early",
                    "expired",
                ]
            }
            "status" => vec!["200", "202", "404", "405", "415"],
            _ => vec![],
        }
    };
    for (name, value) in found.iter().filter(|(name, _)| name != "le") {
        assert!(known(name).contains(&value.as_str()), "{name}=\"{value}\"");
    }
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 150, "{series} series");
}

#[tokio::test]
async fn what_runs_no_more_is_shown_no_more() {
    let rig = Rig::start().await;
    rig.ask(rig.http, request("POST", SINK, &[], "x")).await;
    let of_shop = |text: &str| labels(text).contains(&("namespace".to_owned(), "shop".to_owned()));
    assert!(of_shop(&page(&rig).await));
    rig.snapshots.send_modify(|snapshot| {
        let mut less = evhub_routing::Snapshot::clone(snapshot);
        less.producers.retain(|name, _| name.namespace != "shop");
        less.processors.clear();
        *snapshot = std::sync::Arc::new(less);
    });
    let text = page(&rig).await;
    assert!(!of_shop(&text) && !text.contains("billing"), "{text}");
}
