//! The workspace's crates: what each declares, from `cargo metadata`, and what each really sees, from `cargo tree`.
//!
//! `cargo metadata` alone would not do for the second: it resolves features for the whole workspace at once, so that
//! one crate's use of `kube` with its client would show as everybody's. `cargo tree` resolves for one crate. Does I/O.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::cargo;

/// One crate of ours.
pub(crate) struct Crate {
    /// The package's name.
    pub name: String,
    /// Its folder from the workspace's, with a slash at the end.
    pub folder: String,
    /// What its manifest names.
    pub declares: Vec<Declared>,
    /// Every package that its normal dependencies lead to, with the chain from it to there.
    pub sees: BTreeMap<String, Vec<String>>,
}

/// A dependency as a manifest names it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Declared {
    /// The package.
    pub name: String,
    /// `dev`, `build`, or nothing for a normal one.
    pub kind: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: String,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Declared>,
}

/// Asks cargo.
pub(crate) fn read(root: &Path) -> Result<Vec<Crate>> {
    let metadata = cargo::output(root, &["metadata", "--format-version=1", "--no-deps"])?;
    parse(&metadata, |name| {
        let arguments =
            ["tree", "--package", name, "--edges=normal,no-proc-macro", "--prefix=depth", "--format={p}"];
        cargo::output(root, &arguments)
    })
}

/// The crates, from metadata and from a way to ask for one crate's tree.
pub(crate) fn parse(metadata: &str, tree: impl Fn(&str) -> Result<String>) -> Result<Vec<Crate>> {
    let metadata: Metadata = serde_json::from_str(metadata).context("read what cargo metadata says")?;
    let root = format!("{}/", metadata.workspace_root);
    metadata
        .packages
        .into_iter()
        .map(|package| {
            let folder =
                package.manifest_path.trim_start_matches(&root).trim_end_matches("Cargo.toml").to_owned();
            let sees = chains(&tree(&package.name)?);
            Ok(Crate { name: package.name, folder, declares: package.dependencies, sees })
        })
        .collect()
}

/// Reads lines of depth and package; the first place of each package gives the chain to it.
fn chains(tree: &str) -> BTreeMap<String, Vec<String>> {
    let mut chains = BTreeMap::new();
    let mut chain: Vec<String> = Vec::new();
    for line in tree.lines() {
        let digits = line.chars().take_while(char::is_ascii_digit).count();
        let (Ok(depth), Some(name)) = (line[..digits].parse(), line[digits..].split(' ').next()) else {
            continue;
        };
        chain.truncate(depth);
        chain.push(name.to_owned());
        if depth > 0 {
            chains.entry(name.to_owned()).or_insert_with(|| chain.clone());
        }
    }
    chains
}
