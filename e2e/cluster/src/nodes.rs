//! Nodes that pods run on: each a process tree with namespaces of its own, beside a network on a bridge of the machine. Does
//! I/O, as root, by scripts that lie beside the programs' sources.
//!
//! Killing a node's first process is the sudden death of a machine: its pods, mounts and rules go with it. Its disk stays.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{Part, certificates};

/// Where the machine is, seen from nodes and pods; there the API server listens.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 97, 0, 1);
/// Where Services are.
pub(crate) const SERVICES: &str = "10.97.128.0/17";
/// The first of those, which is the API server's.
pub(crate) const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 97, 128, 1);
/// The resolver's.
const DNS: Ipv4Addr = Ipv4Addr::new(10, 97, 128, 10);
/// What the first process of every pod is.
pub const PAUSE: &str = "evhub.test/pause:1";
/// The resolver.
pub const RESOLVER: &str = "evhub.test/dns:1";
/// Their names.
const NAMES: [&str; 3] = ["node-1", "node-2", "node-3"];

const NETWORK: &str = include_str!("../kubernetes/network.sh");
const NODE: &str = include_str!("../kubernetes/node.sh");
const RESOLVER_OBJECTS: &str = include_str!("../kubernetes/dns.yaml");

/// Nodes of a cluster.
#[derive(Clone, Debug)]
pub struct Nodes {
    /// How many, up to three.
    pub count: usize,
    /// Archives of what they can run from the beginning: at least [`PAUSE`] and [`RESOLVER`].
    pub images: Vec<PathBuf>,
}

/// Makes the network and the nodes' files. What an earlier cluster left is taken away first.
pub(crate) fn prepare(folder: &Path, nodes: &Nodes) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "nodes need root: they have namespaces and cgroups of their own"
    );
    ensure!((1..=NAMES.len()).contains(&nodes.count), "from 1 to {} nodes", NAMES.len());
    for (name, script) in [("network.sh", NETWORK), ("node.sh", NODE)] {
        fs::write(folder.join(name), script).with_context(|| format!("write {name}"))?;
    }
    fs::write(folder.join("nodes"), nodes.count.to_string()).context("note how many nodes there are")?;
    let images = folder.join("images");
    fs::create_dir_all(&images).context("make a folder for images")?;
    for image in &nodes.images {
        let name = image.file_name().with_context(|| format!("{} is no archive", image.display()))?;
        fs::copy(image, images.join(name)).with_context(|| format!("copy {}", image.display()))?;
    }
    network(folder, "down")?;
    network(folder, "up")
}

/// Takes the network away, where there is one.
pub(crate) fn forget(folder: &Path) -> Result<()> {
    if folder.join("network.sh").exists() { network(folder, "down") } else { Ok(()) }
}

fn network(folder: &Path, verb: &str) -> Result<()> {
    let count = fs::read_to_string(folder.join("nodes")).context("read how many nodes there are")?;
    let mut script = Command::new("bash");
    script.arg(folder.join("network.sh")).arg(verb).arg(folder).arg(count.trim());
    let output = script.output().context("run bash")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the nodes' network cannot be brought {verb}: {said}");
    Ok(())
}

/// The nodes as parts, with their certificates and configuration; none of them runs yet.
pub(crate) fn lay(folder: &Path, programs: &Path, port: u16, count: usize) -> Result<Vec<Part>> {
    certificates::client(folder, HOST, port, "scheduler", "/CN=system:kube-scheduler")?;
    certificates::client(folder, HOST, port, "proxy", "/CN=system:kube-proxy")?;
    let mut parts = vec![Part::new(folder, "kube-scheduler", programs, scheduler_flags(folder))];
    for (name, number) in NAMES.into_iter().zip(1_u8..).take(count) {
        let address = Ipv4Addr::new(10, 97, 0, 10 + number);
        certificates::node(folder, HOST, port, name, address)?;
        let home = folder.join(name);
        fs::create_dir_all(home.join("net.d")).with_context(|| format!("make {}", home.display()))?;
        for (file, text) in [
            ("address", address.to_string()),
            ("net.d/10-pods.conflist", network_of_pods(number)),
            ("containerd.toml", containerd(&home)),
            ("kubelet.yaml", kubelet(folder, name, address)),
            ("proxy.yaml", proxy(folder, name)),
        ] {
            fs::write(home.join(file), text).with_context(|| format!("write {file} of {name}"))?;
        }
        parts.push(Part::run_by(folder, name, Path::new("nsenter"), flags(folder, programs, name)));
    }
    Ok(parts)
}

