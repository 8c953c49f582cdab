//! Over every listener events go in and come out.

use evhub_brokers::USER;
use evhub_journal::{Journal, Place, Polled, Producer, Tail, Transaction};

use crate::site::{append, at, connect, mutual, next, record, sasl, settings, site, tls};

async fn goes_and_comes(topic: &str, bootstrap: &str, text: &str) {
    let log = connect(bootstrap, text).await.unwrap();
    let topic = format!("secure.{topic}");
    log.ensure(&topic, settings()).await.unwrap();
    for partition in 0..3 {
        let position = append(&log, &topic, partition, "event").await.unwrap();
        assert_eq!(log.read(&at(&topic, partition), position.offset, 9, 999).await.unwrap().records.len(), 1);
    }
    let mut producer = log.producer(&topic).await.unwrap();
    let records = vec![(topic.clone(), Place::Partition(0), record("in a transaction"))];
    producer.commit(Transaction { records, offsets: None }).await.unwrap();
    let mut tail = log.join(&topic, std::slice::from_ref(&topic)).await.unwrap();
    assert!(matches!(next(&mut tail).await, Polled::Assigned { partitions, .. } if partitions == [0, 1, 2]));
    tail.seek(&at(&topic, 0), 0);
    let mut seen = 0;
    while seen < 2 {
        if let Polled::Records(_, records) = next(&mut tail).await {
            seen += records.len();
        }
    }
    tail.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_and_come_over_every_listener() {
    let site = site().await;
    let of = &site.certificates;
    let scram = |mechanism| sasl(&of.authority, mechanism, USER.1);
    let all = [
        ("plain", &site.plain, String::new()),
        ("tls", &site.tls, tls(&of.authority)),
        ("mutual", &site.mutual, mutual(&of.authority, &of.client, &of.client_key)),
        ("scram-512", &site.sasl, scram("SCRAM-SHA-512")),
        ("scram-256", &site.sasl, scram("SCRAM-SHA-256")),
        ("sasl-plain", &site.sasl, scram("PLAIN")),
    ];
    let mut tasks = tokio::task::JoinSet::new();
    for (topic, bootstrap, text) in all {
        tasks.spawn(async move { goes_and_comes(topic, bootstrap, &text).await });
    }
    tasks.join_all().await;
}
