//! What cannot be accepted is said and left out; the others run. `evhub check` says the same beforehand.

use std::fs;

use serde_json::{Value, json};

use crate::{
    process::{evhub, exits, json, out},
    site::{PRODUCER, Site, get, processor, quickstart},
};

const UNKNOWN_FIELD: &str = "\
apiVersion: evhub.dev/v1alpha1
kind: Producer
metadata: { name: other, namespace: shop }
spec: { topics: { partitions: 1 } }
";

#[test]
fn a_bad_object_is_a_verdict_and_the_others_run() {
    let site = Site::new(&format!("{PRODUCER}---\n{}---\n{UNKNOWN_FIELD}", processor("127.0.0.1:9", "")));
    site.write("broken.yaml", "a: [");
    site.write("foreign.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: x }\n");
    fs::write(site.dir().join("huge.yaml"), vec![b' '; (8 << 20) + 1]).unwrap();
    fs::write(site.dir().join("binary.yaml"), [0xff, 0xfe]).unwrap();
    let hub = site.start();
    assert_eq!(get(hub.admin, "/readyz").0, 200);
    let snapshot = hub.snapshot();
    let names = |kind: &str| snapshot[kind].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names("producers"), ["shop/orders"]);
    assert_eq!(names("processors"), ["shop/billing"]);
    json(&mut hub.ask(&["publish", "orders", "-o", "json"]));

    let logs: Vec<Value> = hub.stop().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let verdicts: Vec<_> = logs
        .iter()
        .filter(|line| line["level"] == "ERROR")
        .map(|line| {
            let (_, file) = line["file"].as_str().unwrap().rsplit_once('/').unwrap();
            (file.to_owned(), line["reason"].clone(), line["object"].clone())
        })
        .collect();
    for expected in [
        ("all.yaml:14", "Accepted/UnknownField", json!("shop/other")),
        ("binary.yaml:1", "Accepted/Undecodable", Value::Null),
        ("broken.yaml:1", "Accepted/Undecodable", Value::Null),
        ("huge.yaml:1", "Accepted/Undecodable", Value::Null),
    ] {
        let (file, reason, object) = expected;
        assert!(
            verdicts.contains(&(file.to_owned(), json!(reason), object)),
            "{file} {reason}: {verdicts:?}"
        );
    }
    assert_eq!(verdicts.len(), 4, "{verdicts:?}");
    assert!(
        logs.iter()
            .any(|line| line["level"] == "WARN" && line["message"].as_str().unwrap().contains("ConfigMap"))
    );
}

#[test]
fn what_waits_for_a_producer_keeps_the_hub_from_being_ready() {
    let site = Site::new(&processor("127.0.0.1:9", ""));
    let hub = site.start_unready();
    let (status, body) = get(hub.admin, "/readyz");
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &told["waiting"]), (503, &json!(["shop/billing"])));
    let listed = json(&mut hub.ask(&["status", "-o", "json"]));
    let one = &listed["processors"][0];
    assert_eq!((&one["name"], &one["ready"]), (&json!("billing"), &json!(false)));
    assert_eq!(one["conditions"][2]["reason"], "NotFound");
    let said = hub.stop();
    assert!(said.iter().any(|line| line.contains("not ready")), "{said:?}");
}

#[test]
fn a_folder_without_resources_runs_and_says_so() {
    let site = Site::new("# later\n");
    let hub = site.start();
    assert_eq!(get(hub.admin, "/readyz").0, 200);
    let said = hub.stop();
    assert!(said.iter().any(|line| line.contains("no Producer and no Processor there")), "{said:?}");
}

#[test]
fn check_accepts_the_quickstart() {
    let quickstart = quickstart();
    let output = exits(0, evhub().arg("check").arg(&quickstart));
    assert!(
        out(&output).ends_with("\n2 checked, nothing to mend. Next: evhub dev DIR\n"),
        "{}",
        out(&output)
    );
    let verdicts = json(evhub().arg("check").arg(&quickstart).args(["-o", "json"]));
    let sound = |kind, name| json!({ "kind": kind, "namespace": "shop", "name": name, "accepted": true, "findings": [] });
    assert_eq!(verdicts, json!([sound("Producer", "orders"), sound("Processor", "billing")]));
}

#[test]
fn check_exits_1_for_what_is_to_mend_and_78_for_what_it_cannot_read() {
    let site = Site::new(UNKNOWN_FIELD);
    let output = exits(1, evhub().arg("check").arg(site.dir()).args(["-o", "json"]));
    let verdicts: Value = serde_json::from_str(out(&output)).unwrap();
    assert_eq!(verdicts[0]["accepted"], false);
    let finding = verdicts[0]["findings"][0].as_object().unwrap();
    assert_eq!(finding.keys().collect::<Vec<_>>(), ["condition", "field", "message", "reason"]);
    assert_eq!((&finding["condition"], &finding["reason"]), (&json!("Accepted"), &json!("UnknownField")));

    site.write("all.yaml", "a: [");
    let output = exits(1, evhub().arg("check").arg(site.dir()).args(["-o", "json"]));
    let verdicts: Value = serde_json::from_str(out(&output)).unwrap();
    assert_eq!(verdicts[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["accepted", "file", "findings"]);

    site.write("all.yaml", &processor("127.0.0.1:9", ""));
    let output = exits(1, evhub().arg("check").arg(site.dir()));
    assert!(out(&output).contains("ResolvedRefs/NotFound"), "{}", out(&output));

    exits(78, evhub().arg("check").arg(site.dir().join("nowhere.yaml")));
    exits(64, evhub().arg("check"));
}
