//! One run from setup to verdict: set up, warm, chaos, heal, quiesce, truth, check, gate, report.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::time::sleep;

use crate::{
    check::{
        self, Report, Verdict,
        gate::{Figures, Gate},
    },
    history::{Outcome, Rec},
    hub::{Hub, Site, build_folder},
    model::{self, Model, Slack},
    nemesis::{Blow, strike},
    publisher::{Clients, Load},
    recorder::Recorder,
    script::{Mode, Script},
    target::Target,
    truth::{Reader, Status},
};

/// The Producer of every run.
pub const PRODUCER: &str = "shop/orders";
const PARTITIONS: u32 = 4;
/// How long what is left may take once the faults are over.
const QUIET: Duration = Duration::from_secs(15);

/// A Processor of a scenario, and how its target behaves.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name, in the namespace `shop`.
    pub name: &'static str,
    /// Whether it keeps order by key.
    pub ordered: bool,
    /// How its target behaves.
    pub modes: Vec<(Mode, u64)>,
    /// The first and the longest wait between attempts, in milliseconds.
    pub waits: (u64, u64),
}

/// What every attempt is held to.
const MAX_IN_FLIGHT: usize = 64;
const MAX_ATTEMPTS: u32 = 5;
const TIMEOUT: Duration = Duration::from_secs(1);

/// What is to happen.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The test's name.
    pub name: &'static str,
    /// Decides everything that is drawn.
    pub seed: u64,
    /// The Processors, all of the one Producer.
    pub processors: Vec<Plan>,
    /// What is published.
    pub load: Load,
    /// What the nemesis does.
    pub blows: Vec<Blow>,
    /// What the run must have seen.
    pub gate: Gate,
}

impl Plan {
    /// A Processor that keeps order and retries soon.
    pub fn new(name: &'static str, modes: &[(Mode, u64)]) -> Self {
        Self { name, ordered: true, modes: modes.to_vec(), waits: (100, 400) }
    }

    fn resource(&self, port: u16) -> String {
        format!(
            "apiVersion: evhub.dev/v1alpha1\nkind: Processor\nmetadata: {{ name: {name}, namespace: shop }}\n\
             spec:\n  producers: [ {{ name: orders }} ]\n  startFrom: Earliest\n  target: {{ url: \
             \"http://127.0.0.1:{port}/events\", timeout: {timeout}ms }}\n  delivery:\n    order: {order}\n    \
             maxInFlight: {MAX_IN_FLIGHT}\n    retry:\n      maxAttempts: {MAX_ATTEMPTS}\n      backoff: {{ policy: \
             Exponential, initial: {initial}ms, max: {max}ms, multiplier: 2, jitterPercent: 20 }}\n",
            name = self.name,
            timeout = TIMEOUT.as_millis(),
            order = if self.ordered { "Key" } else { "None" },
            initial = self.waits.0,
            max = self.waits.1,
        )
    }
}

/// A run that is under way.
#[derive(Debug)]
pub struct Run {
    /// What is to happen.
    pub scenario: Scenario,
    /// Where everything is written down.
    pub recorder: Recorder,
    /// Where the hub lives.
    pub site: Site,
    /// The targets, in the order of the Processors.
    pub targets: Vec<Target>,
}

impl Scenario {
    /// A scenario with one Processor, a moderate load and no blows yet.
    pub fn new(name: &'static str) -> Self {
        let load = Load {
            producer: PRODUCER.to_owned(),
            clients: 6,
            keys: 64,
            rest: Duration::from_millis(40),
            numbers: 0..u64::MAX,
        };
        Self { name, seed: seed(), processors: Vec::new(), load, blows: Vec::new(), gate: Gate::default() }
    }

