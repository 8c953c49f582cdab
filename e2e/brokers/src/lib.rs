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
//! - [`asks`]: what a broker says of its cluster
//! - [`guard`]: ends the brokers when we are gone, however that came

mod asks;
mod certificates;
mod guard;
mod jars;
mod node;
mod settings;

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use self::guard::Guard;
pub use self::{
    certificates::Certificates,
    node::Node,
    settings::{QUICK, USER},
};

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
        Self::start_listening(options, None)
    }

    /// The same, where clients come from elsewhere too, to an address of this machine that they reach.
    pub fn start_reached_at(options: &Options, address: Ipv4Addr) -> Result<Self> {
        Self::start_listening(options, Some(address))
    }

    fn start_listening(options: &Options, elsewhere: Option<Ipv4Addr>) -> Result<Self> {
        let libs = jars::fetch()?;
        let Options { brokers, secure, properties, folder } = options;
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let certificates = secure.then(|| Certificates::make(&folder.join("certificates"))).transpose()?;
        let ports = free_ports(usize::from(*brokers) * settings::PORTS)?;
        let ports: Vec<settings::Ports> =
            ports.chunks_exact(settings::PORTS).map(|ports| settings::Ports::of(ports, elsewhere)).collect();
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

    /// The same, for TLS.
    pub fn bootstrap_tls(&self) -> String {
        self.addresses(|ports| ports.tls)
    }

    /// The same, for TLS with a certificate of the client's.
    pub fn bootstrap_mutual_tls(&self) -> String {
        self.addresses(|ports| ports.mutual)
    }

    /// The same, for SASL over TLS.
    pub fn bootstrap_sasl(&self) -> String {
        self.addresses(|ports| ports.sasl)
    }

    /// The same, for clients that come through proxies: these must listen where the brokers say they do, see
    /// [`fronts`](Self::fronts).
    pub fn bootstrap_proxied(&self) -> String {
        self.addresses(|ports| ports.proxied.1)
    }

    /// The same, for clients from elsewhere, where it was started to be reached at an address.
    pub fn bootstrap_from_elsewhere(&self) -> Option<String> {
        let address = |node: &Node| Some(format!("{}:{}", node.ports.elsewhere?, node.ports.proxied.0));
        let addresses: Option<Vec<_>> = self.nodes.iter().map(address).collect();
        Some(addresses?.join(","))
    }

    /// For each broker where a proxy is to listen, and where it is to pass everything on to.
    pub fn fronts(&self) -> Vec<(u16, u16)> {
        self.nodes.iter().map(|node| (node.ports.proxied.1, node.ports.proxied.0)).collect()
    }

    fn addresses(&self, port: impl Fn(&settings::Ports) -> u16) -> String {
        let addresses = self.nodes.iter().map(|node| format!("127.0.0.1:{}", port(&node.ports)));
        addresses.collect::<Vec<_>>().join(",")
    }

    /// The certificates of a secure cluster.
    pub fn certificates(&self) -> Certificates {
        Certificates::at(&self.folder.join("certificates"))
    }

    /// How many brokers there are, whether they run or not.
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// The brokers, to be stopped, hung, killed and started.
    pub fn nodes(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    /// Which broker leads each partition of a topic, as one that runs knows it; none where nobody does.
    pub fn leaders(&self, topic: &str) -> Result<Vec<Option<usize>>> {
        Ok(self.ask(|port| asks::leaders(port, topic))?.into_iter().map(index).collect())
    }

    /// Which broker coordinates a group.
    pub fn coordinator(&self, group: &str) -> Result<usize> {
        index(self.ask(|port| asks::coordinator(port, group))?).context("a group without a coordinator")
    }

    /// Which broker leads the cluster.
    pub fn controller(&self) -> Result<usize> {
        index(self.ask(asks::controller)?).context("a cluster that nobody leads")
    }

    /// The groups whose names begin so, as far as brokers that answer coordinate them.
    pub fn groups(&self, begin: &str) -> Vec<String> {
        let known = self.answering().filter_map(|node| asks::groups(node.ports.plain).ok());
        known.flatten().filter(|name| name.starts_with(begin)).collect()
    }

    /// Takes the right to read from everybody, for groups whose names begin so. The brokers need an authorizer.
    pub fn deny_groups(&self, begin: &str) -> Result<()> {
        self.ask(|port| asks::deny_groups(port, begin))
    }

    /// What a group has committed of a topic's first partitions.
    pub fn committed(&self, group: &str, topic: &str, partitions: u32) -> Result<Vec<(u32, u64)>> {
        let coordinator =
            self.nodes.get(self.coordinator(group)?).context("a coordinator that is not ours")?;
        asks::committed(coordinator.ports.plain, group, topic, partitions)
    }

    fn answering(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_answering())
    }

    /// The first answer that a broker which runs has.
    fn ask<T>(&self, question: impl Fn(u16) -> Result<T>) -> Result<T> {
        let mut last = None;
        for node in self.answering() {
            match question(node.ports.plain) {
                Ok(answer) => return Ok(answer),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no broker is running")))
    }

    /// Waits until a broker lists so many live ones.
    pub fn await_live(&self, count: usize) -> Result<()> {
        let up = self.answering().next().context("no broker is running")?;
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
        let Some(guard) = self.guard.take() else { return };
        for node in &mut self.nodes {
            // Nobody is left to be told.
            let _ = node.kill();
        }
        let _ = fs::remove_dir_all(&self.folder);
        // It would remove what another cluster has in this folder by then.
        guard.dismiss();
    }
}

/// How many brokers were kept in a folder, and how many of them run; nothing where there is no cluster.
pub fn kept(folder: &Path) -> Result<Option<(usize, usize)>> {
    if !folder.exists() {
        return Ok(None);
    }
    let homes = homes(folder)?;
    let running = homes.iter().filter(|home| node::pid_of(home).is_some()).count();
    Ok(Some((running, homes.len())))
}

fn homes(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("no cluster in {}", folder.display()))?;
    let homes: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut homes = homes.context("list the cluster")?;
    homes.retain(|home| home.join("server.properties").exists());
    Ok(homes)
}

/// Ends the brokers that were kept in a folder, and removes it.
pub fn stop(folder: &Path) -> Result<usize> {
    let mut ended = 0;
    for home in homes(folder)? {
        ended += usize::from(node::kill_of(&home)?);
    }
    fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    Ok(ended)
}

/// The place of the broker with this number.
fn index(number: i32) -> Option<usize> {
    usize::try_from(number).ok()?.checked_sub(1)
}

/// So many ports that nobody listens at. All are held until all are found, so that none is found twice.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let held: Result<Vec<_>, _> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let held = held.context("find free ports")?;
    held.iter().map(|held| Ok(held.local_addr().context("find free ports")?.port())).collect()
}
