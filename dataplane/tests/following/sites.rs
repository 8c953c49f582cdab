//! Somebody who serves control, and dataplanes over one log, each with a folder of its own.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use evhub_control::{Control, Rollout, Security};
use evhub_dataplane::{
    Hub, admin,
    egress::Egress,
    follow::{Follow, Settings, Status},
    workers,
};
use evhub_event::Event;
use evhub_journal::{Embedded, embedded::Options};
use evhub_lifecycle::{Drain, Trigger};
use evhub_routing::{
    Backoff, Brokers, EvhubName, Generation, Growth, Name, OnExhausted, Order, Policy, Processor, Producer,
    Protocol, Retry, RetryAfter, RetryOn, Route, Snapshot, Start, Target,
};
use http::{HeaderName, HeaderValue};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::timeout};
use tower_service::Service as _;

/// Far longer than anything takes, on however busy a machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// One log and the folders of its dataplanes.
pub(super) struct Site {
    pub(super) folder: TempDir,
    pub(super) log: Embedded,
}

/// Who serves control.
pub(super) struct Controller {
    pub(super) control: Control,
    pub(super) address: SocketAddr,
    trigger: Trigger,
    task: JoinHandle<Result<(), evhub_control::serve::Error>>,
}

/// A dataplane.
pub(super) struct Plane {
    pub(super) hub: Hub<Embedded>,
    pub(super) status: watch::Receiver<Status>,
    trigger: Trigger,
    drain: Drain,
    tasks: Vec<JoinHandle<()>>,
}

impl Site {
    pub(super) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let log = Embedded::open(Options::new(folder.path().join("log"))).unwrap();
        Self { folder, log }
    }

    pub(super) fn data(&self, replica: &str) -> PathBuf {
        self.folder.path().join(replica)
    }

    pub(super) fn plane(&self, replica: &str, control: Option<SocketAddr>) -> Plane {
        self.plane_that(replica, control, Egress::Any)
    }

    /// One that may not deliver everywhere.
    pub(super) fn plane_that(&self, replica: &str, control: Option<SocketAddr>, egress: Egress) -> Plane {
        let control = control.map(|address| format!("http://{address}").parse().unwrap());
        self.plane_with(Settings { control, ..self.settings(replica) }, egress)
    }

    /// How one follows that follows nobody.
    pub(super) fn settings(&self, replica: &str) -> Settings {
        Settings {
            control: None,
            control_tls: None,
            replica: replica.to_owned(),
            data: self.data(replica),
            prefix: "evhub".to_owned(),
        }
    }

    pub(super) fn plane_with(&self, settings: Settings, egress: Egress) -> Plane {
        let follow = Follow::begin(settings).unwrap();
        let status = follow.status();
        let hub = Hub {
            egress,
            following: Some(follow.status()),
            ..Hub::new(self.log.clone(), follow.snapshots())
        };
        let (trigger, drain) = evhub_lifecycle::channel();
        let tasks = vec![
            tokio::spawn(workers::run(hub.clone(), drain.clone())),
            tokio::spawn(follow.run(hub.clone(), drain.clone())),
        ];
        Plane { hub, status, trigger, drain, tasks }
    }
}

impl Controller {
    pub(super) async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(super) async fn at(address: SocketAddr) -> Self {
        Self::secured(address, Security::Open).await
    }

    /// One whom not everybody may follow.
    pub(super) async fn secured(address: SocketAddr, security: Security) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (control, (trigger, drain)) = (Control::default(), evhub_lifecycle::channel());
        let task = tokio::spawn(evhub_control::serve(listener, security, control.clone(), drain));
        Self { control, address, trigger, task }
    }

    pub(super) fn publish(&self, snapshot: Snapshot) {
        self.control.publish(Arc::new(snapshot));
    }

    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Rollout) -> bool) -> Rollout {
        let mut rollout = self.control.rollout();
        let waited = timeout(PATIENCE, rollout.wait_for(holds)).await;
        waited
            .unwrap_or_else(|_| panic!("waited in vain until {what}: {:?}", self.control.rollout().borrow()))
            .unwrap()
            .clone()
    }

    pub(super) async fn stop(self) -> SocketAddr {
        self.trigger.begin();
        self.task.await.unwrap().unwrap();
        self.address
    }
}

