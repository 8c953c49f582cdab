//! A worker and its share of memory: what is in memory stays within it, wherever it waits.

use std::{sync::atomic::AtomicU64, time::Duration};

use bytes::Bytes;
use evhub_dispatch::{Progress, worker::Room};
use evhub_event::{Event, kafka};
use evhub_journal::Place;
use evhub_routing::Order;
use tokio::sync::watch;

use crate::{
    faults::Fault,
    target::{Reply, Target},
    world::{EVENTS, STATE, World, event, until},
};

const EVENT: usize = 100 << 10;
const COUNT: u64 = 100;

/// So many large events of one key, and room for ten and a little more.
async fn world(url: &str) -> World {
    let mut world = World::new(url, 1).await;
    world.room = Room::new(11 * EVENT, usize::MAX);
    for n in 0..COUNT {
        let data = Some(Bytes::from(vec![b'x'; EVENT]));
        let record = kafka::encode(&Event { data, ..event(&format!("e{n}"), Some("k")) });
        world.append(EVENTS, Place::Partition(0), record).await;
    }
    world
}

/// The log takes no parked deliveries for a while: what is to be parked stays in memory, and counts.
#[tokio::test]
async fn what_is_being_parked_counts_until_it_is_durable() {
    let target = Target::new(|attempt| match (attempt.id(), attempt.number()) {
        ("e0", 1) => Reply::Status(404),
        _ => Reply::Status(200),
    })
    .await;
    let mut world = world(&target.url).await;
    world.retry(1000, Duration::from_millis(20));
    world.log.on_append(|topic, _| (topic == STATE).then_some(Fault::Rejected));
    let running = world.start();
    let gauge = |what: fn(&Progress) -> &AtomicU64| Progress::get(what(&running.progress));
    until("appends are tried again", || gauge(|progress| &progress.append_waits) > 3).await;
    let taken = gauge(|progress| &progress.unresolved);
    // The last one need not fit, and one may be on its way in.
    assert!((5..=13).contains(&taken), "{taken} events are in memory, where ten have room");
    world.log.on_append(|_, _| None);
    until("all are delivered", || running.delivered() == COUNT).await;
    running.stop().await;
}

/// Events that are read back, to be attempted again, have room of their own, half as much.
#[tokio::test]
async fn what_is_read_back_waits_for_room() {
    let (open, gate) = watch::channel(false);
    let target = Target::new(move |attempt| match attempt.number() {
        1 => Reply::Status(404),
        _ => Reply::Gated(200, gate.clone()),
    })
    .await;
    let mut world = world(&target.url).await;
    (world.processor.policy.order, world.processor.policy.max_in_flight) = (Order::None, 50);
    world.retry(1000, Duration::from_secs(2));
    let running = world.start();
    let gauge = |what: fn(&Progress) -> &AtomicU64| Progress::get(what(&running.progress));
    until("all are parked", || gauge(|progress| &progress.retried) == COUNT).await;
    until("as many begin again as may", || gauge(|progress| &progress.in_flight) == 50).await;
    until("those that have room are at the target", || target.count() as u64 >= COUNT + 5).await;
    let at_once = target.count() as u64 - COUNT;
    open.send_replace(true);
    until("all are delivered", || running.delivered() == COUNT).await;
    assert_eq!(at_once, 5, "as many as have room");
    running.stop().await;
}
