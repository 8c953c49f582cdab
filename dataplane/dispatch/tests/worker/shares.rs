//! Several owners of one Processor: together they keep to what it allows, and one that has all the work has nearly all of it.

use std::time::{Duration, Instant};

use evhub_dispatch::exchange::Exchange;
use evhub_routing::RateLimit;

use crate::{
    target::{Reply, Target},
    world::{Running, World, until},
};

/// Three members of one group, each with an exchange of its own as processes have.
async fn three(world: &mut World) -> Vec<Running> {
    let mut all = Vec::new();
    for _ in 0..3 {
        world.exchange = Exchange::on(world.log.clone(), "evhub");
        all.push(world.start());
    }
    for running in &all {
        running.until_listening().await;
    }
    until("each has its partition", || {
        all.iter().all(|running| evhub_dispatch::Progress::get(&running.progress.claims) > 0)
    })
    .await;
    all
}

async fn stop(all: Vec<Running>) {
    for running in all {
        running.stop().await;
    }
}

#[tokio::test]
async fn one_hot_partition_has_nearly_all_attempts_at_once_and_never_more() {
    let target = Target::new(|_| Reply::After(Duration::from_millis(40), 200)).await;
    let mut world = World::new(&target.url, 3).await;
    world.processor.policy.max_in_flight = 40;
    let all = three(&mut world).await;
    world.publish_many("hot", 3000, None, 0).await;
    until("nearly all are under way at once", || target.most_at_once() >= 36).await;
    // The others want theirs back.
    world.publish_many("cool", 400, None, 1).await;
    world.publish_many("calm", 400, None, 2).await;
    until("all are delivered", || target.count() >= 3800).await;
    assert!(target.most_at_once() <= 40, "{} at once", target.most_at_once());
    stop(all).await;
}

#[tokio::test]
async fn one_hot_partition_has_nearly_all_of_a_rate_and_never_more() {
    let target = Target::new(|_| Reply::Status(200)).await;
    let mut world = World::new(&target.url, 3).await;
    let rate = RateLimit { events: 200, per: Duration::from_secs(1), burst: 10 };
    world.processor.policy.rate_limit = Some(rate);
    let all = three(&mut world).await;
    let began = Instant::now();
    for partition in 0..3 {
        world.publish_many(&format!("p{partition}-"), 150, None, partition).await;
    }
    until("all three are done", || target.count() >= 450).await;
    let most = 200.0 * began.elapsed().as_secs_f64() + 10.0 + 3.0;
    assert!(target.count() as f64 <= most, "{} of {most:.0}", target.count());
    world.publish_many("hot", 1600, None, 0).await;
    until("the share has grown", || target.count() >= 850).await;
    let (at, before) = (Instant::now(), target.count());
    until("a while has passed", || at.elapsed() >= Duration::from_secs(3)).await;
    let (came, took) = (target.count() - before, at.elapsed().as_secs_f64());
    assert!(came as f64 >= 0.9 * 200.0 * took, "{came} in {took:.2} s");
    let most = 200.0 * began.elapsed().as_secs_f64() + 10.0 + 3.0;
    assert!(target.count() as f64 <= most, "{} of {most:.0}", target.count());
    stop(all).await;
}

#[tokio::test]
async fn who_is_alone_has_all_of_it() {
    let target = Target::new(|_| Reply::After(Duration::from_millis(20), 200)).await;
    let mut world = World::new(&target.url, 3).await;
    world.processor.policy.max_in_flight = 12;
    world.exchange = Exchange::on(world.log.clone(), "evhub");
    let running = world.start();
    running.until_listening().await;
    world.publish_many("e", 200, None, 0).await;
    until("all are delivered", || target.count() >= 200).await;
    assert_eq!(target.most_at_once(), 12);
    running.stop().await;
}
