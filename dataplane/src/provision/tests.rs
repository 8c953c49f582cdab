//! What grows, in which order, and what is refused before anything has.

use std::{
    future::Future,
    sync::{Arc, Mutex},
};

use evhub_event::Record;
use evhub_journal::{
    Committed, Embedded, Place, Position, Slice, TopicPartition, WriteError, embedded::Options,
};
use evhub_routing::{Name, Route};

use super::*;
use crate::follow::tests::{processor, snapshot};

/// A log that notes what it is told, and lets no topic of this name grow.
#[derive(Clone)]
struct Noting {
    log: Embedded,
    told: Arc<Mutex<Vec<String>>>,
    fixed: &'static str,
}

impl Noting {
    fn note(&self, what: String) {
        self.told.lock().unwrap().push(what);
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }
}

impl Journal for Noting {
    type Tail = <Embedded as Journal>::Tail;
    type Member = <Embedded as Journal>::Member;
    type Producer = <Embedded as Journal>::Producer;

    async fn ensure(&self, topic: &str, settings: TopicSettings) -> Result<(), Error> {
        self.note(format!("{topic}={}", settings.partitions));
        self.log.ensure(topic, settings).await
    }

    async fn ensure_with(
        &self,
        topic: &str,
        settings: TopicSettings,
        brokers: &BrokerSettings,
    ) -> Result<(), Error> {
        let set = brokers.set.iter().map(|(name, value)| format!(" {name}:{value}"));
        let unset = brokers.unset.iter().map(|name| format!(" -{name}"));
        let more = set.chain(unset).collect::<Vec<_>>().concat();
        self.note(format!("{topic}={}{more}", settings.partitions));
        self.log.ensure(topic, settings).await
    }

    async fn may_grow(&self, topic: &str, partitions: u32) -> Result<(), Error> {
        self.note(format!("{topic}?{partitions}"));
        let problem = "cannot grow: planted".to_owned();
        if topic == self.fixed { Err(Error::Settings { topic: topic.to_owned(), problem }) } else { Ok(()) }
    }

    fn partitions(&self, topic: &str) -> Option<u32> {
        self.log.partitions(topic)
    }

    async fn look_up(&self, topic: &str) -> Result<Option<u32>, Error> {
        self.log.look_up(topic).await
    }

    fn append(
        &self,
        topic: &str,
        place: Place,
        record: Record,
    ) -> impl Future<Output = Result<Position, WriteError>> + Send + 'static {
        self.log.append(topic, place, record)
    }

    async fn producer(&self, id: &str) -> Result<Self::Producer, Error> {
        self.log.producer(id).await
    }

    async fn read(
        &self,
        at: &TopicPartition,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Slice, Error> {
        self.log.read(at, from, max_records, max_bytes).await
    }

    async fn start(&self, at: &TopicPartition) -> Result<u64, Error> {
        self.log.start(at).await
    }

    async fn trim(&self, at: &TopicPartition, before: u64) -> Result<(), Error> {
        self.log.trim(at, before).await
    }

    async fn end(&self, at: &TopicPartition) -> Result<u64, Error> {
        self.log.end(at).await
    }

    async fn offset_at(&self, at: &TopicPartition, instant: i64) -> Result<u64, Error> {
        self.log.offset_at(at, instant).await
    }

    async fn join(&self, group: &str, topics: &[String]) -> Result<Self::Tail, Error> {
        self.log.join(group, topics).await
    }

    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Committed>, Error> {
        self.log.committed(group, partitions).await
    }
}

/// `orders`, which `audit` and `billing` read, of so many partitions; and `late`, which `night` reads.
fn world(partitions: u32) -> Snapshot {
    let mut world = snapshot(1, partitions.into(), &["late", "orders"]);
    for producer in world.producers.values_mut() {
        let producer = Arc::make_mut(producer);
        (producer.partitions, producer.due_topic) = (partitions, format!("{}.due", producer.topic));
    }
    for (name, reads) in [("audit", "orders"), ("billing", "orders"), ("night", "late")] {
        let mut one = processor(name);
        one.partitions = partitions;
        one.routes = vec![Route {
            producer: Name::new("shop", reads),
            topic: format!("evhub.shop.{reads}"),
            due_topic: format!("evhub.shop.{reads}.due"),
        }];
        world.processors.insert(one.name.clone(), Arc::new(one));
    }
    world
}

async fn grown(fixed: &'static str) -> (Result<(), Error>, Noting) {
    let folder = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(folder.path().join("log"))).unwrap();
    let log = Noting { log, told: Arc::default(), fixed };
    let (before, after) = (world(2), world(6));
    provision(&log, &before).await.unwrap();
    let audit = &before.processors[&Name::new("shop", "audit")];
    let billing = &before.processors[&Name::new("shop", "billing")];
    log.ensure(&billing.state_topic, topics::state(billing)).await.unwrap();
    log.ensure(&billing.inbox_topic, topics::inbox(billing)).await.unwrap();
    log.ensure(&audit.state_topic, topics::state(audit)).await.unwrap();
    let orders = &before.producers[&Name::new("shop", "orders")];
    log.ensure(&orders.due_topic, due_settings(orders)).await.unwrap();
    log.told();
    let orders = &after.producers[&Name::new("shop", "orders")];
    (one(&log, &after, orders, BTreeSet::new()).await, log)
}

#[tokio::test]
async fn what_is_read_beside_events_grows_before_them() {
    let (grown, log) = grown("").await;
    grown.unwrap();
    let order = [
        "evhub.shop.orders=2",
        "evhub.shop.orders?6",
        "evhub.shop.audit.state=6",
        "evhub.shop.billing.state=6",
        "evhub.shop.billing.inbox=6",
        "evhub.shop.orders.due=6",
        "evhub.shop.orders=6",
    ];
    assert_eq!(log.told(), order);
    assert_eq!(log.partitions("evhub.shop.audit.inbox"), None, "nothing is made that nobody needed");
}

#[tokio::test]
async fn where_events_cannot_grow_nothing_does() {
    let (refused, log) = grown("evhub.shop.orders").await;
    assert!(refused.unwrap_err().to_string().contains("evhub.shop.orders cannot grow: planted"));
    assert_eq!(log.told(), ["evhub.shop.orders=2", "evhub.shop.orders?6"]);
    for topic in ["orders", "orders.due", "billing.state", "billing.inbox"] {
        assert_eq!(log.partitions(&format!("evhub.shop.{topic}")), Some(2), "{topic}");
    }
}

#[tokio::test]
async fn brokers_are_told_what_a_producer_asks_and_what_it_asks_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let log = Embedded::open(Options::new(folder.path().join("log"))).unwrap();
    let log = Noting { log, told: Arc::default(), fixed: "" };
    let mut producer = (*world(1).producers[&Name::new("shop", "orders")]).clone();
    producer.brokers.config.insert("compression.type".into(), "zstd".into());
    let unset = BTreeSet::from(["segment.ms".to_owned()]);
    one(&log, &world(1), &producer, unset).await.unwrap();
    assert_eq!(log.told(), ["evhub.shop.orders=1 compression.type:zstd -segment.ms"]);
}
