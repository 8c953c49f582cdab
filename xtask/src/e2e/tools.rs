//! kubectl, helm and the tool, as people have them, and waiting for what they tell. Runs processes.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::cluster::{Local, Site};

/// How long anything may take, on however busy a machine.
const PATIENCE: Duration = Duration::from_mins(4);
/// How often is asked.
const POLL: Duration = Duration::from_millis(500);

/// The programs.
pub(super) struct Tools {
    helm: PathBuf,
    kubectl: PathBuf,
    /// The tool, under the name by which it forwards a port.
    plugin: PathBuf,
    /// Whom they ask, where it is not the usual one.
    kubeconfig: Option<PathBuf>,
}

impl Tools {
    /// Those of a local cluster; else those on the path, or named by `KUBECTL` and `HELM`. The tool as tests have it.
    pub(super) fn find(root: &Path, site: &Site) -> Result<Self> {
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let tool = target.join("release/evhub");
        ensure!(
            tool.exists(),
            "{} is missing: cargo build --release --workspace --bin evhub",
            tool.display()
        );
        let plugin = target.join("kubectl-evhub");
        let _ = fs::remove_file(&plugin);
        std::os::unix::fs::symlink(&tool, &plugin).context("name the tool as kubectl's verb")?;
        let named =
            |variable: &str, usual: &str| env::var_os(variable).map_or_else(|| usual.into(), PathBuf::from);
        let [kubectl, helm] = match site.local() {
            Some(_) => Local::programs()?,
            None => [named("KUBECTL", "kubectl"), named("HELM", "helm")],
        };
        Ok(Self { helm, kubectl, plugin, kubeconfig: site.local().map(Local::kubeconfig) })
    }

    /// What kubectl says.
    pub(super) fn kubectl(&self, words: &[&str]) -> Result<String> {
        said(self.command(&self.kubectl).args(words), "kubectl", words)
    }

    /// What helm says.
    pub(super) fn helm(&self, words: &[&str]) -> Result<String> {
        said(self.command(&self.helm).args(words), "helm", words)
    }

    /// What the tool says, which forwards a port by itself.
    pub(super) fn evhub(&self, words: &[&str]) -> Result<String> {
        said(self.command(&self.plugin).args(words).env_remove("EVHUB_SERVER"), "evhub", words)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        command
    }
}

fn said(command: &mut Command, name: &str, words: &[&str]) -> Result<String> {
    let output = command.output().with_context(|| format!("run {name}: is it installed?"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, problem) = (text(&output.stdout), text(&output.stderr));
    ensure!(output.status.success(), "{name} {}: {}{out}", words.join(" "), problem.trim_end());
    Ok(out)
}

/// Waits until it holds.
pub(super) fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let since = Instant::now();
    loop {
        let asked = holds();
        if matches!(asked, Ok(true)) {
            return Ok(());
        }
        if since.elapsed() > PATIENCE {
            asked?;
            anyhow::bail!("waited in vain until {what}");
        }
        thread::sleep(POLL);
    }
}
