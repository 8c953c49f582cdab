//! Services as targets: what is not there, what has no such port, and what leads out of the cluster.

use evhub_crds::Kind::{Processor, Producer};
use k8s_openapi::api::core::v1::Service;
use kube_client::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

use super::{
    plane::Plane,
    site::{Site, condition, processor, producer},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_comes_and_goes_is_followed() {
    let site = Site::new("services").await;
    let operator = site.operator(&[]);
    let plane = Plane::follow("one", operator.control().await).await;
    site.apply(Producer, "orders", &producer(1)).await;
    site.apply(Processor, "billing", &processor("orders", "billing")).await;
    let object = site.until(&operator, Processor, "billing", "Ready", "False NotFound").await;
    assert_eq!(
        condition(&object, "Accepted").as_deref(),
        Some("True Accepted"),
        "the author wrote nothing wrong"
    );
    site.service("billing", "grpc", 9090).await;
    site.until(&operator, Processor, "billing", "Ready", "False PortNotFound").await;
    let services: Api<Service> = Api::namespaced(site.client.clone(), &site.namespace);
    let ports = json!({ "spec": { "ports": [{ "name": "http", "port": 8080 }] } });
    services.patch("billing", &PatchParams::default(), &Patch::Merge(ports)).await.unwrap();
    site.until(&operator, Processor, "billing", "Ready", "True Ready").await;
    // By number, and by the usual one.
    let mut spec = processor("orders", "billing");
    spec["target"]["service"]["port"] = json!(8080);
    site.apply(Processor, "billing", &spec).await;
    site.until(&operator, Processor, "billing", "Ready", "True Ready").await;
    spec["target"]["service"].as_object_mut().unwrap().remove("port");
    site.apply(Processor, "billing", &spec).await;
    site.until(&operator, Processor, "billing", "Ready", "False PortNotFound").await;
    site.apply(Processor, "billing", &processor("orders", "billing")).await;
    site.until(&operator, Processor, "billing", "Ready", "True Ready").await;
    // One without addresses of its own has a name all the same.
    services.delete("billing", &DeleteParams::default()).await.unwrap();
    site.until(&operator, Processor, "billing", "Ready", "False NotFound").await;
    plane.until("nothing delivers", |snapshot| snapshot.processors.is_empty()).await;
    let headless = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "billing" },
        "spec": { "clusterIP": "None", "ports": [{ "name": "http", "port": 8080 }] },
    });
    services.patch("billing", &PatchParams::apply("author"), &Patch::Apply(headless)).await.unwrap();
    site.until(&operator, Processor, "billing", "Ready", "True Ready").await;
    // What leads out of the cluster is not reached by being called a Service.
    services.delete("billing", &DeleteParams::default()).await.unwrap();
    let external = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "billing" },
        "spec": { "type": "ExternalName", "externalName": "example.com", "ports": [{ "name": "http", "port": 8080 }] },
    });
    services.patch("billing", &PatchParams::apply("author"), &Patch::Apply(external)).await.unwrap();
    site.until(&operator, Processor, "billing", "Ready", "False EgressDenied").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_nobody_behind_it_is_told_and_its_processor_goes_on() {
    let site = Site::new("endpoints").await;
    site.service("billing", "http", 80).await;
    site.endpoint("billing", false).await;
    let operator = site.operator(&[]);
    let plane = Plane::follow("one", operator.control().await).await;
    site.apply(Producer, "orders", &producer(1)).await;
    site.apply(Processor, "billing", &processor("orders", "billing")).await;
    let object = site.until(&operator, Processor, "billing", "Ready", "False NoEndpoints").await;
    assert_eq!(condition(&object, "Degraded").as_deref(), Some("True NoEndpoints"));
    assert_eq!(condition(&object, "Programmed").as_deref(), Some("True Programmed"));
    assert_eq!(condition(&object, "Stalled"), None, "it heals by itself");
    let ran = plane.until("it runs all the same", |snapshot| snapshot.processors.len() == 1).await;
    site.endpoint("billing", true).await;
    let object = site.until(&operator, Processor, "billing", "Ready", "True Ready").await;
    assert_eq!(condition(&object, "Degraded"), None);
    // Who has gone for a moment only is no news; whoever stays away is.
    site.endpoint("billing", false).await;
    site.until(&operator, Processor, "billing", "Ready", "False NoEndpoints").await;
    // None of this is anything that dataplanes need to know.
    assert_eq!(plane.snapshot().generation, ran.generation);
    // One that its author suspended delivers to nobody anyway.
    let mut spec = processor("orders", "billing");
    spec["suspend"] = json!(true);
    site.apply(Processor, "billing", &spec).await;
    site.until(&operator, Processor, "billing", "Ready", "True Suspended").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_and_names_beyond_its_own_are_for_the_administrator_to_allow() {
    let site = Site::new("allowed").await;
    let own = |name: &str| format!("{}={name}", site.namespace);
    let (topics, app) = (own("shop.*"), own("store"));
    let operator =
        site.operator(&["--egress-allow", "10.0.0.0/8", "--allow-topics", &topics, "--allow-app-id", &app]);
    let _plane = Plane::follow("one", operator.control().await).await;
    site.apply(
        Producer,
        "orders",
        &json!({ "evhub": { "appId": "store" }, "topic": { "name": "shop.orders" } }),
    )
    .await;
    site.until(&operator, Producer, "orders", "Ready", "True Ready").await;
    for (name, url, expected) in [
        ("inside", "http://10.1.2.3/", "True Ready"),
        ("outside", "http://11.1.2.3/", "False EgressDenied"),
        ("metadata", "http://169.254.169.254/", "False EgressDenied"),
        ("decimal", "http://2130706433/", "False EgressDenied"),
        ("mapped", "http://[::ffff:11.0.0.1]/", "False EgressDenied"),
        ("named", "http://kubernetes.default.svc/", "False EgressDenied"),
    ] {
        let spec = json!({ "producers": [{ "name": "orders" }], "target": { "url": url } });
        site.apply(Processor, name, &spec).await;
        site.until(&operator, Processor, name, "Ready", expected).await;
    }
}
