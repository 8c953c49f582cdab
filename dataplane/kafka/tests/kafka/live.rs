//! What only brokers show: topics that others have made, settings that others have changed, records that others have written.

use std::time::{Duration, Instant};

use bytes::Bytes;
use evhub_event::Record;
use evhub_journal::{
    BrokerSettings, Chain, ClusterSettings, Error, Journal, Place, Polled, Refusal, Tail, TopicPartition,
    TopicSettings, WriteError,
};
use evhub_kafka::{Connection, Kafka};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
};

use crate::site;

fn settings() -> TopicSettings {
    TopicSettings { partitions: 2, max_record_bytes: 1_000, ..TopicSettings::default() }
}

fn adopting(settings: TopicSettings) -> TopicSettings {
    TopicSettings { cluster: ClusterSettings { adopt: true, ..settings.cluster }, ..settings }
}

/// A log of its own installation, and a stranger's tool.
async fn log(prefix: &str) -> (Kafka, AdminClient<DefaultClientContext>) {
    let connection = tokio::task::spawn_blocking(site::connection).await.unwrap();
    let tool = ClientConfig::new().set("bootstrap.servers", &connection.bootstrap).create().unwrap();
    let connection = Connection { prefix: format!("{prefix}{}", std::process::id()), ..connection };
    (Kafka::connect(connection).await.unwrap(), tool)
}

