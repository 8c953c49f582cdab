//! Events that are to come later, over several processes, of which the one that leads is killed.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{
    service::{Publisher, Service},
    site::{Plane, Site},
};

/// How many shards of the ledger: so few that both processes lead some, and all are led soon.
const SHARDS: &str = "4";
const LATER: [&str; 4] = ["--shards", SHARDS, "--roles", "dispatch,ledger"];

/// How many shards a process leads.
fn leads(plane: &Plane) -> u64 {
    plane.number("evhub_ledger_shards")
}

#[test]
fn timers_are_asked_of_whoever_leads_and_outlive_its_kill() {
    let service = Service::start();
    let site = Site::new("later", service.address);
    let (_control, address) = site.control("127.0.0.1:0");
    let ingest = site.plane_that("ingest", address, &["--shards", SHARDS, "--roles", "ingest"]);
    let (one, two) = (site.plane_that("one", address, &LATER), site.plane_that("two", address, &LATER));
    for plane in [&ingest, &one, &two] {
        plane.ready();
    }
    // The first one has the ledger's topics made; who publishes leads nothing, and hears of it from those who do.
    let mut publisher = Publisher::connect(ingest.http);
    assert!(publisher.publish_later("first", 0, "1ms"));
    one.process.until("both lead", || leads(&one) > 0 && leads(&two) > 0 && leads(&one) + leads(&two) == 4);
    one.process.until("the first one is delivered", || service.received().len() == 1);

    let began = Instant::now();
    let delay = Duration::from_secs(4);
    for number in 0..40 {
        let key = format!("k{}", number % 8);
        assert!(publisher.publish_later(&key, number, "4s"), "event {number} is not accepted");
    }
    assert!(service.received().len() == 1 || began.elapsed() >= delay, "nothing comes early");
    one.process.kill();
    two.process.until("the other leads all", || leads(&two) == 4);
    let all: BTreeSet<u32> = (0..40).collect();
    let numbers = || {
        service.received().iter().filter(|(key, _)| key != "first").map(|(_, n)| *n).collect::<BTreeSet<_>>()
    };
    two.process.until("all are delivered", || numbers() == all);
    assert!(began.elapsed() >= delay);
    two.process.until("none is pending", || two.number("evhub_ledger_timers") == 0);
    assert!(publisher.publish_later("last", 0, "1ms"), "they go on");
    two.process.until("it is delivered", || service.received().iter().any(|(key, _)| key == "last"));
}
