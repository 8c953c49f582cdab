//! A hub with its listeners on free ports, over the embedded log in a folder of its own.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use axum::Router;
use evhub_dataplane::{
    Hub, admin, api, grpc, ingest,
    ingest::Door,
    server::{self, Limits},
    timers, transactions,
};
use evhub_event::{Event, kafka};
use evhub_journal::{Embedded, Journal, Stored, TopicPartition, TopicSettings, embedded::Options};
use evhub_lifecycle::{Drain, Trigger};
use evhub_routing::{
    Backoff, Brokers, EvhubName, Generation, Growth, Name, OnExhausted, Order, Policy, Processor, Producer,
    Protocol, Retry, RetryAfter, RetryOn, Route, Snapshot, Start, Target,
};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};

use super::wire::{Answer, Wire};

pub(super) const TOPIC: &str = "evhub.shop.orders";
/// What is parked for the one Processor.
pub(super) const STATE: &str = "evhub.shop.billing.state";
/// A topic that takes smaller records than its Producer's events may be.
pub(super) const TIGHT: &str = "evhub.shop.tight";
pub(super) const PARTITIONS: u32 = 4;
pub(super) const EVENT_BYTES: usize = 4096;
pub(super) const BATCH_EVENTS: usize = 50;
pub(super) const BATCH_BYTES: usize = 16 << 10;
/// The generation of the one Processor.
pub(super) const GENERATION: i64 = 7;
pub(super) const SINK: &str = "/namespaces/shop/producers/orders";

pub(super) struct Rig {
    pub(super) hub: Hub<Embedded>,
    pub(super) http: SocketAddr,
    pub(super) grpc: SocketAddr,
    pub(super) api: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) trigger: Trigger,
    pub(super) snapshots: watch::Sender<Arc<Snapshot>>,
    pub(super) listeners: Vec<JoinHandle<()>>,
    _dir: TempDir,
}

impl Rig {
    /// This generation of the one Processor begins to listen.
    pub(super) fn listen(&self, generation: i64) {
        let progress = self.hub.board.of(BILLING);
        progress.generation.store(generation, Relaxed);
        progress.listening.store(true, Relaxed);
    }

    pub(super) async fn start() -> Self {
        Self::with(Limits::default(), Door::default()).await
    }

    /// Over a hub that is not quite the usual one.
    pub(super) async fn that(change: impl FnOnce(&mut Hub<Embedded>)) -> Self {
        Self::bounded(Limits::default(), grpc::Limits::default(), change).await
    }

    pub(super) async fn with(limits: Limits, door: Door) -> Self {
        Self::bounded(limits, grpc::Limits::default(), |hub| hub.door = door).await
    }

    /// With bounds for gRPC.
    pub(super) async fn calling(limits: grpc::Limits, door: Door) -> Self {
        Self::bounded(Limits::default(), limits, |hub| hub.door = door).await
    }

    pub(super) async fn bounded(
        limits: Limits,
        calls: grpc::Limits,
        change: impl FnOnce(&mut Hub<Embedded>),
    ) -> Self {
        let dir = TempDir::new().unwrap();
        let journal = Embedded::open(Options::new(dir.path())).unwrap();
        let settings = TopicSettings {
            partitions: PARTITIONS,
            max_record_bytes: EVENT_BYTES + (128 << 10),
            ..TopicSettings::default()
        };
        journal.ensure(TOPIC, settings).await.unwrap();
        journal.ensure(TIGHT, TopicSettings { max_record_bytes: 1000, ..settings }).await.unwrap();
        let (snapshots, snapshot) = watch::channel(Arc::new(snapshot()));
        let mut hub = Hub::new(journal, snapshot);
        change(&mut hub);
        let (trigger, drain) = evhub_lifecycle::channel();
        let (http, one) = serve("http", ingest::router(hub.clone()), limits, &hub, &drain).await;
        let (api, two) = serve("api", api::router(hub.clone()), limits, &hub, &drain).await;
        let (admin, three) =
            serve("admin", admin::router(hub.clone(), drain.clone()), limits, &hub, &drain).await;
        let listener = server::bind("--test", "127.0.0.1:0").await.unwrap();
        let grpc = listener.local_addr().unwrap();
        let four = tokio::spawn(grpc::serve("grpc", listener, hub.clone(), calls, drain.clone()));
        let five = tokio::spawn(timers::run(hub.clone(), drain.clone()));
        let six = tokio::spawn(transactions::run(hub.clone(), drain.clone()));
        Self {
            hub,
            http,
            grpc,
            api,
            admin,
            trigger,
            snapshots,
            listeners: vec![one, two, three, four, five, six],
            _dir: dir,
        }
    }

    /// One exchange on a connection of its own.
    pub(super) async fn ask(&self, address: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
        Wire::connect(address).await.exchange(request).await
    }

