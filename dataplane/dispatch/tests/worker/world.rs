//! One Processor on a log of its own: publishing to it, running its worker, looking at what it left.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use evhub_dispatch::{
    Progress,
    dead::DeadLetter,
    exchange::Exchange,
    protocol::Metadata,
    sender::Senders,
    worker::{Assignment, Room, Work, run},
};
use evhub_event::{Event, Record, kafka};
use evhub_journal::{
    Committed, Embedded, Journal, Place, Polled, Position, Stored, Tail, TopicPartition, TopicSettings,
    embedded::Options,
};
use evhub_routing::{
    Backoff, EvhubName, Growth, Name, OnExhausted, Order, Policy, Processor, Protocol, Retry, RetryAfter,
    RetryOn, Route, Start, Target,
};
use evhub_telemetry::Tracer;
use tempfile::TempDir;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::faults::Faulty;

pub(crate) const EVENTS: &str = "evhub.shop.orders";
pub(crate) const STATE: &str = "evhub.shop.billing.state";
pub(crate) const DEAD: &str = "evhub.shop.billing.dead";
pub(crate) const INBOX: &str = "evhub.shop.billing.inbox";
pub(crate) const GROUP: &str = "evhub.shop.billing.01234567";
pub(crate) const UID: &str = "01234567-89ab-4def-8123-456789abcdef";

/// How many are appended before their answers are awaited. A log on a slow disk has room for a few thousand.
const APPENDED_AT_ONCE: usize = 1_000;

/// Far longer than anything here takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) log: Faulty,
    pub(crate) processor: Processor,
    pub(crate) producers: BTreeMap<String, EvhubName>,
    pub(crate) inbox: watch::Sender<bool>,
    pub(crate) dues: watch::Sender<Arc<BTreeSet<String>>>,
    pub(crate) resume: watch::Sender<u64>,
    pub(crate) senders: Senders,
    pub(crate) room: Room,
    pub(crate) exchange: Exchange<Faulty>,
    _dir: TempDir,
}

