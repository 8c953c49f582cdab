//! Targets over TLS: whom to trust, and what is said of whom one cannot.

use std::time::Duration;

use evhub_dispatch::dead::Reason;
use evhub_routing::{Protocol, Tls};
use http::Version;
use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::{
    peer::{Authority, Peer, Scripts},
    world::{World, until, until_async},
};

const BOTH: &[&str] = &["h2", "http/1.1"];

/// A Processor that delivers to a TLS port of this machine and trusts one authority.
async fn world(port: u16, trusted: &str, server_name: Option<&str>, protocol: Protocol) -> World {
    let mut world = World::new(&format!("https://localhost:{port}/"), 1).await;
    world.processor.target.protocol = protocol;
    world.processor.target.tls = Some(Tls {
        ca_bundle: Some(trusted.parse().unwrap()),
        server_name: server_name.map(|name| name.parse().unwrap()),
    });
    world.retry(2, Duration::from_millis(10));
    world
}

#[tokio::test]
async fn a_target_that_proves_who_it_is_gets_its_events_over_the_best_http_it_offers() {
    for (alpn, server_name, version) in [
        (BOTH, None, Version::HTTP_2),
        (&["http/1.1"], None, Version::HTTP_11),
        (&[], Some("billing.shop.svc"), Version::HTTP_11),
    ] {
        let authority = Authority::new("ours");
        let tls = authority.server(server_name.unwrap_or("localhost"), false, alpn);
        let peer = Peer::new(Scripts { tls: Some(tls), ..Scripts::default() }).await;
        let world = world(peer.port, &authority.pem, server_name, Protocol::CloudEvents).await;
        let running = world.start();
        world.publish("first", None).await;
        until("the first is delivered", || running.delivered() == 1).await;
        world.publish_many("e", 50, None, 0).await;
        until("all are delivered", || running.delivered() == 51).await;
        running.stop().await;
        let requests = peer.seen.requests.lock().unwrap();
        assert!(requests.iter().all(|(used, _)| *used == version), "{alpn:?}");
        if version == Version::HTTP_2 {
            assert_eq!(peer.connections(), 1, "one connection for all");
        }
    }
}

#[tokio::test]
async fn a_target_that_does_not_is_told_apart_in_its_dead_letters() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("a stranger"));
    let rows = [
        (
            &stranger,
            "localhost",
            false,
            BOTH,
            Protocol::CloudEvents,
            "UnknownIssuer",
            "spec.target.tls.caBundle",
        ),
        (
            &authority,
            "elsewhere",
            false,
            BOTH,
            Protocol::CloudEvents,
            "elsewhere",
            "spec.target.tls.serverName",
        ),
        (&authority, "localhost", true, BOTH, Protocol::CloudEvents, "expired", "must renew"),
        (&authority, "localhost", true, BOTH, Protocol::EvHubGrpc, "expired", "must renew"),
        (&authority, "localhost", true, BOTH, Protocol::Stream, "expired", "must renew"),
        (
            &authority,
            "localhost",
            false,
            &["http/1.1"],
            Protocol::EvHubGrpc,
            "",
            "does not offer the HTTP version",
        ),
        (
            &authority,
            "localhost",
            false,
            &["spdy/3"],
            Protocol::CloudEvents,
            "",
            "does not offer the HTTP version",
        ),
    ];
    for (signed_by, name, expired, alpn, protocol, problem, remedy) in rows {
        let tls = signed_by.server(name, expired, alpn);
        let peer = Peer::new(Scripts { tls: Some(tls), ..Scripts::default() }).await;
        let world = world(peer.port, &authority.pem, None, protocol).await;
        let running = world.start();
        world.publish("e", None).await;
        until_async("there is a dead letter", async || !world.letters().await.is_empty()).await;
        running.stop().await;
        let (letter, _) = world.letters().await.remove(0);
        assert_eq!((letter.reason, letter.attempts), (Reason::MaxAttempts, 2), "{remedy}");
        for cause in letter.causes {
            assert!(cause.text.contains(problem) && cause.text.contains(remedy), "{problem}: {}", cause.text);
        }
        assert!(peer.seen.requests.lock().unwrap().is_empty(), "nothing was sent to it");
    }
}

#[tokio::test]
async fn tickets_are_taken_and_a_flood_of_them_is_a_failure() {
    for (tickets, delivered) in [(100, 1), (5_000, 0)] {
        let authority = Authority::new("ours");
        let mut tls = authority.server("localhost", false, BOTH);
        tls.send_tls13_tickets = tickets;
        let peer = Peer::new(Scripts { tls: Some(tls), ..Scripts::default() }).await;
        let world = world(peer.port, &authority.pem, None, Protocol::CloudEvents).await;
        let running = world.start();
        world.publish("e", None).await;
        let ended = async || running.delivered() == 1 || !world.letters().await.is_empty();
        until_async("it has an end", ended).await;
        let letters = world.letters().await;
        let full = |text: &str| text.contains("message buffer full");
        assert!(
            letters.iter().all(|(letter, _)| letter.causes.iter().all(|cause| full(&cause.text))),
            "{letters:?}"
        );
        assert_eq!((running.delivered(), letters.len()), (delivered, 1 - delivered as usize));
        running.stop().await;
    }
}

#[tokio::test]
async fn a_target_without_tls_is_no_riddle() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        }
    });
    let world = world(port, &Authority::new("ours").pem, None, Protocol::CloudEvents).await;
    let running = world.start();
    world.publish("e", None).await;
    until_async("there is a dead letter", async || !world.letters().await.is_empty()).await;
    running.stop().await;
    let (letter, _) = world.letters().await.remove(0);
    assert!(letter.causes[0].text.contains("does the target speak TLS"), "{:?}", letter.causes[0]);
}
