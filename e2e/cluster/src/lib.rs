//! A real Kubernetes control plane for tests and for trying things out, on the loopback address: etcd, the API server and the
//! controller manager, built from their own sources, with no image registry and no installation; and, for whoever is root, nodes
//! that run pods. Does I/O and runs processes.
//!
//! In: a folder, what is to be applied first, and flags. Out: a kubeconfig, and handles to hang and kill each part. It knows
//! nothing of evhub.
//!
//! - [`kubernetes`]: builds the programs, once
//! - [`certificates`]: makes throw-away certificates and kubeconfigs
//! - [`nodes`]: nodes, their network and the cluster's resolver
//! - [`part`]: one program's process
//! - [`guard`]: ends the control plane when we are gone, however that came

mod certificates;
mod guard;
pub mod kubernetes;
pub mod nodes;
mod part;

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use self::guard::Guard;
pub use self::{nodes::Nodes, part::Part};

/// How long anything here may take, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often is asked.
const POLL: Duration = Duration::from_millis(50);

/// What a control plane is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its files are.
    pub folder: PathBuf,
    /// Manifests that are applied before the controllers start: their garbage collector learns of later kinds only after
    /// half a minute.
    pub first: Vec<PathBuf>,
    /// Whether controllers run: namespaces then end, and have service accounts; Services have endpoints.
    pub controllers: bool,
}

/// A control plane. It ends with its handle, or with our process, unless it is kept.
#[derive(Debug)]
pub struct ControlPlane {
    folder: PathBuf,
    kubectl: PathBuf,
    port: u16,
    parts: Vec<Part>,
    guard: Option<Guard>,
}

impl ControlPlane {
    /// Starts a new one, and waits until its API server is ready and has what it is to have first. Ports that were free may be
    /// taken before it listens: then it is tried with others.
    pub fn start(options: &Options) -> Result<Self> {
        Self::start_tried(options, None)
    }

    /// The same with nodes, and waits until each is ready and names are resolved.
    pub fn start_with_nodes(options: &Options, nodes: &Nodes) -> Result<Self> {
        ensure!(options.controllers, "pods need controllers");
        let mut plane = Self::start_tried(options, Some(nodes))?;
        plane.start_nodes(nodes.count)?;
        Ok(plane)
    }

    fn start_tried(options: &Options, nodes: Option<&Nodes>) -> Result<Self> {
        let mut tries = 3;
        loop {
            tries -= 1;
            match Self::start_once(options, nodes) {
                Err(_) if tries > 0 => {}
                started => return started,
            }
        }
    }

    fn start_once(options: &Options, nodes: Option<&Nodes>) -> Result<Self> {
        let programs = kubernetes::fetch()?;
        let Options { folder, first, controllers } = options;
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let [api, etcd, peer] = free_ports()?;
        let host = nodes.map_or(Ipv4Addr::LOCALHOST, |_| nodes::HOST);
        certificates::make(folder, host, api)?;
        let guard = Some(Guard::over(folder)?);
        if let Some(nodes) = nodes {
            nodes::prepare(folder, nodes)?;
        }
        let parts = vec![
            Part::new(folder, "etcd", &programs, etcd_flags(folder, etcd, peer)),
            Part::new(folder, "kube-apiserver", &programs, api_flags(folder, (host, api), etcd)),
        ];
        let kubectl = programs.join("kubectl");
        let mut plane = Self { folder: folder.clone(), kubectl, port: api, parts, guard };
        plane.part("etcd")?.start()?;
        plane.until("etcd listens", || Ok(TcpStream::connect(("127.0.0.1", etcd)).is_ok()))?;
        plane.part("kube-apiserver")?.start()?;
        plane.await_ready()?;
        for manifests in first {
            plane.apply(manifests)?;
        }
        if *controllers {
            let mut part = Part::new(folder, "kube-controller-manager", &programs, controller_flags(folder));
            part.start()?;
            plane.parts.push(part);
            plane.until("the default service account", || {
                Ok(plane.kubectl(&["get", "serviceaccount", "default"])?.status.success())
            })?;
        }
        Ok(plane)
    }

    fn start_nodes(&mut self, count: usize) -> Result<()> {
        let programs = kubernetes::fetch()?;
        for mut part in nodes::lay(&self.folder, &programs, self.port, count)? {
            part.start()?;
            self.parts.push(part);
        }
        let resolver = self.folder.join("dns.yaml");
        fs::write(&resolver, nodes::resolver()).context("write the resolver's objects")?;
        self.said(&["apply", "-f", resolver.to_str().context("a path that is no text")?])?;
        self.until("every node is ready", || {
            self.none_ended()?;
            let said = self.said(&["get", "nodes", "--no-headers"])?;
            Ok(said.lines().filter(|line| line.split_whitespace().nth(1) == Some("Ready")).count() == count)
        })?;
        self.said(&["rollout", "status", "deployment/dns", "--namespace=kube-system", "--timeout=120s"])?;
        Ok(())
    }

    /// The kubeconfig of whoever may do anything.
    pub fn kubeconfig(&self) -> PathBuf {
        certificates::kubeconfig(&self.folder, certificates::ADMIN)
    }

    /// Where the API server listens: on the loopback address, or with nodes on the one that they know.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of all its files, logs included.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// etcd, the API server and the controllers, to be stopped, hung, killed and started.
    pub fn part(&mut self, name: &str) -> Result<&mut Part> {
        let found = self.parts.iter_mut().find(|part| part.name() == name);
        found.with_context(|| format!("there is no {name} here"))
    }

