//! Certificates that the operator makes: they are kept, hold on both sides, and come again when somebody deletes them.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube_client::{Api, api::DeleteParams};
use tokio::time::{Duration, Instant, sleep};

use super::site::{PATIENCE, Site};

const HOST: &str = "evhub-operator.hub.svc";

/// What a Secret has, once it is there.
async fn kept(site: &Site, name: &str) -> BTreeMap<String, ByteString> {
    let api: Api<Secret> = Api::namespaced(site.client.clone(), &site.namespace);
    let since = Instant::now();
    loop {
        if let Some(found) = api.get_opt(name).await.unwrap() {
            assert_eq!(found.type_.as_deref(), Some("kubernetes.io/tls"));
            return found.data.unwrap();
        }
        assert!(since.elapsed() < PATIENCE * 2, "there is no Secret {name}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Whether openssl succeeds, and what it says.
fn openssl(folder: &Path, words: &str) -> (bool, String) {
    let output = Command::new("openssl")
        .args(words.split(' '))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    (output.status.success(), said.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_made_hold_on_both_sides_and_come_again() {
    let site = Site::new("certificates").await;
    let folder = site.folder.path().join("tls");
    let tls = folder.to_str().unwrap();
    let flags = ["--make-certificates", HOST, "--operator-secret", "ours", "--dataplane-secret", "theirs"];
    let flags: Vec<&str> = flags.into_iter().chain(["--tls", tls]).collect();
    let operator = site.operator(&flags);
    let control = operator.control().await;
    let theirs = kept(&site, "theirs").await;
    assert_eq!(theirs.keys().collect::<Vec<_>>(), ["ca.crt", "tls.crt", "tls.key"]);
    let ours = kept(&site, "ours").await;
    assert_eq!(ours["tls.crt"].0, fs::read(folder.join("tls.crt")).unwrap());
    let mounted = site.folder.path().join("mounted");
    fs::create_dir(&mounted).unwrap();
    for (name, ByteString(bytes)) in &theirs {
        fs::write(mounted.join(name), bytes).unwrap();
    }
    let (holds, said) = openssl(&mounted, "verify -CAfile ca.crt -purpose sslclient tls.crt");
    assert!(holds, "{said}");
    let (holds, _) = openssl(&mounted, "verify -CAfile ca.crt -purpose sslserver tls.crt");
    assert!(!holds, "a dataplane's is no server's");
    // As a dataplane connects: by that name, whatever the address.
    let connect = |host: &str| {
        let words = format!(
            "s_client -connect {control} -servername {host} -verify_hostname {host} -verify_return_error -CAfile ca.crt \
             -cert tls.crt -key tls.key -alpn h2"
        );
        openssl(&mounted, &words)
    };
    let (holds, said) = connect(HOST);
    assert!(holds && said.contains("Verify return code: 0"), "{said}");
    assert!(!connect("others.hub.svc").0, "it is for no other name");

    // Another operator takes what there is; and what somebody deleted is made again, by the same authority.
    let second = site.operator(&flags);
    second.says("waits to lead").await;
    assert_eq!(kept(&site, "theirs").await, theirs);
    let api: Api<Secret> = Api::namespaced(site.client.clone(), &site.namespace);
    api.delete("theirs", &DeleteParams::default()).await.unwrap();
    let again = kept(&site, "theirs").await;
    assert_eq!(again["ca.crt"], theirs["ca.crt"]);
    assert_ne!(again["tls.key"], theirs["tls.key"]);
}