/// A worker that runs.
pub(crate) struct Running {
    pub(crate) progress: Arc<Progress>,
    work: watch::Sender<Arc<Work>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl World {
    /// A Processor with this target, retries after 20 ms, and a topic of so many partitions.
    pub(crate) async fn new(url: &str, partitions: u32) -> Self {
        let dir = TempDir::new().expect("a folder");
        let options = Options { reserve_bytes: 0, ..Options::new(dir.path()) };
        let log = Faulty::new(Embedded::open(options).expect("a log"));
        let (inbox, resume) = (watch::channel(false).0, watch::channel(0).0);
        let dues = watch::channel(Arc::default()).0;
        let world = Self {
            log,
            processor: processor(url, partitions),
            producers: Self::producers(),
            inbox,
            dues,
            resume,
            senders: Senders::default(),
            room: Room::default(),
            exchange: Exchange::none(),
            _dir: dir,
        };
        world.make(EVENTS, partitions).await;
        world
    }

    pub(crate) async fn make(&self, topic: &str, partitions: u32) {
        let settings = TopicSettings {
            partitions,
            max_record_bytes: 2 << 20,
            compacted: topic == STATE,
            reserved: topic != EVENTS,
            ..TopicSettings::default()
        };
        self.log.log.ensure(topic, settings).await.expect("a topic");
    }

    pub(crate) fn retry(&mut self, max_attempts: u32, wait: Duration) {
        let backoff = Backoff { growth: Growth::Fixed, initial: wait, max: wait, jitter_percent: 0 };
        let retry = &mut self.processor.policy.retry;
        (retry.max_attempts, retry.backoff) = (max_attempts, backoff);
    }

    fn work(&self) -> Arc<Work> {
        Arc::new(Work { processor: Arc::new(self.processor.clone()), producers: self.producers.clone() })
    }

    fn producers() -> BTreeMap<String, EvhubName> {
        let name = EvhubName { app_id: "shop-app".to_owned(), topic_id: "orders-topic".to_owned() };
        BTreeMap::from([(EVENTS.to_owned(), name)])
    }

    /// Starts a worker.
    pub(crate) fn start(&self) -> Running {
        let progress = Arc::new(Progress::default());
        let (work, receiver) = watch::channel(self.work());
        let assignment = Assignment {
            journal: self.log.clone(),
            work: receiver,
            progress: Arc::clone(&progress),
            senders: self.senders.clone(),
            inbox: self.inbox.subscribe(),
            dues: self.dues.subscribe(),
            resume: self.resume.subscribe(),
            tracer: Tracer::default(),
            room: self.room.clone(),
            exchange: self.exchange.clone(),
            chains: None,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(run(assignment, async move {
            let _ = stopped.await;
        }));
        Running { progress, work, stop: Some(stop), task }
    }

    /// Edits the Processor under its worker's hands.
    pub(crate) fn edit(&mut self, running: &Running, edit: impl FnOnce(&mut Processor)) {
        edit(&mut self.processor);
        self.processor.generation += 1;
        running.work.send_replace(self.work());
    }

    /// Publishes an event to where its key belongs, and all unkeyed ones to partition 0.
    pub(crate) async fn publish(&self, id: &str, key: Option<&str>) -> Position {
        let place = if key.is_some() { Place::ByKey } else { Place::Partition(0) };
        self.append(EVENTS, place, kafka::encode(&event(id, key))).await
    }

    pub(crate) async fn publish_at(&self, id: &str, key: Option<&str>, partition: u32) -> Position {
        self.append(EVENTS, Place::Partition(partition), kafka::encode(&event(id, key))).await
    }

    /// Publishes so many events, named by their kind and a number from 0.
    pub(crate) async fn publish_many(&self, kind: &str, count: u32, key: Option<&str>, partition: u32) {
        self.publish_all((0..count).map(|n| event(&format!("{kind}{n}"), key)), partition).await;
    }

    /// Publishes so many events of so many keys, which take turns, to partition 0.
    pub(crate) async fn publish_keys(&self, count: u32, keys: u32) {
        let events = (0..count).map(|n| event(&format!("e{n}"), Some(&format!("k{}", n % keys))));
        self.publish_all(events, 0).await;
    }

    async fn publish_all(&self, events: impl Iterator<Item = Event>, partition: u32) {
        let append = |event| self.log.log.append(EVENTS, Place::Partition(partition), kafka::encode(&event));
        let mut appends = events.map(append).peekable();
        while appends.peek().is_some() {
            for append in appends.by_ref().take(APPENDED_AT_ONCE).collect::<Vec<_>>() {
                append.await.expect("it is appended");
            }
        }
    }

    pub(crate) async fn append(&self, topic: &str, place: Place, record: Record) -> Position {
        self.log.log.append(topic, place, record).await.expect("it is appended")
    }

    /// All records of a partition.
    pub(crate) async fn records(&self, topic: &str, partition: u32) -> Vec<Stored> {
        let at = TopicPartition { topic: topic.to_owned(), partition };
        if self.log.partitions(topic).is_none() {
            return Vec::new();
        }
        self.log.log.read(&at, 0, 100_000, 1 << 30).await.expect("it can be read").records
    }

    /// All dead letters, with the event's own record.
    pub(crate) async fn letters(&self) -> Vec<(DeadLetter, Record)> {
        let records = self.records(DEAD, 0).await;
        records.iter().map(|stored| DeadLetter::decode(&stored.record).expect("a dead letter")).collect()
    }

    /// The committed offset of a topic's partition and its metadata.
    pub(crate) async fn committed(&self, topic: &str, partition: u32) -> Option<(u64, Metadata)> {
        let at = TopicPartition { topic: topic.to_owned(), partition };
        let committed = self.log.log.committed(GROUP, &[at]).await.expect("it can be read");
        committed.first().map(|committed| {
            let text = committed.metadata.split('~').next().unwrap_or_default();
            let metadata = Metadata::decode(text, committed.offset).expect("a claim");
            (committed.offset, metadata)
        })
    }

    /// Commits in the Processor's group, as somebody else who joined it might.
    pub(crate) async fn commit(&self, committed: Committed) {
        let mut tail = self.log.log.join(GROUP, &[EVENTS.to_owned()]).await.expect("a member");
        while !matches!(tail.poll().await.expect("the log answers"), Polled::Assigned { .. }) {}
        tail.commit(vec![committed]).await.expect("it is committed");
        tail.leave().await;
    }

    /// Waits until everything of partition 0 below this offset is resolved and committed.
    pub(crate) async fn until_committed(&self, offset: u64) {
        until_async("everything is committed", async || {
            self.committed(EVENTS, 0).await.is_some_and(|(at, _)| at >= offset)
        })
        .await;
    }
}

impl Running {
    pub(crate) fn delivered(&self) -> u64 {
        Progress::get(&self.progress.delivered)
    }

    pub(crate) async fn until_listening(&self) {
        until("the worker listens", || self.progress.listening.load(Relaxed)).await;
    }

    /// Tells it to stop, without waiting.
    pub(crate) fn tell_to_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Stops it as a process that is asked to stop.
    pub(crate) async fn stop(mut self) {
        self.tell_to_stop();
        self.ended().await;
    }

    pub(crate) async fn ended(self) {
        timeout(DEADLINE, self.task).await.expect("it ends in time").expect("without a panic");
    }

    /// Stops it as a process that is killed.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let ended = self.task.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()), "it was still running");
    }
}

pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

pub(crate) fn event(id: &str, key: Option<&str>) -> Event {
    let extensions = key.map(|key| ("partitionkey".to_owned(), key.to_owned())).into_iter().collect();
    Event {
        id: id.to_owned(),
        source: "/tests".to_owned(),
        kind: "shop.order".to_owned(),
        subject: None,
        time: None,
        datacontenttype: Some("text/plain".to_owned()),
        dataschema: None,
        extensions,
        data: Some(Bytes::from(format!("data of {id}"))),
    }
}

/// Waits until it holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    until_async(what, async || holds()).await;
}