    /// Waits until the API server says that it is ready.
    pub fn await_ready(&self) -> Result<()> {
        self.until("the API server is ready", || {
            self.none_ended()?;
            Ok(self.kubectl(&["get", "--raw", "/readyz"])?.status.success())
        })
    }

    fn none_ended(&self) -> Result<()> {
        if let Some(part) = self.parts.iter().find(|part| part.has_ended()) {
            bail!("{} ended, and said last:\n{}", part.name(), part.last_words());
        }
        Ok(())
    }

    /// Runs kubectl as whoever may do anything.
    pub fn kubectl(&self, words: &[&str]) -> Result<Output> {
        let mut kubectl = Command::new(&self.kubectl);
        kubectl.args(["--kubeconfig"]).arg(self.kubeconfig()).args(words);
        // Not a cache of another cluster that had this port.
        kubectl.env("KUBECACHEDIR", self.folder.join("kubectl")).stdin(Stdio::null());
        kubectl.output().context("run kubectl")
    }

    /// Applies manifests, and waits until CRDs among them are served.
    pub fn apply(&self, manifests: &Path) -> Result<()> {
        let path = manifests.to_str().context("a path that is no text")?;
        self.said(&["apply", "--server-side", "--force-conflicts", "-f", path])?;
        self.said(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"])?;
        Ok(())
    }

    /// What kubectl says, where it succeeds.
    pub fn said(&self, words: &[&str]) -> Result<String> {
        let output = self.kubectl(words)?;
        let problem = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {problem}", words.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn until(&self, what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
        let since = Instant::now();
        while !holds()? {
            ensure!(
                since.elapsed() < PATIENCE,
                "waited in vain until {what}; see the logs in {}",
                self.folder.display()
            );
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Lets the control plane go on without this handle; [`stop`] ends it.
    pub fn keep(mut self) {
        for part in &mut self.parts {
            part.release();
        }
        drop(self.guard.take());
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if self.guard.is_none() {
            return;
        }
        // The API server first: etcd's end would fill its log.
        for part in self.parts.iter_mut().rev() {
            // Nobody is left to be told.
            let _ = part.kill();
        }
        let _ = nodes::forget(&self.folder);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Which parts were kept in a folder, and whether each runs; nothing where there is no control plane.
pub fn kept(folder: &Path) -> Result<Option<Vec<(String, bool)>>> {
    if !folder.exists() {
        return Ok(None);
    }
    part::noted(folder).map(Some)
}

/// The kubeconfig of a control plane that was kept in a folder.
pub fn kept_kubeconfig(folder: &Path) -> PathBuf {
    certificates::kubeconfig(folder, certificates::ADMIN)
}

/// Ends a control plane that was kept in a folder, and removes it.
pub fn stop(folder: &Path) -> Result<usize> {
    let mut ended = 0;
    for (name, _) in part::noted(folder)? {
        ended += usize::from(part::kill_of(folder, &name)?);
    }
    nodes::forget(folder)?;
    fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    Ok(ended)
}

// === flags ===

fn etcd_flags(folder: &Path, port: u16, peer: u16) -> Vec<String> {
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
    vec![
        format!("--data-dir={}", folder.join("etcd").display()),
        // It ends with the test, and no machine crashes meanwhile.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
    ]
}

fn api_flags(folder: &Path, (host, port): (Ipv4Addr, u16), etcd: u16) -> Vec<String> {
    let pki = |name: &str| folder.join("pki").join(name).display().to_string();
    let mut flags = vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        format!("--bind-address={host}"),
        format!("--advertise-address={host}"),
        format!("--secure-port={port}"),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-key-file={}", pki("sa.pub")),
        format!("--service-account-signing-key-file={}", pki("sa.key")),
        "--authorization-mode=Node,RBAC".to_owned(),
        format!("--service-cluster-ip-range={}", nodes::SERVICES),
    ];
    if host.is_loopback() {
        // It wants no loopback address.
        flags.push("--endpoint-reconciler-type=none".to_owned());
        return flags;
    }
    let kubelets = certificates::KUBELETS;
    flags.extend([
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        format!("--kubelet-certificate-authority={}", pki("ca.crt")),
        format!("--kubelet-client-certificate={}", pki(&format!("{kubelets}.crt"))),
        format!("--kubelet-client-key={}", pki(&format!("{kubelets}.key"))),
        // What ran on a lost node is wanted elsewhere at once, not after five minutes.
        "--default-not-ready-toleration-seconds=5".to_owned(),
        "--default-unreachable-toleration-seconds=5".to_owned(),
    ]);
    flags
}

fn controller_flags(folder: &Path) -> Vec<String> {
    let pki = |name: &str| folder.join("pki").join(name).display().to_string();
    let kubeconfig = certificates::kubeconfig(folder, certificates::CONTROLLERS);
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
        // With the usual bounds it takes 5 s to start.
        "--kube-api-qps=300".to_owned(),
        "--kube-api-burst=600".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={}", pki("sa.key")),
        format!("--root-ca-file={}", pki("ca.crt")),
        // Of nodes: how long one says nothing before it is lost.
        "--node-monitor-grace-period=16s".to_owned(),
    ]
}

/// Ports that nobody listens at. All are held until all are found, so that none is found twice.
fn free_ports() -> Result<[u16; 3]> {
    let hold = || TcpListener::bind("127.0.0.1:0").context("find free ports");
    let held = [hold()?, hold()?, hold()?];
    let mut ports = [0; 3];
    for (port, held) in ports.iter_mut().zip(&held) {
        *port = held.local_addr().context("find free ports")?.port();
    }
    Ok(ports)
}
