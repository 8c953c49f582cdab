//! Makes the certificates of the control stream, and renews them in time, without anybody's help. I/O, but for [`authority`] and
//! [`signed`].
//!
//! Two Secrets beside the operator: its own, which also holds the authority's key, and the dataplanes', which mount it. Every
//! operator looks after both, whether it leads or not; who writes last of two at once is told that he was late, and looks again. A new
//! authority is one that both sides trust beside the one before it, so that what is still shown of that is still taken.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube_client::{Api, Client, Error, api::PostParams};
use kube_core::ObjectMeta;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// What is made, and where it is kept.
#[derive(Clone, Debug)]
pub struct Making {
    /// The host by which dataplanes reach the operator.
    pub host: String,
    /// The Secret of the operator.
    pub ours: String,
    /// The Secret of dataplanes.
    pub theirs: String,
    /// The folder that the operator's own are written to.
    pub folder: PathBuf,
}

/// They cannot be made, or not be kept.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// A certificate cannot be made.
    #[error("a certificate cannot be made")]
    Unmade(#[from] rcgen::Error),
    /// A Secret cannot be read or written.
    #[error("Secret {name} cannot be kept")]
    Unkept {
        /// Which.
        name: String,
        /// Why not.
        source: Box<Error>,
    },
    /// A file cannot be written.
    #[error("{}: cannot be written", path.display())]
    Unwritten {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The API server does not answer.
    #[error("the API server does not answer")]
    Silent,
}

/// How long a certificate is good for, and for how long it is used.
const LEAF: (i64, i64) = (90, 60);
/// The same of an authority.
const AUTHORITY: (i64, i64) = (3_650, 3_285);
/// How often is looked.
const LOOK: Duration = Duration::from_mins(1);
/// How soon again after a failure.
const SOON: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(15);
const RENEW: &str = "evhub.dev/renew-after";
const RENEW_AUTHORITY: &str = "evhub.dev/renew-authority-after";

/// Makes what is missing, and tries until all is there.
pub async fn make(client: &Client, namespace: &str, making: &Making) {
    let mut trouble = None;
    while let Err(error) = once(client, namespace, making).await {
        let why = evhub_lifecycle::exit::line(&error);
        if trouble.as_ref() != Some(&why) {
            warn!(why, "the certificates of the control stream cannot be kept; trying again");
            trouble = Some(why);
        }
        sleep(SOON).await;
    }
}

/// Renews, for good.
pub async fn renew(client: Client, namespace: String, making: Making) {
    loop {
        sleep(LOOK).await;
        make(&client, &namespace, &making).await;
    }
}

async fn once(client: &Client, namespace: &str, making: &Making) -> Result<(), Failed> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let all = async {
        let known = get(&api, &making.ours).await?;
        let mut ours = known.clone().unwrap_or_default();
        let now = Timestamp::now();
        let authority = authority(&mut ours, now)?;
        signed(&mut ours, &authority, &making.host, ExtendedKeyUsagePurpose::ServerAuth, now)?;
        put(&api, &making.ours, known, &ours).await?;
        let known = get(&api, &making.theirs).await?;
        let mut theirs = known.clone().unwrap_or_default();
        signed(&mut theirs, &authority, "evhub-dataplane", ExtendedKeyUsagePurpose::ClientAuth, now)?;
        put(&api, &making.theirs, known, &theirs).await?;
        for file in ["ca.crt", "tls.crt", "tls.key"] {
            write(&making.folder, file, value(&ours, file).unwrap_or_default())?;
        }
        Ok(())
    };
    timeout(PATIENCE, all).await.map_err(|_| Failed::Silent)?
}

// === pure ===

/// Who signs.
struct Authority {
    /// It, and the one before it.
    bundle: String,
    issuer: Issuer<'static, KeyPair>,
}

