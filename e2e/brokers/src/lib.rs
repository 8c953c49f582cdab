//! Real Kafka brokers for tests and for trying things out, on the loopback address, from Maven's artefacts: no Docker and no
//! installation. Does I/O and runs processes.
//!
//! In: how many brokers, and which settings of theirs. Out: addresses, and handles to stop, hang, kill and start each. It
//! knows nothing of evhub.
//!
//! - [`jars`]: fetches the broker, once
//! - [`certificates`]: makes throw-away certificates
//! - [`settings`]: a broker's settings
//! - [`node`]: one broker's process
//! - [`guard`]: ends the brokers when we are gone, however that came

mod certificates;
mod guard;
mod jars;
mod node;
mod settings;

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use self::guard::Guard;
pub use self::{certificates::Certificates, node::Node, settings::USER};

/// How long a cluster may take to be ready.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a cluster is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many brokers, each of which is a controller too.
    pub brokers: u16,
    /// Whether there are listeners with TLS and with SASL as well.
    pub secure: bool,
    /// Settings of the brokers', over ours.
    pub properties: Vec<(String, String)>,
    /// Where its files are.
    pub folder: PathBuf,
}

/// A cluster. It ends with its handle, or with our process, unless it is kept.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    nodes: Vec<Node>,
    guard: Option<Guard>,
}

impl Cluster {
    /// Starts a new one, and waits until every broker lists all the others.
    pub fn start(options: &Options) -> Result<Self> {
        let libs = jars::fetch()?;
        let Options { brokers, secure, properties, folder } = options;
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let certificates = secure.then(|| Certificates::make(&folder.join("certificates"))).transpose()?;
        let ports = free_ports(usize::from(*brokers) * settings::PORTS)?;
        let ports: Vec<settings::Ports> = ports.chunks_exact(settings::PORTS).map(settings::Ports::of).collect();
        let mut nodes = Vec::new();
        for (index, _) in ports.iter().enumerate() {
            let home = folder.join(format!("node-{}", index + 1));
            let text = settings::text(index, &ports, &home, certificates.as_ref(), properties);
            nodes.push(Node::new(&home, &text, &libs, ports[index])?);
        }
        let guard = Some(Guard::over(folder)?);
        let mut cluster = Self { folder: folder.clone(), nodes, guard };
        cluster.format(*secure)?;
        for node in &mut cluster.nodes {
            node.start()?;
        }
        for node in &cluster.nodes {
            node.await_live(cluster.nodes.len(), PATIENCE)?;
        }
        Ok(cluster)
    }

    fn format(&self, secure: bool) -> Result<()> {
        let formats: Result<Vec<_>> = self.nodes.iter().map(|node| node.format(secure)).collect();
        for (node, mut format) in self.nodes.iter().zip(formats?) {
            let ended = format.wait().context("format a broker's folder")?;
            ensure!(ended.success(), "a broker's folder cannot be formatted; see {}", node.log().display());
        }
        Ok(())
    }

    /// `host:port` of every broker, for clients that want neither name nor encryption.
    pub fn bootstrap(&self) -> String {
        self.addresses(|ports| ports.plain)
    }

    /// The same, for TLS with a certificate of the client's.
    pub fn bootstrap_tls(&self) -> String {
        self.addresses(|ports| ports.tls)
    }

    /// The same, for SASL over TLS.
    pub fn bootstrap_sasl(&self) -> String {
        self.addresses(|ports| ports.sasl)
    }

    fn addresses(&self, port: impl Fn(&settings::Ports) -> u16) -> String {
        let addresses = self.nodes.iter().map(|node| format!("127.0.0.1:{}", port(&node.ports)));
        addresses.collect::<Vec<_>>().join(",")
    }

    /// The certificates of a secure cluster.
    pub fn certificates(&self) -> Certificates {
        Certificates::at(&self.folder.join("certificates"))
    }

    /// The brokers, to be stopped, hung, killed and started.
    pub fn nodes(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    /// Waits until a broker lists so many live ones.
    pub fn await_live(&self, count: usize) -> Result<()> {
        let up = self.nodes.iter().find(|node| node.is_running()).context("no broker is running")?;
        up.await_live(count, PATIENCE)
    }

    /// Lets the brokers go on without this handle; [`stop`] ends them.
    pub fn keep(mut self) {
        if let Some(guard) = self.guard.take() {
            guard.dismiss();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.guard.is_none() {
            return;
        }
        for node in &mut self.nodes {
            // Nobody is left to be told.
            let _ = node.kill();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Ends the brokers that were kept in a folder, and removes it.
pub fn stop(folder: &Path) -> Result<usize> {
    let mut ended = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("no cluster in {}", folder.display()))? {
        let home = entry.context("list the cluster")?.path();
        if home.join("server.properties").exists() && node::kill_of(&home)? {
            ended += 1;
        }
    }
    fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    Ok(ended)
}

/// So many ports that nobody listens at. All are held until all are found, so that none is found twice.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let held: Result<Vec<_>, _> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let held = held.context("find free ports")?;
    held.iter().map(|held| Ok(held.local_addr().context("find free ports")?.port())).collect()
}