/// The same where looking takes a while.
pub(crate) async fn until_async(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < deadline, "in vain waited until {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

fn processor(url: &str, partitions: u32) -> Processor {
    let wait = Duration::from_millis(20);
    Processor {
        name: Name::new("shop", "billing"),
        uid: UID.to_owned(),
        generation: 7,
        created: now(),
        dispatcher_id: "shop.billing".to_owned(),
        group: GROUP.to_owned(),
        state_topic: STATE.to_owned(),
        dead_topic: DEAD.to_owned(),
        inbox_topic: INBOX.to_owned(),
        routes: vec![Route {
            producer: Name::new("shop", "orders"),
            topic: EVENTS.to_owned(),
            due_topic: "evhub.shop.orders.due".to_owned(),
        }],
        partitions,
        event_bytes: 1 << 20,
        replicas: 1,
        min_in_sync_replicas: 1,
        filter: None,
        delay_key: None,
        target: Target {
            url: url.parse().expect("a URL"),
            protocol: Protocol::CloudEvents,
            timeout: Duration::from_secs(10),
            headers: Vec::new(),
            secret: false,
            service: None,
            tls: None,
        },
        policy: Policy {
            order: Order::Key,
            max_in_flight: 64,
            max_parked: 100_000,
            max_parked_bytes: 1 << 30,
            max_parked_per_key: 100_000,
            rate_limit: None,
            retry: Retry {
                max_attempts: 3,
                // Parked deliveries of tests were first attempted long ago.
                max_age: Duration::from_secs(u64::from(u32::MAX)),
                backoff: Backoff { growth: Growth::Fixed, initial: wait, max: wait, jitter_percent: 0 },
                retry_after: RetryAfter { honor: true, max: Duration::from_mins(1) },
                retry_on: RetryOn::default(),
            },
            on_exhausted: OnExhausted::DeadLetter,
            dead_letter_retention: Duration::from_hours(1),
        },
        start: Start::Earliest,
        suspend: false,
        resume: None,
    }
}
