//! What is done to evhub in a cluster, and what must hold. Each step leaves the cluster as the next one wants it.
//!
//! - [`outage`]: what only whoever made the cluster can do to it

mod outage;

use std::{collections::BTreeSet, fs, path::Path, time::Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    cluster::Site,
    tools::{Tools, until},
};

const SYSTEM: &str = "evhub-system";
const DATAPLANE: &str = "deployment/evhub-dataplane";
const OPERATOR: &str = "deployment/evhub-operator";

struct Suite<'a> {
    root: &'a Path,
    tools: &'a Tools,
    site: &'a Site,
    kafka: &'a str,
}

type Step<'a> = fn(&Suite<'a>) -> Result<()>;

/// Runs all of it; the first thing that does not hold is the last.
pub(super) fn run<'a>(root: &'a Path, tools: &'a Tools, site: &'a Site, kafka: &'a str) -> Result<()> {
    let suite = Suite { root, tools, site, kafka };
    let steps: [(&str, Step<'a>); 12] = [
        ("install and test the installation", Suite::install),
        ("every example is taken", Suite::examples),
        ("apply the shop, until it is ready", Suite::shop),
        ("publish from within and from outside", Suite::publish),
        ("roll and scale under load, and lose nothing", Suite::roll),
        ("start without an operator", Suite::alone),
        ("suspend, and go on", Suite::suspend),
        ("delete a Processor and make it again", Suite::again),
        ("go on without an API server, and start without one", Suite::without_api),
        ("lose a node, and lose nothing", Suite::lose_a_node),
        ("upgrade the chart under load", Suite::upgrade),
        ("uninstall, and leave only what must stay", Suite::uninstall),
    ];
    for (name, step) in steps {
        let since = Instant::now();
        step(&suite).inspect_err(|_| suite.tell()).with_context(|| format!("step failed: {name}"))?;
        println!("ok  {name}, {:.1} s", since.elapsed().as_secs_f64());
    }
    Ok(())
}

