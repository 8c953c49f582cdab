//! A process that leads a whole ledger, on a log of its own or on brokers, and what is measured of it. Does I/O.
//!
//! - [`ask`]: submits, and publishes with and without a key
//! - [`fires`]: what comes due, and how late
//! - [`pending`]: what waits, written straight into the log and taken over

mod ask;
mod fires;
mod pending;

use std::{
    process,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use evhub_bench::machine;
use evhub_event::{Header, Record};
use evhub_journal::{ClusterSettings, Embedded, Journal, TopicSettings, embedded::Options};
use evhub_kafka::{Connection, Kafka};
use evhub_ledger::{
    Command, Ledger, Settings, Submit, TimerId, When,
    command::{Verb, digest},
    ledger::Figures,
    rim,
};
use serde::{Deserialize, Serialize};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep},
};

pub(crate) use self::{ask::Asked, fires::Fired, pending::Rebuilt};

/// How many shards the ledger has, as `evhub dev` has them.
pub(crate) const SHARDS: u32 = 4;
/// How many partitions the Producer's topics have.
pub(crate) const PARTITIONS: u32 = 12;
/// How many bytes of data each event has.
pub(crate) const DATA: usize = 300;
/// The uid of the Producer.
const PRODUCER: &str = "5f0c1c2e-8f6b-4a57-9d6e-1f2d3c4b5a69";
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_mins(10);
/// The longest delay of a Producer that says nothing.
const MAX_DELAY: Duration = Duration::from_hours(9_600);

/// How many shards a process leads, from an instant on, in milliseconds since the Unix epoch.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Leads {
    pub(crate) shards: u64,
    pub(crate) at: i64,
}

/// Does what these words ask for on a log: `kafka` and addresses of brokers, or `embedded` and a folder.
pub(crate) async fn play(on: &str, place: &str, prefix: &str, words: &[&str]) -> Result<()> {
    match on {
        "kafka" => {
            let connection = Connection { prefix: prefix.to_owned(), ..Connection::new(place) };
            task(&Site::new(Kafka::connect(connection).await?, prefix).await?, words).await
        }
        "embedded" => task(&Site::new(Embedded::open(Options::new(place))?, prefix).await?, words).await,
        _ => bail!("there is no log {on}"),
    }
}

async fn task<J: Journal>(site: &Site<J>, words: &[&str]) -> Result<()> {
    match *words {
        ["submits", seconds] => tell(&ask::submits(site, seconds.parse()?).await?),
        ["keys", seconds] => tell(&ask::keys(site, seconds.parse()?).await?),
        ["burst", count, lead] => tell(&fires::burst(site, count.parse()?, lead.parse()?).await?),
        ["paced", rate, seconds, lead] => {
            tell(&fires::paced(site, rate.parse()?, seconds.parse()?, lead.parse()?).await?)
        }
        ["seed", what, count, overdue] => {
            pending::seed(site, what.parse()?, count.parse()?, overdue.parse()?).await
        }
        ["rebuild", what, count, overdue] => {
            tell(&pending::rebuild(site, what.parse()?, count.parse()?, overdue.parse()?).await?)
        }
        ["lead"] => lead(site).await,
        _ => bail!("there is no such work of a ledger: {words:?}"),
    }
}

/// A log with a ledger in it, and one Producer's topic.
struct Site<J: Journal> {
    log: J,
    ledger: Ledger<J>,
    prefix: String,
    /// Where what comes due appears.
    topic: String,
}

/// Whoever leads, until told to stop.
struct Leading {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl<J: Journal> Site<J> {
    async fn new(log: J, prefix: &str) -> Result<Self> {
        let topic = format!("{prefix}.shop.orders.due");
        let settings =
            TopicSettings { partitions: PARTITIONS, max_record_bytes: 1 << 20, ..TopicSettings::default() };
        log.ensure(&topic, settings).await?;
        let settings = Settings { prefix: prefix.to_owned(), shards: SHARDS, ..Settings::default() };
        let ledger = Ledger::new(log.clone(), settings);
        ledger.make(1 << 20, ClusterSettings::default()).await?;
        Ok(Self { log, ledger, prefix: prefix.to_owned(), topic })
    }

    /// Begins to lead.
    fn begin(&self) -> Leading {
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(rim::run(self.ledger.clone(), async move { drop(stopped.await) }));
        Leading { stop, ended }
    }

    /// Leads all of it.
    async fn lead(&self) -> Result<Leading> {
        let leading = self.begin();
        self.until("all shards are led", |figures| figures.led == u64::from(SHARDS)).await?;
        Ok(leading)
    }

    async fn until(&self, what: &str, holds: impl Fn(&Figures) -> bool) -> Result<()> {
        let began = Instant::now();
        loop {
            let figures = self.ledger.board().figures();
            if holds(&figures) {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}: {figures:?}");
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Asks for the event of this number to come due.
    fn submit(&self, number: u64, due: i64) -> Command {
        let (id, submit) = (self.timer(number), self.event(number, When::At(due)));
        Command { id, verb: Verb::Submit(Box::new(submit)) }
    }

    fn timer(&self, number: u64) -> TimerId {
        self.ledger.id(PRODUCER, Some(key(number).as_bytes()), "/bench", &event_id(number))
    }

    fn event(&self, number: u64, when: When) -> Submit {
        let record = record(number);
        Submit {
            producer: PRODUCER.to_owned(),
            topic: self.topic.clone(),
            event_id: event_id(number),
            digest: digest(&record, when),
            record,
            when,
            repeat: None,
            max_delay: MAX_DELAY,
            max_pending: u64::MAX,
        }
    }
}

impl Leading {
    async fn stop(self) -> Result<()> {
        // Where it has ended already, that is what is waited for.
        let _ = self.stop.send(());
        Ok(self.ended.await?)
    }
}

/// Leads what it is given, says how much that is whenever it changes, and hands it over when it is terminated.
async fn lead<J: Journal>(site: &Site<J>) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let leading = site.begin();
    let mut before = 0;
    loop {
        let shards = site.ledger.board().figures().led;
        if shards != before {
            before = shards;
            tell(&Leads { shards, at: millis() })?;
        }
        tokio::select! {
            _ = terminated.recv() => return leading.stop().await,
            () = sleep(Duration::from_millis(2)) => {}
        }
    }
}

/// An event as the hub keeps it, with one of a thousand keys.
fn record(number: u64) -> Record {
    let header =
        |name: &str, value: String| Header { name: name.to_owned(), value: Bytes::from(value.into_bytes()) };
    Record {
        key: Some(key(number).into()),
        value: Some(Bytes::from_static(&[7; DATA])),
        headers: vec![
            header("ce_specversion", "1.0".to_owned()),
            header("ce_id", event_id(number)),
            header("ce_source", "/bench".to_owned()),
            header("ce_type", "shop.order.paid".to_owned()),
            header("content-type", "application/octet-stream".to_owned()),
        ],
    }
}

fn key(number: u64) -> String {
    format!("{:04}", number % 1000)
}

fn event_id(number: u64) -> String {
    format!("{number:016x}")
}

fn millis() -> i64 {
    (micros() / 1_000) as i64
}

/// The wall clock, in microseconds since the Unix epoch.
pub(crate) fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// Seconds of processor time that this process has used.
fn used() -> Result<f64> {
    machine::used(process::id())
}

fn tell(what: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(what)?);
    Ok(())
}
