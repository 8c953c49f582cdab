//! A broker's settings: one that is a controller too, quick to notice failures, small. Pure.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddrV4},
    path::Path,
};

use crate::Certificates;

/// The name and the password of the one user of a secure cluster.
pub const USER: (&str, &str) = ("alice", "alice-secret");

/// Brokers' settings with which retention and compaction happen within moments, as tests want it.
pub const QUICK: [(&str, &str); 6] = [
    ("log.cleaner.backoff.ms", "50"),
    ("log.cleaner.min.cleanable.ratio", "0.01"),
    ("log.cleaner.delete.retention.ms", "500"),
    ("log.retention.check.interval.ms", "100"),
    ("log.roll.ms", "150"),
    ("file.delete.delay.ms", "50"),
];

/// How many ports a broker has.
pub(crate) const PORTS: usize = 7;

/// One broker's ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) plain: u16,
    pub(crate) controller: u16,
    pub(crate) sasl: u16,
    pub(crate) tls: u16,
    pub(crate) mutual: u16,
    /// Where it listens for who comes through a proxy, and where it says that it does.
    pub(crate) proxied: (u16, u16),
    /// An address that is not only this machine's, where it listens for whoever comes from elsewhere, at the port of those who
    /// come through a proxy.
    pub(crate) elsewhere: Option<Ipv4Addr>,
}

impl Ports {
    pub(crate) fn of(ports: &[u16], elsewhere: Option<Ipv4Addr>) -> Self {
        Self {
            plain: ports[0],
            controller: ports[1],
            sasl: ports[2],
            tls: ports[3],
            mutual: ports[4],
            proxied: (ports[5], ports[6]),
            elsewhere,
        }
    }

    /// Where whoever comes through a proxy, or from elsewhere, is listened for, and where it is said that they are.
    fn proxied(&self) -> (SocketAddrV4, SocketAddrV4) {
        let (listens, says) = self.proxied;
        let here = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        self.elsewhere.map_or((here(listens), here(says)), |address| {
            let there = SocketAddrV4::new(address, listens);
            (there, there)
        })
    }
}

/// The text of `server.properties` of the broker at this index.
pub(crate) fn text(
    index: usize,
    all: &[Ports],
    home: &Path,
    certificates: Option<&Certificates>,
    properties: &[(String, String)],
) -> String {
    let controller = all[index].controller;
    let voters: Vec<String> = all
        .iter()
        .enumerate()
        .map(|(i, ports)| format!("{}@127.0.0.1:{}", i + 1, ports.controller))
        .collect();
    let (proxied, front) = all[index].proxied();
    let direct = listeners(all[index], certificates.is_some());
    let replicas = all.len();
    let in_sync = replicas.min(2);
    let mut text = format!(
        "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners={direct},PROXIED://{proxied},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={direct},PROXIED://{front}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL,MUTUAL:SSL
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.num.partitions=8
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=8
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=200
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=8388608
",
        id = index + 1,
        voters = voters.join(","),
        data = home.join("data").display(),
    );
    if let Some(certificates) = certificates {
        secure(&mut text, certificates);
    }
    for (name, value) in properties {
        // The last one counts.
        let _ = writeln!(text, "{name}={value}");
    }
    text
}

/// Where clients are let in.
fn listeners(Ports { plain, sasl, tls, mutual, .. }: Ports, secure: bool) -> String {
    let plain = format!("PLAINTEXT://127.0.0.1:{plain}");
    if !secure {
        return plain;
    }
    format!("{plain},SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{tls},MUTUAL://127.0.0.1:{mutual}")
}

fn secure(text: &mut String, certificates: &Certificates) {
    let (name, password) = USER;
    let _ = write!(
        text,
        "sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{name}=\"{password}\";
ssl.keystore.type=PEM
ssl.keystore.location={broker}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
listener.name.mutual.ssl.client.auth=required
",
        broker = certificates.broker.display(),
        authority = certificates.authority.display(),
    );
}
