//! Several dataplanes on real brokers, all following one control: each a process with ports, a folder and a log of its own.

use std::{
    fs::{self, OpenOptions},
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::sleep,
};

use crate::{
    hub::{Hub, Ports, binary, free_port},
    recorder::Recorder,
    truth::{Reader, Status},
};

/// How long a dataplane may take to say that every Processor listens: as long as a group waits for a dead member, and more.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a member may be silent before its group goes on without it.
pub const SESSION: Duration = Duration::from_secs(6);

/// A fleet. Dropping it kills every process of it; the brokers are somebody else's.
#[derive(Debug)]
pub struct Fleet {
    folder: TempDir,
    /// What heads the names of all that is its own in Kafka.
    pub prefix: String,
    brokers: String,
    control_port: u16,
    _control: Child,
    processors: Vec<String>,
    places: Vec<Place>,
}

/// Where a dataplane lives across its lives, and whether it is alive.
#[derive(Debug)]
struct Place {
    name: String,
    ports: Ports,
    hub: Option<Hub>,
}

impl Fleet {
    /// Starts control with these resources, and so many dataplanes; every Processor listens when this returns.
    pub async fn start(
        brokers: &str,
        (resources, processors): (&str, Vec<String>),
        count: usize,
        recorder: &Recorder,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("evhub-fleet-").tempdir().context("make a folder")?;
        fs::create_dir(folder.path().join("resources")).context("make a folder")?;
        fs::write(folder.path().join("resources/all.yaml"), resources).context("write the resources")?;
        let settings = format!("session.timeout.ms={}\nheartbeat.interval.ms=500\n", SESSION.as_millis());
        fs::write(folder.path().join("kafka.properties"), settings).context("write client settings")?;
        let control_port = free_port()?;
        // No two fleets of one cluster share a name: the folder's is nobody else's.
        let prefix: String =
            folder.path().to_string_lossy().chars().filter(char::is_ascii_alphanumeric).collect();
        let mut control = Command::new(binary("evhub")?);
        control.arg("control").arg(folder.path().join("resources"));
        control.arg("--data").arg(folder.path().join("control")).args(["--prefix", &prefix]);
        control.args(["--listen", &format!("127.0.0.1:{control_port}")]);
        let control = spawn(&mut control, folder.path().join("control.log"))?;
        let mut fleet = Self {
            brokers: brokers.to_owned(),
            prefix,
            control_port,
            _control: control,
            processors,
            places: Vec::new(),
            folder,
        };
        fleet.scale(count, recorder).await?;
        Ok(fleet)
    }

    /// How many dataplanes are alive.
    pub fn alive(&self) -> usize {
        self.places.iter().filter(|place| place.hub.is_some()).count()
    }

    /// The ports of those that are alive.
    pub fn ports(&self) -> impl Iterator<Item = Ports> {
        self.places.iter().filter(|place| place.hub.is_some()).map(|place| place.ports)
    }

    /// The ports of this many dataplanes, whether they are alive or not.
    pub fn all_ports(&mut self, count: usize) -> Result<Vec<u16>> {
        while self.places.len() < count {
            self.add()?;
        }
        Ok(self.places.iter().map(|place| place.ports.http).collect())
    }

    fn add(&mut self) -> Result<()> {
        let name = format!("plane-{}", self.places.len() + 1);
        self.places.push(Place { name, ports: Ports::free()?, hub: None });
        Ok(())
    }

    /// One that is alive.
    pub fn plane(&mut self, index: usize) -> Result<&mut Hub> {
        let hub = self.places.get_mut(index).and_then(|place| place.hub.as_mut());
        hub.context("that dataplane is not alive")
    }

    /// Starts or cleanly stops the last ones until this many are alive; the rest listens when this returns. Says of each that was
    /// stopped whether it ended well.
    pub async fn scale(&mut self, count: usize, recorder: &Recorder) -> Result<bool> {
        let mut well = true;
        self.all_ports(count)?;
        for index in (count..self.places.len()).rev() {
            if let Some(mut hub) = self.places[index].hub.take() {
                well &= hub.stop().await?;
            }
        }
        for index in 0..count {
            self.revive(index)?;
        }
        self.listen(recorder).await?;
        Ok(well)
    }

