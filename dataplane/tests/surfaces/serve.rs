//! The bounds of a connection, one by one, and how listeners end.

use std::time::{Duration, Instant};

use axum::{Router, routing::get as route};
use evhub_dataplane::{
    ingest::Door,
    server::{self, Limits},
};

use super::{
    rig::{self, Rig, SINK},
    wire::{Wire, get, request},
};

/// Bounds short enough to wait for; what is not under test stays out of the way.
fn limits() -> Limits {
    Limits { head: Duration::from_millis(300), idle: Duration::from_millis(900), ..Limits::default() }
}

#[track_caller]
fn about(began: Instant, expected: Duration) {
    let took = began.elapsed();
    assert!(took >= expected && took < expected + Duration::from_secs(5), "took {took:?}, not {expected:?}");
}

#[tokio::test]
async fn a_silent_or_slow_head_ends_the_connection() {
    let rig = Rig::with(limits(), Door::default()).await;
    for begun in ["", "POST /", "POST / HTTP/1.1\r\nHost: h"] {
        let began = Instant::now();
        let mut wire = Wire::connect(rig.http).await;
        wire.send(begun).await;
        assert!(wire.ends().await, "{begun:?}");
        about(began, limits().head);
    }
}

#[tokio::test]
async fn a_head_that_trickles_gains_no_time() {
    let rig = Rig::with(limits(), Door::default()).await;
    let began = Instant::now();
    let mut wire = Wire::connect(rig.http).await;
    let trickle = async {
        let mut every = tokio::time::interval(Duration::from_millis(50));
        loop {
            every.tick().await;
            if !wire.try_send("X").await {
                return;
            }
        }
    };
    tokio::time::timeout(super::wire::PATIENCE, trickle).await.expect("cut off");
    about(began, limits().head);
}

#[tokio::test]
async fn an_idle_connection_has_longer_than_a_head() {
    let rig = Rig::with(limits(), Door::default()).await;
    let mut wire = Wire::connect(rig.http).await;
    assert_eq!(wire.exchange(request("POST", SINK, &[], "1")).await.status, 202);
    let began = Instant::now();
    assert!(wire.ends().await);
    about(began, limits().idle / 2);
    // Within that time the connection serves on, and each head has its own time again.
    let mut wire = Wire::connect(rig.http).await;
    for n in 0..3 {
        tokio::time::sleep(limits().head / 2).await;
        assert_eq!(wire.exchange(request("POST", SINK, &[], "1")).await.status, 202, "request {n}");
    }
    let began = Instant::now();
    wire.send("POST").await;
    assert!(wire.ends().await);
    about(began, limits().head / 2);
}

#[tokio::test]
async fn a_slow_body_is_408_and_leaves_no_trace() {
    let body = Limits { body_grace: Duration::from_millis(300), body_rate: 100, ..Limits::default() };
    let rig = Rig::with(body, Door::default()).await;
    let whole = request("POST", SINK, &[], "x".repeat(1000));
    let began = Instant::now();
    let mut wire = Wire::connect(rig.http).await;
    wire.send(&whole[..whole.len() - 980]).await;
    let answer = wire.answer().await.unwrap();
    assert_eq!(answer.problem(), (408, "REQUEST_TIMEOUT".to_owned(), "rejected".to_owned(), None));
    // 20 bytes at 100 a second, after the grace.
    about(began, Duration::from_millis(500));
    assert!(answer.closes() && wire.ends().await);
    assert_eq!(rig.ask(rig.http, whole).await.status, 202, "who keeps up is served");
    assert_eq!(rig.events().await.len(), 1);
    assert_eq!(rig.hub.door.in_flight(), 0);
}