/// The authority of a Secret, made anew where there is none or it is due.
fn authority(secret: &mut Secret, now: Timestamp) -> Result<Authority, Failed> {
    let key = text(secret, "ca.key").and_then(|pem| KeyPair::from_pem(&pem).ok());
    let parameters = |now| {
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters.distinguished_name = named("evhub-control");
        lasts(&mut parameters, now, AUTHORITY.0);
        Ok::<_, rcgen::Error>(parameters)
    };
    let bundle = text(secret, "ca.crt");
    if let (Some(key), Some(bundle), false) = (key, bundle.clone(), is_due(secret, RENEW_AUTHORITY, now)) {
        return Ok(Authority { bundle, issuer: Issuer::new(parameters(now)?, key) });
    }
    let (key, parameters) = (KeyPair::generate()?, parameters(now)?);
    let certificate = parameters.self_signed(&key)?.pem();
    // The newest of those before it.
    let before = bundle.as_deref().and_then(|bundle| bundle.split_inclusive(END).next());
    let bundle =
        format!("{certificate}{}", before.map(|pem| format!("{}\n", pem.trim())).unwrap_or_default());
    set(secret, "ca.key", &key.serialize_pem());
    set(secret, "ca.crt", &bundle);
    note(secret, RENEW_AUTHORITY, now, AUTHORITY.1);
    Ok(Authority { bundle, issuer: Issuer::new(parameters, key) })
}

const END: &str = "-----END CERTIFICATE-----";

/// Sees to it that a Secret has a certificate of this authority that is not due.
fn signed(
    secret: &mut Secret,
    authority: &Authority,
    host: &str,
    usage: ExtendedKeyUsagePurpose,
    now: Timestamp,
) -> Result<(), Failed> {
    let is_theirs = text(secret, "ca.crt").as_ref() == Some(&authority.bundle);
    let is_whole = ["tls.crt", "tls.key"].iter().all(|key| value(secret, key).is_some());
    if is_theirs && is_whole && !is_due(secret, RENEW, now) {
        return Ok(());
    }
    let mut parameters = CertificateParams::new(vec![host.to_owned()])?;
    parameters.distinguished_name = named(host.split('.').next().unwrap_or(host));
    parameters.extended_key_usages = vec![usage];
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    lasts(&mut parameters, now, LEAF.0);
    let key = KeyPair::generate()?;
    let certificate = parameters.signed_by(&key, &authority.issuer)?;
    set(secret, "ca.crt", &authority.bundle);
    set(secret, "tls.crt", &certificate.pem());
    set(secret, "tls.key", &key.serialize_pem());
    note(secret, RENEW, now, LEAF.1);
    Ok(())
}

fn named(name: &str) -> DistinguishedName {
    let mut all = DistinguishedName::new();
    all.push(DnType::CommonName, name);
    all
}

/// From yesterday, for clocks that are late, for so many days.
fn lasts(parameters: &mut CertificateParams, now: Timestamp, days: i64) {
    let today = now.to_zoned(TimeZone::UTC).date();
    let at = |days: i64| {
        let date = today.saturating_add(days.days());
        date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    (parameters.not_before, parameters.not_after) = (at(-1), at(days));
}

fn is_due(secret: &Secret, annotation: &str, now: Timestamp) -> bool {
    let noted = secret.metadata.annotations.as_ref().and_then(|all| all.get(annotation));
    noted.and_then(|text| text.parse().ok()).is_none_or(|after: i64| now.as_second() >= after)
}

fn note(secret: &mut Secret, annotation: &str, now: Timestamp, days: i64) {
    let after = now.as_second() + days * 86_400;
    secret.metadata.annotations.get_or_insert_default().insert(annotation.to_owned(), after.to_string());
}

fn value<'a>(secret: &'a Secret, key: &str) -> Option<&'a [u8]> {
    secret.data.as_ref()?.get(key).map(|ByteString(bytes)| bytes.as_slice()).filter(|bytes| !bytes.is_empty())
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    value(secret, key).and_then(|bytes| String::from_utf8(bytes.to_vec()).ok())
}

fn set(secret: &mut Secret, key: &str, text: &str) {
    secret.data.get_or_insert_default().insert(key.to_owned(), ByteString(text.as_bytes().to_vec()));
}

// === I/O ===

