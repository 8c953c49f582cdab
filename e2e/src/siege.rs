//! What is done to brokers and dataplanes while they work, by a schedule that a seed decides.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use evhub_brokers::Cluster;
use tokio::{task::block_in_place, time::sleep};

use crate::{
    fleet::Fleet,
    history::{Fault, Mono, Rec, draw},
    proxy::{Act, Api, Proxies, Rule},
    recorder::Recorder,
};

/// How long a role may take to move to another broker.
const MOVES: Duration = Duration::from_secs(20);

/// Which broker is struck: the one that does this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Leads a partition of the Producer's topic.
    Leader,
    /// Coordinates a Processor's group.
    Coordinator,
    /// Leads the cluster.
    Controller,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A broker's SIGKILL, and a new start.
    BrokerKilled(Role),
    /// A broker's SIGSTOP, then SIGCONT.
    BrokerHung(Role),
    /// Each broker, one after the other, stops cleanly and starts again.
    BrokersRolled,
    /// A broker's SIGKILL where nobody else has what it led; then a dataplane's, so that what nobody leads changes hands.
    Leaderless,
    /// A dataplane's SIGKILL, and a new start.
    PlaneKilled,
    /// A dataplane's SIGSTOP, then SIGCONT.
    PlanePaused,
    /// Nothing comes through between the dataplanes and a broker, which the other brokers reach as before.
    Cut(Role),
    /// Each fourth answer of the brokers' to this is lost, or held back.
    Answers(Api, Act),
    /// So many dataplanes, by starting more or stopping some cleanly.
    Scaled(usize),
}

/// One blow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blow {
    /// How long everything is left in peace before.
    pub after: Duration,
    /// What is done.
    pub kind: Kind,
    /// How long what is struck stays down or stopped.
    pub lasts: Duration,
}

/// Blows of these kinds, one each; what is left in peace, and how long each lasts, is drawn between the bounds, in milliseconds.
pub fn schedule(seed: u64, kinds: &[Kind], rest: (u64, u64), lasts: (u64, u64)) -> Vec<Blow> {
    let pick = |what: &str, n: usize, (low, high): (u64, u64)| {
        Duration::from_millis(low + draw(seed, &["siege", what, &n.to_string()]) % (high - low).max(1))
    };
    let blow = |(n, kind): (usize, &Kind)| Blow {
        after: pick("rest", n, rest),
        kind: *kind,
        lasts: pick("lasts", n, lasts),
    };
    kinds.iter().enumerate().map(blow).collect()
}

/// Who is besieged.
#[derive(Debug)]
pub struct Siege<'a> {
    /// The brokers.
    pub brokers: &'a mut Cluster,
    /// The dataplanes.
    pub fleet: &'a mut Fleet,
    /// What lies between the two.
    pub proxies: Option<&'a Proxies>,
    /// The Producer's topic.
    pub topic: String,
    /// Where everything is written down.
    pub recorder: &'a Recorder,
    /// Decides which of several is struck.
    pub seed: u64,
}