#[tokio::test]
async fn a_body_has_a_longest_time_however_it_flows() {
    let body = Limits { body_rate: 1, body: Duration::from_millis(400), ..Limits::default() };
    let rig = Rig::with(body, Door::default()).await;
    let mut wire = Wire::connect(rig.http).await;
    let whole = request("POST", SINK, &[], "x".repeat(1000));
    let began = Instant::now();
    wire.send(&whole[..whole.len() - 10]).await;
    assert_eq!(wire.answer().await.unwrap().status, 408);
    about(began, body.body);
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let bounds = Limits { write: Duration::from_millis(300), ..Limits::default() };
    let rig = Rig::with(bounds, Door::default()).await;
    let router = Router::new().route("/", route(async || vec![0_u8; 64 << 20]));
    let (_trigger, drain) = evhub_lifecycle::channel();
    let (address, _task) = rig::serve("big", router, bounds, &rig.hub, &drain).await;
    let mut wire = Wire::connect(address).await;
    wire.send(get("/")).await;
    let open = rig.hub.meters.connections("big");
    let closed = async {
        let mut seen = false;
        while !seen || open.get() > 0 {
            seen |= open.get() > 0;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(super::wire::PATIENCE, closed).await.expect("the connection is given up");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away() {
    let rig = Rig::with(Limits { connections: 2, ..Limits::default() }, Door::default()).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::connect(rig.http).await;
        assert_eq!(wire.exchange(request("POST", SINK, &[], "1")).await.status, 202);
        held.push(wire);
    }
    let mut wire = Wire::connect(rig.http).await;
    let answer = wire.answer().await.unwrap();
    assert_eq!((answer.status, answer.closes()), (503, true));
    assert!(wire.ends().await);
    drop(held);
    let again = async {
        loop {
            let mut wire = Wire::connect(rig.http).await;
            if wire.try_send(request("POST", SINK, &[], "1")).await
                && wire.answer().await.is_some_and(|answer| answer.status == 202)
            {
                return;
            }
        }
    };
    tokio::time::timeout(super::wire::PATIENCE, again).await.expect("a freed place is taken");
}

#[tokio::test]
async fn a_panic_ends_one_request_only() {
    let rig = Rig::start().await;
    let router = Router::new()
        .route("/panic", route(async || -> &'static str { panic!("on purpose") }))
        .route("/fine", route(async || "fine"));
    let (_trigger, drain) = evhub_lifecycle::channel();
    let (address, _task) = rig::serve("rough", router, Limits::default(), &rig.hub, &drain).await;
    let answer = rig.ask(address, get("/panic")).await;
    assert_eq!(answer.problem(), (500, "INTERNAL".to_owned(), "unknown".to_owned(), None));
    assert!(!String::from_utf8_lossy(&answer.body).contains("on purpose"));
    assert_eq!(rig.ask(address, get("/fine")).await.status, 200);
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_nothing_else() {
    let mut rig = Rig::start().await;
    let mut idle = Wire::connect(rig.http).await;
    assert_eq!(idle.exchange(request("POST", SINK, &[], "1")).await.status, 202);
    let mut fresh = Wire::connect(rig.http).await;
    let mut busy = Wire::connect(rig.http).await;
    let whole = request("POST", SINK, &[], "under way");
    busy.send(&whole[..whole.len() - 1]).await;
    let taken = async {
        while rig.hub.door.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(super::wire::PATIENCE, taken).await.unwrap();

    rig.trigger.begin();

    assert!(idle.ends().await, "an idle connection ends");
    assert!(fresh.ends().await, "so does one that never asked");
    busy.send(&whole[whole.len() - 1..]).await;
    let answer = busy.answer().await.unwrap();
    assert_eq!(answer.status, 202);
    assert!(answer.closes());
    assert!(busy.ends().await);
    for listener in rig.listeners.drain(..) {
        tokio::time::timeout(super::wire::PATIENCE, listener).await.expect("it ends").unwrap();
    }
    assert!(tokio::net::TcpStream::connect(rig.http).await.is_err(), "nobody listens any more");
    assert_eq!(rig.events().await.len(), 2);
}

#[tokio::test]
async fn a_drain_does_not_wait_for_ever() {
    let bounds = Limits { drain: Duration::from_millis(300), ..Limits::default() };
    let mut rig = Rig::with(bounds, Door::default()).await;
    let mut stuck = Wire::connect(rig.http).await;
    let whole = request("POST", SINK, &[], "never whole");
    stuck.send(&whole[..whole.len() - 1]).await;
    let taken = async {
        while rig.hub.door.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(super::wire::PATIENCE, taken).await.unwrap();
    let began = Instant::now();
    rig.trigger.begin();
    for listener in rig.listeners.drain(..) {
        tokio::time::timeout(super::wire::PATIENCE, listener).await.expect("it ends").unwrap();
    }
    about(began, bounds.drain);
    assert!(stuck.ends().await);
    assert!(rig.events().await.is_empty());
}

#[tokio::test]
async fn a_taken_address_is_named_with_its_flag() {
    let rig = Rig::start().await;
    let error = server::bind("--http", &rig.http.to_string()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("could not listen on {} (--http)", rig.http));
}

#[tokio::test]
async fn nobody_takes_all_connections() {
    let rig = Rig::with(Limits { per_address: 1, ..Limits::default() }, Door::default()).await;
    let mut held = Wire::connect(rig.http).await;
    assert_eq!(held.exchange(request("POST", SINK, &[], "1")).await.status, 202);
    let mut second = Wire::connect(rig.http).await;
    assert_eq!(second.answer().await.unwrap().status, 503);
    let mut other = Wire::connect_from("127.0.0.2", rig.http).await;
    assert_eq!(other.exchange(request("POST", SINK, &[], "1")).await.status, 202, "another address gets in");
}