async fn get(api: &Api<Secret>, name: &str) -> Result<Option<Secret>, Failed> {
    api.get_opt(name).await.map_err(|error| unkept(name, error))
}

fn unkept(name: &str, source: Error) -> Failed {
    Failed::Unkept { name: name.to_owned(), source: Box::new(source) }
}

/// Writes a Secret that is not as it was, unless somebody else has written it meanwhile.
async fn put(api: &Api<Secret>, name: &str, known: Option<Secret>, now: &Secret) -> Result<(), Failed> {
    if known.as_ref() == Some(now) {
        return Ok(());
    }
    let params =
        PostParams { field_manager: Some(crate::write::MANAGER.to_owned()), ..PostParams::default() };
    let written = if known.is_some() {
        api.replace(name, &params, now).await
    } else {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(
                [("app.kubernetes.io/managed-by".to_owned(), crate::write::MANAGER.to_owned())].into(),
            ),
            ..now.metadata.clone()
        };
        let new = Secret { metadata, type_: Some("kubernetes.io/tls".to_owned()), ..now.clone() };
        api.create(&params, &new).await
    };
    written.map_err(|error| unkept(name, error))?;
    info!(secret = name, "certificates of the control stream were made");
    Ok(())
}

/// Writes a file that is not as it should be, all at once.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Failed> {
    let path = folder.join(name);
    if fs::read(&path).is_ok_and(|known| known == bytes) {
        return Ok(());
    }
    let coming = folder.join(format!(".{name}"));
    let written = fs::create_dir_all(folder)
        .and_then(|()| fs::write(&coming, bytes))
        .and_then(|()| fs::rename(&coming, &path));
    written.map_err(|source| Failed::Unwritten { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + days * 86_400).unwrap()
    }

    /// Both Secrets as they are on a day.
    fn pass(ours: &mut Secret, theirs: &mut Secret, day: i64) {
        let authority = authority(ours, at(day)).unwrap();
        signed(ours, &authority, "evhub-operator.hub.svc", ExtendedKeyUsagePurpose::ServerAuth, at(day))
            .unwrap();
        signed(theirs, &authority, "evhub-dataplane", ExtendedKeyUsagePurpose::ClientAuth, at(day)).unwrap();
    }

    #[test]
    fn certificates_are_made_once_and_anew_when_they_are_due() {
        let (mut ours, mut theirs) = (Secret::default(), Secret::default());
        pass(&mut ours, &mut theirs, 0);
        let first = (ours.clone(), theirs.clone());
        pass(&mut ours, &mut theirs, 59);
        assert_eq!((&ours, &theirs), (&first.0, &first.1), "nothing is due");
        pass(&mut ours, &mut theirs, 60);
        assert_ne!(text(&ours, "tls.crt"), text(&first.0, "tls.crt"));
        assert_ne!(text(&theirs, "tls.key"), text(&first.1, "tls.key"));
        assert_eq!(text(&theirs, "ca.crt"), text(&first.1, "ca.crt"), "the authority is the same");
        assert_eq!(text(&theirs, "ca.key"), None, "its key is the operator's alone");
        // What somebody broke is made whole.
        theirs.data.get_or_insert_default().remove("tls.key");
        pass(&mut ours, &mut theirs, 61);
        assert!(text(&theirs, "tls.key").is_some());
    }

    #[test]
    fn a_new_authority_is_trusted_beside_the_one_before_it_and_no_older_one() {
        let (mut ours, mut theirs) = (Secret::default(), Secret::default());
        let mut last = String::new();
        for times in 0..3 {
            pass(&mut ours, &mut theirs, times * AUTHORITY.1);
            let bundle = text(&theirs, "ca.crt").unwrap();
            assert_eq!(text(&ours, "ca.crt").as_ref(), Some(&bundle));
            assert_eq!(bundle.matches(END).count(), if times == 0 { 1 } else { 2 });
            assert!(bundle.ends_with(&last) && bundle != last);
            last = bundle.split_inclusive(END).next().unwrap().to_owned() + "\n";
        }
    }
}
