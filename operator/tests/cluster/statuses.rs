//! From an author's `apply` to a status that tells the truth, and no write more than that takes.

use std::{collections::BTreeSet, time::Duration};

use evhub_crds::Kind::{Processor, Producer};
use evhub_proto::control::{self, Progress};
use evhub_routing::Name;
use k8s_openapi::api::events::v1::Event;
use kube_client::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    plane::Plane,
    site::{Operator, PATIENCE, Site, condition, processor, producer},
};

/// Waits until nothing has been written for a while, and returns how many statuses were.
async fn settled(operator: &Operator) -> u64 {
    let (mut known, mut since) = (operator.figure(WRITES).await, Instant::now());
    while since.elapsed() < Duration::from_secs(3) {
        sleep(Duration::from_millis(100)).await;
        let now = operator.figure(WRITES).await;
        if now != known {
            (known, since) = (now, Instant::now());
        }
    }
    known
}

const WRITES: &str = "evhub_operator_status_writes_total";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_becomes_ready_when_every_dataplane_says_that_it_runs() {
    let site = Site::new("ready").await;
    site.service("billing", "http", 8080).await;
    let operator = site.operator(&["--publish-url", "http://evhub:8080"]);
    site.apply(Producer, "orders", &producer(4)).await;
    site.apply(Processor, "billing", &processor("orders", "billing")).await;
    // Nobody runs it: which is said, and is no failure of its author's.
    let object = site.until(&operator, Processor, "billing", "Ready", "False NoDataplane").await;
    assert_eq!(condition(&object, "Accepted").as_deref(), Some("True Accepted"));
    assert_eq!(condition(&object, "ResolvedRefs").as_deref(), Some("True ResolvedRefs"));
    assert_eq!(condition(&object, "Stalled"), None);

    let control = operator.control().await;
    let one = Plane::follow("one", control).await;
    let object = site.until(&operator, Processor, "billing", "Ready", "True Ready").await;
    let status = &object.data["status"];
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(status["sources"], "orders");
    assert_eq!(status["target"], format!("http://billing.{}.svc:8080/", site.namespace));
    let object = site.until(&operator, Producer, "orders", "Ready", "True Ready").await;
    let topic = json!({ "name": format!("evhub.{}.orders", site.namespace), "partitions": 4 });
    assert_eq!(object.data["status"]["topic"], topic);
    let url = format!("http://evhub:8080/namespaces/{}/producers/orders", site.namespace);
    assert_eq!(object.data["status"]["address"]["url"], url);
    let name = Name::new(site.namespace.as_str(), "billing");
    assert!(one.snapshot().processors.contains_key(&name));

    // One that says that it does not listen is believed, when that lasts.
    one.lacks(Some((&site.namespace, "billing")), "does not listen yet").await;
    site.until(&operator, Processor, "billing", "Ready", "False NotListening").await;
    one.lacks(None, "").await;
    site.until(&operator, Processor, "billing", "Ready", "True Ready").await;

    // A suspension is set up, and so it is ready.
    let spec = json!({ "suspend": true, "producers": [{ "name": "orders" }], "target": { "service": { "name": "billing", "port": "http" } } });
    site.apply(Processor, "billing", &spec).await;
    let object = site.until(&operator, Processor, "billing", "Ready", "True Suspended").await;
    assert_eq!(condition(&object, "Suspended").as_deref(), Some("True Suspended"));

    // What is deleted goes, and its Processor says what it lacks.
    site.delete(Producer, "orders").await;
    site.until(&operator, Processor, "billing", "Ready", "False NotFound").await;
    one.until("nothing is left", |snapshot| snapshot.producers.is_empty() && snapshot.processors.is_empty())
        .await;

    let expected = [
        "Normal Ready",
        "Normal Suspended",
        "Warning NoDataplane",
        "Warning NotFound",
        "Warning NotListening",
    ];
    let expected: BTreeSet<String> = expected.map(str::to_owned).into();
    let since = Instant::now();
    // An Event follows its status.
    while events(&site, "billing").await != expected {
        assert!(since.elapsed() < PATIENCE, "{:?}\n{}", events(&site, "billing").await, operator.log());
        sleep(Duration::from_millis(50)).await;
    }
}