impl Plane {
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
        let mut status = self.status.clone();
        let waited = timeout(PATIENCE, status.wait_for(holds)).await;
        waited
            .unwrap_or_else(|_| panic!("waited in vain until {what}: {:?}", self.status.borrow()))
            .unwrap()
            .clone()
    }

    pub(super) async fn applies(&self, revision: u64) -> Status {
        let wanted = Some(generation(revision));
        self.until(&format!("{revision} is applied"), |status| status.applied == wanted).await
    }

    /// What `/readyz` says.
    pub(super) async fn readyz(&self) -> (u16, serde_json::Value) {
        let mut router = admin::router(self.hub.clone(), self.drain.clone());
        let request = http::Request::get("/readyz").body(axum::body::Body::empty()).unwrap();
        let answer = router.call(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    pub(super) async fn stop(self) {
        self.trigger.begin();
        for task in self.tasks {
            timeout(PATIENCE, task).await.expect("it stops").unwrap();
        }
    }
}

pub(super) fn generation(revision: u64) -> Generation {
    Generation { epoch: 1, revision }
}

pub(super) fn names(snapshot: &Snapshot) -> Vec<String> {
    let producers = snapshot.producers.keys().map(ToString::to_string);
    producers.chain(snapshot.processors.keys().map(|name| format!("{name}!"))).collect()
}

pub(super) fn snapshot(revision: u64, producers: &[&str], processors: Vec<Processor>) -> Snapshot {
    Snapshot {
        generation: generation(revision),
        producers: producers
            .iter()
            .map(|name| (Name::new("shop", *name), Arc::new(producer(name))))
            .collect(),
        processors: processors.into_iter().map(|one| (one.name.clone(), Arc::new(one))).collect(),
        ..Snapshot::default()
    }
}

fn producer(name: &str) -> Producer {
    Producer {
        name: Name::new("shop", name),
        uid: name.to_owned(),
        evhub: EvhubName { app_id: "shop".into(), topic_id: name.into() },
        topic: format!("evhub.shop.{name}"),
        partitions: 2,
        retention: None,
        retention_bytes: None,
        event_bytes: 64 << 10,
        batch_events: 10,
        batch_bytes: 1 << 20,
        events_per_second: None,
        max_delay: Duration::from_hours(1),
        due_topic: "evhub.shop.orders.due".to_owned(),
        pending_timers: 1_000_000,
        ledger: evhub_routing::Ledger::default(),
        brokers: Brokers::default(),
    }
}

/// A Processor of the Producer `orders` whose target nobody asks in these tests.
pub(super) fn processor(name: &str, header: Option<&'static str>) -> Processor {
    let of = |what: &str| format!("evhub.shop.{name}.{what}");
    let headers =
        header.map(|value| (HeaderName::from_static("authorization"), HeaderValue::from_static(value)));
    Processor {
        name: Name::new("shop", name),
        uid: name.to_owned(),
        generation: 1,
        created: 0,
        dispatcher_id: String::new(),
        group: of("group"),
        state_topic: of("state"),
        dead_topic: of("dead"),
        inbox_topic: of("inbox"),
        routes: vec![Route {
            producer: Name::new("shop", "orders"),
            topic: "evhub.shop.orders".to_owned(),
            due_topic: "evhub.shop.orders.due".to_owned(),
        }],
        partitions: 2,
        event_bytes: 64 << 10,
        replicas: 1,
        min_in_sync_replicas: 1,
        filter: None,
        delay_key: None,
        target: Target {
            url: "http://127.0.0.1:9/".parse().unwrap(),
            protocol: Protocol::CloudEvents,
            timeout: Duration::from_secs(1),
            headers: headers.into_iter().collect(),
            service: None,
            secret: false,
            tls: None,
        },
        policy: policy(),
        start: Start::Earliest,
        suspend: false,
        resume: None,
    }
}

pub(super) fn event() -> Event {
    Event {
        id: "1".to_owned(),
        source: "/tests".to_owned(),
        kind: "shop.order".to_owned(),
        subject: None,
        time: None,
        datacontenttype: None,
        dataschema: None,
        extensions: Vec::new().into_iter().collect(),
        data: None,
    }
}

fn policy() -> Policy {
    Policy {
        order: Order::Key,
        max_in_flight: 8,
        max_parked: 100,
        max_parked_bytes: 1 << 20,
        max_parked_per_key: 100,
        rate_limit: None,
        retry: Retry {
            max_attempts: 10,
            max_age: Duration::from_hours(1),
            backoff: Backoff {
                growth: Growth::Fixed,
                initial: Duration::from_secs(1),
                max: Duration::from_secs(1),
                jitter_percent: 0,
            },
            retry_after: RetryAfter { honor: true, max: Duration::from_mins(1) },
            retry_on: RetryOn::default(),
        },
        on_exhausted: OnExhausted::DeadLetter,
        dead_letter_retention: Duration::from_hours(1),
    }
}

pub(super) fn unready(rollout: &Rollout) -> BTreeMap<String, Vec<String>> {
    let of = |replica: &evhub_control::Replica| {
        replica.unready.iter().map(|one| format!("{} {}: {}", one.kind, one.name, one.reason)).collect()
    };
    rollout.replicas().map(|(name, replica)| (name.to_owned(), of(replica))).collect()
}