    /// The whole run.
    pub async fn run(self) -> Result<Figures> {
        let (run, mut hub) = Run::set_up(self).await?;
        let clients = run.clients();
        run.warm(50).await?;
        for blow in run.scenario.blows.clone() {
            hub = strike(blow, hub, &run.site, &run.recorder).await?;
        }
        clients.stop().await;
        // Calm: what is resolved by now must stay so, whatever comes.
        if let Some(last) = run.scenario.blows.last().copied() {
            run.settle().await?;
            let later = Load { numbers: 1 << 32..u64::MAX, ..run.scenario.load.clone() };
            let clients = Clients::start(&later, run.site.ports.http, run.scenario.seed, &run.recorder);
            hub = strike(last, hub, &run.site, &run.recorder).await?;
            clients.stop().await;
        }
        run.conclude(hub).await
    }

    fn model(&self) -> Model {
        let processor = |plan: &Plan| model::Processor {
            name: format!("shop/{}", plan.name),
            producer: PRODUCER.to_owned(),
            kinds: Vec::new(),
            ordered: plan.ordered,
            max_in_flight: MAX_IN_FLIGHT,
            max_attempts: MAX_ATTEMPTS,
            timeout: TIMEOUT,
        };
        Model { processors: self.processors.iter().map(processor).collect(), slack: Slack::default() }
    }
}

impl Run {
    /// Starts targets and hub; all is ready when this returns.
    pub async fn set_up(scenario: Scenario) -> Result<(Self, Hub)> {
        let mut run = Self::prepare(scenario).await?;
        let hub = run.site.first_start().await?;
        Ok((run, hub))
    }

    /// Starts the targets and writes the resources.
    pub async fn prepare(scenario: Scenario) -> Result<Self> {
        let recorder = Recorder::default();
        let mut targets = Vec::new();
        for plan in &scenario.processors {
            let script = Script::new(&plan.modes, scenario.seed);
            targets.push(Target::start(&format!("shop/{}", plan.name), script, recorder.clone()).await?);
        }
        let site = Site::new(&resources(&scenario, &targets))?;
        Ok(Self { scenario, recorder, site, targets })
    }

    /// Starts the clients.
    pub fn clients(&self) -> Clients {
        Clients::start(&self.scenario.load, self.site.ports.http, self.scenario.seed, &self.recorder)
    }

