//! What a Processor holds in memory has a bound, whatever the log does with what it is to write.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use evhub_dispatch::Progress;
use evhub_event::kafka;
use evhub_journal::Place;

use crate::{
    faults::Fault,
    target::{Reply, Target},
    world::{DEAD, EVENTS, STATE, World, event, until, until_async},
};

/// As large as an event may be by default, or nearly so.
const LARGE: usize = 1_000_000;
/// So many of them are as much as a Processor holds, and one is under way.
const MOST: u64 = (64 << 20) / LARGE as u64 + 2;
/// The same of those that were read back to be attempted again.
const MOST_REREAD: u64 = (32 << 20) / LARGE as u64 + 2;

async fn publish_large(world: &World, count: u32, key: Option<&str>) {
    for n in 0..count {
        let mut large = event(&format!("large{n}"), key);
        large.data = Some(Bytes::from(vec![b'x'; LARGE]));
        world.append(EVENTS, Place::Partition(0), kafka::encode(&large)).await;
    }
}

/// Refuses what is written to a topic for as long as the flag says so.
fn refuse(world: &World, topic: &'static str) -> Arc<AtomicBool> {
    let refuses = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&refuses);
    world.log.on_append(move |to, _| (to == topic && flag.load(Relaxed)).then_some(Fault::Rejected));
    refuses
}

#[tokio::test]
async fn what_is_on_its_way_to_be_parked_is_held_until_it_is() {
    let target = Target::new(|_| Reply::Status(408)).await;
    let mut world = World::new(&target.url, 1).await;
    world.retry(10, Duration::from_hours(1));
    let running = world.start();
    world.publish_at("head", Some("k"), 0).await;
    until_async("it rests", async || !world.records(STATE, 0).await.is_empty()).await;
    let refuses = refuse(&world, STATE);
    publish_large(&world, 100, Some("k")).await;
    let waits = || Progress::get(&running.progress.append_waits);
    until("the log refused a lot", || waits() >= 300).await;
    let unresolved = Progress::get(&running.progress.unresolved);
    assert!(unresolved <= MOST, "{unresolved} are held");
    refuses.store(false, Relaxed);
    until("all are parked", || Progress::get(&running.progress.parked) == 101).await;
    world.until_committed(101).await;
    running.stop().await;
}

#[tokio::test]
async fn dead_letters_that_cannot_be_written_stop_what_makes_more_of_them() {
    let target = Target::new(|attempt| Reply::Status(if attempt.number() == 1 { 408 } else { 400 })).await;
    let mut world = World::new(&target.url, 1).await;
    world.processor.policy.max_in_flight = 2;
    publish_large(&world, 90, None).await;
    let refuses = refuse(&world, DEAD);
    let running = world.start();
    let seconds = || target.story().iter().filter(|(_, number)| *number == 2).count() as u64;
    until("dead letters are refused", || Progress::get(&running.progress.append_waits) >= 200).await;
    assert!(seconds() <= MOST_REREAD, "{} events are held", seconds());
    refuses.store(false, Relaxed);
    until_async("all are dead", async || world.letters().await.len() == 90).await;
    running.stop().await;
}
