//! What only whoever made the cluster can do to it: end its API server, and a node. In other clusters these steps say that they
//! are passed over.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{Suite, until};
use crate::e2e::cluster::Local;

const PROGRAM: &str = "evhub-dataplane";
/// The node that is lost; names are resolved on the other one.
const LOST: &str = "node-2";
/// Keeps pods on the other one.
const PINNED: &str =
    "{\"spec\": {\"template\": {\"spec\": {\"nodeSelector\": {\"kubernetes.io/hostname\": \"node-1\"}}}}}";

impl Suite<'_> {
    /// No API server, and so no operator that leads: what runs goes on, and a dataplane that starts takes what it is to run from
    /// the copy in Kafka.
    pub(super) fn without_api(&self) -> Result<()> {
        let Some(local) = self.local() else { return Ok(()) };
        self.publisher("headless", 3_000, 60)?;
        until("the publisher runs", || Ok(!self.seen("headless")?.is_empty()))?;
        let before: BTreeSet<u32> = Local::processes(PROGRAM)?.into_iter().collect();
        local.kill("kube-apiserver")?;
        for operator in Local::processes("evhub-operator")? {
            kill(operator)?;
        }
        kill(*before.first().context("no dataplane runs")?)?;
        until("the kubelet starts another dataplane", || {
            let now = Local::processes(PROGRAM)?;
            Ok(now.len() == before.len() && now.iter().any(|process| !before.contains(process)))
        })?;
        // The events that are published from now on are counted too: the publisher goes on for most of a minute.
        until("the publisher has ended", || Ok(Local::processes("evhub")?.len() <= 1))?;
        local.start("kube-apiserver")?;
        until("the API server answers", || Ok(self.tools.kubectl(&["get", "--raw", "/readyz"]).is_ok()))?;
        self.published_most("headless", 3_000)?;
        self.ready()
    }

    /// The sudden death of a machine, with all that ran there.
    pub(super) fn lose_a_node(&self) -> Result<()> {
        let Some(local) = self.local() else { return Ok(()) };
        let patch = ["patch", "--namespace", "shop", "deployment", "billing", "--patch", PINNED];
        self.tools.kubectl(&patch)?;
        self.rolled("shop", "deployment/billing")?;
        let ran = self.tools.kubectl(&[
            "get",
            "pods",
            "--namespace",
            super::SYSTEM,
            "--output",
            "jsonpath={.items[*].spec.nodeName}",
        ])?;
        ensure!(ran.contains(LOST), "nothing of evhub runs on {LOST}: {ran}");
        self.publisher_on("lost", 3_000, 60, Some("node-1"))?;
        until("the publisher runs", || Ok(!self.seen("lost")?.is_empty()))?;
        local.kill(LOST)?;
        until("the node is missed", || self.is_ready(LOST).map(|ready| !ready))?;
        // A publisher whose connection led there hears nothing until the node is known to be lost.
        self.published_part("lost", 3_000, 40)?;
        self.rolled(super::SYSTEM, super::DATAPLANE)?;
        self.rolled(super::SYSTEM, super::OPERATOR)?;
        self.ready()?;
        local.start(LOST)?;
        until("the node is back", || self.is_ready(LOST))
    }

    fn is_ready(&self, node: &str) -> Result<bool> {
        let state = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        Ok(self.tools.kubectl(&["get", "node", node, "--output", state])? == "True")
    }

    fn local(&self) -> Option<&Local> {
        let local = self.site.local();
        if local.is_none() {
            println!("    passed over: only `--cluster local` can do that to its cluster");
        }
        local
    }
}

fn kill(process: u32) -> Result<()> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw).context("a process id out of range")?;
    kill_process(pid, Signal::KILL).with_context(|| format!("kill process {process}"))
}