impl Suite<'_> {
    /// Prints what can be known of a cluster in which something does not hold: a local one goes when this program ends.
    fn tell(&self) {
        let show = |words: &[&str]| match self.tools.kubectl(words) {
            Ok(text) => println!("--- kubectl {}\n{}", words.join(" "), text.trim_end()),
            Err(error) => println!("--- {error:#}"),
        };
        for what in ["nodes", "pods", "producers,processors", "endpointslices"] {
            show(&["get", what, "--all-namespaces", "--output", "wide"]);
        }
        show(&["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"]);
        for namespace in [SYSTEM, "shop"] {
            let pods = self.tools.kubectl(&["get", "pods", "--namespace", namespace, "--output", "name"]);
            for pod in pods.iter().flat_map(|names| names.lines()) {
                show(&["logs", "--namespace", namespace, pod, "--all-containers", "--tail=40"]);
            }
        }
    }

    fn file(&self, path: &str) -> String {
        self.root.join(path).display().to_string()
    }

    fn install(&self) -> Result<()> {
        // What an earlier run left. Helm 4 would not take over replicas that kubectl has scaled.
        self.tools.helm(&["uninstall", "evhub", "--namespace", SYSTEM, "--ignore-not-found", "--wait"])?;
        self.release(&[])?;
        let restricted = "pod-security.kubernetes.io/enforce=restricted";
        self.tools.kubectl(&["label", "--overwrite", "namespace", SYSTEM, restricted])?;
        self.tools.helm(&["test", "evhub", "--namespace", SYSTEM, "--timeout", "120s"]).map(drop)
    }

    /// Installs the chart, or upgrades it to these values.
    fn release(&self, set: &[&str]) -> Result<()> {
        let (chart, values) = (self.file("charts/evhub"), self.file("e2e/kubernetes/values.yaml"));
        let kafka = format!("kafka.bootstrap={}", self.kafka.replace(',', "\\,"));
        let words = ["upgrade", "--install", "evhub", &chart, "--namespace", SYSTEM, "--create-namespace"];
        let more = ["--values", &values, "--set", &kafka, "--wait", "--timeout", "180s"];
        let set = set.iter().flat_map(|value| ["--set", value]);
        let words: Vec<&str> = words.into_iter().chain(more).chain(set).collect();
        self.tools.helm(&words).map(drop)
    }

    fn shop(&self) -> Result<()> {
        self.tools.kubectl(&["apply", "--filename", &self.file("examples/kubernetes/shop.yaml")])?;
        self.rolled("shop", "deployment/billing")?;
        self.ready()
    }

    fn ready(&self) -> Result<()> {
        let what = ["producer/orders", "processor/billing"];
        self.tools.kubectl(
            &[&["wait", "--namespace", "shop", "--for=condition=Ready", "--timeout=120s"], &what[..]]
                .concat(),
        )?;
        Ok(())
    }

    /// Waits until every dataplane runs the Processor as it is written now.
    fn programmed(&self) -> Result<()> {
        let lines = "jsonpath={.metadata.generation} {.status.conditions[?(@.type==\"Programmed\")].observedGeneration} \
            {.status.conditions[?(@.type==\"Programmed\")].status}";
        until("every dataplane runs what is written", || {
            let said = self.tools.kubectl(&[
                "get",
                "--namespace",
                "shop",
                "processor/billing",
                "--output",
                lines,
            ])?;
            let words: Vec<&str> = said.split(' ').collect();
            Ok(matches!(words[..], [written, runs, "True"] if written == runs))
        })
    }

    /// By the API server's own rules, of which `evhub check` knows only ours.
    fn examples(&self) -> Result<()> {
        // What an earlier run left: some of it may not change.
        self.tools.kubectl(&["delete", "namespace", "shop", "--ignore-not-found", "--timeout=120s"])?;
        for namespace in ["shop", "audit"] {
            // It may be there already.
            let _ = self.tools.kubectl(&["create", "namespace", namespace]);
        }
        for entry in fs::read_dir(self.root.join("examples")).context("read the examples")? {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("kubernetes") && !path.ends_with("quickstart") {
                let folder = path.display().to_string();
                self.tools.kubectl(&["apply", "--dry-run=server", "--filename", &folder])?;
            }
        }
        Ok(())
    }

    fn publish(&self) -> Result<()> {
        self.publisher("inside", 200, 100)?;
        self.tools.evhub(&["publish", "shop/orders", "--id", "outside", "--count", "50", "--data", "{}"])?;
        self.published_all("inside", 200)?;
        self.delivered(&ids("outside", 50))
    }

    fn roll(&self) -> Result<()> {
        self.publisher("rolled", 3_000, 60)?;
        self.tools.kubectl(&["rollout", "restart", "--namespace", SYSTEM, DATAPLANE])?;
        self.rolled(SYSTEM, DATAPLANE)?;
        self.tools.kubectl(&["rollout", "restart", "--namespace", SYSTEM, OPERATOR])?;
        self.rolled(SYSTEM, OPERATOR)?;
        for replicas in [3, 1] {
            self.scale(DATAPLANE, replicas)?;
        }
        self.published_most("rolled", 3_000)?;
        self.scale(DATAPLANE, 2)
    }

    /// A pod that has nothing on its disk starts from the copy in Kafka.
    fn alone(&self) -> Result<()> {
        self.scale(OPERATOR, 0)?;
        self.tools.kubectl(&["rollout", "restart", "--namespace", SYSTEM, DATAPLANE])?;
        self.rolled(SYSTEM, DATAPLANE)?;
        self.publisher("alone", 100, 100)?;
        self.published_all("alone", 100)?;
        self.scale(OPERATOR, 2)?;
        self.ready()
    }

    fn suspend(&self) -> Result<()> {
        self.patch("{\"spec\": {\"suspend\": true}}")?;
        self.programmed()?;
        self.tools.evhub(&["publish", "shop/orders", "--id", "kept", "--count", "10", "--data", "{}"])?;
        ensure!(self.seen("kept")?.is_empty(), "a suspended Processor delivers");
        self.patch("{\"spec\": {\"suspend\": false}}")?;
        self.delivered(&ids("kept", 10))
    }

    fn again(&self) -> Result<()> {
        self.tools.kubectl(&["delete", "--namespace", "shop", "processor/billing", "--timeout=30s"])?;
        self.tools.kubectl(&["apply", "--filename", &self.file("examples/kubernetes/shop.yaml")])?;
        self.ready()?;
        self.tools.evhub(&["publish", "shop/orders", "--id", "again", "--count", "10", "--data", "{}"])?;
        self.delivered(&ids("again", 10))
    }

    fn uninstall(&self) -> Result<()> {
        self.tools.helm(&["uninstall", "evhub", "--namespace", SYSTEM, "--wait", "--timeout", "120s"])?;
        let kinds = "deployments,pods,services,configmaps,secrets,serviceaccounts,roles,rolebindings,networkpolicies,\
            poddisruptionbudgets,clusterroles,clusterrolebindings";
        until("all objects of the release are gone", || {
            let label = "app.kubernetes.io/part-of=evhub";
            Ok(self.tools.kubectl(&["get", kinds, "-A", "--selector", label, "--output", "name"])?.is_empty())
        })?;
        let kept = self.tools.kubectl(&[
            "get",
            "producers,processors",
            "--namespace",
            "shop",
            "--output",
            "name",
        ])?;
        ensure!(kept.lines().count() == 2, "the resources went with the release: {kept}");
        self.tools.kubectl(&["delete", "namespace", "shop", "audit", "--timeout=120s"])?;
        Ok(())
    }

    fn patch(&self, patch: &str) -> Result<()> {
        let words =
            ["patch", "--namespace", "shop", "processor", "billing", "--type=merge", "--patch", patch];
        self.tools.kubectl(&words).map(drop)
    }

    fn scale(&self, what: &str, replicas: u32) -> Result<()> {
        self.tools.kubectl(&["scale", "--namespace", SYSTEM, what, &format!("--replicas={replicas}")])?;
        self.rolled(SYSTEM, what)
    }

    fn rolled(&self, namespace: &str, what: &str) -> Result<()> {
        self.tools.kubectl(&["rollout", "status", "--namespace", namespace, what, "--timeout=180s"]).map(drop)
    }

    /// Published while the chart changes: whatever pods are replaced by.
    fn upgrade(&self) -> Result<()> {
        self.publisher("upgraded", 1_500, 60)?;
        let more = ["dataplane.logLevel=debug", "operator.logLevel=debug"];
        self.release(&more)?;
        self.ready()?;
        self.published_most("upgraded", 1_500)?;
        self.release(&[])?;
        self.ready()
    }

    /// Begins to publish so many events, so many a second, whose ids begin so.
    fn publisher(&self, name: &str, count: u32, rate: u32) -> Result<()> {
        self.publisher_on(name, count, rate, None)
    }

    /// The same, on a node that is named.
    fn publisher_on(&self, name: &str, count: u32, rate: u32, node: Option<&str>) -> Result<()> {
        let file = self.root.join("e2e/kubernetes/publisher.yaml");
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let text = text
            .replace("NAME", name)
            .replace("COUNT", &count.to_string())
            .replace("RATE", &rate.to_string());
        let text = node.map_or_else(
            || text.clone(),
            |node| text.replace("spec:\n", &format!("spec:\n  nodeName: {node}\n")),
        );
        let filled = std::env::temp_dir().join(format!("evhub-publisher-{}.yaml", std::process::id()));
        fs::write(&filled, text).context("write a publisher")?;
        self.tools.kubectl(&["delete", "pod", "--namespace", "shop", name, "--ignore-not-found"])?;
        let applied = self.tools.kubectl(&["apply", "--filename", &filled.display().to_string()]);
        fs::remove_file(&filled).context("remove the publisher's file")?;
        applied.map(drop)
    }

    /// Waits until it has ended; the ids that were accepted, which it tells one a line.
    fn published(&self, name: &str) -> Result<BTreeSet<String>> {
        let phase = ["get", "pod", "--namespace", "shop", name, "--output", "jsonpath={.status.phase}"];
        until("everything is published", || {
            Ok(["Succeeded", "Failed"].contains(&self.tools.kubectl(&phase)?.as_str()))
        })?;
        let log = self.tools.kubectl(&["logs", "--namespace", "shop", name])?;
        Ok(accepted(&log))
    }

    /// The same, where every event must be; and waits until they are delivered.
    fn published_all(&self, name: &str, count: usize) -> Result<()> {
        let accepted = self.published(name)?;
        ensure!(accepted == ids(name, count), "{} of {count} events {name}-… were accepted", accepted.len());
        self.delivered(&accepted)
    }

    /// The same, where pods go meanwhile: a request that crosses the end of its connection ends unknown. It may have come, and
    /// may be published again.
    fn published_most(&self, name: &str, count: usize) -> Result<()> {
        self.published_part(name, count, 90)
    }

    /// The same, for so many in a hundred.
    fn published_part(&self, name: &str, count: usize, percent: usize) -> Result<()> {
        let accepted = self.published(name)?;
        println!("    {} of {count} events accepted, the others unknown", accepted.len());
        ensure!(accepted.len() * 100 >= count * percent, "too few");
        self.delivered(&accepted)
    }

    /// Waits until each of these events has come to the service.
    fn delivered(&self, ids: &BTreeSet<String>) -> Result<()> {
        let name = ids.first().context("no event to wait for")?;
        let name = name.rsplit_once('-').context("an id without a number")?.0.to_owned();
        let waited = until(&format!("{} events {name}-… are delivered", ids.len()), || {
            Ok(ids.is_subset(&self.seen(&name)?))
        });
        waited.with_context(|| match self.seen(&name) {
            Ok(seen) => format!("{:?} are lacking", ids.difference(&seen).take(10).collect::<Vec<_>>()),
            Err(error) => format!("and what came is not told: {error:#}"),
        })
    }

    /// The ids that begin so, of what came to the service.
    fn seen(&self, name: &str) -> Result<BTreeSet<String>> {
        let log = self.tools.kubectl(&["logs", "--namespace", "shop", "deployment/billing", "--tail=-1"])?;
        let begin = format!("{name}-");
        let ids = log.split_whitespace().filter(|word| word.starts_with(&begin));
        Ok(ids.map(str::to_owned).collect())
    }
}

/// The ids of so many events of a run.
fn ids(name: &str, count: usize) -> BTreeSet<String> {
    (1..=count).map(|number| format!("{name}-{number}")).collect()
}

/// The ids that a publisher's receipts name; what was not accepted has an outcome.
fn accepted(log: &str) -> BTreeSet<String> {
    let items =
        log.lines().filter_map(|line| serde_json::from_str::<Value>(line.trim().trim_end_matches(',')).ok());
    let receipts = items.filter(|item| item.get("outcome").is_none());
    receipts.filter_map(|item| Some(item.get("id")?.as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_was_not_accepted_is_not_waited_for() {
        let log = "[\n  {\"id\":\"a-1\",\"partition\":0},\n  {\"id\":\"a-2\",\"outcome\":\"unknown\"},\n  {\"id\":\"a-3\"}\n]\nerror: 1";
        assert_eq!(accepted(log), ["a-1", "a-3"].map(str::to_owned).into());
        assert_eq!(ids("a", 2), ["a-1", "a-2"].map(str::to_owned).into());
    }
}
