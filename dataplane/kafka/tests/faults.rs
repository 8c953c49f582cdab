//! What a log on Kafka tells while brokers are gone.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::time::{Duration, Instant};

use evhub_brokers::{Cluster, Options, QUICK};
use evhub_event::Record;
use evhub_journal::{ClusterSettings, Error, Journal, Place, Polled, Tail, TopicPartition, TopicSettings};
use evhub_kafka::{Connection, Kafka};

/// Far longer than brokers take to notice that one of them is gone, or back.
const PATIENCE: Duration = Duration::from_mins(1);

fn start(name: &str, brokers: u16, more: &[(&str, &str)]) -> Cluster {
    let folder = std::env::temp_dir().join(format!("evhub-kafka-{name}-{}", std::process::id()));
    let soon = [("broker.session.timeout.ms", "3000"), ("broker.heartbeat.interval.ms", "500")];
    let properties = QUICK.into_iter().chain(soon).chain(more.iter().copied());
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Cluster::start(&Options { brokers, secure: false, properties, folder }).expect("brokers start")
}

/// One copy of each record, so that a partition is away with its broker.
fn one_copy(partitions: u32) -> TopicSettings {
    TopicSettings {
        partitions,
        max_record_bytes: 1_000,
        cluster: ClusterSettings { replicas: Some(1), min_in_sync: Some(1), adopt: false },
        ..TopicSettings::default()
    }
}

/// Asks again and again until this is the answer; hands every other one to `meanwhile`.
async fn until(
    log: &Kafka,
    topic: &str,
    wanted: impl Fn(&Result<Option<u32>, Error>) -> bool,
    meanwhile: impl Fn(&Result<Option<u32>, Error>),
) {
    let since = Instant::now();
    loop {
        let answer = log.look_up(topic).await;
        if wanted(&answer) {
            return;
        }
        meanwhile(&answer);
        assert!(since.elapsed() < PATIENCE, "{answer:?} after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whoever took it for absence would drop what lies in it; and whoever took it for no answer would hold up the partitions that
/// somebody leads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_there_whoever_leads_it_and_a_broker_that_is_away_holds_up_only_what_it_leads() {
    let mut cluster = tokio::task::spawn_blocking(|| start("faults", 3, &[])).await.unwrap();
    let connection = Connection { patience: Duration::from_secs(10), ..Connection::new(cluster.bootstrap()) };
    let log = Kafka::connect(connection).await.unwrap();
    log.ensure("evhub.t", one_copy(90)).await.unwrap();
    assert_eq!(log.look_up("evhub.other").await.unwrap(), None);
    let at = |partition| TopicPartition { topic: "evhub.t".to_owned(), partition };
    for partition in 0..90 {
        let record = Record { value: Some("x".into()), ..Record::default() };
        log.append("evhub.t", Place::Partition(partition), record).await.unwrap();
    }
    let leaders = cluster.leaders("evhub.t").unwrap();
    let led_by = |node| (0..90_u32).filter(move |partition| leaders[*partition as usize] == Some(node));
    let (away, here): (Vec<u32>, Vec<u32>) = (led_by.clone()(2).collect(), led_by.clone()(0).collect());
    assert!(away.len() > 20 && here.len() > 20, "each broker leads its part");

    // It is not yet known to be away.
    cluster.nodes()[2].hang().unwrap();
    let waiting: Vec<_> = away
        .iter()
        .map(|partition| {
            let (log, at) = (log.clone(), at(*partition));
            tokio::spawn(async move { log.read(&at, 0, 10, 1_000).await })
        })
        .collect();
    let since = Instant::now();
    for partition in &here {
        assert_eq!(log.read(&at(*partition), 0, 10, 1_000).await.unwrap().records.len(), 1);
    }
    assert!(
        since.elapsed() < Duration::from_secs(3),
        "the others are read meanwhile, in {:?}",
        since.elapsed()
    );
    for read in waiting {
        let read = read.await.unwrap();
        assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
    }

    // Nobody leads what it led.
    cluster.nodes()[2].kill().unwrap();
    let leaderless = || cluster.leaders("evhub.t").is_ok_and(|leaders| leaders.contains(&None));
    let since = Instant::now();
    while !leaderless() {
        assert!(since.elapsed() < PATIENCE, "it is noticed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let never_none = |answer: &Result<Option<u32>, Error>| assert!(!matches!(answer, Ok(None)), "{answer:?}");
    until(&log, "evhub.t", |answer| matches!(answer, Ok(Some(90))), never_none).await;
    assert!(matches!(log.end(&at(away[0])).await, Err(Error::Unavailable(_))), "what lies in it is not told");
    assert_eq!(log.end(&at(here[0])).await.unwrap(), 1);
    log.ensure("evhub.t", one_copy(90)).await.unwrap();
    assert_eq!(log.look_up("evhub.other").await.unwrap(), None, "what is not there is told all the same");

    cluster.nodes()[2].start().unwrap();
    let since = Instant::now();
    while log.end(&at(away[0])).await.ok() != Some(1) {
        assert!(since.elapsed() < PATIENCE, "it comes back");
    }
    tokio::task::spawn_blocking(move || drop(cluster)).await.unwrap();
}

/// The client itself says nothing to its caller, and tries for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_join_a_group_is_told_what_to_grant() {
    let authorizer = [
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("allow.everyone.if.no.acl.found", "true"),
    ];
    let cluster = tokio::task::spawn_blocking(move || start("denied", 1, &authorizer)).await.unwrap();
    let log = Kafka::connect(Connection::new(cluster.bootstrap())).await.unwrap();
    log.ensure("evhub.t", one_copy(1)).await.unwrap();
    let topics = ["evhub.t".to_owned()];
    let mut allowed = log.join("evhub.allowed", &topics).await.unwrap();
    while !matches!(allowed.poll().await.unwrap(), Polled::Assigned { .. }) {}

    cluster.deny_groups("evhub.denied").unwrap();
    let since = Instant::now();
    let said = loop {
        // The rule takes a moment to be everywhere; until then the group may be joined.
        let mut member = log.join("evhub.denied", &topics).await.unwrap();
        match tokio::time::timeout(Duration::from_secs(5), member.poll()).await {
            Ok(Err(error)) => break error.to_string(),
            Ok(Ok(_)) => member.leave().await,
            Err(late) => panic!("nothing is said: {late}"),
        }
        assert!(since.elapsed() < PATIENCE, "it may join");
    };
    assert!(
        said.contains("evhub.denied") && said.contains("grant Read on the installation's groups"),
        "{said}"
    );
    drop(allowed);
    tokio::task::spawn_blocking(move || drop(cluster)).await.unwrap();
}
