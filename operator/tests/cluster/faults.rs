//! What an operator makes of an API server that is seen badly, and of its own end at any moment.

use std::collections::BTreeMap;

use evhub_crds::Kind::{self, Processor, Producer};
use kube_client::api::ListParams;
use serde_json::{Value, json};

use super::{
    plane::Plane,
    proxy::{Fate, Proxy, Side},
    site::{Site, condition, processor, producer},
};

/// What is told of everything, without its times.
async fn told(site: &Site) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for kind in Kind::ALL {
        for object in site.api(kind).list(&ListParams::default()).await.unwrap() {
            let mut status = object.data["status"].clone();
            for one in status["conditions"].as_array_mut().unwrap() {
                one.as_object_mut().unwrap().remove("lastTransitionTime");
            }
            all.insert(format!("{kind} {}", object.metadata.name.unwrap()), status);
        }
    }
    all
}

/// A small world: one that is well, one that lacks something, and one that makes no sense.
async fn world(site: &Site) {
    site.service("billing", "http", 80).await;
    site.apply(Producer, "orders", &producer(1)).await;
    site.apply(Processor, "good", &processor("orders", "billing")).await;
    site.apply(Processor, "lacks", &processor("nothing", "billing")).await;
    let mut spec = processor("orders", "billing");
    spec["filter"] = json!({ "cel": "(" });
    site.apply(Processor, "bad", &spec).await;
}

const END: [(Kind, &str, &str); 4] = [
    (Producer, "orders", "True Ready"),
    (Processor, "good", "True Ready"),
    (Processor, "lacks", "False NotFound"),
    (Processor, "bad", "False Invalid"),
];

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_or_after_any_of_its_writes_the_next_one_ends_where_it_would_have() {
    let reference = Site::new("reference").await;
    world(&reference).await;
    let proxy = Proxy::start(reference.client.clone(), reference.folder.path()).await;
    let operator = reference.operator_with(proxy.kubeconfig(), &[]);
    let _plane = Plane::follow("one", operator.control().await).await;
    for (kind, name, expected) in END {
        reference.until(&operator, kind, name, "Ready", expected).await;
    }
    let expected = told(&reference).await;
    let writes = proxy.writes();
    assert!(writes >= 4, "{writes} writes");
    for side in [Side::Before, Side::After] {
        for write in 1..=4 {
            let site = Site::new("crash").await;
            world(&site).await;
            let proxy = Proxy::start(site.client.clone(), site.folder.path()).await;
            proxy.end_at(write, side);
            let mut first = site.operator_with(proxy.kubeconfig(), &[]);
            let plane = Plane::follow("one", first.control().await).await;
            first.holds("it comes to that write", || proxy.has_ended()).await;
            first.kill();
            drop(plane);
            site.forget_leader().await;
            let second = site.operator(&[]);
            let _plane = Plane::follow("one", second.control().await).await;
            for (kind, name, expected) in END {
                site.until(&second, kind, name, "Ready", expected).await;
            }
            let found = told(&site).await;
            let expected: BTreeMap<String, Value> = expected
                .iter()
                .map(|(name, status)| {
                    let text = status.to_string().replace(&reference.namespace, &site.namespace);
                    (name.clone(), serde_json::from_str(&text).unwrap())
                })
                .collect();
            assert_eq!(found, expected, "killed {side:?} write {write}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_late_or_twice_takes_nothing_back() {
    let site = Site::new("stale").await;
    world(&site).await;
    let proxy = Proxy::start(site.client.clone(), site.folder.path()).await;
    let operator = site.operator_with(proxy.kubeconfig(), &[]);
    let plane = Plane::follow("one", operator.control().await).await;
    for (kind, name, expected) in END {
        site.until(&operator, kind, name, "Ready", expected).await;
    }
    // Nothing is heard, while one is edited, and another one deleted and made anew.
    proxy.fate(Fate::Held);
    let mut spec = processor("orders", "billing");
    spec["suspend"] = json!(true);
    site.apply(Processor, "good", &spec).await;
    site.delete(Processor, "lacks").await;
    let made = site.apply(Processor, "lacks", &processor("orders", "billing")).await;
    proxy.fate(Fate::Repeated);
    site.until(&operator, Processor, "good", "Ready", "True Suspended").await;
    let object = site.until(&operator, Processor, "lacks", "Ready", "True Ready").await;
    assert_eq!(object.metadata.uid, made.metadata.uid);
    for _ in 0..5 {
        spec["suspend"] = json!(!spec["suspend"].as_bool().unwrap());
        site.apply(Processor, "good", &spec).await;
    }
    let object = site.until(&operator, Processor, "good", "Ready", "True Ready").await;
    assert_eq!(object.data["status"]["observedGeneration"].as_i64(), object.metadata.generation);
    proxy.fate(Fate::Told);
    let name = evhub_routing::Name::new(site.namespace.as_str(), "good");
    plane.until("it runs", |snapshot| snapshot.processors.get(&name).is_some_and(|one| !one.suspend)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_is_found_again() {
    let site = Site::new("lost").await;
    world(&site).await;
    let proxy = Proxy::start(site.client.clone(), site.folder.path()).await;
    let operator = site.operator_with(proxy.kubeconfig(), &["--relist", "2s"]);
    let plane = Plane::follow("one", operator.control().await).await;
    for (kind, name, expected) in END {
        site.until(&operator, kind, name, "Ready", expected).await;
    }
    let before = proxy.events();
    // Every second event is lost; then all are.
    for lost in [Fate::Lost(2), Fate::Lost(u32::MAX)] {
        proxy.fate(lost);
        for suspend in [true, false, true] {
            let mut spec = processor("orders", "billing");
            spec["suspend"] = json!(suspend);
            site.apply(Processor, "good", &spec).await;
        }
        site.until(&operator, Processor, "good", "Ready", "True Suspended").await;
        site.delete(Processor, "lacks").await;
        plane.until("it has gone", |snapshot| snapshot.processors.len() == 1).await;
        site.apply(Processor, "lacks", &processor("orders", "billing")).await;
        let object = site.until(&operator, Processor, "lacks", "Ready", "True Ready").await;
        assert_eq!(condition(&object, "Accepted").as_deref(), Some("True Accepted"));
        site.apply(Processor, "good", &processor("orders", "billing")).await;
        site.until(&operator, Processor, "good", "Ready", "True Ready").await;
    }
    assert!(proxy.events() > before, "something was lost");
}