/// Of all Events that regard an object, their types and reasons.
async fn events(site: &Site, name: &str) -> BTreeSet<String> {
    let events: Api<Event> = Api::namespaced(site.client.clone(), &site.namespace);
    let all = events.list(&ListParams::default()).await.unwrap().into_iter();
    let of_it =
        all.filter(|event| event.regarding.as_ref().is_some_and(|of| of.name.as_deref() == Some(name)));
    of_it.map(|event| format!("{} {}", event.type_.unwrap(), event.reason.unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_costs_one_write_and_rest_costs_none() {
    let site = Site::new("writes").await;
    site.service("billing", "http", 80).await;
    let operator = site.operator(&[]);
    let plane = Plane::follow("one", operator.control().await).await;
    for index in 0..10 {
        site.apply(Producer, &format!("p{index}"), &producer(1)).await;
        site.apply(Processor, &format!("r{index}"), &processor(&format!("p{index}"), "billing")).await;
    }
    for index in 0..10 {
        site.until(&operator, Processor, &format!("r{index}"), "Ready", "True Ready").await;
        site.until(&operator, Producer, &format!("p{index}"), "Ready", "True Ready").await;
    }
    let begun = settled(&operator).await;
    // What is accepted, and what is ready: at most two things were true of each, one after the other. On a busy machine the
    // first lasts for long enough to be told.
    assert!((20..=40).contains(&begun), "{begun} writes for 20 resources");
    let version = |name: &'static str| {
        let site = &site;
        async move { site.get(Processor, name).await.metadata.resource_version }
    };
    let before = version("r1").await;
    // A dataplane more, and one that goes: nothing is other than it was.
    let second = Plane::follow("two", operator.control().await).await;
    second.until("it runs all", |snapshot| snapshot.processors.len() == 10).await;
    drop(second);
    // What nobody of us is asked about.
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    site.api(Processor).patch("r1", &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    assert_eq!(settled(&operator).await, begun, "at rest nothing is written");
    assert_ne!(version("r1").await, before);
    // An edit.
    let mut spec = processor("p3", "billing");
    spec["delivery"] = json!({ "maxInFlight": 7 });
    site.apply(Processor, "r3", &spec).await;
    site.until(&operator, Processor, "r3", "Ready", "True Ready").await;
    let after = settled(&operator).await;
    assert!((1..=2).contains(&(after - begun)), "{} writes for one edit", after - begun);
    drop(plane);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_it_does_is_told_when_that_has_lasted_and_a_suspension_of_its_own_at_once() {
    let site = Site::new("observed").await;
    site.service("billing", "http", 80).await;
    let operator = site.operator(&[]);
    let plane = Plane::follow("one", operator.control().await).await;
    site.apply(Producer, "orders", &producer(1)).await;
    site.apply(Processor, "billing", &processor("orders", "billing")).await;
    site.until(&operator, Processor, "billing", "Ready", "True Ready").await;
    site.until(&operator, Producer, "orders", "Ready", "True Ready").await;
    let before = settled(&operator).await;
    let name = || {
        let (namespace, name) = (site.namespace.clone(), "billing".to_owned());
        Some(control::Name { namespace, name })
    };
    let busy = |backlog, exhausted| Progress {
        name: name(),
        backlog,
        oldest: Some(1_700_000_000_000),
        parked: 2,
        exhausted,
        troubles: vec![control::Trouble::TargetFailing.into(), control::Trouble::BacklogGrowing.into()],
        ..Progress::default()
    };
    // Of ever the same order: it is told once, a minute later.
    for backlog in [1_200, 5_000, 9_999] {
        plane.observes(vec![busy(backlog, false)]).await;
    }
    assert_eq!(settled(&operator).await, before, "that has not lasted");
    let began = Instant::now();
    let object = loop {
        let object = site.get(Processor, "billing").await;
        if object.data["status"]["observed"].is_object() {
            break object;
        }
        assert!(began.elapsed() < PATIENCE * 2, "{}", operator.log());
        sleep(Duration::from_millis(100)).await;
    };
    let observed = &object.data["status"]["observed"];
    assert_eq!((&observed["backlog"], &observed["parked"]), (&json!(9_999), &json!(2)));
    assert_eq!(observed["oldestTime"], "2023-11-14T22:13:20Z");
    assert_eq!(condition(&object, "Degraded").as_deref(), Some("True TargetFailing"));
    assert_eq!(condition(&object, "Ready").as_deref(), Some("True Ready"), "what is published is dispatched");
    assert_eq!(operator.figure(WRITES).await, before + 1);
    plane.observes(vec![busy(9_999, true)]).await;
    let object = site.until(&operator, Processor, "billing", "Ready", "False Exhausted").await;
    assert_eq!(condition(&object, "Suspended").as_deref(), Some("True Exhausted"));
    plane.observes(vec![busy(9_999, false)]).await;
    let object = site.until(&operator, Processor, "billing", "Ready", "True Ready").await;
    assert_eq!(condition(&object, "Suspended"), None);
    assert!(events(&site, "billing").await.contains("Warning TargetFailing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_makes_no_sense_is_told_so_and_holds_up_nobody() {
    let site = Site::new("sense").await;
    site.service("billing", "http", 80).await;
    let operator = site.operator(&[]);
    let plane = Plane::follow("one", operator.control().await).await;
    site.apply(Producer, "orders", &producer(1)).await;
    site.apply(Processor, "good", &processor("orders", "billing")).await;
    // The API server cannot tell that it is no expression, nor whether the URL is allowed, the topic, or the name.
    let mut spec = processor("orders", "billing");
    spec["filter"] = json!({ "cel": "data.amount >" });
    site.apply(Processor, "bad", &spec).await;
    let spec = json!({ "producers": [{ "name": "orders" }], "target": { "url": "http://169.254.169.254/" } });
    site.apply(Processor, "away", &spec).await;
    site.apply(Producer, "brought", &json!({ "topic": { "name": "others.topic" } })).await;
    site.apply(Producer, "foreign", &json!({ "evhub": { "appId": "others" } })).await;
    for (kind, name, reason) in [
        (Processor, "bad", "False Invalid"),
        (Processor, "away", "False EgressDenied"),
        (Producer, "brought", "False TopicDenied"),
        (Producer, "foreign", "False EvhubAppDenied"),
    ] {
        let object = site.until(&operator, kind, name, "Ready", reason).await;
        assert_eq!(condition(&object, "Accepted").as_deref(), Some(reason));
        assert_eq!(condition(&object, "Stalled").unwrap().split(' ').next(), Some("True"), "{name}");
    }
    site.until(&operator, Processor, "good", "Ready", "True Ready").await;
    // An edit that is refused leaves what ran, and says so.
    let mut spec = processor("orders", "billing");
    spec["filter"] = json!({ "cel": "(" });
    site.apply(Processor, "good", &spec).await;
    let object = site.until(&operator, Processor, "good", "Ready", "False Invalid").await;
    let message = object.data["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(message.ends_with("it runs on as it was accepted last"), "{message}");
    let name = Name::new(site.namespace.as_str(), "good");
    assert!(plane.snapshot().processors[&name].filter.is_none());
    // A status that somebody else wrote does not stay.
    let lie = json!({ "status": { "conditions": [], "observedGeneration": 99, "sources": "lies" } });
    site.api(Processor).patch_status("bad", &PatchParams::default(), &Patch::Merge(lie)).await.unwrap();
    let object = site.until(&operator, Processor, "bad", "Ready", "False Invalid").await;
    assert_eq!(object.data["status"]["observedGeneration"], 1);
    assert_eq!(object.data["status"]["sources"], json!(null));
}
