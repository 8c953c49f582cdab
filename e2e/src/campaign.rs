//! One run of several dataplanes on real brokers, from setup to verdict: set up, warm, siege, heal, quiesce, truth, check.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use evhub_brokers::{Cluster, Options};
use tokio::{task::block_in_place, time::sleep};

use crate::{
    check::gate::{Figures, Gate},
    fleet::Fleet,
    history::{Outcome, Rec},
    judge::Trial,
    model::{Model, Owners, Slack},
    plan::{Copies, PARTITIONS, PRODUCER, Plan, manifests},
    proxy::Proxies,
    publisher::{Clients, Load},
    recorder::Recorder,
    run::seed,
    script::Script,
    siege::{Blow, Siege},
    target::Target,
    truth::{Reader, Status},
};

/// How long a run waits for its first acknowledgements.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long what is left may take once the faults are over: a group that waits for a dead member, twice, and the rest.
const QUIET: Duration = Duration::from_mins(1);
/// How often it is looked at what the groups have committed.
const SAMPLE: Duration = Duration::from_millis(250);

/// What is to happen.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The test's name.
    pub name: String,
    /// Decides everything that is drawn.
    pub seed: u64,
    /// How many dataplanes there are at first.
    pub planes: usize,
    /// Whether proxies lie between the dataplanes and the brokers.
    pub proxied: bool,
    /// How safe the Producer's events are.
    pub copies: Copies,
    /// The Processors, all of the one Producer.
    pub processors: Vec<Plan>,
    /// What is published.
    pub load: Load,
    /// What is done meanwhile.
    pub blows: Vec<Blow>,
    /// What the run must have seen.
    pub gate: Gate,
}

/// Three brokers, each of which notices within three seconds that another one is gone.
pub fn brokers(folder: std::path::PathBuf) -> Result<Cluster> {
    let quick = [
        ("broker.session.timeout.ms", "3000"),
        ("broker.heartbeat.interval.ms", "500"),
        // Nothing moves but by what is done to them.
        ("auto.leader.rebalance.enable", "false"),
    ];
    let properties = quick.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Cluster::start(&Options { brokers: 3, secure: false, properties, folder })
}

impl Campaign {
    /// Two dataplanes, three copies of each event, a moderate load, and no blows yet.
    pub fn new(name: &str) -> Self {
        let load = Load {
            producer: PRODUCER.to_owned(),
            clients: 8,
            keys: 64,
            rest: Duration::from_millis(60),
            numbers: 0..u64::MAX,
            alike: true,
        };
        Self {
            name: name.to_owned(),
            seed: seed(),
            planes: 2,
            proxied: false,
            copies: Some((3, 2)),
            processors: Vec::new(),
            load,
            blows: Vec::new(),
            gate: Gate::default(),
        }
    }

    /// The whole run.
    pub async fn run(self, brokers: &mut Cluster) -> Result<Figures> {
        let recorder = Recorder::default();
        let mut targets = Vec::new();
        for plan in &self.processors {
            let script = Script::new(&plan.modes, self.seed);
            targets.push(Target::start(&plan.full_name(), script, recorder.clone()).await?);
        }
        let resources =
            manifests(self.copies, self.processors.iter().zip(targets.iter().map(|target| target.port)));
        let names: Vec<String> = self.processors.iter().map(Plan::full_name).collect();
        let proxies = if self.proxied { Some(Proxies::start(&brokers.fronts()).await?) } else { None };
        let at = if self.proxied { brokers.bootstrap_proxied() } else { brokers.bootstrap() };
        let mut fleet = Fleet::start(&at, (&resources, names.clone()), self.planes, &recorder).await?;
        let went = self.besiege((brokers, proxies.as_ref()), &mut fleet, &recorder).await;
        let read = match went {
            Ok(()) => self.read(&fleet, &targets, &recorder).await,
            failed => failed,
        };
        let again = format!("EVHUB_E2E_SEED={} cargo test --release -p evhub-e2e {}", self.seed, self.name);
        let trial = Trial {
            name: &self.name,
            seed: self.seed,
            recorder: &recorder,
            gate: &self.gate,
            log: fleet.log(),
            again,
        };
        if let Err(error) = read {
            return trial.failed(&[format!("{error:#}")], &[]);
        }
        let processors = self.processors.iter().map(Plan::model).collect();
        trial.judge(&Model { processors, owners: Owners::Many, slack: Slack::default() })
    }