    /// A reader of the hub's log and status.
    pub fn reader(&self) -> Reader<'_> {
        Reader { api: self.site.ports.api, recorder: &self.recorder }
    }

    /// Waits until so many publishes were acknowledged.
    pub async fn warm(&self, acked: usize) -> Result<()> {
        let since = Instant::now();
        while self.recorder.count(|rec| matches!(rec, Rec::Complete { outcome: Outcome::Acked { .. }, .. }))
            < acked
        {
            ensure!(since.elapsed() < Duration::from_secs(10), "fewer than {acked} acknowledgements in 10 s");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Waits until nothing is left to do, and writes down that all acknowledged so far is committed.
    async fn settle(&self) -> Result<()> {
        let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
        for entry in &self.recorder.history().0 {
            if let Rec::Complete { outcome: Outcome::Acked { partition, offset }, .. } = entry.rec {
                let end = ends.entry(partition).or_default();
                *end = (offset + 1).max(*end);
            }
        }
        for plan in &self.scenario.processors {
            let processor = format!("shop/{}", plan.name);
            let quiet = self.quiet(&processor).await?;
            ensure!(quiet.is_ok(), "{processor} has not settled after {QUIET:?}: {quiet:?}");
            for (&partition, &offset) in &ends {
                self.recorder.push(Rec::Commit { processor: processor.clone(), partition, offset });
            }
        }
        Ok(())
    }

    async fn quiet(&self, processor: &str) -> Result<Result<Status, Status>> {
        self.reader().until(processor, QUIET, |status| status.ready && status.pending() == 0).await
    }

    /// Waits for what is left, reads the truth, checks, and reports. The hub must be up and the clients be done.
    pub async fn conclude(self, mut hub: Hub) -> Result<Figures> {
        let read = self.read(&mut hub).await;
        if let Err(error) = read {
            return self.failed(&[format!("{error:#}")], &[]);
        }
        drop(hub);
        let history = self.recorder.history();
        let reports = check::all(&history, &self.scenario.model());
        let figures = Figures::of(&history);
        let mut faults = self.recorder.complaints();
        faults.extend(
            self.scenario.gate.missing(&figures).iter().map(|what| format!("the run is void: {what}")),
        );
        faults.extend(self.site.log().lines().filter(|line| line.contains("panicked")).map(str::to_owned));
        if !faults.is_empty() || reports.iter().any(|report| report.verdict != Verdict::Valid) {
            return self.failed(&faults, &reports);
        }
        let line = format!("{}: seed {}; {figures}; anomalies 0\n", self.scenario.name, self.scenario.seed);
        // Straight to the terminal: a passing test's own output is not shown.
        std::io::stderr().write_all(line.as_bytes()).context("say how it went")?;
        Ok(figures)
    }

    async fn read(&self, hub: &mut Hub) -> Result<()> {
        for plan in &self.scenario.processors {
            let name = format!("shop/{}", plan.name);
            let quiet = self.quiet(&name).await?;
            let pending = quiet.map_or_else(|status| status.pending(), |_| 0);
            self.recorder.push(Rec::Left { processor: name, pending });
        }
        self.reader().log(PRODUCER, PARTITIONS).await?;
        for (plan, target) in self.scenario.processors.iter().zip(&self.targets) {
            self.reader().dead(&format!("shop/{}", plan.name)).await?;
            target.confess();
        }
        ensure!(hub.ended().is_none(), "the hub ended by itself");
        Ok(())
    }

    fn failed(&self, faults: &[String], reports: &[Report]) -> Result<Figures> {
        let mut said: Vec<String> = faults.iter().take(10).cloned().collect();
        for Report { name, verdict } in reports {
            match verdict {
                Verdict::Valid => {}
                Verdict::Unknown(why) => said.push(format!("{name}: unknown, {why}")),
                Verdict::Invalid(found) => {
                    said.push(format!("{name}: {} anomalies, the first of them", found.len()));
                    said.extend(found.iter().take(3).map(ToString::to_string));
                }
            }
        }
        let Scenario { name, seed, .. } = self.scenario;
        bail!(
            "{name} failed with seed {seed}\n  {said}\n  {figures}\n  kept: {kept}\n  again: EVHUB_E2E_SEED={seed} cargo test \
             --release -p evhub-e2e {name}\n  the hub's log ends:\n{log}",
            said = said.join("\n  "),
            figures = Figures::of(&self.recorder.history()),
            kept = self.keep().map_or_else(|error| format!("{error:#}"), |path| path.display().to_string()),
            log = self.site.log_end(),
        )
    }

    /// Keeps the history and the hub's log of a failed run.
    fn keep(&self) -> Result<PathBuf> {
        let folder =
            build_folder()?.join("e2e").join(format!("{}-{}", self.scenario.name, self.scenario.seed));
        fs::create_dir_all(&folder).context("keep the history")?;
        self.recorder.save(&folder.join("history.jsonl"))?;
        fs::write(folder.join("hub.log"), self.site.log()).context("keep the log")?;
        Ok(folder)
    }
}

/// The seed of this run: `EVHUB_E2E_SEED`, or another each time, because many seeds find more than one.
pub fn seed() -> u64 {
    let given = env::var("EVHUB_E2E_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(1, |since| u64::from(since.subsec_nanos()) ^ since.as_secs() << 20) % 1_000_000_007
    })
}

fn resources(scenario: &Scenario, targets: &[Target]) -> String {
    let producer = format!(
        "apiVersion: evhub.dev/v1alpha1\nkind: Producer\nmetadata: {{ name: orders, namespace: shop }}\n\
         spec: {{ topic: {{ partitions: {PARTITIONS} }} }}\n"
    );
    let processors = scenario.processors.iter().zip(targets).map(|(plan, target)| plan.resource(target.port));
    std::iter::once(producer).chain(processors).collect::<Vec<_>>().join("---\n")
}
