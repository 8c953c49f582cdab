//! A target in trouble, and another Processor whose target is well: the second does not notice the first.

use std::time::{Duration, Instant};

use crate::{
    target::{Reply, Target},
    world::{World, until},
};

/// What one target does to whoever delivers to it.
fn troubles() -> Vec<(&'static str, Reply)> {
    let flood = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000);
    let headers = (0..20_000).flat_map(|n| format!("x-{n}: y\r\n").into_bytes());
    vec![
        ("hangs", Reply::Hang),
        ("is slow", Reply::Drip(Duration::from_millis(50))),
        ("fails", Reply::Status(500)),
        ("resets", Reply::Reset),
        ("answers without an end", Reply::Endless(200)),
        ("fails without an end", Reply::Endless(500)),
        ("announces a body and sends none", Reply::Bodiless(500)),
        (
            "sends headers without an end",
            Reply::Raw(b"HTTP/1.1 200 OK\r\n".iter().copied().chain(headers).collect()),
        ),
        ("sends interim answers without an end", Reply::Raw(flood)),
    ]
}

#[tokio::test]
async fn a_target_in_trouble_harms_no_other_processor() {
    let well = Target::new(|_| Reply::Status(200)).await;
    let healthy = World::new(&well.url, 1).await;
    let mut worlds = Vec::new();
    for (what, reply) in troubles() {
        let target = Target::new(move |_| reply.clone()).await;
        let mut world = World::new(&target.url, 1).await;
        world.senders = healthy.senders.clone();
        world.retry(1000, Duration::from_millis(5));
        world.processor.target.timeout = Duration::from_millis(500);
        world.publish_many("e", 200, None, 0).await;
        let running = world.start();
        until(what, || target.count() > 0).await;
        worlds.push((target, world, running));
    }
    let running = healthy.start();
    running.until_listening().await;
    for round in 0..5 {
        let began = Instant::now();
        healthy.publish_many(&format!("r{round}-"), 50, None, 0).await;
        until("they are delivered", || running.delivered() == 50 * (round + 1)).await;
        let took = began.elapsed();
        assert!(took < Duration::from_secs(2), "round {round}: {took:?}");
    }
    assert_eq!(well.count(), 250, "each once");
    running.stop().await;
    for (_target, _world, running) in worlds {
        running.kill().await;
    }
}
