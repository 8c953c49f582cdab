//! Where ledgers are measured: one Kafka broker of our own or somebody else's, or the embedded log in a folder. Starts processes.

use std::{cell::Cell, env, fmt, fs};

use anyhow::{Context as _, Result};
use evhub_bench::{
    child::{Child, role},
    machine::{self, Guard},
};
use evhub_brokers::{Cluster, Options};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::{role::ledger::micros, settings::Settings};

pub(crate) struct Site {
    on: On,
    folder: TempDir,
    /// How many ledgers there were.
    count: Cell<u32>,
    /// Heads their names: a broker may have had others before.
    begun: u64,
    /// Seconds of processor time that children used that have ended.
    used: Cell<f64>,
}

enum On {
    /// Its addresses, and it, if it is ours.
    Kafka(String, Option<Box<Cluster>>),
    Embedded,
}

/// Tells how much of the machine others used: neither our processes nor the broker.
pub(crate) struct Watched<'a> {
    guard: Guard,
    site: &'a Site,
    before: f64,
}

impl Site {
    pub(crate) fn open(settings: &Settings) -> Result<Self> {
        let folder = tempfile::tempdir_in(&settings.disk).context("make a folder")?;
        let on = match (settings.embedded, env::var("EVHUB_KAFKA")) {
            (true, _) => On::Embedded,
            (false, Ok(addresses)) => On::Kafka(addresses, None),
            (false, Err(_)) => {
                let folder = folder.path().join("brokers");
                let options = Options { brokers: 1, secure: false, properties: Vec::new(), folder };
                let cluster = Cluster::start(&options)?;
                On::Kafka(cluster.bootstrap(), Some(Box::new(cluster)))
            }
        };
        Ok(Self { on, folder, count: Cell::new(0), begun: micros() / 1_000_000, used: Cell::new(0.0) })
    }

    /// Where its brokers are; nowhere on the embedded log.
    pub(crate) fn bootstrap(&self) -> &str {
        match &self.on {
            On::Kafka(addresses, _) => addresses,
            On::Embedded => "",
        }
    }

    pub(crate) fn is_kafka(&self) -> bool {
        matches!(self.on, On::Kafka(..))
    }

    /// A name for a ledger that nobody else has.
    pub(crate) fn name(&self) -> String {
        self.count.set(self.count.get() + 1);
        format!("b{}-{}", self.begun, self.count.get())
    }

    /// Starts a process with a ledger of this name.
    pub(crate) fn start(&self, kind: &str, name: &str, words: &[&str]) -> Result<Child> {
        let (on, place) = match &self.on {
            On::Kafka(addresses, _) => ("kafka", addresses.clone()),
            On::Embedded => ("embedded", self.folder.path().join(name).display().to_string()),
        };
        role(&[&[kind, on, &place, name][..], words].concat())
    }

    /// What a process with a new ledger comes to.
    pub(crate) fn ledger<T: DeserializeOwned>(&self, words: &[&str]) -> Result<T> {
        self.ledger_beside(0, words)
    }

    /// The same, in which so many timers are pending already.
    pub(crate) fn ledger_beside<T: DeserializeOwned>(&self, pending: u64, words: &[&str]) -> Result<T> {
        let name = self.name();
        if pending > 0 {
            let seed = ["seed", "timers", &pending.to_string(), "0"];
            self.start("ledger", &name, &seed)?.rest()?;
        }
        self.told("ledger", &name, words)
    }

    /// What bare transactions come to.
    pub(crate) fn raw<T: DeserializeOwned>(&self, words: &[&str]) -> Result<T> {
        self.told("raw", &self.name(), words)
    }

    /// What a process comes to that takes over what was written before.
    pub(crate) fn seeded<T: DeserializeOwned>(&self, words: &[&str]) -> Result<T> {
        let name = self.name();
        self.start("ledger", &name, &[&["seed"][..], words].concat())?.rest()?;
        self.told("ledger", &name, &[&["rebuild"][..], words].concat())
    }

    fn told<T: DeserializeOwned>(&self, kind: &str, name: &str, words: &[&str]) -> Result<T> {
        let before = machine::used(std::process::id())?;
        let text = self.start(kind, name, words)?.rest()?;
        self.used.set(self.used.get() + machine::used(std::process::id())? - before);
        serde_json::from_str(text.lines().last().unwrap_or_default())
            .with_context(|| format!("read what {kind} {words:?} came to"))
    }

    pub(crate) fn guard(&self) -> Result<Watched<'_>> {
        Ok(Watched { guard: Guard::start(), before: self.used()?, site: self })
    }

    /// Seconds of processor time of our processes and of the broker.
    fn used(&self) -> Result<f64> {
        Ok(self.broker_used()? + self.used.get())
    }

    /// Seconds of processor time of the broker, if it is ours.
    pub(crate) fn broker_used(&self) -> Result<f64> {
        let On::Kafka(_, Some(_)) = &self.on else { return Ok(0.0) };
        let pid = fs::read_to_string(self.folder.path().join("brokers/node-1/pid"));
        machine::used(pid.context("find the broker's process")?.trim().parse()?)
    }
}

impl Watched<'_> {
    /// Their share, in percent.
    pub(crate) fn foreign(&self) -> Result<f64> {
        Ok(self.guard.foreign(self.site.used()? - self.before))
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.on {
            On::Kafka(_, Some(_)) => write!(f, "one Kafka broker on the same machine"),
            On::Kafka(_, None) => write!(f, "Kafka as $EVHUB_KAFKA says"),
            On::Embedded => write!(f, "the embedded log on {}", machine::disk(self.folder.path())),
        }
    }
}
