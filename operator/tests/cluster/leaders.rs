//! Two operators at once: one leads, and whatever happens to it, what was told stays true.

use std::time::{Duration, Instant};

use evhub_crds::Kind::{Processor, Producer};
use k8s_openapi::api::coordination::v1::Lease;
use kube_client::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::time::sleep;

use super::{
    plane::Plane,
    site::{Operator, PATIENCE, Site, processor, producer},
};

async fn transitions(site: &Site) -> Option<i32> {
    let leases: Api<Lease> = Api::namespaced(site.client.clone(), &site.namespace);
    leases.get_opt("evhub-operator").await.unwrap()?.spec?.lease_transitions
}

/// An operator that leads, and a resource that is ready by it.
async fn led(site: &Site) -> (Operator, Plane) {
    site.service("billing", "http", 80).await;
    let operator = site.operator(&[]);
    let plane = Plane::follow("one", operator.control().await).await;
    site.apply(Producer, "orders", &producer(1)).await;
    site.apply(Processor, "billing", &processor("orders", "billing")).await;
    site.until(&operator, Processor, "billing", "Ready", "True Ready").await;
    site.until(&operator, Producer, "orders", "Ready", "True Ready").await;
    (operator, plane)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stops_hands_over_at_once_and_one_that_is_killed_is_waited_for() {
    let site = Site::new("leaders").await;
    let (mut first, plane) = led(&site).await;
    let mut second = site.operator(&[]);
    second.says("waits to lead").await;
    let before = site.get(Processor, "billing").await;
    let ran = plane.snapshot();
    assert_eq!(ran.generation.epoch, 1);

    let began = Instant::now();
    first.stop().await;
    let control = second.control().await;
    assert!(began.elapsed() < Duration::from_secs(5), "handed over after {:?}", began.elapsed());
    let plane = Plane::begin("one", control, (*ran).clone()).await;
    let runs = plane.until("the next leader speaks", |snapshot| snapshot.generation.epoch == 2).await;
    assert_eq!(runs.processors, ran.processors, "and says the same");

    let third = site.operator(&[]);
    third.says("waits to lead").await;
    let began = Instant::now();
    second.kill();
    let control = third.control().await;
    let took = began.elapsed();
    assert!((Duration::from_secs(7)..Duration::from_secs(20)).contains(&took), "taken over after {took:?}");
    let plane = Plane::begin("one", control, (*runs).clone()).await;
    plane.until("the third leader speaks", |snapshot| snapshot.generation.epoch == 3).await;
    assert_eq!(transitions(&site).await, Some(3));

    // None of this is worth a write.
    let after = site.get(Processor, "billing").await;
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
    assert_eq!(third.figure("evhub_operator_status_writes_total").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_stopped_past_its_lease_overwrites_nothing() {
    let site = Site::new("paused").await;
    let (first, mut plane) = led(&site).await;
    let second = site.operator(&[]);
    second.says("waits to lead").await;
    first.signal("-STOP");
    let control = second.control().await;
    let newer = Plane::begin("two", control, (*plane.snapshot()).clone()).await;
    let spec = json!({ "suspend": true, "producers": [{ "name": "orders" }], "target": { "service": { "name": "billing", "port": "http" } } });
    site.apply(Processor, "billing", &spec).await;
    let object = site.until(&second, Processor, "billing", "Ready", "True Suspended").await;
    first.signal("-CONT");
    first.holds("it leads no more", || first.said("waits to lead").len() == 2).await;
    plane.is_alone().await;
    let now = site.get(Processor, "billing").await;
    assert_eq!(now.data["status"], object.data["status"]);
    assert_eq!(newer.snapshot().generation.epoch, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_deleted_or_forged_costs_no_more_than_two_of_its_lengths() {
    let site = Site::new("lease").await;
    let (operator, plane) = led(&site).await;
    let leases: Api<Lease> = Api::namespaced(site.client.clone(), &site.namespace);
    // Somebody who is not there, who says that he renewed it in 2035.
    let forged = json!({ "spec": { "holderIdentity": "nobody", "renewTime": "2035-01-01T00:00:00.000000Z", "leaseDurationSeconds": 86_400 } });
    leases.patch("evhub-operator", &PatchParams::default(), &Patch::Merge(forged)).await.unwrap();
    let began = Instant::now();
    operator.holds("it leads again", || operator.said("leads").len() == 2).await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    // Gone, and with it the count of who led: whoever leads writes it anew, and others would have waited.
    leases.delete("evhub-operator", &DeleteParams::default()).await.unwrap();
    let mut found = None;
    let began = Instant::now();
    while found != Some(2) {
        assert!(began.elapsed() < PATIENCE, "{found:?}\n{}", operator.log());
        sleep(Duration::from_millis(50)).await;
        found = transitions(&site).await;
    }
    assert_eq!(operator.said("leads").len(), 2, "it has led all the time");
    drop(plane);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_told_of_a_later_leader_speaks_after_him() {
    let site = Site::new("later").await;
    let (operator, plane) = led(&site).await;
    // As after an API server was restored from a copy: dataplanes have heard of leaders that it has not.
    let mut later = (*plane.snapshot()).clone();
    later.generation.epoch = 41;
    let control = operator.control().await;
    let ahead = Plane::begin("ahead", control, later).await;
    ahead.until("it is spoken to", |snapshot| snapshot.generation.epoch > 41).await;
    assert_eq!(transitions(&site).await, Some(42));
    site.until(&operator, Processor, "billing", "Ready", "True Ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_edit_that_was_refused_left_running_runs_on_under_the_next_leader() {
    let site = Site::new("stands").await;
    let (mut first, plane) = led(&site).await;
    let mut spec = processor("orders", "billing");
    spec["filter"] = json!({ "cel": "(" });
    site.apply(Processor, "billing", &spec).await;
    let object = site.until(&first, Processor, "billing", "Ready", "False Invalid").await;
    let ran = plane.snapshot();
    assert_eq!(ran.processors.len(), 1);
    first.kill();
    site.forget_leader().await;
    let second = site.operator(&[]);
    let plane = Plane::begin("one", second.control().await, (*ran).clone()).await;
    let runs = plane.until("the next leader speaks", |snapshot| snapshot.generation.epoch == 2).await;
    assert_eq!(runs.processors, ran.processors, "it runs as it was accepted last");
    // What is written then is what was accepted no more.
    site.apply(Processor, "billing", &processor("orders", "billing")).await;
    let after = site.until(&second, Processor, "billing", "Ready", "True Ready").await;
    assert_eq!(object.data["status"]["stands"]["generation"], 1);
    assert_eq!(after.data["status"]["stands"], json!(null));
}
