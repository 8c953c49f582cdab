//! What nodes need and a machine may lack: a runtime for containers, and the two images without which no pod runs. Does I/O.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use evhub_cluster::{Nodes, kubernetes, nodes};

use crate::{image::archive, test::tools};

/// Where the images' archives are, in the workspace's folder of what is built.
const FOLDER: &str = "target/cluster-images";
/// Debian's packages, the program that tells whether each is there, and what it is asked.
const PACKAGES: [(&str, &str, &str); 5] = [
    ("containerd", "containerd", "--version"),
    ("runc", "runc", "--version"),
    ("containernetworking-plugins", "/usr/lib/cni/ptp", "--version"),
    ("nftables", "nft", "--version"),
    ("iproute2", "ip", "-Version"),
];

/// So many nodes, and what they run from the beginning.
pub(crate) fn wanted(root: &Path, count: usize) -> Result<Nodes> {
    for (package, program, argument) in PACKAGES {
        tools::package(package, program, argument)?;
    }
    let out = root.join(FOLDER);
    let mut images = Vec::new();
    let programs = kubernetes::node_programs()?;
    for (program, (name, tag)) in programs.iter().zip([("pause", nodes::PAUSE), ("dns", nodes::RESOLVER)]) {
        let folder = out.join(name);
        let files = folder.join("root");
        fs::create_dir_all(&files).with_context(|| format!("make {}", files.display()))?;
        fs::copy(program, files.join(name)).with_context(|| format!("copy {}", program.display()))?;
        let title = "a part of a cluster for tests";
        images.push(archive::make((name, title), tag, &files, &folder)?.path);
    }
    Ok(Nodes { count, images })
}
