//! One broker for all tests of this program, quick to clean and to notice what is gone; each test has its own names.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use evhub_brokers::{Cluster, Options, QUICK};
use evhub_kafka::{Connection, Kafka};

use crate::{cases, prefixed::Prefixed};

/// The cluster's addresses: ours, which ends with this program, or one that somebody else keeps.
pub(crate) fn brokers() -> &'static str {
    static BROKERS: OnceLock<(String, Option<Cluster>)> = OnceLock::new();
    let (addresses, _) = BROKERS.get_or_init(|| {
        if let Ok(addresses) = std::env::var("EVHUB_KAFKA") {
            return (addresses, None);
        }
        let folder = std::env::temp_dir().join(format!("evhub-kafka-{}", std::process::id()));
        let properties = QUICK.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let options = Options { brokers: 1, secure: false, properties, folder };
        let cluster = Cluster::start(&options).expect("a broker starts");
        (cluster.bootstrap(), Some(cluster))
    });
    addresses
}

/// A connection as the contract wants it: little patience with members that do not give up, growth noticed soon.
pub(crate) fn connection() -> Connection {
    Connection {
        rebalance: Duration::from_secs(3),
        session: Duration::from_secs(3),
        refresh: Duration::from_millis(500),
        ..Connection::new(brokers())
    }
}

/// A log of names that nobody else has.
pub(crate) struct Topics(Prefixed<Kafka>);

impl Topics {
    pub(crate) async fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let connection = tokio::task::spawn_blocking(connection).await.unwrap();
        let prefix = format!("p{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let connection = Connection { prefix: prefix.clone(), ..connection };
        let prefix = format!("{prefix}.");
        Self(Prefixed::new(Kafka::connect(connection).await.unwrap(), prefix))
    }
}

impl cases::Site for Topics {
    type Log = Prefixed<Kafka>;

    const WHOLE: bool = false;

    fn log(&self) -> Prefixed<Kafka> {
        self.0.clone()
    }

    async fn clean(&self) {
        // A broker cleans when it likes; only what has rolled.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
