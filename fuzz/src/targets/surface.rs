//! A hub without sockets: requests go to its routers as a connection would hand them over.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use evhub_dataplane::{Hub, problem};
use evhub_event::{Controls, Record, kafka};
use evhub_journal::sink::Sink;
use evhub_routing::{Brokers, EvhubName, Generation, Name, Producer, Snapshot};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
};
use tower_service::Service as _;

/// The most that is remembered of one input.
const MOST: usize = 10_000;

/// Where events go that say nothing else.
pub(super) const SINK: &str = "/namespaces/shop/producers/orders";

/// A hub, and what runs its futures: one thread, so that an input always takes the same way.
pub(super) struct Surface {
    pub(super) runtime: Runtime,
    pub(super) hub: Hub<Sink>,
    log: Arc<Mutex<Vec<Record>>>,
}

/// An answer, whole.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Surface {
    pub(super) fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime without sockets");
        let (_, snapshots) = watch::channel(Arc::new(snapshot()));
        let log = Arc::<Mutex<Vec<Record>>>::default();
        let taking = Arc::clone(&log);
        let sink = Sink::new(move |record| {
            let mut taken = taking.lock().unwrap_or_else(PoisonError::into_inner);
            if taken.len() < MOST {
                taken.push(record);
            }
            taken.len() as u64
        });
        Self { runtime, hub: Hub::new(sink, snapshots), log }
    }

    /// What the log took since this was asked last.
    fn taken(&self) -> Vec<Record> {
        std::mem::take(&mut *self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends a request; what is not accepted must be refused in words of ours.
    pub(super) fn send(&self, router: &Router, request: Request<Body>) -> Answer {
        let (response, refusal) = self.runtime.block_on(async {
            let Ok(response) = router.clone().call(request).await;
            let (response, told) = problem::finish(response, || "id".to_owned());
            (read(response).await, told.map(|(refusal, _)| refusal))
        });
        if let Some(refusal) = refusal {
            let document: serde_json::Value =
                serde_json::from_slice(&response.body).expect("a refusal is a document");
            assert_eq!(document["status"], response.status);
            assert_ne!(refusal.reason, problem::reason::INTERNAL, "{document}");
            assert!(refusal.detail.len() < 600, "a detail is short: {}", refusal.detail.len());
            assert!(
                !refusal.detail.contains(char::is_control),
                "a detail can be shown: {:?}",
                refusal.detail
            );
            assert!(refusal.field.is_none_or(|field| field.len() <= 80), "a field is short");
            assert!(self.taken().is_empty(), "what is refused is in no log");
        }
        assert_eq!(self.hub.door.in_flight(), 0, "what was charged is free again");
        response
    }

    /// Everything that was accepted reads back from the log.
    pub(super) fn accepted(&self) -> usize {
        let taken = self.taken();
        for record in &taken {
            reads_back(record);
        }
        taken.len()
    }
}

async fn read(response: Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("an answer without a connection cannot break").to_bytes();
    Answer { status: parts.status.as_u16(), body }
}

/// The record is an event that every form gives back.
pub(super) fn reads_back(record: &Record) {
    let event = kafka::decode(record).expect("what was accepted is an event");
    assert_eq!(kafka::decode(&kafka::encode(&event)).as_ref(), Ok(&event));
    let json = evhub_event::json::to_string(&event);
    assert_eq!(evhub_event::json::decode(&json.into()).as_ref(), Ok(&event));
    let controls = Controls::of(record);
    let again = Record { headers: controls.headers().collect(), ..Record::default() };
    assert_eq!(Controls::of(&again), controls, "controls read back");
}

/// One Producer with small limits.
fn snapshot() -> Snapshot {
    let name = Name::new("shop", "orders");
    let producer = Producer {
        name: name.clone(),
        uid: "uid".to_owned(),
        evhub: EvhubName { app_id: "shop".to_owned(), topic_id: "orders".to_owned() },
        topic: "evhub.shop.orders".to_owned(),
        partitions: 1,
        event_bytes: 4096,
        batch_events: 50,
        batch_bytes: 16 << 10,
        events_per_second: None,
        max_delay: Duration::from_hours(9600),
        due_topic: "evhub.shop.orders.due".to_owned(),
        pending_timers: 1_000_000,
        ledger: evhub_routing::Ledger::default(),
        brokers: Brokers::default(),
        retention: None,
        retention_bytes: None,
    };
    Snapshot {
        generation: Generation { epoch: 1, revision: 1 },
        producers: BTreeMap::from([(name, Arc::new(producer))]),
        ..Snapshot::default()
    }
}
