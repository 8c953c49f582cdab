//! A Kubernetes control plane for a person to try things out with, with nodes or without: brought up with our CRDs, kept until it
//! is taken down. Does I/O.
//!
//! - [`nodes`]: what nodes need and a machine may lack

pub(crate) mod nodes;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use evhub_cluster::{ControlPlane, Options};

/// Where it is, in the workspace's folder of what is built.
const FOLDER: &str = "target/cluster";
/// What it has from the beginning.
const CRDS: &str = "crds/yaml";

/// `up`, `down` or `status`.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<()> {
    let folder = root.join(FOLDER);
    match words {
        ["up"] => up(root, &folder, 0),
        ["up", "--nodes", count] => {
            let count = count.parse().with_context(|| format!("--nodes {count} is no number"))?;
            up(root, &folder, count)
        }
        ["load", archives @ ..] => {
            let archives: Vec<PathBuf> = archives.iter().map(PathBuf::from).collect();
            evhub_cluster::nodes::load(&folder, &archives)
        }
        ["down"] => {
            let ended = evhub_cluster::stop(&folder)?;
            println!("{ended} processes ended; {} is gone", folder.display());
            Ok(())
        }
        ["status"] => status(&folder),
        ["build"] => {
            println!("{}", evhub_cluster::kubernetes::fetch()?.display());
            println!("{}", evhub_cluster::kubernetes::helm()?.display());
            for program in evhub_cluster::kubernetes::node_programs()? {
                println!("{}", program.display());
            }
            Ok(())
        }
        _ => bail!("cargo xtask cluster up [--nodes N] | load ARCHIVE… | down | status | build"),
    }
}

fn up(root: &Path, folder: &Path, count: usize) -> Result<()> {
    if let Some(parts) = evhub_cluster::kept(folder)? {
        let running = parts.iter().filter(|(_, runs)| *runs).count();
        ensure!(running == 0, "a control plane is up already: see `cargo xtask cluster status`");
        // What a machine that was switched off has left.
        evhub_cluster::stop(folder)?;
    }
    let options = Options { folder: folder.to_owned(), first: vec![root.join(CRDS)], controllers: true };
    let plane = match count {
        0 => ControlPlane::start(&options)?,
        count => ControlPlane::start_with_nodes(&options, &nodes::wanted(root, count)?)?,
    };
    plane.keep();
    status(folder)
}

fn status(folder: &Path) -> Result<()> {
    let Some(parts) = evhub_cluster::kept(folder)? else {
        println!("no control plane is up: `cargo xtask cluster up`");
        return Ok(());
    };
    for (name, runs) in parts {
        println!("{name:<25}{}", if runs { "runs" } else { "has ended" });
    }
    println!("export KUBECONFIG={}", evhub_cluster::kept_kubeconfig(folder).display());
    println!("`cargo xtask cluster down` ends it");
    Ok(())
}
