//! Who is not let in hears so within seconds, with what to do; the client itself would try for ever in silence.

use std::time::{Duration, Instant};

use evhub_brokers::USER;

use crate::site::{connect, mutual, sasl, site, tls};

/// Sooner than the patience of four seconds after which a connection is given up in any case.
const SECONDS: Duration = Duration::from_secs(3);

async fn told(bootstrap: &str, text: &str, what: &str, within: Duration) {
    let began = Instant::now();
    let Err(error) = connect(bootstrap, text).await else { panic!("{text} is let in") };
    let (said, took) = (error.to_string(), began.elapsed());
    println!("{took:?}: {said}");
    assert!(said.contains(what), "{said} and not {what}");
    assert!(took < within, "it took {took:?}: {said}");
    assert!(!said.contains(USER.1) && !said.contains("wrong-secret"), "a password is never told: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_is_told_what_to_do_within_seconds() {
    let site = site().await;
    let (of, strangers) = (&site.certificates, &site.strangers);
    let password = "check sasl.mechanism, sasl.username and sasl.password";
    let identity = "set ssl.certificate.location and ssl.key.location";
    for mechanism in ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] {
        told(&site.sasl, &sasl(&of.authority, mechanism, "wrong-secret"), password, SECONDS).await;
    }
    told(&site.sasl, &sasl(&strangers.authority, "PLAIN", USER.1), "ssl.ca.location must name", SECONDS)
        .await;
    told(&site.tls, &tls(&strangers.authority), "ssl.ca.location must name", SECONDS).await;
    told(&site.mutual, &tls(&of.authority), identity, SECONDS).await;
    let stranger = mutual(&of.authority, &strangers.client, &strangers.client_key);
    told(&site.mutual, &stranger, identity, SECONDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_the_wrong_protocol_or_to_nobody_is_told_so() {
    let site = site().await;
    // These may mend themselves, so that a connection is patient.
    let patient = Duration::from_secs(8);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let tls = tls(&site.certificates.authority);
    tokio::join!(
        // A broker hangs up on who does not speak its protocol.
        told(&site.tls, "", "check security.protocol and the port", patient),
        told(&site.plain, &tls, "check security.protocol and the port", patient),
        told(&nobody, "", "check the address, and that brokers run there", patient),
        told("no-such-host.invalid:9092", "", "no such host is known", patient),
    );
}
