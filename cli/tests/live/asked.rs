//! What annotations ask of a hub that runs, and what a grant to another namespace does: real binary, real services.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::hub::{Hub, Service, get, header, processor, producer};

/// As `kubectl annotate` would do it.
fn asked(manifest: &str, annotation: &str, value: &str) -> String {
    let from = ", namespace: shop }";
    assert!(manifest.contains(from), "{manifest}");
    manifest.replace(
        from,
        &format!(", namespace: shop, annotations: {{ evhub.dev/{annotation}: \"{value}\" }} }}"),
    )
}

/// Each instant resumes once, whatever else is edited and however often the hub begins anew.
#[test]
fn an_annotation_resumes_once() {
    let service = Service::that(|asked| match asked {
        0..=2 => Some("400 Bad Request\r\ncontent-length: 0"),
        _ => Some("204 No Content"),
    });
    let suspending = processor("billing", service.port, "delivery: { onExhausted: Suspend }");
    let mut hub =
        Hub::start(&[("orders.yaml", producer("orders", 2)), ("billing.yaml", suspending.clone())], &[]);
    let path = "/namespaces/shop/processors/billing";
    let status = |hub: &Hub| -> Value { serde_json::from_str(&get(hub.api, path).unwrap().1).unwrap() };
    let is_held = |hub: &Hub| {
        let status = status(hub);
        status["suspended"] == true && status["parked"] == 1 && status["lag"] == 0 && status["inFlight"] == 0
    };
    let now = || {
        // After the last attempt, however coarse the clocks are.
        thread::sleep(Duration::from_millis(5));
        jiff::Timestamp::now().to_string()
    };
    assert_eq!(hub.publish("orders", "1"), 202);
    assert_eq!(header(&service.head(), "evhub-attempt"), "1");
    hub.until("it is held", || is_held(&hub));

    let first = asked(&suspending, "resume", &now());
    hub.write("billing.yaml", &first);
    assert_eq!(header(&service.head(), "evhub-attempt"), "2");
    hub.until("it is held again", || is_held(&hub));
    // The same instant again, beside another edit, and after a restart: nothing is resumed by it.
    hub.write("billing.yaml", &first.replace("delivery: {", "delivery: { maxInFlight: 3,"));
    hub.until("the edit runs", || hub.snapshot()["processors"]["shop/billing"]["generation"] == 2);
    hub.restart();
    hub.until("it is held still", || is_held(&hub));

    hub.write("billing.yaml", &asked(&suspending, "resume", &now()));
    assert_eq!(header(&service.head(), "evhub-attempt"), "3", "and no attempt came in between");
    hub.until("it is held once more", || is_held(&hub));
    // Asked for while nobody runs.
    hub.child.kill().unwrap();
    hub.write("billing.yaml", &asked(&suspending, "resume", &now()));
    hub.restart();
    let head = service.head();
    let attempt = header(&head, "evhub-attempt");
    // Killed before it was durable that the third had failed, it is made again.
    assert!(matches!(&*attempt, "3" | "4"), "{attempt}");
    hub.until("it is done", || status(&hub)["suspended"] == false && status(&hub)["parked"] == 0);
}

#[test]
fn what_is_paused_goes_on_as_it_was_and_edits_wait() {
    let service = Service::start();
    let plain = processor("billing", service.port, "");
    let hub = Hub::start(&[("orders.yaml", producer("orders", 2)), ("billing.yaml", plain.clone())], &[]);
    let before = hub.snapshot();
    let edited = processor("billing", service.port, "delivery: { maxInFlight: 3 }");
    hub.write("billing.yaml", &asked(&edited, "pause-reconciliation", "true"));
    hub.until("it is told", || hub.log().contains("Accepted/NotObeyed"));
    assert_eq!(hub.snapshot(), before);
    assert_eq!(hub.publish("orders", "1"), 202);
    assert_eq!(service.next().0, "1", "what runs runs on");
    hub.write("billing.yaml", &edited);
    hub.until("the edit runs", || hub.snapshot()["processors"]["shop/billing"]["policy"]["maxInFlight"] == 3);
}

/// The only grant between namespaces: without it nothing is delivered, and nothing is lost.
#[test]
fn a_grant_that_goes_stops_a_processor_which_keeps_its_place() {
    let service = Service::start();
    let granting = |namespaces: &str| {
        producer("orders", 2).replace(
            "spec: {",
            &format!("spec: {{ access: {{ processors: {{ namespaces: [{namespaces}] }} }},"),
        )
    };
    let audit = processor("audit", service.port, "")
        .replace("namespace: shop }", "namespace: other }")
        .replace("{ name: orders }", "{ name: orders, namespace: shop }");
    let files = [("orders.yaml", granting("other")), ("audit.yaml", audit)];
    let hub = Hub::start(&files, &[]);
    let status = || -> Value {
        serde_json::from_str(&get(hub.api, "/namespaces/other/processors/audit").unwrap().1).unwrap()
    };
    assert_eq!(status()["routes"][0]["producer"], "shop/orders");
    assert_eq!(hub.publish("orders", "1"), 202);
    assert_eq!(service.next().0, "1");

    let since = Instant::now();
    hub.write("orders.yaml", &granting(""));
    let denied = || {
        let conditions = status()["conditions"].clone();
        conditions.as_array().unwrap().iter().any(|one| one["reason"] == "RefNotPermitted")
    };
    hub.until("the condition flips", denied);
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    assert_eq!(hub.publish("orders", "2"), 202);
    // Another one's delivery shows that it had every chance.
    let own = Service::start();
    hub.write("own.yaml", &processor("own", own.port, "startFrom: Earliest"));
    while own.next().0 != "2" {}
    assert!(service.is_idle(), "nothing is delivered to whom nothing is granted");

    hub.write("orders.yaml", &granting("web, other"));
    assert_eq!(service.next().0, "2", "it goes on where it was, and repeats nothing");
    hub.until("it is ready again", || status()["ready"] == true);
}
