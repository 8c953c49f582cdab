//! Clients that somebody else made, in another language: they keep us from understanding only ourselves.

use std::{env, path::PathBuf, process::Stdio};

use evhub_event::{Controls, kafka};

use super::rig::{Rig, TOPIC};

/// The Python that `cargo xtask test` installs beside its other tools.
fn python() -> PathBuf {
    let given = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let caches = given.or_else(|| Some(env::home_dir()?.join(".cache"))).expect("there is a home folder");
    let python = caches.join("evhub/tools/python/bin/python");
    assert!(python.exists(), "{} is missing: `cargo xtask tools` installs it", python.display());
    python
}

#[tokio::test]
async fn an_evhub_client_needs_no_change() {
    let rig = Rig::start().await;
    let crate_folder = env!("CARGO_MANIFEST_DIR");
    let output = tokio::process::Command::new(python())
        .arg(format!("{crate_folder}/tests/peers/evhub.py"))
        .arg(format!("{crate_folder}/../proto/protos"))
        .args([rig.grpc.to_string(), rig.http.to_string()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));

    let records = rig.records(TOPIC).await;
    let mut events: Vec<_> = records
        .iter()
        .map(|(_, stored)| (kafka::decode(&stored.record).unwrap(), Controls::of(&stored.record)))
        .collect();
    assert_eq!(events.len(), 3, "only what was accepted is there");
    events.sort_by_key(|(event, controls)| (event.data.clone(), controls.delay_keys.len()));
    let [(first, controls), (keyed, later), (json, _)] = &events[..] else { panic!("three events") };
    assert_eq!((first.source.as_str(), first.kind.as_str()), ("till/3", "evhub.orders"));
    assert_eq!((first.partition_key(), first.extension("evhubqua")), (Some("customer-7"), Some("V1")));
    assert_eq!(first.time.as_deref(), Some("1970-01-01T00:00:01Z"));
    assert_eq!(controls.tags, ["paid", "vip"]);
    assert_eq!((keyed.partition_key(), later.delay_keys.len()), (None, 1));
    assert_eq!((json.data.as_deref(), json.partition_key()), (Some(&b"from http"[..]), Some("customer-7")));
}
