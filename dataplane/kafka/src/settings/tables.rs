//! Which settings are evhub's own, which are another client's, and which have ranges. Pure.

use std::ops::RangeInclusive;

/// How a name and a password may be proved.
pub(super) const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

const DURABLE: &str =
    "an acknowledgement means that every in-sync replica has the record, once and in its place";
const GROUPS: &str = "who may commit what rests on it";
const BOUND: &str = "memory is bounded by it";
const NAMED: &str = "it is named after the installation";
const CODE: &str = "no code is loaded that is not evhub's";
const READS: &str = "a reader must see what is committed, and be told what is gone";

/// Settings that a file may not have, and why.
const MANAGED: &[(&str, &str)] = &[
    ("bootstrap.servers", "the command line names the brokers"),
    ("metadata.broker.list", "the command line names the brokers"),
    ("client.id", NAMED),
    ("group.id", NAMED),
    ("group.instance.id", NAMED),
    ("transactional.id", NAMED),
    ("acks", DURABLE),
    ("delivery.report.only.error", "whoever publishes waits for the report of a success"),
    ("request.required.acks", DURABLE),
    ("enable.idempotence", DURABLE),
    ("enable.gapless.guarantee", DURABLE),
    ("max.in.flight", DURABLE),
    ("max.in.flight.requests.per.connection", DURABLE),
    ("retries", DURABLE),
    ("message.send.max.retries", DURABLE),
    ("message.timeout.ms", DURABLE),
    ("delivery.timeout.ms", DURABLE),
    ("request.timeout.ms", DURABLE),
    ("transaction.timeout.ms", DURABLE),
    ("partitioner", "a key's partition is the one that Java's clients choose"),
    ("partition.assignment.strategy", GROUPS),
    ("group.protocol", GROUPS),
    ("group.remote.assignor", GROUPS),
    ("max.poll.interval.ms", GROUPS),
    ("enable.auto.commit", GROUPS),
    ("auto.commit.enable", GROUPS),
    ("auto.commit.interval.ms", GROUPS),
    ("enable.auto.offset.store", GROUPS),
    ("auto.offset.reset", READS),
    ("isolation.level", READS),
    ("client.rack", "a follower that is behind would pass for the end of a partition"),
    ("enable.partition.eof", READS),
    ("allow.auto.create.topics", "topics are made with the settings that their Producers ask for"),
    ("message.max.bytes", BOUND),
    ("message.copy.max.bytes", BOUND),
    ("receive.message.max.bytes", BOUND),
    ("batch.size", BOUND),
    ("batch.num.messages", BOUND),
    ("queue.buffering.max.messages", BOUND),
    ("queue.buffering.max.kbytes", BOUND),
    ("queue.buffering.backpressure.threshold", BOUND),
    ("queued.min.messages", BOUND),
    ("queued.max.messages.kbytes", BOUND),
    ("fetch.message.max.bytes", BOUND),
    ("max.partition.fetch.bytes", BOUND),
    ("fetch.max.bytes", BOUND),
    ("fetch.queue.backoff.ms", BOUND),
    ("plugin.library.paths", CODE),
    ("ssl.engine.location", CODE),
    ("ssl.providers", CODE),
    ("log.queue", "evhub has the client's log in its own"),
    ("enabled_events", "evhub hears the client's events itself"),
];

/// Settings of Java's clients, and what is meant.
const JAVAS: &[(&str, &str)] = &[
    ("ssl.truststore.location", "ssl.ca.location, a file of PEM certificates"),
    ("ssl.truststore.password", "ssl.ca.location, a file of PEM certificates, which has no password"),
    ("ssl.truststore.type", "ssl.ca.location, a file of PEM certificates"),
    ("ssl.truststore.certificates", "ssl.ca.pem"),
    ("ssl.keystore.type", "ssl.certificate.location and ssl.key.location, PEM files"),
    ("ssl.keystore.key", "ssl.key.pem"),
    ("ssl.keystore.certificate.chain", "ssl.certificate.pem"),
    ("sasl.jaas.config", "sasl.username and sasl.password"),
    ("key.serializer", "nothing: evhub writes bytes"),
    ("value.serializer", "nothing: evhub writes bytes"),
];

/// Why a file may not have a setting, if it may not.
pub(super) fn managed(name: &str) -> Option<&'static str> {
    find(MANAGED, name)
}

/// What to use instead of a setting of Java's clients.
pub(super) fn javas(name: &str) -> Option<&'static str> {
    find(JAVAS, name)
}

fn find(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(of, _)| *of == name).map(|(_, what)| *what)
}

/// The range of a number that evhub bounds more narrowly than the client does, and its unit.
pub(super) fn range(name: &str) -> Option<(RangeInclusive<u64>, &'static str)> {
    const MILLISECONDS: &str = "milliseconds";
    Some(match name {
        // A publisher waits for it.
        "linger.ms" | "queue.buffering.max.ms" => (0..=1_000, MILLISECONDS),
        "fetch.wait.max.ms" => (1..=5_000, MILLISECONDS),
        // Shorter and a pause of the process loses partitions; longer and a dead one holds them.
        "session.timeout.ms" => (1_000..=60_000, MILLISECONDS),
        "heartbeat.interval.ms" => (100..=20_000, MILLISECONDS),
        // Less than a publisher waits.
        "socket.timeout.ms" | "socket.connection.setup.timeout.ms" => (1_000..=15_000, MILLISECONDS),
        "reconnect.backoff.ms" | "reconnect.backoff.max.ms" => (10..=30_000, MILLISECONDS),
        _ => return None,
    })
}
