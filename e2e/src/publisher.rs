//! The clients of a run: each publishes one event after the other and writes down how it ended.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    event::Event,
    history::{Outcome, Rec, draw},
    recorder::Recorder,
    wire::{Connection, Message},
};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much is published.
#[derive(Clone, Debug)]
pub struct Load {
    /// The Producer, as `namespace/name`.
    pub producer: String,
    /// How many clients.
    pub clients: usize,
    /// How many keys they share. One event in ten has none.
    pub keys: u64,
    /// How long each rests between two events.
    pub rest: Duration,
    /// The numbers of each client's events: where they begin, and where they end if nobody stops it before.
    pub numbers: Range<u64>,
    /// Whether events of different clients have the same ids, so that only their sources tell them apart.
    pub alike: bool,
}

/// Running clients. Dropping them ends them.
#[derive(Debug)]
pub struct Clients {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Clients {
    /// Starts publishing to the hub at these ports: each client to one of them, and to the next when that one fails it.
    pub fn start(load: &Load, ports: &[u16], seed: u64, recorder: &Recorder) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for n in 0..load.clients {
            let client = Client {
                name: format!("c{n}"),
                load: load.clone(),
                ports: ports.to_vec(),
                turn: n,
                seed,
                recorder: recorder.clone(),
                connection: None,
            };
            tasks.spawn(client.run(Arc::clone(&stop)));
        }
        Self { stop, tasks }
    }

    /// Lets each client finish what it has begun.
    pub async fn stop(self) {
        self.stop.store(true, Relaxed);
        self.tasks.join_all().await;
    }

    /// Waits until each client has published all it may.
    pub async fn finish(self) {
        self.tasks.join_all().await;
    }
}

struct Client {
    name: String,
    load: Load,
    ports: Vec<u16>,
    /// Which port it publishes to, counted on and on.
    turn: usize,
    seed: u64,
    recorder: Recorder,
    connection: Option<Connection>,
}

impl Client {
    async fn run(mut self, stop: Arc<AtomicBool>) {
        for n in self.load.numbers.clone() {
            if !self.connect(&stop).await {
                return;
            }
            let dice = draw(self.seed, &[&self.name, "key", &n.to_string()]);
            let key = (!dice.is_multiple_of(10)).then(|| format!("k{}", dice / 10 % self.load.keys));
            self.publish(&Event::new(self.seed, &self.name, n, key, self.load.alike)).await;
            sleep(self.load.rest).await;
        }
    }

    /// Has a connection before anything is sent, so that a hub which is down makes no *unknown* outcomes.
    async fn connect(&mut self, stop: &AtomicBool) -> bool {
        if self.connection.as_ref().is_some_and(Connection::is_closed) {
            self.connection = None;
        }
        while !stop.load(Relaxed) {
            if self.connection.is_some() {
                return true;
            }
            let port = self.ports.get(self.turn % self.ports.len().max(1)).copied().unwrap_or_default();
            self.connection = Connection::open(port).await.ok();
            if self.connection.is_none() {
                self.turn += 1;
                sleep(Duration::from_millis(10)).await;
            }
        }
        false
    }

    async fn publish(&mut self, event: &Event) {
        let op = self.recorder.id();
        self.recorder.push(Rec::Invoke {
            op,
            producer: self.load.producer.clone(),
            client: self.name.clone(),
            key: event.key.clone(),
            id: event.id.clone(),
            hash: event.hash(),
        });
        let outcome = match self.exchange(event).await {
            Ok(answer) => self.outcome(event, &answer),
            Err(error) => {
                self.connection = None;
                self.turn += 1;
                Outcome::Unknown(error)
            }
        };
        self.recorder.push(Rec::Complete { op, outcome });
    }

    async fn exchange(&mut self, event: &Event) -> Result<Message, String> {
        let (namespace, name) = self.load.producer.split_once('/').ok_or("a producer without a namespace")?;
        let request = event.request(&format!("/namespaces/{namespace}/producers/{name}/events"));
        let connection = self.connection.as_mut().ok_or("no connection")?;
        let answer =
            timeout(PATIENCE, connection.exchange(&request)).await.map_err(|_| "no answer in time")?;
        answer.map_err(|error| error.to_string())
    }

    fn outcome(&self, event: &Event, answer: &Message) -> Outcome {
        self.read(event, answer).unwrap_or_else(|| {
            let text = format!("{} {}", answer.first, String::from_utf8_lossy(&answer.body));
            self.recorder.complain(format!("publishing {} was answered {text}", event.id));
            Outcome::Unknown(text)
        })
    }

    /// `None` for an answer that the contract does not know.
    fn read(&self, event: &Event, answer: &Message) -> Option<Outcome> {
        let body = answer.json().ok()?;
        if answer.status() == Some(202) {
            let partition = u32::try_from(body.get("partition")?.as_u64()?).ok()?;
            let offset = body.get("offset")?.as_u64()?;
            let mine = body.get("id")? == event.wire_id() && body.get("producer")? == &self.load.producer;
            return mine.then_some(Outcome::Acked { partition, offset });
        }
        let problem = answer.header("content-type")?.starts_with("application/problem+json");
        let reason = body.get("reason")?.as_str()?;
        match body.get("outcome")?.as_str()? {
            "rejected" if problem => Some(Outcome::Rejected(reason.to_owned())),
            "unknown" if problem => Some(Outcome::Unknown(reason.to_owned())),
            _ => None,
        }
    }
}