    /// Starts one unless it is alive; it does not listen yet.
    pub fn revive(&mut self, index: usize) -> Result<()> {
        let log = self.log_path(&self.places[index].name);
        let Place { name, ports, hub } = &self.places[index];
        if hub.is_some() {
            return Ok(());
        }
        let mut command = Command::new(binary("evhub-dataplane")?);
        command.args(["--kafka", &self.brokers, "--prefix", &self.prefix]);
        command.arg("--kafka-config").arg(self.folder.path().join("kafka.properties"));
        command.arg("--data").arg(self.folder.path().join(name));
        command.args(["--control", &format!("http://127.0.0.1:{}", self.control_port)]);
        command.args(["--egress-allow", "127.0.0.0/8"]);
        let Ports { http, grpc, api, admin } = *ports;
        for (flag, port) in [("--http", http), ("--grpc", grpc), ("--api", api), ("--admin", admin)] {
            command.arg(flag).arg(format!("127.0.0.1:{port}"));
        }
        to_log(&mut command, log)?;
        self.places[index].hub = Some(Hub::spawn(&mut command, *ports)?);
        Ok(())
    }

    /// SIGKILL; whether that ended it.
    pub async fn kill(&mut self, index: usize) -> Result<bool> {
        let mut hub = self.places.get_mut(index).and_then(|place| place.hub.take());
        hub.as_mut().context("that dataplane is not alive")?.kill().await
    }

    /// Waits until all that are alive say that every Processor listens.
    pub async fn listen(&mut self, recorder: &Recorder) -> Result<()> {
        let since = Instant::now();
        let processors = self.processors.clone();
        while !self.all_listen(&processors, recorder).await {
            let ended = self.ended();
            ensure!(ended.is_none(), "{ended:?} ended by itself:\n{}", self.log_end());
            ensure!(
                since.elapsed() < PATIENCE,
                "not every Processor listens after {PATIENCE:?}:\n{}",
                self.log_end()
            );
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn all_listen(&self, processors: &[String], recorder: &Recorder) -> bool {
        for ports in self.ports() {
            let reader = Reader { api: ports.api, recorder };
            for processor in processors {
                if !matches!(reader.ready(processor).await, Ok(Some(_))) {
                    return false;
                }
            }
        }
        true
    }

    /// The name of one that ended though nobody ended it.
    pub fn ended(&mut self) -> Option<String> {
        let mut places = self.places.iter_mut();
        places.find_map(|place| place.hub.as_mut()?.ended().map(|_| place.name.clone()))
    }

    /// What a Processor has left, over all dataplanes: what is not committed is the group's, the rest is each one's own. Nothing
    /// while one of them does not say.
    pub async fn status(&self, processor: &str, recorder: &Recorder) -> Result<Status> {
        let mut all = Status { ready: true, ..Status::default() };
        for ports in self.ports() {
            let one = Reader { api: ports.api, recorder }.status(processor).await?;
            all.ready &= one.ready;
            all.lag = all.lag.max(one.lag);
            all.parked += one.parked;
            all.in_flight += one.in_flight;
            all.dead = all.dead.max(one.dead);
            all.suspended |= one.suspended;
        }
        Ok(all)
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    /// All that every process said, each line with the name of who said it.
    pub fn log(&self) -> String {
        let names = self.places.iter().map(|place| place.name.as_str()).chain(["control"]);
        let mut told = Vec::new();
        for name in names {
            let text = fs::read(self.log_path(name)).unwrap_or_default();
            told.extend(String::from_utf8_lossy(&text).lines().map(|line| format!("{name} {line}")));
        }
        told.join("\n")
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

fn spawn(command: &mut Command, log: PathBuf) -> Result<Child> {
    to_log(command, log)?;
    command.kill_on_drop(true).spawn().context("start a process")
}

fn to_log(command: &mut Command, log: PathBuf) -> Result<()> {
    let log = OpenOptions::new().create(true).append(true).open(log).context("open a log")?;
    let both = log.try_clone().context("open a log")?;
    command.stdin(Stdio::null()).stdout(both).stderr(log);
    Ok(())
}
