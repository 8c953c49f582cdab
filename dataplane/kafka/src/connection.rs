//! Where the brokers are, how to be let in, and what each kind of client is set to. No I/O.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use rdkafka::ClientConfig;

/// Where the brokers are, and how to be let in.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `host:port` of some brokers, separated by commas.
    pub bootstrap: String,
    /// What every client of ours is called, less its own part.
    pub client: String,
    /// Encryption, if it is asked for.
    pub tls: Option<Tls>,
    /// A name and a password, if they are asked for.
    pub sasl: Option<Sasl>,
    /// How long to wait for a first answer, and for each question later.
    pub patience: Duration,
    /// How long a member that gives up partitions may take, before others get them all the same.
    pub rebalance: Duration,
    /// How long a member may be silent before the group goes on without it.
    pub session: Duration,
    /// How often topics are looked at for growth.
    pub refresh: Duration,
    /// Any setting of librdkafka's, over ours.
    pub properties: BTreeMap<String, String>,
}

/// TLS.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Certificates of those who may sign a broker's; the system's, where there is none.
    pub authorities: Option<PathBuf>,
    /// Our own certificate and its key, for brokers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// SASL.
#[derive(Clone)]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: String,
    /// The name.
    pub name: String,
    /// The password.
    pub password: String,
}

/// The largest batch of records that is sent at once, in bytes. A broker refuses a batch over its topic's
/// `max.message.bytes` as a whole, so that this must be below every topic's.
pub(crate) const BATCH: usize = 512 << 10;
/// The largest record that a client sends or reads, in bytes.
const LARGEST: usize = 64 << 20;
/// The most that waits for brokers, in bytes.
pub(crate) const WAITING: usize = 32 << 20;

impl Connection {
    /// A plain connection, patient enough for a cluster nearby.
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            client: "evhub".to_owned(),
            tls: None,
            sasl: None,
            patience: Duration::from_secs(10),
            rebalance: Duration::from_mins(1),
            session: Duration::from_secs(45),
            refresh: Duration::from_secs(30),
            properties: BTreeMap::new(),
        }
    }

    /// What all clients have in common.
    fn common(&self, role: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), None) => "ssl",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", format!("{}-{role}", self.client))
            .set("security.protocol", protocol)
            .set("topic.metadata.refresh.interval.ms", millis(self.refresh))
            .set("socket.keepalive.enable", "true");
        if let Some(tls) = &self.tls {
            if let Some(authorities) = &tls.authorities {
                config.set("ssl.ca.location", authorities.to_string_lossy());
            }
            if let Some((certificate, key)) = &tls.identity {
                config.set("ssl.certificate.location", certificate.to_string_lossy());
                config.set("ssl.key.location", key.to_string_lossy());
            }
        }
        if let Some(Sasl { mechanism, name, password }) = &self.sasl {
            config.set("sasl.mechanism", mechanism).set("sasl.username", name).set("sasl.password", password);
        }
        config
    }

    fn with_properties(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }

    /// For questions and administration.
    pub(crate) fn asker(&self) -> ClientConfig {
        self.with_properties(self.common("ask"))
    }

    /// For appends: each in every in-sync replica, once, in the order of the calls. Nothing lingers: while one batch is
    /// under way the next one gathers.
    pub(crate) fn appender(&self) -> ClientConfig {
        let mut config = self.common("append");
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("max.in.flight.requests.per.connection", "1")
            .set("message.timeout.ms", "30000")
            .set("message.max.bytes", LARGEST.to_string())
            .set("batch.size", BATCH.to_string())
            .set("queue.buffering.max.kbytes", (WAITING >> 10).to_string())
            .set("queue.buffering.max.messages", "100000");
        self.with_properties(config)
    }

    /// For transactions.
    pub(crate) fn transactor(&self, id: &str) -> ClientConfig {
        let mut config = self.appender();
        config
            .set("transactional.id", id)
            // A transaction whose owner is gone hides what comes after it for so long, so this is short; what is under way
            // ends before.
            .set("transaction.timeout.ms", "10000")
            .set("message.timeout.ms", "8000");
        self.with_properties(config)
    }

    /// For reads beside any group.
    pub(crate) fn reader(&self) -> ClientConfig {
        let mut config = self.common("read");
        config
            // The client assigns nothing to a consumer without a group. It joins none.
            .set("group.id", format!("{}-reader", self.client))
            .set("enable.partition.eof", "true")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false")
            .set("fetch.wait.max.ms", "100")
            .set("queued.min.messages", "1000")
            .set("queued.max.messages.kbytes", "2048")
            .set("receive.message.max.bytes", (LARGEST + (1 << 20)).to_string());
        self.with_properties(config)
    }

    /// For a member of a group.
    pub(crate) fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.reader();
        config
            .set("group.id", group)
            .set("client.id", format!("{}-{group}", self.client))
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", millis(self.session))
            .set("heartbeat.interval.ms", millis(self.session / 15))
            .set("max.poll.interval.ms", millis(self.rebalance.max(self.session)))
            .set("fetch.wait.max.ms", "500");
        self.with_properties(config)
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

impl std::fmt::Debug for Sasl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { mechanism, name, password: _ } = self;
        f.debug_struct("Sasl").field("mechanism", mechanism).field("name", name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Connection, Sasl, Tls};

    #[test]
    fn what_is_asked_for_is_set() {
        let plain = Connection::new("a:1,b:2");
        let secret = Sasl { mechanism: "PLAIN".into(), name: "me".into(), password: "hush".into() };
        let both = Connection { tls: Some(Tls::default()), sasl: Some(secret), ..plain.clone() };
        assert_eq!(plain.appender().get("security.protocol"), Some("plaintext"));
        assert_eq!(both.member("g").get("security.protocol"), Some("sasl_ssl"));
        assert_eq!(both.reader().get("sasl.password"), Some("hush"));
        assert!(!format!("{both:?}").contains("hush"), "a password is never printed");
        let over = Connection { properties: [("linger.ms".into(), "5".into())].into(), ..plain };
        assert_eq!(over.transactor("t").get("linger.ms"), Some("5"));
    }
}
