//! Two hundred Processors on one dataplane: what they cost, and that each is served.

use std::time::Duration;

use super::{
    service::{Publisher, Service},
    site::{Site, processor},
};

const PROCESSORS: usize = 200;
/// What a replica may need for them.
const THREADS: u64 = 2_000;
const KIB: u64 = 256 << 10;
const EVENTS: u32 = 3;
/// Two hundred groups are joined, beside what other tests do.
const PATIENCE: Duration = Duration::from_mins(5);

#[test]
fn two_hundred_processors_fit_into_one_dataplane() {
    let service = Service::start();
    let site = Site::new("many", service.address);
    let all: Vec<String> =
        (1..PROCESSORS).map(|number| processor(&format!("p{number}"), service.address)).collect();
    site.write("many.yaml", &all.join("---\n"));
    let (_control, address) = site.control("127.0.0.1:0");
    let plane = site.plane("one", address);
    plane.process.until_within(PATIENCE, "all are served", || plane.get("/readyz").0 == 200);

    let mut publisher = Publisher::connect(plane.http);
    for number in 0..EVENTS {
        assert!(publisher.publish("k", number));
    }
    let expected = PROCESSORS * EVENTS as usize;
    plane
        .process
        .until_within(PATIENCE, "each Processor has each event", || service.received().len() >= expected);
    assert_eq!(service.received().len(), expected, "and none twice");

    let (threads, most) = (plane.process.proc("Threads"), plane.process.proc("VmHWM"));
    println!("{PROCESSORS} Processors: {threads} threads, at most {} MiB", most >> 10);
    assert!(threads <= THREADS, "{threads} threads");
    assert!(most <= KIB, "{most} KiB");
}
