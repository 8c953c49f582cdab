//! How many connections deliveries take.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use evhub_event::kafka;
use evhub_journal::{Journal as _, Place, TopicSettings};
use evhub_routing::{Order, Protocol};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    peer::{Answer, Peer, Scripts},
    target::{Reply, Target},
    world::{EVENTS as TOPIC, World, event, until},
};

use evhub_proto::{dispatch::ack::Result as Word, evhub_processor::DispatchRsp};

const EVENTS: u64 = 100;

async fn deliver(url: &str, protocol: Protocol, order: Order) {
    let mut world = World::new(url, 1).await;
    world.processor.target.protocol = protocol;
    world.processor.policy.order = order;
    world.processor.policy.max_in_flight = 8;
    world.publish_many("e", EVENTS as u32, None, 0).await;
    let running = world.start();
    until("all are delivered", || running.delivered() == EVENTS).await;
    running.stop().await;
}

#[tokio::test]
async fn one_after_the_other_over_http_1_takes_one_and_at_once_as_many_as_are_at_once() {
    let target = Target::new(|_| Reply::Status(200)).await;
    deliver(&target.url, Protocol::CloudEvents, Order::Partition).await;
    assert_eq!(target.connections(), 1);
    let target = Target::new(|_| Reply::Text(200, vec![b'x'; 4096])).await;
    deliver(&target.url, Protocol::CloudEvents, Order::None).await;
    assert!(target.connections() <= 8, "{}", target.connections());
}

#[tokio::test]
async fn grpc_takes_one_connection_and_a_stream_one_call() {
    let peer = Peer::dispatching(|_| Some(Ok(DispatchRsp::default()))).await;
    deliver(&peer.url(), Protocol::EvHubGrpc, Order::None).await;
    assert_eq!(peer.connections(), 1);

    let peer = Peer::delivering(|_| Answer::Ack(Word::Delivered, None, "")).await;
    deliver(&peer.url(), Protocol::Stream, Order::None).await;
    assert_eq!((peer.connections(), peer.streams()), (1, 1));
}

#[tokio::test]
async fn an_edit_of_anything_but_the_target_keeps_the_connections() {
    let peer = Peer::new(Scripts {
        deliver: Some(Box::new(|_| Answer::Ack(Word::Delivered, None, ""))),
        ..Scripts::default()
    })
    .await;
    let mut world = World::new(&peer.url(), 1).await;
    world.processor.target.protocol = Protocol::Stream;
    let running = world.start();
    world.publish("before", None).await;
    until("it is delivered", || running.delivered() == 1).await;
    world.edit(&running, |processor| {
        processor.target.timeout = Duration::from_secs(3);
        processor.policy.max_in_flight = 3;
    });
    world.publish("after", None).await;
    until("it is delivered", || running.delivered() == 2).await;
    running.stop().await;
    assert_eq!((peer.connections(), peer.streams()), (1, 1));
    let generations: Vec<String> =
        Arc::clone(&peer.seen).deliveries.lock().unwrap().iter().map(|d| d.generation.clone()).collect();
    assert_eq!(generations, ["7", "8"]);
}

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A target that does by hand what a library would not.
struct Hand(TcpListener);

impl Hand {
    /// With little room for what it has not read.
    fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4 << 10).expect("the system allows it");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        Self(socket.listen(16).expect("it is bound"))
    }

    /// A world whose Processor delivers there, each event once.
    async fn world(&self) -> World {
        let mut world =
            World::new(&format!("http://{}/", self.0.local_addr().expect("it is bound")), 1).await;
        world.retry(1, Duration::from_millis(10));
        world
    }

    async fn accept(&self) -> TcpStream {
        let accepted = timeout(PATIENCE, self.0.accept()).await.expect("somebody connects");
        accepted.expect("a connection").0
    }
}

/// Reads the head of a request; returns how many bytes of its body are still to come.
async fn head(stream: &mut TcpStream) -> usize {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a request"));
    }
    let head = String::from_utf8(head).expect("a head is text").to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.expect("a body is announced").parse().expect("as a number")
}

const TAKEN: &[u8] = b"HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_connection_that_the_target_closed_meanwhile_costs_no_attempt() {
    let target = Hand::new();
    let world = target.world().await;
    let running = world.start();
    for n in 1..=3 {
        world.publish(&format!("e{n}"), None).await;
        let mut stream = target.accept().await;
        let rest = head(&mut stream).await;
        stream.read_exact(&mut vec![0; rest]).await.expect("the body");
        stream.write_all(TAKEN).await.expect("it is read");
        until("it is delivered", || running.delivered() == n).await;
        drop(stream);
    }
    running.stop().await;
    assert!(world.letters().await.is_empty());
}

#[tokio::test]
async fn what_is_answered_early_is_sent_whole_all_the_same() {
    // More than the system takes on the way.
    const LARGE: usize = 6 << 20;
    let target = Hand::new();
    let world = target.world().await;
    let settings = TopicSettings { partitions: 1, max_record_bytes: 2 * LARGE, ..TopicSettings::default() };
    world.log.log.ensure(TOPIC, settings).await.expect("it may be raised");
    let running = world.start();
    let mut large = event("large", None);
    large.data = Some(Bytes::from(vec![b'x'; LARGE]));
    world.append(TOPIC, Place::Partition(0), kafka::encode(&large)).await;
    let mut stream = target.accept().await;
    assert_eq!(head(&mut stream).await, LARGE);
    stream.write_all(TAKEN).await.expect("it is read");
    until("it is delivered", || running.delivered() == 1).await;
    let mut rest = vec![0; LARGE];
    let read = timeout(PATIENCE, stream.read_exact(&mut rest)).await;
    read.expect("the rest is sent").expect("all of it");
    world.publish("small", None).await;
    // On the same connection, or on a new one that was begun before that was free.
    let mut other = tokio::select! {
        _ = stream.readable() => stream,
        other = target.accept() => other,
    };
    let rest = head(&mut other).await;
    other.read_exact(&mut vec![0; rest]).await.expect("the body");
    other.write_all(TAKEN).await.expect("it is read");
    until("it is delivered", || running.delivered() == 2).await;
    running.stop().await;
}
