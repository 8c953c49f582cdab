//! What may run in the place of what, and the copy in the log.

use std::collections::BTreeMap;

use evhub_journal::{Embedded, TopicPartition, embedded::Options};
use evhub_routing::{
    Brokers, EvhubName, Generation, Growth, Name, OnExhausted, Order, Policy, Processor, Producer, Protocol,
    Retry, RetryAfter, RetryOn, Start, Target,
};

use super::*;

/// A snapshot with these Producers.
pub(crate) fn snapshot(epoch: u64, revision: u64, producers: &[&str]) -> Snapshot {
    let producer = |name: &str| Producer {
        name: Name::new("shop", name),
        uid: name.to_owned(),
        evhub: EvhubName { app_id: "shop".into(), topic_id: name.into() },
        topic: format!("evhub.shop.{name}"),
        partitions: 1,
        retention: None,
        retention_bytes: None,
        event_bytes: 1 << 10,
        batch_events: 1,
        batch_bytes: 1 << 10,
        events_per_second: None,
        max_delay: Duration::from_hours(1),
        due_topic: "evhub.shop.orders.due".to_owned(),
        pending_timers: 1_000_000,
        ledger: evhub_routing::Ledger::default(),
        brokers: Brokers::default(),
    };
    let producers = producers.iter().map(|name| (Name::new("shop", *name), Arc::new(producer(name))));
    let generation = Generation { epoch, revision };
    Snapshot { generation, producers: producers.collect(), ..Snapshot::default() }
}

/// A Processor that reads nothing.
pub(crate) fn processor(name: &str) -> Processor {
    let of = |what: &str| format!("evhub.shop.{name}.{what}");
    let wait = Duration::from_secs(1);
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
        routes: Vec::new(),
        partitions: 1,
        event_bytes: 1 << 10,
        replicas: 1,
        min_in_sync_replicas: 1,
        filter: None,
        delay_key: None,
        target: Target {
            url: "http://127.0.0.1:9/".parse().unwrap(),
            protocol: Protocol::CloudEvents,
            timeout: wait,
            headers: Vec::new(),
            service: None,
            secret: false,
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
                max_attempts: 10,
                max_age: wait,
                backoff: evhub_routing::Backoff {
                    growth: Growth::Fixed,
                    initial: wait,
                    max: wait,
                    jitter_percent: 0,
                },
                retry_after: RetryAfter { honor: true, max: wait },
                retry_on: RetryOn::default(),
            },
            on_exhausted: OnExhausted::DeadLetter,
            dead_letter_retention: wait,
        },
        start: Start::Earliest,
        suspend: false,
        resume: None,
    }
}

#[test]
fn a_lower_generation_is_refused_whatever_it_says() {
    let running = snapshot(2, 5, &["orders"]);
    for (epoch, revision) in [(2, 4), (1, 9), (0, 0)] {
        let next = snapshot(epoch, revision, &["orders"]);
        let decided = decide(&running, &next, "evhub");
        let Adopted::Refused(why) = decided else { panic!("{epoch}.{revision}: {decided:?}") };
        assert!(why.contains("lower than 2.5"), "{why}");
    }
    for (epoch, revision) in [(2, 5), (2, 6), (3, 0)] {
        assert_eq!(decide(&running, &snapshot(epoch, revision, &[]), "evhub"), Adopted::New);
    }
    assert_eq!(decide(&running, &running, "evhub"), Adopted::Same);
    assert_eq!(
        decide(&Snapshot::default(), &snapshot(1, 1, &[]), "evhub"),
        Adopted::New,
        "empty is something"
    );
}

/// What control says while a copy is being read may be of the copy's generation, and say more.
#[test]
fn a_copy_is_for_who_has_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        control: None,
        control_tls: None,
        replica: "a".into(),
        data: folder.path().into(),
        prefix: "evhub".into(),
    };
    let follow = Follow::begin(settings).unwrap();
    assert_eq!(follow.adopt(snapshot(1, 1, &["orders", "late"]), Source::Control), Adopted::New);
    for copy in [snapshot(1, 1, &["orders"]), snapshot(1, 2, &["orders"])] {
        follow.begin_with(copy, Source::Log);
        assert_eq!(**follow.snapshots().borrow(), snapshot(1, 1, &["orders", "late"]));
        assert_eq!(follow.status().borrow().source, Source::Control);
    }
}

fn log(folder: &tempfile::TempDir) -> Embedded {
    Embedded::open(Options::new(folder.path().join("log"))).unwrap()
}

#[tokio::test]
async fn the_copy_in_the_log_is_the_highest_that_anybody_kept() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(&folder);
    assert_eq!(shared::load(&log, "evhub").await.unwrap(), None);
    shared::keep(&log, "evhub", &snapshot(1, 2, &["a", "b"])).await.unwrap();
    assert_eq!(shared::load(&log, "evhub").await.unwrap(), Some(snapshot(1, 2, &["a", "b"])));
    shared::keep(&log, "evhub", &snapshot(1, 1, &["a"])).await.unwrap();
    assert_eq!(shared::load(&log, "evhub").await.unwrap(), Some(snapshot(1, 2, &["a", "b"])));
    // Every replica keeps what it has, at once; whoever is fenced by another tries again.
    let all = (0..8).map(|index| {
        let log = log.clone();
        tokio::spawn(async move {
            while shared::keep(&log, "evhub", &snapshot(2, index, &["c"])).await.is_err() {}
        })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    assert_eq!(shared::load(&log, "evhub").await.unwrap(), Some(snapshot(2, 7, &["c"])));
    assert_eq!(shared::load(&log, "other").await.unwrap(), None, "another installation's is not ours");
}

/// Several parts, then fewer: what is left of the older ones belongs to nothing.
#[tokio::test]
async fn a_smaller_copy_leaves_nothing_of_a_larger_one() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(&folder);
    let names: Vec<String> = (0..9_000).map(|number| format!("p{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let large = snapshot(1, 1, &names);
    assert!(evhub_routing::wire::parts(None, &large).len() > 1);
    shared::keep(&log, "evhub", &large).await.unwrap();
    assert_eq!(shared::load(&log, "evhub").await.unwrap(), Some(large));
    shared::keep(&log, "evhub", &snapshot(1, 2, &["a"])).await.unwrap();
    assert_eq!(shared::load(&log, "evhub").await.unwrap(), Some(snapshot(1, 2, &["a"])));
    let at = TopicPartition { topic: "evhub._config".to_owned(), partition: 0 };
    let (start, end) = (log.start(&at).await.unwrap(), log.end(&at).await.unwrap());
    let mut kept = BTreeMap::new();
    let mut from = start;
    while from < end {
        let slice = log.read(&at, from, 100, 1 << 20).await.unwrap();
        from = slice.next;
        kept.extend(slice.records.into_iter().map(|stored| (stored.record.key, stored.record.value)));
    }
    assert_eq!(kept.values().filter(|value| value.is_some()).count(), 1, "the others have tombstones");
}
