//! A broker's settings: one that is a controller too, quick to notice failures, small. Pure.

use std::{fmt::Write as _, path::Path};

use crate::Certificates;

/// The name and the password of the one user of a secure cluster.
pub const USER: (&str, &str) = ("alice", "alice-secret");

/// How many ports a broker has.
pub(crate) const PORTS: usize = 4;

/// One broker's ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) plain: u16,
    pub(crate) controller: u16,
    pub(crate) sasl: u16,
    pub(crate) tls: u16,
}

impl Ports {
    pub(crate) fn of(ports: &[u16]) -> Self {
        Self { plain: ports[0], controller: ports[1], sasl: ports[2], tls: ports[3] }
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
    let Ports { plain, controller, sasl, tls } = all[index];
    let voters: Vec<String> =
        all.iter().enumerate().map(|(i, ports)| format!("{}@127.0.0.1:{}", i + 1, ports.controller)).collect();
    let mut advertised = format!("PLAINTEXT://127.0.0.1:{plain}");
    if certificates.is_some() {
        let _ = write!(advertised, ",SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{tls}");
    }
    let replicas = all.len();
    let in_sync = replicas.min(2);
    let mut text = format!(
        "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners={advertised},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
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
listener.name.ssl.ssl.client.auth=required
",
        broker = certificates.broker.display(),
        authority = certificates.authority.display(),
    );
}
