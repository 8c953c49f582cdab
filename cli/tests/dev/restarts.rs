//! Who a resource is outlives the process, and what may not change does not.

use serde_json::Value;

use crate::site::{PRODUCER, Site, get, processor};

/// Nobody listens there, and nobody is sent anything.
const NOBODY: &str = "127.0.0.1:9";

fn identity(snapshot: &Value) -> (String, i64, i64) {
    let billing = &snapshot["processors"]["shop/billing"];
    let text = billing["uid"].as_str().unwrap();
    (text.to_owned(), billing["created"].as_i64().unwrap(), billing["generation"].as_i64().unwrap())
}

#[test]
fn an_identity_outlives_the_process() {
    let manifests = |attempts: u32| {
        format!("{PRODUCER}---\n{}", processor(NOBODY, &format!("retry: {{ maxAttempts: {attempts} }}")))
    };
    let site = Site::new(&manifests(3));
    let (first, second, changed) = {
        let lives: Vec<_> = [3, 3, 4]
            .into_iter()
            .map(|attempts| {
                site.write("all.yaml", &manifests(attempts));
                let hub = site.start();
                let snapshot = hub.snapshot();
                hub.stop();
                snapshot
            })
            .collect();
        let [first, second, changed] = lives.try_into().unwrap();
        (first, second, changed)
    };
    let (uid, created, generation) = identity(&first);
    assert!(created > 0);
    assert_eq!(generation, 1);
    assert_eq!(identity(&second), (uid.clone(), created, 1), "nothing has changed");
    assert_eq!(identity(&changed), (uid, created, 2), "its spec has");
    let producer = |snapshot: &Value| snapshot["producers"]["shop/orders"]["uid"].clone();
    assert!(producer(&first).is_string());
    assert_eq!(producer(&first), producer(&changed));
    let epochs =
        [&first, &second, &changed].map(|snapshot| snapshot["generation"]["epoch"].as_u64().unwrap());
    assert_eq!(epochs, [epochs[0], epochs[0] + 1, epochs[0] + 2], "every start is a new speaker");
}

#[test]
fn a_resource_that_goes_and_comes_back_is_another_one() {
    let both = format!("{PRODUCER}---\n{}", processor(NOBODY, ""));
    let site = Site::new(&both);
    let uids: Vec<_> = [both.as_str(), PRODUCER, both.as_str()]
        .into_iter()
        .map(|manifests| {
            site.write("all.yaml", manifests);
            let hub = site.start();
            let uid = hub.snapshot()["processors"]["shop/billing"]["uid"].as_str().map(ToOwned::to_owned);
            hub.stop();
            uid
        })
        .collect();
    assert!(uids[0].is_some() && uids[1].is_none() && uids[2].is_some(), "{uids:?}");
    assert_ne!(uids[0], uids[2]);
}

#[test]
fn an_immutable_field_stays_or_there_is_a_verdict() {
    let manifests = |start: &str| format!("{PRODUCER}---\n{}  startFrom: {start}\n", processor(NOBODY, ""));
    let site = Site::new(&manifests("Latest"));
    site.start().stop();

    site.write("all.yaml", &manifests("Earliest"));
    let hub = site.start();
    assert_eq!(get(hub.admin, "/readyz").0, 200, "what is accepted runs");
    assert_eq!(identity(&hub.snapshot()).2, 1, "as it was accepted last");
    let said = hub.stop();
    let verdict = said.iter().find(|line| line.contains("spec.startFrom")).unwrap();
    let verdict: Value = serde_json::from_str(verdict).unwrap();
    assert_eq!(verdict["level"], "ERROR");
    assert_eq!(verdict["object"], "shop/billing");
    assert_eq!(verdict["reason"], "Accepted/FieldImmutable");
    assert_eq!(verdict["field"], "spec.startFrom");

    site.write("all.yaml", &manifests("Latest"));
    let hub = site.start();
    assert_eq!(identity(&hub.snapshot()).2, 3, "two changes, and it is itself again");
    hub.stop();
}
