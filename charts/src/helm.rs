//! The chart as a Helm renders it. Runs processes.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::program::Program;

/// The release that is rendered, and the namespace that it goes into.
pub const RELEASE: &str = "hub";
/// The same.
pub const NAMESPACE: &str = "evhub-system";

/// The Kubernetes that it is rendered for: each Helm takes another one for granted.
const KUBERNETES: &str = "1.34.0";

/// A Helm, with nothing of this machine's user.
#[derive(Clone, Debug)]
pub struct Helm {
    program: PathBuf,
}

impl Helm {
    /// That version of it.
    pub fn of(program: &Program) -> Result<Self> {
        Ok(Self { program: program.fetch()? })
    }

    /// What it makes of the chart with a file of values; what it says where it refuses.
    pub fn template(&self, chart: &Path, values: &Path) -> Result<Result<String, String>> {
        let of = ["--namespace", NAMESPACE, "--values", text(values)?, "--kube-version", KUBERNETES];
        let output = self.run(&[&["template", RELEASE, text(chart)?], &of[..]].concat())?;
        Ok(answer(&output))
    }

    /// What it has to say against the chart with a file of values; nothing where it is fine.
    pub fn lint(&self, chart: &Path, values: &Path) -> Result<Result<String, String>> {
        let output = self.run(&[
            "lint",
            "--strict",
            text(chart)?,
            "--namespace",
            NAMESPACE,
            "--values",
            text(values)?,
        ])?;
        Ok(answer(&output).map_err(|problem| problem + &String::from_utf8_lossy(&output.stdout)))
    }

    fn run(&self, words: &[&str]) -> Result<Output> {
        let home = env::temp_dir().join(format!("evhub-helm-{}", std::process::id()));
        fs::create_dir_all(&home).context("make a folder for Helm")?;
        let mut helm = Command::new(&self.program);
        helm.args(words).env_clear().env("HOME", &home);
        helm.output().with_context(|| format!("run {}", self.program.display()))
    }
}

fn answer(output: &Output) -> Result<String, String> {
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}

/// The objects in a rendered chart, in their order.
pub fn objects(rendered: &str) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for document in rendered.split("\n---\n") {
        let document = document.trim_start_matches("---\n");
        let has_some = document.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#'));
        if has_some {
            let object: Value = serde_saphyr::from_str(document)
                .with_context(|| format!("read what was rendered:\n{document}"))?;
            ensure!(object.is_object(), "what was rendered is no object:\n{document}");
            objects.push(object);
        }
    }
    Ok(objects)
}