    /// All records of a topic.
    pub(super) async fn records(&self, topic: &str) -> Vec<(u32, Stored)> {
        let mut all = Vec::new();
        for partition in 0..self.hub.journal.partitions(topic).unwrap_or(0) {
            let at = TopicPartition { topic: topic.to_owned(), partition };
            let slice = self.hub.journal.read(&at, 0, 10_000, 64 << 20).await.unwrap();
            all.extend(slice.records.into_iter().map(|stored| (partition, stored)));
        }
        all
    }

    /// All events of the Producer.
    pub(super) async fn events(&self) -> Vec<Event> {
        let records = self.records(TOPIC).await;
        records.iter().map(|(_, stored)| kafka::decode(&stored.record).unwrap()).collect()
    }

    /// Waits until the Producer has so many events.
    pub(super) async fn has_events(&self, count: usize) {
        let enough = async {
            while self.events().await.len() < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(super::wire::PATIENCE, enough).await.expect("the events arrive");
    }
}

/// Serves a router on a free port.
pub(super) async fn serve(
    name: &'static str,
    router: Router,
    limits: Limits,
    hub: &Hub<Embedded>,
    drain: &Drain,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = server::bind("--test", "127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(server::serve(name, listener, router, limits, hub.meters.clone(), drain.clone()));
    (address, task)
}

/// The Processor's uid.
pub(super) const BILLING: &str = "uid-billing";

pub(super) fn billing() -> Name {
    Name::new("shop", "billing")
}

/// A Producer, one whose topic is not there, one whose topic is tight, and a Processor of the first.
pub(super) fn snapshot() -> Snapshot {
    let producer = |name: &str, topic: &str| Producer {
        name: Name::new("shop", name),
        uid: format!("uid-{name}"),
        evhub: EvhubName { app_id: "shop".to_owned(), topic_id: name.to_owned() },
        topic: topic.to_owned(),
        partitions: PARTITIONS,
        retention: None,
        retention_bytes: None,
        event_bytes: EVENT_BYTES,
        batch_events: BATCH_EVENTS,
        batch_bytes: BATCH_BYTES,
        events_per_second: None,
        max_delay: Duration::from_hours(3600),
        due_topic: "evhub.shop.orders.due".to_owned(),
        pending_timers: 1_000_000,
        ledger: evhub_routing::Ledger::default(),
        brokers: Brokers::default(),
    };
    let tight = Producer { name: Name::new("tight", "orders"), ..producer("tight", TIGHT) };
    let producers = [producer("orders", TOPIC), producer("late", "evhub.shop.late"), tight];
    let processors = [processor()];
    Snapshot {
        generation: Generation { epoch: 1, revision: 1 },
        producers: BTreeMap::from_iter(producers.map(|p| (p.name.clone(), Arc::new(p)))),
        processors: BTreeMap::from_iter(processors.map(|p| (p.name.clone(), Arc::new(p)))),
        ..Snapshot::default()
    }
}

fn processor() -> Processor {
    let backoff = Backoff {
        growth: Growth::Fixed,
        initial: Duration::from_millis(10),
        max: Duration::from_millis(10),
        jitter_percent: 0,
    };
    Processor {
        name: billing(),
        uid: BILLING.to_owned(),
        generation: GENERATION,
        created: 0,
        dispatcher_id: "shop.billing".to_owned(),
        group: "evhub.shop.billing.12345678".to_owned(),
        state_topic: STATE.to_owned(),
        dead_topic: "evhub.shop.billing.dead".to_owned(),
        inbox_topic: "evhub.shop.billing.inbox".to_owned(),
        routes: vec![Route {
            producer: Name::new("shop", "orders"),
            topic: TOPIC.to_owned(),
            due_topic: "evhub.shop.orders.due".to_owned(),
        }],
        partitions: PARTITIONS,
        event_bytes: EVENT_BYTES,
        replicas: 1,
        min_in_sync_replicas: 1,
        target: Target {
            url: http::Uri::from_static("http://127.0.0.1:1/"),
            protocol: Protocol::CloudEvents,
            timeout: Duration::from_secs(1),
            headers: Vec::new(),
            secret: false,
            service: None,
            tls: None,
        },
        policy: Policy {
            order: Order::Key,
            max_in_flight: 8,
            max_parked: 100,
            max_parked_bytes: 1 << 20,
            max_parked_per_key: 100,
            rate_limit: None,
            retry: Retry {
                max_attempts: 3,
                max_age: Duration::from_hours(24),
                backoff,
                retry_after: RetryAfter { honor: true, max: Duration::from_hours(1) },
                retry_on: RetryOn::default(),
            },
            on_exhausted: OnExhausted::DeadLetter,
            dead_letter_retention: Duration::from_hours(336),
        },
        start: Start::Earliest,
        filter: None,
        delay_key: None,
        suspend: false,
        resume: None,
    }
}
