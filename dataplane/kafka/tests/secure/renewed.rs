//! A password or a certificate changes, and nobody restarts.

use std::{fs, time::Duration};

use evhub_brokers::USER;
use evhub_journal::{Journal, Polled, Tail, WriteError};
use evhub_kafka::{Kafka, Settings};

use crate::site::{append, at, connection, mutual, next, sasl, settings, site, write};

/// Appends once a while, until that ends as wanted.
async fn until(log: &Kafka, topic: &str, wanted: impl Fn(&Result<(), WriteError>) -> bool) {
    let ends = async {
        loop {
            // Longer than a broker keeps an idle connection.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            let ended = append(log, topic, 0, "x").await.map(drop);
            if wanted(&ended) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(50), ends).await.expect("it comes to that");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_password_is_taken_up_without_a_restart() {
    let site = site().await;
    let text = |password| sasl(&site.certificates.authority, "SCRAM-SHA-512", password);
    let file = site.file("password.properties", &text(USER.1));
    let log = Kafka::connect(connection(&site.sasl, Settings::read(&file).unwrap())).await.unwrap();
    log.ensure("secure.password", settings()).await.unwrap();
    append(&log, "secure.password", 0, "first").await.unwrap();
    // A wrong one is taken up as well, which shows that it is this file that counts.
    write(&file, &text("wrong-secret"));
    until(&log, "secure.password", |ended| match ended {
        Err(error) => {
            let said = error.to_string();
            said.contains("check sasl.mechanism, sasl.username and sasl.password")
        }
        Ok(()) => false,
    })
    .await;
    write(&file, &text(USER.1));
    until(&log, "secure.password", Result::is_ok).await;
    let read = log.read(&at("secure.password", 0), 0, 99, 9_999).await.unwrap();
    assert!(read.records.len() > 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_taken_up_without_a_restart() {
    let site = site().await;
    let (of, strangers) = (&site.certificates, &site.strangers);
    let (certificate, key) = (site.file("client.crt", ""), site.file("client.key", ""));
    let put = |from: &evhub_brokers::Certificates| {
        write(&key, &fs::read_to_string(&from.client_key).unwrap());
        write(&certificate, &fs::read_to_string(&from.client).unwrap());
    };
    put(of);
    let file = site.file("certificate.properties", &mutual(&of.authority, &certificate, &key));
    let log = Kafka::connect(connection(&site.mutual, Settings::read(&file).unwrap())).await.unwrap();
    log.ensure("secure.certificate", settings()).await.unwrap();
    append(&log, "secure.certificate", 0, "first").await.unwrap();
    let mut tail = log.join("secure.certificate", &["secure.certificate".into()]).await.unwrap();
    assert!(matches!(next(&mut tail).await, Polled::Assigned { .. }));
    put(strangers);
    until(&log, "secure.certificate", Result::is_err).await;
    put(of);
    until(&log, "secure.certificate", Result::is_ok).await;
    // The member is another one to the group, and reads on.
    let mut lost = false;
    loop {
        match next(&mut tail).await {
            Polled::Assigned { .. } => tail.seek(&at("secure.certificate", 0), 0),
            Polled::Revoked(partitions) => tail.release(&partitions),
            Polled::Lost(partitions) => lost |= partitions == [0, 1, 2],
            Polled::Records(..) => break,
            Polled::End(..) => {}
        }
    }
    assert!(lost, "it went on by the old certificate");
}
