//! What becomes of the topic of a Producer that is deleted, and of another one of its name.

use evhub_crds::Kind::Producer;
use evhub_routing::Name;
use serde_json::{Value, json};

use super::{plane::Plane, site::Site};

fn going(policy: &str) -> Value {
    json!({ "topic": { "partitions": 1, "deletionPolicy": policy } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_goes_with_its_producer_and_another_one_of_the_name_waits_for_that() {
    let site = Site::new("removed").await;
    let operator = site.operator(&[]);
    let plane = Plane::follow("one", operator.control().await).await;
    let gone = site.apply(Producer, "orders", &going("Delete")).await.metadata.uid.unwrap();
    site.apply(Producer, "kept", &going("Retain")).await;
    for name in ["orders", "kept"] {
        site.until(&operator, Producer, name, "Ready", "True Ready").await;
    }

    // It says that it cannot, as one does whose brokers do not let it.
    plane.lacks_topic(Some((&site.namespace, "orders")), "grant Delete").await;
    for name in ["orders", "kept"] {
        site.delete(Producer, name).await;
    }
    let told = plane.until("it is told", |snapshot| snapshot.producers.is_empty()).await;
    let names: Vec<&Name> = told.removals.keys().collect();
    assert_eq!(names, [&Name::new(site.namespace.as_str(), "orders")], "what is retained is not touched");
    let removal = &told.removals[names[0]];
    let topic = format!("evhub.{}.orders", site.namespace);
    assert_eq!((&removal.uid, &removal.topic, &removal.due_topic), (&gone, &topic, &format!("{topic}.due")));

    // Another one waits: what is published to it would be deleted as well.
    let another = site.apply(Producer, "orders", &going("Delete")).await.metadata.uid.unwrap();
    site.until(&operator, Producer, "orders", "Accepted", "False TopicTaken").await;
    assert!(plane.snapshot().producers.is_empty());
    plane.lacks_topic(None, "").await;
    let runs = plane.until("it runs", |snapshot| snapshot.producers.len() == 1).await;
    assert!(runs.removals.is_empty(), "it is done");
    assert_eq!(runs.producers.values().next().unwrap().uid, another);
    site.until(&operator, Producer, "orders", "Ready", "True Ready").await;
}
