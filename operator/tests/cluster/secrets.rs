//! Headers whose values are in Secrets: waited for, rotated, and kept while the Secret is away.

use evhub_crds::Kind::{Processor, Producer};
use evhub_routing::{Name, Snapshot};
use k8s_openapi::api::core::v1::Secret;
use kube_client::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

use super::{
    plane::Plane,
    site::{Site, condition, processor, producer},
};

async fn write(site: &Site, data: &serde_json::Value) {
    let secret =
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "token" }, "stringData": data });
    let api: Api<Secret> = Api::namespaced(site.client.clone(), &site.namespace);
    api.patch("token", &PatchParams::apply("author").force(), &Patch::Apply(secret)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_missing_is_waited_for_and_one_that_goes_leaves_its_value() {
    let site = Site::new("secrets").await;
    site.service("billing", "http", 80).await;
    let operator = site.operator(&[]);
    let plane = Plane::follow("one", operator.control().await).await;
    site.apply(Producer, "orders", &producer(1)).await;
    let mut spec = processor("orders", "billing");
    spec["target"]["headers"] =
        json!([{ "name": "Authorization", "secret": { "name": "token", "key": "bearer" } }]);
    site.apply(Processor, "billing", &spec).await;
    let object = site.until(&operator, Processor, "billing", "Ready", "False SecretUnavailable").await;
    assert_eq!(condition(&object, "Degraded").as_deref(), Some("True SecretUnavailable"));
    assert_eq!(condition(&object, "Accepted").as_deref(), Some("True Accepted"));
    let name = Name::new(site.namespace.as_str(), "billing");
    let sends = |snapshot: &Snapshot, value: &str| {
        let processor = snapshot.processors.get(&name);
        processor.is_some_and(|one| one.target.secret && one.target.headers[0].1 == value)
    };
    write(&site, &json!({ "bearer": "Bearer hush\n" })).await;
    site.until(&operator, Processor, "billing", "Ready", "True Ready").await;
    assert!(sends(&plane.snapshot(), "Bearer hush"));
    // It goes, and its value stays in use; which is said.
    let secrets: Api<Secret> = Api::namespaced(site.client.clone(), &site.namespace);
    secrets.delete("token", &DeleteParams::default()).await.unwrap();
    let object = site.until(&operator, Processor, "billing", "Degraded", "True SecretUnavailable").await;
    assert_eq!(condition(&object, "Ready").as_deref(), Some("True Ready"));
    assert!(sends(&plane.snapshot(), "Bearer hush"));
    // It comes back with another value.
    write(&site, &json!({ "bearer": "Bearer new" })).await;
    plane.until("the new value is sent", |snapshot| sends(snapshot, "Bearer new")).await;
    site.until(&operator, Processor, "billing", "Ready", "True Ready").await;
    let said = format!("{}{}", operator.log(), site.get(Processor, "billing").await.data);
    assert!(!said.contains("Bearer"), "a value is told:\n{said}");
}
