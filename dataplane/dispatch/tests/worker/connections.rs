//! How many connections deliveries take.

use std::{sync::Arc, time::Duration};

use evhub_routing::{Order, Protocol};

use crate::{
    peer::{Answer, Peer, Scripts},
    target::{Reply, Target},
    world::{World, until},
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