/// Loads archives into every node that runs.
pub fn load(folder: &Path, archives: &[PathBuf]) -> Result<()> {
    for name in NAMES {
        let socket = folder.join(name).join("run/containerd/containerd.sock");
        for archive in archives.iter().filter(|_| socket.exists()) {
            let mut import = Command::new("ctr");
            import
                .arg("--address")
                .arg(&socket)
                .args(["--namespace", "k8s.io", "images", "import"])
                .arg(archive);
            let output = import.output().context("run ctr: is containerd installed?")?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{} cannot be loaded into {name}: {said}", archive.display());
        }
    }
    // A node that is lost and comes back loads them again.
    for archive in archives {
        let name = archive.file_name().with_context(|| format!("{} is no archive", archive.display()))?;
        fs::copy(archive, folder.join("images").join(name))
            .context("keep an image for nodes that come back")?;
    }
    Ok(())
}

/// The processes in pods that are called so, by their number on this machine.
pub fn processes(program: &str) -> Result<Vec<u32>> {
    let entries = fs::read_dir("/proc").context("list the machine's processes")?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    // One that ends meanwhile is none.
    let read =
        |number: u32, file: &str| fs::read_to_string(format!("/proc/{number}/{file}")).unwrap_or_default();
    // The kernel keeps the first 15 letters of a name.
    let name = &program[..program.len().min(15)];
    let is_it = |number: &u32| {
        read(*number, "comm").trim_end() == name && read(*number, "cgroup").contains("/evhub-node-")
    };
    Ok(numbers.filter(is_it).collect())
}

/// The resolver's objects.
pub(crate) fn resolver() -> String {
    RESOLVER_OBJECTS.replace("ADDRESS", &DNS.to_string())
}

/// Into the node's network, and there into namespaces that end with their first process.
fn flags(folder: &Path, programs: &Path, name: &str) -> Vec<String> {
    let mut flags = vec![format!("--net=/run/netns/evhub-{name}")];
    let unshare =
        ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc", "bash"];
    flags.extend(unshare.map(str::to_owned));
    let paths = [folder.join("node.sh"), folder.join(name)].map(|path| path.display().to_string());
    flags.extend(paths);
    flags.extend([name.to_owned(), programs.display().to_string(), folder.display().to_string()]);
    flags
}

fn scheduler_flags(folder: &Path) -> Vec<String> {
    let kubeconfig = certificates::kubeconfig(folder, "scheduler");
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
        "--kube-api-qps=300".to_owned(),
        "--kube-api-burst=600".to_owned(),
    ]
}

/// All traffic of pods is routed, so that nothing has to be set up for a bridge, and nobody's address is hidden.
fn network_of_pods(number: u8) -> String {
    let subnet = format!("10.97.{}.0/24", 64 + number);
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "pods", "plugins": [{{"type": "ptp", "mtu": 1500, "ipMasq": false,
  "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{subnet}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}}]}}
"#
    )
}

fn containerd(home: &Path) -> String {
    format!(
        r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  # Root without CAP_SYS_RESOURCE may not lower the score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"#,
        home.join("net.d").display()
    )
}

/// Images are never collected: they could not be pulled again.
fn kubelet(folder: &Path, name: &str, address: Ipv4Addr) -> String {
    let pki = folder.join("pki");
    let pki = pki.display();
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {address}
tlsCertFile: {pki}/{name}.crt
tlsPrivateKeyFile: {pki}/{name}.key
authentication: {{ anonymous: {{ enabled: false }}, webhook: {{ enabled: true }}, x509: {{ clientCAFile: {pki}/ca.crt }} }}
authorization: {{ mode: Webhook }}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /evhub-{name}
failCgroupV1: false
failSwapOn: false
clusterDomain: cluster.local
clusterDNS: [ {DNS} ]
resolvConf: ''
makeIPTablesUtilChains: false
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {{ memory.available: 50Mi, nodefs.available: 200Mi, imagefs.available: 200Mi, nodefs.inodesFree: 1%, imagefs.inodesFree: 1% }}
"
    )
}

fn proxy(folder: &Path, name: &str) -> String {
    let kubeconfig = certificates::kubeconfig(folder, "proxy");
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: {name}
clusterCIDR: 10.97.64.0/18
clientConnection: {{ kubeconfig: {} }}
nftables: {{ minSyncPeriod: 100ms, syncPeriod: 30s }}
conntrack: {{ maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s }}
",
        kubeconfig.display()
    )
}
