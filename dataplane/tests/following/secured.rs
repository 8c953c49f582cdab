//! A control stream that only those follow who show a certificate of its own authority.

use std::{fs, path::Path};

use evhub_control::Security;
use evhub_dataplane::{egress::Egress, follow::Settings};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::sites::{Controller, Plane, Site, generation, snapshot};

/// Who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn authority() -> Authority {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = parameters.self_signed(&key).unwrap().pem();
    Authority { issuer: Issuer::new(parameters, key), pem }
}

/// A folder as a Secret is mounted: a certificate of one authority, which trusts another.
fn write(folder: &Path, signed: &Authority, trusts: &Authority) {
    fs::create_dir_all(folder).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &signed.issuer).unwrap();
    fs::write(folder.join("tls.crt"), leaf.pem()).unwrap();
    fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    fs::write(folder.join("ca.crt"), &trusts.pem).unwrap();
}

/// A dataplane with the certificates of this folder, or without any.
fn plane(site: &Site, replica: &str, controller: &Controller, tls: Option<&str>) -> Plane {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let control = Some(format!("{scheme}://{}", controller.address).parse().unwrap());
    let control_tls = tls.map(|folder| site.data(folder));
    site.plane_with(Settings { control, control_tls, ..site.settings(replica) }, Egress::Any)
}

#[tokio::test]
async fn only_those_follow_who_show_a_certificate_of_its_authority() {
    let site = Site::new();
    let (ours, theirs) = (authority(), authority());
    write(&site.data("server"), &ours, &ours);
    write(&site.data("client"), &ours, &ours);
    write(&site.data("stranger"), &theirs, &ours);
    write(&site.data("deceived"), &ours, &theirs);
    let security = Security::Mutual(site.data("server"));
    security.check().unwrap();
    let controller = Controller::secured("127.0.0.1:0".parse().unwrap(), security).await;
    controller.publish(snapshot(1, &["orders"], vec![]));
    let follows = plane(&site, "client-replica", &controller, Some("client"));
    let turned_away = [
        plane(&site, "stranger-replica", &controller, Some("stranger")),
        plane(&site, "deceived-replica", &controller, Some("deceived")),
        plane(&site, "plain-replica", &controller, None),
    ];
    follows.applies(1).await;
    for plane in &turned_away {
        let status = plane.until("it is in trouble", |status| status.trouble.is_some()).await;
        assert!(!status.connected, "{status:?}");
    }
    let rollout = controller.until("one runs it", |rollout| rollout.is_at(generation(1))).await;
    assert_eq!(rollout.replicas().map(|(name, _)| name).collect::<Vec<_>>(), ["client-replica"]);

    // Another authority takes over, while everything runs: who is connected stays, and who comes is held to what is there.
    write(&site.data("server"), &theirs, &theirs);
    write(&site.data("stranger"), &theirs, &theirs);
    controller.publish(snapshot(2, &[], vec![]));
    follows.applies(2).await;
    turned_away[0].applies(2).await;
    // What makes no sense lets nobody in.
    fs::write(site.data("server").join("tls.key"), "nonsense").unwrap();
    assert!(Security::Mutual(site.data("server")).check().is_err());
    for plane in turned_away {
        plane.stop().await;
    }
    follows.stop().await;
}
