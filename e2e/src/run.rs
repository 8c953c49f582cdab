//! One run from setup to verdict: set up, warm, chaos, heal, quiesce, truth, check, gate, report.

use std::{
    collections::BTreeMap,
    env,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use crate::{
    check::gate::{Figures, Gate},
    history::{Outcome, Rec},
    hub::{Hub, Site},
    judge::Trial,
    model::Model,
    nemesis::{Blow, strike},
    plan::{PARTITIONS, PRODUCER, Plan, manifests},
    publisher::{Clients, Load},
    recorder::Recorder,
    script::Script,
    target::Target,
    truth::{Reader, Status},
};

/// How long an edit may take to run: a second, and what attempts under way may take before.
const APPLIED: Duration = Duration::from_secs(8);
/// How long a run waits for what it needs.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long what is left may take once the faults are over.
const QUIET: Duration = Duration::from_secs(15);

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
    /// Processors that came and went meanwhile.
    pub passing: Vec<Plan>,
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
            alike: true,
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
            let clients = Clients::start(&later, &[run.site.ports.http], run.scenario.seed, &run.recorder);
            hub = strike(last, hub, &run.site, &run.recorder).await?;
            clients.stop().await;
        }
        run.conclude(hub).await
    }

    /// The manifests, given the ports of the targets.
    pub fn manifests(&self, targets: &[Target]) -> String {
        manifests(None, self.processors.iter().zip(targets.iter().map(|target| target.port)))
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
            targets.push(Target::start(&plan.full_name(), script, recorder.clone()).await?);
        }
        let site = Site::new(&scenario.manifests(&targets))?;
        Ok(Self { scenario, recorder, site, targets, passing: Vec::new() })
    }

    /// Starts the clients.
    pub fn clients(&self) -> Clients {
        Clients::start(&self.scenario.load, &[self.site.ports.http], self.scenario.seed, &self.recorder)
    }

    /// A reader of the hub's log and status.
    pub fn reader(&self) -> Reader<'_> {
        Reader { api: self.site.ports.api, recorder: &self.recorder }
    }

    /// Replaces the manifests by those of the scenario as it is now.
    pub fn apply(&self) -> Result<()> {
        self.site.write(&self.scenario.manifests(&self.targets))
    }

    /// Waits until a Processor says that it runs this generation, or a later one.
    pub async fn runs(&self, processor: &str, generation: i64) -> Result<Status> {
        let since = Instant::now();
        loop {
            match self.reader().ready(processor).await? {
                Some(status) if status.generation >= generation => return Ok(status),
                _ => ensure!(
                    since.elapsed() < APPLIED,
                    "generation {generation} of {processor} does not run after {APPLIED:?}"
                ),
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until so many records of a kind were made.
    pub async fn seen(&self, what: &str, most: usize, fits: impl Fn(&Rec) -> bool) -> Result<()> {
        let since = Instant::now();
        while self.recorder.count(&fits) < most {
            ensure!(
                since.elapsed() < PATIENCE,
                "{} {what} of {most} after {PATIENCE:?}",
                self.recorder.count(&fits)
            );
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Waits until so many publishes were acknowledged.
    pub async fn warm(&self, acked: usize) -> Result<()> {
        let is_acked = |rec: &Rec| matches!(rec, Rec::Complete { outcome: Outcome::Acked { .. }, .. });
        self.seen("acknowledgements", acked, is_acked).await
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
            let processor = plan.full_name();
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
            return self.trial().failed(&[format!("{error:#}")], &[]);
        }
        drop(hub);
        let plans = self.scenario.processors.iter().chain(&self.passing);
        let model = Model { processors: plans.map(Plan::model).collect(), ..Model::default() };
        self.trial().judge(&model)
    }

    async fn read(&self, hub: &mut Hub) -> Result<()> {
        for plan in &self.scenario.processors {
            let name = plan.full_name();
            let quiet = self.quiet(&name).await?;
            let pending = quiet.map_or_else(|status| status.pending(), |_| 0);
            self.recorder.push(Rec::Left { processor: name, pending });
        }
        self.reader().log(PRODUCER, PARTITIONS).await?;
        for (plan, target) in self.scenario.processors.iter().zip(&self.targets) {
            self.reader().dead(&plan.full_name()).await?;
            target.confess();
        }
        ensure!(hub.ended().is_none(), "the hub ended by itself");
        Ok(())
    }

    fn trial(&self) -> Trial<'_> {
        let Scenario { name, seed, gate, .. } = &self.scenario;
        let again = format!("EVHUB_E2E_SEED={seed} cargo test --release -p evhub-e2e {name}");
        Trial { name, seed: *seed, recorder: &self.recorder, gate, log: self.site.log(), again }
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
