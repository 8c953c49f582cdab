//! What a parked delivery costs in memory, in bytes that were asked for and not given back: counted, so the same on every
//! machine, however busy it is.

#![allow(missing_docs)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that fails says so")]

#[path = "worker/faults.rs"]
#[allow(dead_code, reason = "the worker's tests need more of it")]
mod faults;
#[path = "worker/world.rs"]
#[allow(dead_code, reason = "the worker's tests need more of it")]
mod world;

use std::{alloc::System, time::Duration};

use evhub_dispatch::{
    Progress,
    parked::{Parked, encode_key},
    protocol::{Kind, StateKey},
    worker::Room,
};
use evhub_event::{Record, kafka};
use evhub_journal::{Journal, Place};
use evhub_routing::Order;
use futures_util::future::join_all;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use self::world::{DEADLINE, STATE, UID, World, event, now};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PARKED: usize = 100_000;
const HOUR: Duration = Duration::from_hours(1);

/// A delivery of its own key that rests for an hour. Its topic is no longer read, so that no replay is waited for.
fn parked(n: usize) -> Record {
    let (id, key) = (n.to_string(), format!("key {n}"));
    let parked = Parked {
        log: 0,
        kind: Kind::Retry,
        topic: "evhub.shop.before".to_owned(),
        offset: n as u64,
        attempts: 1,
        first_attempt: Some(now()),
        not_before: now() + HOUR.as_millis() as i64,
        throttled: 0,
        pass_back: None,
        causes: Vec::new(),
        event: kafka::encode(&event(&id, Some(&key))),
    };
    let key = StateKey { epoch: 1, seq: n as u64, nonce: 7 };
    parked.encode(encode_key(UID, key))
}

/// Bytes that were asked for and not given back.
fn live() -> usize {
    let stats = INSTRUMENTED_SYSTEM.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// How many bytes each parked delivery takes after a take-over.
async fn cost(order: Order) -> usize {
    let mut world = World::new("http://127.0.0.1:9", 1).await;
    world.processor.policy.order = order;
    (world.processor.policy.max_parked, world.processor.policy.max_parked_per_key) = (10_000_000, 10_000_000);
    world.retry(10, HOUR);
    world.make(STATE, 1).await;
    let numbers: Vec<usize> = (0..PARKED).collect();
    for some in numbers.chunks(1000) {
        let appended = some.iter().map(|n| world.log.append(STATE, Place::Partition(0), parked(*n)));
        for appended in join_all(appended).await {
            appended.expect("appended");
        }
    }
    let before = live();
    let running = world.start();
    let all = async {
        while Progress::get(&running.progress.parked) < PARKED as u64 || !running.progress.listens(7) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, all).await.expect("all are found");
    let cost = (live() - before) / PARKED;
    running.stop().await;
    cost
}

#[tokio::test]
async fn a_parked_delivery_takes_few_bytes_and_no_more_than_it_is_reckoned_with() {
    let (unkeyed, keyed) = (cost(Order::None).await, cost(Order::Key).await);
    println!("a parked delivery takes {unkeyed} bytes, one with a lane of its own {keyed}");
    assert!(unkeyed <= 100, "{unkeyed} bytes");
    assert!(keyed <= Room::PARKED, "{keyed} bytes");
}
