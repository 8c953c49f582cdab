//! Where the brokers are, how to be let in, and what each kind of client is set to. No I/O.

use std::{sync::Arc, time::Duration};

use rdkafka::ClientConfig;
use tokio::sync::watch;

use crate::Settings;

/// Where the brokers are, and how to be let in.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `host:port` of some brokers, separated by commas.
    pub bootstrap: String,
    /// The installation's name: its topics are called so, before a dot, and its clients, before a hyphen.
    pub prefix: String,
    /// How to be let in. Those that are from a file are read again when it changes.
    pub settings: Settings,
    /// How long to wait for a first answer, and for each question later.
    pub patience: Duration,
    /// How long a record may wait to be written; publishers should be ready to wait for longer.
    pub write: Duration,
    /// How long a member that gives up partitions may take, before others get them all the same.
    pub rebalance: Duration,
    /// How long a member may be silent before the group goes on without it.
    pub session: Duration,
    /// How often topics are looked at for growth.
    pub refresh: Duration,
    /// How often the files of settings are looked at.
    pub reread: Duration,
}

/// The connection as it is now; settings may change.
#[derive(Clone, Debug)]
pub(crate) struct Current(watch::Receiver<Arc<Connection>>);

/// The largest batch of records that is sent at once, in bytes. A broker refuses a batch over its topic's
/// `max.message.bytes` as a whole, so that this must be below every topic's.
pub(crate) const BATCH: usize = 512 << 10;
/// What a record takes beside its key, value and headers, and a batch beside its records, in bytes, at the most.
pub(crate) const OVERHEAD: usize = 16 << 10;
/// The largest record that a client sends or reads, in bytes.
const LARGEST: usize = 64 << 20;
/// How much waits for brokers at the most: records, and bytes.
pub(crate) const WAITING: (usize, usize) = (100_000, 32 << 20);
/// How much of each partition a reader or a member has fetched and not handed out, in KiB; a single larger record comes alone.
const FETCHED: usize = 256;

impl Current {
    pub(crate) fn new(connection: Connection) -> (watch::Sender<Arc<Connection>>, Self) {
        let (change, current) = watch::channel(Arc::new(connection));
        (change, Self(current))
    }

    pub(crate) fn get(&self) -> Arc<Connection> {
        Arc::clone(&self.0.borrow())
    }
}

impl Connection {
    /// A plain connection, patient enough for a cluster nearby.
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            prefix: "evhub".to_owned(),
            settings: Settings::default(),
            patience: Duration::from_secs(10),
            write: Duration::from_secs(18),
            rebalance: Duration::from_mins(1),
            // A group that is joined anew waits for who is dead until then, and delivers nothing meanwhile.
            session: Duration::from_secs(10),
            refresh: Duration::from_secs(30),
            reread: Duration::from_secs(5),
        }
    }

    /// What all clients have in common.
    fn common(&self, role: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", format!("{}-{role}", self.prefix))
            .set("topic.metadata.refresh.interval.ms", millis(self.refresh))
            .set("socket.timeout.ms", millis(self.patience.min(self.write)))
            .set("socket.keepalive.enable", "true")
            // A broker that comes back is noticed soon.
            .set("reconnect.backoff.max.ms", "2000");
        config
    }

    fn set_up(&self, mut config: ClientConfig) -> ClientConfig {
        self.settings.over(&mut config);
        config
    }

    /// For administration.
    pub(crate) fn admin(&self) -> ClientConfig {
        self.set_up(self.common("admin"))
    }

    /// For appends: each in every in-sync replica, once, in the order of the calls. Nothing lingers: while one batch is
    /// under way the next one gathers.
    pub(crate) fn appender(&self) -> ClientConfig {
        self.set_up(self.writer("append"))
    }

    fn writer(&self, role: &str) -> ClientConfig {
        let mut config = self.common(role);
        let (records, bytes) = WAITING;
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("max.in.flight.requests.per.connection", "1")
            .set("message.timeout.ms", millis(self.write))
            .set("message.max.bytes", LARGEST.to_string())
            .set("batch.size", BATCH.to_string())
            // Beyond what waits at the most, so that there is one place where too much is refused.
            .set("queue.buffering.max.kbytes", ((2 * bytes) >> 10).to_string())
            .set("queue.buffering.max.messages", (2 * records).to_string());
        config
    }

    /// For transactions.
    pub(crate) fn transactor(&self, id: &str) -> ClientConfig {
        let mut config = self.writer("transact");
        config
            .set("transactional.id", id)
            // A transaction whose owner is gone hides what comes after it for so long, so this is short; what is under way
            // ends before.
            .set("transaction.timeout.ms", "10000")
            .set("message.timeout.ms", "8000")
            // A transaction is sent whole, each partition's part by itself: they need not wait for each other.
            .set("max.in.flight.requests.per.connection", "5");
        self.set_up(config)
    }

    /// For reads and questions beside any group.
    pub(crate) fn reader(&self) -> ClientConfig {
        self.set_up(self.consumer("read"))
    }

    fn consumer(&self, role: &str) -> ClientConfig {
        let mut config = self.common(role);
        config
            // The client assigns nothing to a consumer without a group. It joins none.
            .set("group.id", format!("{}-reader", self.prefix))
            .set("enable.partition.eof", "true")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false")
            // The next read of another place waits for it.
            .set("fetch.wait.max.ms", "2")
            .set("fetch.message.max.bytes", (FETCHED << 10).to_string())
            // Or it fetches no more for a second after each time that it has fetched so much.
            .set("fetch.queue.backoff.ms", "2")
            .set("queued.min.messages", "1000")
            .set("queued.max.messages.kbytes", FETCHED.to_string())
            .set("receive.message.max.bytes", (LARGEST + (1 << 20)).to_string());
        config
    }

    /// How long a group waits for a member that says nothing: what the settings say, if they say so.
    pub(crate) fn session_of_groups(&self) -> Duration {
        let set = self.member("").get("session.timeout.ms").and_then(|millis| millis.parse().ok());
        set.map_or(self.session, Duration::from_millis)
    }

    /// How long a group waits for a member that is to give up partitions.
    pub(crate) fn patience_of_groups(&self) -> Duration {
        self.rebalance.max(self.session)
    }

    /// For a member of a group.
    pub(crate) fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.consumer(group);
        config
            .set("group.id", group)
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", millis(self.session))
            .set("heartbeat.interval.ms", millis(self.session / 15))
            .set("max.poll.interval.ms", millis(self.patience_of_groups()))
            .set("fetch.wait.max.ms", "500");
        self.set_up(config)
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use super::{Connection, Settings};

    #[test]
    fn what_is_asked_for_is_set_for_every_kind_of_client() {
        let text = "security.protocol=sasl_ssl\nsasl.mechanism=PLAIN\nsasl.username=me\nsasl.password=hush\nlinger.ms=5";
        let connection =
            Connection { settings: Settings::parse(text).unwrap(), ..Connection::new("a:1,b:2") };
        let all = [
            connection.admin(),
            connection.appender(),
            connection.transactor("t"),
            connection.reader(),
            connection.member("g"),
        ];
        for config in all {
            assert_eq!(config.get("bootstrap.servers"), Some("a:1,b:2"));
            assert_eq!(config.get("security.protocol"), Some("sasl_ssl"));
            assert_eq!(config.get("linger.ms"), Some("5"));
            assert!(config.create_native_config().is_ok());
        }
        assert_eq!(connection.member("g").get("group.id"), Some("g"));
        assert!(!format!("{connection:?}").contains("hush"), "a password is never printed");
    }
}
