//! Which cluster the suite runs against, and how images and Kafka come to it. Does I/O.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

use anyhow::{Context, Result, bail, ensure};
use evhub_brokers::Cluster;
use evhub_cluster::{ControlPlane, kubernetes, nodes};

use super::tools::Tools;
use crate::{cluster, image, test::succeed};

/// Its name for kind.
const NAME: &str = "evhub-e2e";
/// Where the local one is, in the workspace's folder of what is built.
const FOLDER: &str = "target/e2e-cluster";
/// Where its broker is.
const BROKER: &str = "target/e2e-kafka";
/// Its nodes; the second one may be lost.
const NODES: usize = 2;
/// What is loaded into its nodes.
const IMAGES: [&str; 3] = ["evhub-operator", "evhub-dataplane", "evhub"];

/// A cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One of our own, on this machine, without Docker.
    Local,
    /// One that kind makes, in Docker.
    Docker,
    /// That of the kubeconfig, whose nodes have the images, or get them by `EVHUB_LOAD`, a program that is handed archives.
    Current,
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "local" => Ok(Self::Local),
            "kind" => Ok(Self::Docker),
            "current" => Ok(Self::Current),
            other => bail!("there is no cluster {other}: local, kind or current"),
        }
    }
}

/// A cluster that is up. A local one ends with this.
pub(super) struct Site {
    kind: Kind,
    local: Option<Local>,
}

/// What only whoever made the cluster can do to it.
pub(super) struct Local {
    plane: RefCell<ControlPlane>,
    broker: Cluster,
}

impl Site {
    /// Makes it, where it is not there.
    pub(super) fn up(root: &Path, kind: Kind) -> Result<Self> {
        let local = match kind {
            Kind::Local => Some(Local::up(root)?),
            Kind::Docker => {
                in_docker(root)?;
                None
            }
            Kind::Current => None,
        };
        Ok(Self { kind, local })
    }

    /// The local one.
    pub(super) fn local(&self) -> Option<&Local> {
        self.local.as_ref()
    }

    /// Builds the images, if they are to be new, and brings them to its nodes.
    pub(super) fn load(&self, root: &Path, are_new: bool) -> Result<()> {
        let out = root.join("target/images-quick");
        let folder = out.display().to_string();
        if are_new {
            image::run(root, &[&IMAGES[..], &["--quick", "--out", &folder]].concat())?;
        } else if self.local.is_none() {
            return Ok(());
        }
        let archives = IMAGES.map(|name| out.join(format!("{name}.tar")));
        if let Some(local) = &self.local {
            return nodes::load(local.plane.borrow().folder(), &archives);
        }
        if self.kind == Kind::Docker {
            for archive in archives {
                let mut load = Command::new("kind");
                load.args(["load", "image-archive", "--name", NAME]).arg(archive);
                succeed(load)?;
            }
            return Ok(());
        }
        let Some(program) = std::env::var_os("EVHUB_LOAD") else {
            println!("the archives in {folder} are to be on the nodes already: EVHUB_LOAD names no program");
            return Ok(());
        };
        let mut load = Command::new(program);
        load.args(archives);
        succeed(load)
    }

    /// A broker that pods reach; where it is.
    pub(super) fn kafka(&self, root: &Path, tools: &Tools) -> Result<String> {
        if let Some(local) = &self.local {
            return local
                .broker
                .bootstrap_from_elsewhere()
                .context("the broker listens for this machine alone");
        }
        // It may be there already.
        let _ = tools.kubectl(&["create", "namespace", "kafka"]);
        let file = root.join("examples/kubernetes/kafka.yaml").display().to_string();
        tools.kubectl(&["apply", "--namespace", "kafka", "--filename", &file])?;
        tools.kubectl(&[
            "rollout",
            "status",
            "--namespace",
            "kafka",
            "deployment/kafka",
            "--timeout=180s",
        ])?;
        Ok("kafka.kafka:9092".to_owned())
    }
}

impl Local {
    fn up(root: &Path) -> Result<Self> {
        let folder = root.join(FOLDER);
        if folder.exists() {
            // What a run has left that was cut off.
            evhub_cluster::stop(&folder)?;
        }
        let nodes = cluster::nodes::wanted(root, NODES)?;
        let options = evhub_cluster::Options { folder, first: Vec::new(), controllers: true };
        let plane = ControlPlane::start_with_nodes(&options, &nodes)?;
        let folder = root.join(BROKER);
        if folder.exists() {
            evhub_brokers::stop(&folder)?;
        }
        let options = evhub_brokers::Options { brokers: 1, secure: false, properties: Vec::new(), folder };
        let broker = Cluster::start_reached_at(&options, nodes::HOST)?;
        Ok(Self { plane: RefCell::new(plane), broker })
    }

    /// Its kubeconfig.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.plane.borrow().kubeconfig()
    }

    /// Its kubectl and its Helm.
    pub(super) fn programs() -> Result<[PathBuf; 2]> {
        Ok([kubernetes::fetch()?.join("kubectl"), kubernetes::helm()?])
    }

    /// The sudden death of a node, or of a part of the control plane.
    pub(super) fn kill(&self, name: &str) -> Result<()> {
        self.plane.borrow_mut().part(name)?.kill()
    }

    /// Starts it again.
    pub(super) fn start(&self, name: &str) -> Result<()> {
        self.plane.borrow_mut().part(name)?.start()
    }

    /// The processes of a program in pods, by their number on this machine.
    pub(super) fn processes(program: &str) -> Result<Vec<u32>> {
        nodes::processes(program)
    }
}

fn in_docker(root: &Path) -> Result<()> {
    if String::from_utf8_lossy(&kind_says(&["get", "clusters"])?).lines().any(|name| name == NAME) {
        return Ok(());
    }
    let mut create = Command::new("kind");
    create
        .args(["create", "cluster", "--wait", "120s", "--config"])
        .arg(root.join("e2e/kubernetes/kind.yaml"));
    succeed(create)
}

fn kind_says(words: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new("kind").args(words).output();
    let output = output.map_err(|error| anyhow::anyhow!("run kind: is it installed? ({error})"))?;
    ensure!(output.status.success(), "kind {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}