async fn live(tool: &AdminClient<DefaultClientContext>, topic: &str, name: &str) -> Option<String> {
    let asked = [ResourceSpecifier::Topic(topic)];
    let live = tool.describe_configs(&asked, &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    live.get(name).and_then(|entry| entry.value.clone())
}

/// Waits until a topic's setting is this: a broker takes a change up a moment after it was acknowledged.
async fn becomes(tool: &AdminClient<DefaultClientContext>, topic: &str, name: &str, value: &str) {
    let until = Instant::now() + Duration::from_mins(1);
    while live(tool, topic, name).await.as_deref() != Some(value) {
        assert!(Instant::now() < until, "{topic}'s {name} does not become {value}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a member hears next; not for ever.
async fn next(tail: &mut evhub_kafka::Tail) -> Polled {
    tokio::time::timeout(Duration::from_secs(20), tail.poll()).await.expect("a poll hangs").unwrap()
}

async fn made_by_a_stranger(tool: &AdminClient<DefaultClientContext>, topic: &str, set: &[(&str, &str)]) {
    let new = NewTopic::new(topic, 2, TopicReplication::Fixed(1));
    let new = set.iter().fold(new, |new, (name, value)| new.set(name, value));
    tool.create_topics(&[new], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_topic_is_taken_only_when_told_to() {
    let (log, tool) = log("adopt").await;
    let topic = format!("orders-{}", std::process::id());
    made_by_a_stranger(&tool, &topic, &[("segment.ms", "777777"), ("retention.ms", "5000")]).await;
    let refused = log.ensure(&topic, settings()).await.unwrap_err();
    assert!(matches!(&refused, Error::Settings { problem, .. } if problem.contains("adopt it")), "{refused}");
    assert_eq!(live(&tool, &topic, "retention.ms").await.as_deref(), Some("5000"), "it is as it was");
    log.ensure(&topic, adopting(settings())).await.unwrap();
    becomes(&tool, &topic, "retention.ms", "-1").await;
    assert_eq!(live(&tool, &topic, "segment.ms").await.as_deref(), Some("777777"), "what is not ours stays");
    let compacted = format!("compacted-{topic}");
    made_by_a_stranger(&tool, &compacted, &[("cleanup.policy", "compact")]).await;
    let refused = log.ensure(&compacted, adopting(settings())).await.unwrap_err();
    assert!(refused.to_string().contains("is compacted, which cannot be changed"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_settings_are_held_to_what_was_asked_for() {
    let (log, tool) = log("live").await;
    let topic = format!("{}.t", "live".to_owned() + &std::process::id().to_string());
    let asked = TopicSettings { retention: Some(Duration::from_hours(1)), ..settings() };
    log.ensure(&topic, asked).await.unwrap();
    for (name, value) in [
        ("unclean.leader.election.enable", "false"),
        ("message.timestamp.type", "LogAppendTime"),
        ("retention.ms", "3600000"),
    ] {
        assert_eq!(live(&tool, &topic, name).await.as_deref(), Some(value), "{name}");
    }
    let change =
        AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("retention.ms", "1").set("flush.ms", "777");
    tool.alter_configs(&[change], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    becomes(&tool, &topic, "retention.ms", "1").await;
    log.ensure(&topic, asked).await.unwrap();
    becomes(&tool, &topic, "retention.ms", "3600000").await;
    assert_eq!(live(&tool, &topic, "flush.ms").await.as_deref(), Some("777"), "what is not ours stays");
    let three = ClusterSettings { replicas: Some(3), ..ClusterSettings::default() };
    let refused = log.ensure(&topic, TopicSettings { cluster: three, ..asked }).await.unwrap_err();
    assert!(refused.to_string().contains("1 replicas and not 3: reassign them"), "{refused}");
    let refused =
        log.ensure(&format!("{topic}3"), TopicSettings { cluster: three, ..asked }).await.unwrap_err();
    assert!(refused.to_string().contains("fewer brokers"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_a_topic_does_not_take_is_refused_with_what_to_do() {
    let (log, tool) = log("small").await;
    let topic = format!("small{}.t", std::process::id());
    log.ensure(&topic, TopicSettings { max_record_bytes: 100_000, ..settings() }).await.unwrap();
    let change = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", "2000");
    tool.alter_configs(&[change], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    let large = Record { key: None, value: Some(Bytes::from(vec![0; 50_000])), headers: vec![] };
    let ended = loop {
        // A broker takes the change up a moment later.
        match log.append(&topic, Place::Partition(0), large.clone()).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(ended) => break ended,
        }
    };
    let WriteError::Rejected(Refusal::Unavailable(why)) = &ended else { panic!("{ended}") };
    assert!(why.contains("raise its max.message.bytes"), "{why}");
    let small = Record { value: Some(Bytes::from_static(b"x")), ..large };
    log.append(&topic, Place::Partition(0), small).await.unwrap();
}

/// What brokers refuse is known only when they have, and what is behind it has not been sent before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_passes_what_brokers_refuse_of_its_chain() {
    let (log, tool) = log("torn").await;
    let topic = format!("torn{}.t", std::process::id());
    log.ensure(&topic, TopicSettings { partitions: 1, max_record_bytes: 600_000, ..settings() })
        .await
        .unwrap();
    let change = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", "2000");
    tool.alter_configs(&[change], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    becomes(&tool, &topic, "max.message.bytes", "2000").await;
    // Larger than a batch may grow, so that it goes alone.
    let (small, large) = (vec![b's'; 10], vec![b'l'; 550_000]);
    let record =
        |body: &Vec<u8>| Record { key: Some("k".into()), value: Some(body.clone().into()), headers: vec![] };
    let mut chain = Chain::default();
    let sent = [&small, &small, &large, &small, &small]
        .map(|body| log.append(&topic, Place::Behind(chain.link()), record(body)));
    let mut ends = Vec::new();
    for sent in sent {
        ends.push(sent.await);
    }
    assert!(ends[0].is_ok() && ends[1].is_ok(), "{ends:?}");
    assert!(matches!(ends[2], Err(WriteError::Rejected(Refusal::Unavailable(_)))), "{ends:?}");
    assert!(
        ends[3..].iter().all(|end| matches!(end, Err(WriteError::Rejected(Refusal::Behind)))),
        "{ends:?}"
    );
    let read = log.read(&TopicPartition { topic, partition: 0 }, 0, 99, 99_999).await.unwrap();
    assert_eq!(read.records.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_installation_sees_growth_and_a_new_topic() {
    let (one, _) = log("grow").await;
    let (other, _) = log("grow").await;
    let topic = format!("grow{}.t", std::process::id());
    one.ensure(&topic, TopicSettings { partitions: 1, ..settings() }).await.unwrap();
    let record = || Record { key: None, value: Some(Bytes::from_static(b"x")), headers: vec![] };
    assert_eq!(other.append(&topic, Place::Partition(0), record()).await.unwrap().partition, 0);
    one.ensure(&topic, TopicSettings { partitions: 4, ..settings() }).await.unwrap();
    assert_eq!(other.append(&topic, Place::Partition(3), record()).await.unwrap().partition, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_was_paused_for_long_goes_on_where_it_stopped() {
    let (log, _) = log("pause").await;
    let topic = format!("pause{}.t", std::process::id());
    log.ensure(&topic, TopicSettings { max_record_bytes: 100_000, ..settings() }).await.unwrap();
    let at = |partition| TopicPartition { topic: topic.clone(), partition };
    let record = || Record { key: None, value: Some(Bytes::from(vec![7; 50_000])), headers: vec![] };
    let sent: Vec<_> = (0..100).map(|i| log.append(&topic, Place::Partition(i % 2), record())).collect();
    for sent in sent {
        sent.await.unwrap();
    }
    let mut tail = log.join(&topic, std::slice::from_ref(&topic)).await.unwrap();
    assert!(matches!(next(&mut tail).await, Polled::Assigned { .. }));
    for partition in 0..2 {
        tail.seek(&at(partition), 0);
    }
    let mut seen = [0; 2];
    while seen[0] == 0 {
        if let Polled::Records(from, records) = next(&mut tail).await {
            seen[from.partition as usize] += records.len();
        }
    }
    tail.pause(&at(0), true);
    // Longer than the client keeps what nobody takes.
    let rest = tokio::time::sleep(Duration::from_secs(2));
    tokio::pin!(rest);
    loop {
        tokio::select! {
            () = &mut rest => break,
            polled = next(&mut tail) => match polled {
                Polled::Records(from, records) => seen[from.partition as usize] += records.len(),
                Polled::End(from, _) => assert_eq!(from.partition, 1, "what is paused is silent"),
                other => panic!("{other:?}"),
            },
        }
    }
    assert_eq!(seen[1], 50);
    tail.pause(&at(0), false);
    while seen[0] < 50 {
        if let Polled::Records(from, records) = next(&mut tail).await {
            assert_eq!(from.partition, 0);
            seen[0] += records.len();
        }
    }
    assert_eq!(seen[0], 50, "nothing is missing and nothing twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_deleted_and_made_again_is_told_from_the_one_before() {
    let (log, tool) = log("remade").await;
    let settings = TopicSettings { partitions: 1, max_record_bytes: 1_000, ..TopicSettings::default() };
    for topic in ["remade.a", "remade.b"] {
        log.ensure(topic, settings).await.unwrap();
    }
    let before = log.identity("remade.a").await.unwrap();
    assert_eq!(log.identity("remade.a").await.unwrap(), before);
    assert_ne!(log.identity("remade.b").await.unwrap(), before);
    assert_ne!(before, 0, "brokers tell topics apart");

    tool.delete_topics(&["remade.a"], &AdminOptions::new()).await.unwrap();
    while log.look_up("remade.a").await.unwrap().is_some() {}
    assert!(matches!(log.identity("remade.a").await, Err(Error::Unavailable(_))), "there is none");
    log.ensure("remade.a", settings).await.unwrap();
    assert_ne!(log.identity("remade.a").await.unwrap(), before);
}

fn asked(set: &[(&str, &str)], unset: &[&str]) -> BrokerSettings {
    BrokerSettings {
        set: set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        unset: unset.iter().map(|name| (*name).to_owned()).collect(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_brokers_are_asked_besides_is_set_put_back_and_refused_with_their_words() {
    let (log, tool) = log("asked").await;
    let topic = format!("asked{}.t", std::process::id());
    for (what, why) in [
        (
            asked(&[("compression.type", "zst"), ("flush.ms", "9")], &[]),
            "one of compression.type=zst, flush.ms=9",
        ),
        (asked(&[("no.such", "1")], &[]), "one of no.such=1"),
    ] {
        let refused = log.ensure_with(&topic, settings(), &what).await.unwrap_err();
        assert!(matches!(&refused, Error::Settings { problem, .. } if problem.contains(why)), "{refused}");
        assert_eq!(log.look_up(&topic).await.unwrap(), None, "nothing was made");
    }
    log.ensure_with(&topic, settings(), &asked(&[("compression.type", "zstd")], &[])).await.unwrap();
    assert_eq!(live(&tool, &topic, "compression.type").await.as_deref(), Some("zstd"));

    // One that is refused changes nothing, whatever is asked with it.
    let more = TopicSettings { partitions: 4, retention: Some(Duration::from_hours(1)), ..settings() };
    let bad = asked(&[("compression.type", "gzip"), ("segment.ms", "soon")], &[]);
    let refused = log.ensure_with(&topic, more, &bad).await.unwrap_err().to_string();
    assert!(refused.contains("keeps its settings") && refused.contains("segment.ms"), "{refused}");
    assert_eq!(live(&tool, &topic, "compression.type").await.as_deref(), Some("zstd"));
    assert_eq!(live(&tool, &topic, "retention.ms").await.as_deref(), Some("-1"));
    assert_eq!(log.look_up(&topic).await.unwrap(), Some(2), "nothing has grown");

    log.ensure_with(&topic, settings(), &asked(&[("flush.ms", "777")], &["compression.type"])).await.unwrap();
    becomes(&tool, &topic, "compression.type", "producer").await;
    becomes(&tool, &topic, "flush.ms", "777").await;

    // What others have made is only looked at.
    let theirs = format!("theirs-{}", std::process::id());
    made_by_a_stranger(&tool, &theirs, &[("compression.type", "lz4")]).await;
    let other = asked(&[("compression.type", "zstd")], &[]);
    let refused = log.ensure_with(&theirs, adopting(settings()), &other).await.unwrap_err().to_string();
    assert!(refused.contains("has lz4 and not zstd for compression.type"), "{refused}");
    let unset = asked(&[], &["compression.type"]);
    log.ensure_with(&theirs, adopting(settings()), &unset).await.unwrap();
    assert_eq!(live(&tool, &theirs, "compression.type").await.as_deref(), Some("lz4"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whether_a_topic_may_grow_is_asked_without_growing_it() {
    let (log, _) = log("may").await;
    let topic = format!("may{}.t", std::process::id());
    log.ensure(&topic, settings()).await.unwrap();
    log.may_grow(&topic, 6).await.unwrap();
    assert_eq!(log.look_up(&topic).await.unwrap(), Some(2));
    // More than brokers make at once.
    let refused = log.may_grow(&topic, 50_000).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Settings { problem, .. } if problem.contains("cannot grow")),
        "{refused}"
    );
    assert_eq!(log.look_up(&topic).await.unwrap(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_removed_is_gone_and_another_one_of_its_name_begins_empty() {
    let (one, _) = log("gone").await;
    let (other, _) = log("gone").await;
    let topic = format!("gone{}.t", std::process::id());
    one.ensure(&topic, settings()).await.unwrap();
    let record = || Record { key: None, value: Some(Bytes::from_static(b"x")), headers: vec![] };
    for log in [&one, &other] {
        log.append(&topic, Place::Partition(0), record()).await.unwrap();
    }
    let before = one.identity(&topic).await.unwrap();
    // Both are told to.
    let (first, second) = tokio::join!(one.remove(&topic), other.remove(&topic));
    first.unwrap();
    second.unwrap();
    assert_eq!(one.partitions(&topic), None);
    one.remove(&topic).await.unwrap();

    one.ensure(&topic, settings()).await.unwrap();
    assert_ne!(one.identity(&topic).await.unwrap(), before);
    let at = TopicPartition { topic: topic.clone(), partition: 0 };
    let until = Instant::now() + Duration::from_mins(1);
    let end = loop {
        // A broker may lead it a moment before it knows that it does.
        match one.end(&at).await {
            Err(Error::Unavailable(_)) if Instant::now() < until => {}
            end => break end,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(end.unwrap(), 0);
    for (log, offset) in [(&one, 0), (&other, 1)] {
        assert_eq!(log.append(&topic, Place::Partition(0), record()).await.unwrap().offset, offset);
    }
}
