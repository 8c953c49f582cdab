//! One cluster for all tests of this program, and the settings to be let in by.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use bytes::Bytes;
use evhub_brokers::{Certificates, Cluster, Options, USER};
use evhub_event::Record;
use evhub_journal::{
    ClusterSettings, Error, Journal, Place, Polled, Position, Tail, TopicPartition, TopicSettings, WriteError,
};
use evhub_kafka::{Connection, Kafka, Settings};

/// The brokers' addresses, and certificates.
pub(crate) struct Site {
    pub(crate) plain: String,
    pub(crate) tls: String,
    pub(crate) mutual: String,
    pub(crate) sasl: String,
    pub(crate) certificates: Certificates,
    /// Somebody else's.
    pub(crate) strangers: Certificates,
    folder: PathBuf,
    _cluster: Cluster,
}

/// The cluster. It ends with this program. Connections without work end soon, so that a client comes back and is asked who it is.
pub(crate) async fn site() -> &'static Site {
    static SITE: OnceLock<Site> = OnceLock::new();
    let start = || {
        let folder = std::env::temp_dir().join(format!("evhub-kafka-secure-{}", std::process::id()));
        let properties = vec![("connections.max.idle.ms".to_owned(), "1000".to_owned())];
        let options = Options { brokers: 3, secure: true, properties, folder: folder.clone() };
        let cluster = Cluster::start(&options).expect("brokers start");
        let strangers = Certificates::make(&folder.join("strangers")).unwrap();
        Site {
            plain: cluster.bootstrap(),
            tls: cluster.bootstrap_tls(),
            mutual: cluster.bootstrap_mutual_tls(),
            sasl: cluster.bootstrap_sasl(),
            certificates: cluster.certificates(),
            strangers,
            folder,
            _cluster: cluster,
        }
    };
    tokio::task::spawn_blocking(move || SITE.get_or_init(start)).await.unwrap()
}

impl Site {
    /// A file of settings.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.join(name);
        write(&file, text);
        file
    }
}

/// Replaces a file as a whole.
pub(crate) fn write(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, file).unwrap();
}

pub(crate) fn sasl(authority: &Path, mechanism: &str, password: &str) -> String {
    let (name, authority) = (USER.0, authority.display());
    format!(
        "security.protocol=sasl_ssl\nssl.ca.location={authority}\nsasl.mechanism={mechanism}\nsasl.username={name}\n\
         sasl.password={password}\n"
    )
}

pub(crate) fn tls(authority: &Path) -> String {
    format!("security.protocol=ssl\nssl.ca.location={}\n", authority.display())
}

pub(crate) fn mutual(authority: &Path, certificate: &Path, key: &Path) -> String {
    let (certificate, key) = (certificate.display(), key.display());
    format!("{}ssl.certificate.location={certificate}\nssl.key.location={key}\n", tls(authority))
}

pub(crate) fn connection(bootstrap: &str, settings: Settings) -> Connection {
    Connection {
        settings,
        prefix: "secure".to_owned(),
        // A client may be without connections while settings change.
        write: Duration::from_secs(4),
        patience: Duration::from_secs(4),
        reread: Duration::from_millis(200),
        ..Connection::new(bootstrap)
    }
}

pub(crate) async fn connect(bootstrap: &str, text: &str) -> Result<Kafka, Error> {
    Kafka::connect(connection(bootstrap, Settings::parse(text).unwrap())).await
}

/// On all three brokers, and written when two have it.
pub(crate) fn settings() -> TopicSettings {
    TopicSettings {
        partitions: 3,
        max_record_bytes: 1 << 20,
        cluster: ClusterSettings { replicas: Some(3), min_in_sync: Some(2), adopt: false },
        ..TopicSettings::default()
    }
}

pub(crate) fn at(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition { topic: topic.to_owned(), partition }
}

pub(crate) fn record(value: &str) -> Record {
    Record { key: None, value: Some(Bytes::copy_from_slice(value.as_bytes())), headers: vec![] }
}

/// What a member hears next; not for ever.
pub(crate) async fn next(tail: &mut evhub_kafka::Tail) -> Polled {
    tokio::time::timeout(Duration::from_secs(30), tail.poll()).await.expect("a poll hangs").unwrap()
}

pub(crate) async fn append(
    log: &Kafka,
    topic: &str,
    partition: u32,
    value: &str,
) -> Result<Position, WriteError> {
    log.append(topic, Place::Partition(partition), record(value)).await
}