impl Siege<'_> {
    /// Strikes once; everything is up again when this returns.
    pub async fn strike(&mut self, Blow { after, kind, lasts }: Blow) -> Result<()> {
        sleep(after).await;
        let ended = self.fleet.ended();
        ensure!(ended.is_none(), "{ended:?} ended by itself");
        match kind {
            Kind::BrokerKilled(role) => self.kill_broker(role, lasts).await,
            Kind::BrokerHung(role) => self.hang_broker(role, lasts).await,
            Kind::BrokersRolled => self.roll().await,
            Kind::Leaderless => self.leaderless(lasts).await,
            Kind::PlaneKilled => self.kill_plane(lasts).await,
            Kind::PlanePaused => self.pause_plane(lasts).await,
            Kind::Cut(role) => self.cut(role, lasts).await,
            Kind::Answers(api, act) => self.strike_answers(Rule { api, every: 4, act }, lasts).await,
            Kind::Scaled(count) => self.scale(count).await,
        }
    }

    async fn kill_broker(&mut self, role: Role, lasts: Duration) -> Result<()> {
        let (from, struck) = (self.recorder.now(), self.who(role)?);
        block_in_place(|| self.brokers.nodes()[struck].kill())?;
        let moved = self.moved(role, struck).await;
        sleep(lasts).await;
        block_in_place(|| {
            self.brokers.nodes()[struck].start()?;
            self.brokers.await_live(self.brokers.count())
        })?;
        self.note(from, Fault::Log(format!("BrokerKilled {role:?}")), moved);
        Ok(())
    }

    async fn hang_broker(&mut self, role: Role, lasts: Duration) -> Result<()> {
        let (from, struck) = (self.recorder.now(), self.who(role)?);
        self.brokers.nodes()[struck].hang()?;
        let moved = self.moved(role, struck).await;
        sleep(lasts).await;
        self.brokers.nodes()[struck].resume()?;
        block_in_place(|| self.brokers.await_live(self.brokers.count()))?;
        self.note(from, Fault::Log(format!("BrokerHung {role:?}")), moved);
        Ok(())
    }

    async fn leaderless(&mut self, lasts: Duration) -> Result<()> {
        let (from, struck) = (self.recorder.now(), self.who(Role::Leader)?);
        block_in_place(|| self.brokers.nodes()[struck].kill())?;
        let moved = self.moved(Role::Leader, struck).await;
        let index = self.pick(self.fleet.alive());
        let began = self.recorder.now();
        let killed = self.fleet.kill(index).await?;
        self.note(began, Fault::Kill, killed);
        self.fleet.revive(index)?;
        sleep(lasts).await;
        block_in_place(|| {
            self.brokers.nodes()[struck].start()?;
            self.brokers.await_live(self.brokers.count())
        })?;
        self.note(from, Fault::Log("Leaderless".to_owned()), moved);
        self.fleet.listen(self.recorder).await
    }

    async fn roll(&mut self) -> Result<()> {
        for index in 0..self.brokers.count() {
            let from = self.recorder.now();
            block_in_place(|| {
                self.brokers.nodes()[index].stop()?;
                self.brokers.nodes()[index].start()?;
                self.brokers.await_live(self.brokers.count())
            })?;
            self.note(from, Fault::Log("BrokersRolled".to_owned()), true);
            // As whoever rolls brokers waits until all replicas are in sync again: all partitions have leaders, and time to fetch.
            sleep(Duration::from_secs(2)).await;
        }
        Ok(())
    }

    async fn cut(&mut self, role: Role, lasts: Duration) -> Result<()> {
        let proxies = self.proxies.context("nothing lies between dataplanes and brokers")?;
        let (from, struck) = (self.recorder.now(), self.who(role)?);
        proxies.cut(struck, true);
        sleep(lasts).await;
        let still = self.who(role)? == struck || role == Role::Leader;
        proxies.cut(struck, false);
        // It must have kept its role: what a broker that loses it does to whom it serves is another blow.
        self.note(from, Fault::Log(format!("Cut {role:?}")), still);
        self.fleet.listen(self.recorder).await
    }

    async fn strike_answers(&mut self, rule: Rule, lasts: Duration) -> Result<()> {
        let proxies = self.proxies.context("nothing lies between dataplanes and brokers")?;
        let (from, before) = (self.recorder.now(), proxies.struck());
        proxies.choose(Some(rule));
        sleep(lasts).await;
        proxies.choose(None);
        self.note(from, Fault::Log(format!("{rule:?}")), proxies.struck() > before);
        self.fleet.listen(self.recorder).await
    }

    async fn kill_plane(&mut self, lasts: Duration) -> Result<()> {
        let (count, from) = (self.fleet.alive(), self.recorder.now());
        let killed = self.fleet.kill(self.pick(count)).await?;
        self.note(from, Fault::Kill, killed);
        sleep(lasts).await;
        self.fleet.scale(count, self.recorder).await.map(drop)
    }

    async fn pause_plane(&mut self, lasts: Duration) -> Result<()> {
        let (struck, from) = (self.pick(self.fleet.alive()), self.recorder.now());
        let stopped = self.fleet.plane(struck)?.pause().await?;
        sleep(lasts).await;
        self.fleet.plane(struck)?.resume()?;
        self.note(from, Fault::Pause, stopped);
        self.fleet.listen(self.recorder).await
    }

    async fn scale(&mut self, count: usize) -> Result<()> {
        let (before, from) = (self.fleet.alive(), self.recorder.now());
        if count == before {
            return Ok(());
        }
        let well = self.fleet.scale(count, self.recorder).await?;
        let fault =
            if count < before { Fault::CleanStop } else { Fault::Other(format!("Scaled to {count}")) };
        self.note(from, fault, well);
        Ok(())
    }

    /// The broker that has a role now.
    fn who(&mut self, role: Role) -> Result<usize> {
        block_in_place(|| match role {
            Role::Leader => {
                let leaders: Vec<usize> = self.brokers.leaders(&self.topic)?.into_iter().flatten().collect();
                ensure!(!leaders.is_empty(), "nobody leads {}", self.topic);
                Ok(leaders[self.pick(leaders.len())])
            }
            Role::Coordinator => {
                let group = self.brokers.groups(&format!("{}.", self.fleet.prefix)).pop();
                self.brokers.coordinator(&group.context("no Processor's group is known")?)
            }
            Role::Controller => self.brokers.controller(),
        })
    }

    /// Waits until somebody else has the role, or nobody, where there is nobody else.
    async fn moved(&mut self, role: Role, struck: usize) -> bool {
        let since = Instant::now();
        while since.elapsed() < MOVES {
            let gone = match role {
                Role::Leader => {
                    let leaders = block_in_place(|| self.brokers.leaders(&self.topic));
                    leaders.is_ok_and(|leaders| !leaders.contains(&Some(struck)))
                }
                _ => self.who(role).is_ok_and(|now| now != struck),
            };
            if gone {
                return true;
            }
            sleep(Duration::from_millis(100)).await;
        }
        false
    }

    fn pick(&self, count: usize) -> usize {
        let dice = draw(self.seed, &["pick", &self.recorder.now().to_string()]);
        usize::try_from(dice).unwrap_or_default() % count.max(1)
    }

    fn note(&self, from: Mono, fault: Fault, effect: bool) {
        let rec = Rec::Fault { fault, until: self.recorder.now(), effect: u64::from(effect) };
        self.recorder.push_at(from, rec);
    }
}