    /// Load, and what is done to whoever bears it, until everything is well again and nothing is left.
    async fn besiege(
        &self,
        (brokers, proxies): (&mut Cluster, Option<&Proxies>),
        fleet: &mut Fleet,
        recorder: &Recorder,
    ) -> Result<()> {
        let most = self.blows.iter().filter_map(|blow| match blow.kind {
            crate::siege::Kind::Scaled(count) => Some(count),
            _ => None,
        });
        let ports = fleet.all_ports(most.chain([self.planes]).max().unwrap_or(1))?;
        let clients = Clients::start(&self.load, &ports, self.seed, recorder);
        self.warm(recorder).await?;
        let topic = format!("{}.{}", fleet.prefix, PRODUCER.replace('/', "."));
        for blow in &self.blows {
            let topic = topic.clone();
            self.sample(brokers, fleet, &topic, recorder);
            let mut siege = Siege { brokers, fleet, proxies, topic, recorder, seed: self.seed };
            siege.strike(*blow).await?;
            fleet.listen(recorder).await?;
        }
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(2) {
            self.sample(brokers, fleet, &topic, recorder);
            sleep(SAMPLE).await;
        }
        clients.stop().await;
        self.quiesce(fleet, recorder).await?;
        self.sample(brokers, fleet, &topic, recorder);
        Ok(())
    }

    async fn warm(&self, recorder: &Recorder) -> Result<()> {
        let since = Instant::now();
        let acked = |rec: &Rec| matches!(rec, Rec::Complete { outcome: Outcome::Acked { .. }, .. });
        while recorder.count(acked) < 100 {
            ensure!(since.elapsed() < PATIENCE, "too few acknowledgements after {PATIENCE:?}");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Writes down what the groups have committed, as far as their coordinators say.
    fn sample(&self, brokers: &Cluster, fleet: &Fleet, topic: &str, recorder: &Recorder) {
        let groups = block_in_place(|| brokers.groups(&format!("{}.", fleet.prefix)));
        for plan in &self.processors {
            let begin = format!("{}.{}.", fleet.prefix, plan.full_name().replace('/', "."));
            let Some(group) = groups.iter().find(|group| group.starts_with(&begin)) else { continue };
            let committed = block_in_place(|| brokers.committed(group, topic, PARTITIONS));
            for (partition, offset) in committed.unwrap_or_default() {
                recorder.push(Rec::Commit { processor: plan.full_name(), partition, offset });
            }
        }
    }

    async fn quiesce(&self, fleet: &Fleet, recorder: &Recorder) -> Result<()> {
        for plan in &self.processors {
            let (name, since) = (plan.full_name(), Instant::now());
            let pending = loop {
                let status = fleet.status(&name, recorder).await;
                let pending = status.as_ref().map_or(u64::MAX / 4, Status::pending);
                let quiet = status.is_ok_and(|status| status.ready) && pending == 0;
                if quiet || since.elapsed() > QUIET {
                    break pending;
                }
                sleep(Duration::from_millis(50)).await;
            };
            recorder.push(Rec::Left { processor: name, pending });
        }
        Ok(())
    }

    async fn read(&self, fleet: &Fleet, targets: &[Target], recorder: &Recorder) -> Result<()> {
        let Some(ports) = fleet.ports().next() else { return Ok(()) };
        let reader = Reader { api: ports.api, recorder };
        reader.log(PRODUCER, PARTITIONS).await?;
        for (plan, target) in self.processors.iter().zip(targets) {
            reader.dead(&plan.full_name()).await?;
            target.confess();
        }
        Ok(())
    }
}
