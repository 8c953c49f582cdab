//! One event all the way, over several processes, of which one is killed.

use std::collections::BTreeMap;

use super::{
    service::{Publisher, Service},
    site::{NOWHERE, Plane, Process, Site, processor},
};

const KEYS: u32 = 24;

/// Publishes so many more events of each key.
fn publish(plane: &Plane, numbers: std::ops::Range<u32>) {
    let mut publisher = Publisher::connect(plane.http);
    for number in numbers {
        for key in 0..KEYS {
            assert!(
                publisher.publish(&format!("k{key}"), number),
                "event {number} of key {key} is not accepted"
            );
        }
    }
}

/// Of each key, what was received for the first time, in order.
fn first_times(service: &Service) -> BTreeMap<String, Vec<u32>> {
    let mut all: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (key, number) in service.received() {
        let of_key = all.entry(key).or_default();
        if !of_key.contains(&number) {
            of_key.push(number);
        }
    }
    all
}

#[track_caller]
fn delivers_all(service: &Service, by: &Process, count: u32) {
    let complete = || {
        let times = first_times(service);
        times.len() == KEYS as usize && times.values().all(|numbers| numbers.len() >= count as usize)
    };
    by.until(&format!("all {count} events of each key are delivered"), complete);
    for (key, numbers) in first_times(service) {
        assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "{key} is not in order");
    }
}

#[track_caller]
fn runs_everywhere(control: &Process, replicas: &[&Plane], generation: &str) {
    for plane in replicas {
        let runs = || {
            let said = control.said("it runs there, and every resource in it is ready");
            said.iter()
                .any(|line| line["replica"] == plane.replica.as_str() && line["generation"] == generation)
        };
        control.until(&format!("{} runs {generation}", plane.replica), runs);
    }
}

#[test]
fn two_dataplanes_share_the_work_and_one_that_is_killed_loses_nothing() {
    let service = Service::start();
    let site = Site::new("share", service.address);
    let (control, address) = site.control("127.0.0.1:0");
    let (one, two) = (site.plane("one", address), site.plane("two", address));
    one.ready();
    two.ready();
    runs_everywhere(&control, &[&one, &two], "1.1");

    publish(&one, 0..20);
    delivers_all(&service, &one.process, 20);
    let shares = [one.delivered(), two.delivered()];
    assert!(shares.iter().all(|share| *share > 0), "both deliver: {shares:?}");

    // An edit reaches both while they run.
    site.write(
        "audit.yaml",
        &processor("audit", service.address).replace("producers:", "suspend: true\n  producers:"),
    );
    runs_everywhere(&control, &[&one, &two], "1.2");

    // Killed while it delivers: what it had under way is delivered again by the other.
    std::thread::scope(|scope| {
        scope.spawn(|| publish(&two, 20..80));
        one.process.until("some of them are delivered", || service.received().len() > 30 * KEYS as usize);
        one.process.kill();
    });
    let left = 80 * KEYS as usize - first_times(&service).values().map(Vec::len).sum::<usize>();
    assert!(left > 0, "it was killed when everything was delivered");
    delivers_all(&service, &two.process, 80);
    control.says("a dataplane has gone");
}

#[test]
fn what_is_parked_outlives_every_process() {
    let service = Service::start();
    service.close(true);
    let site = Site::new("parked", service.address);
    let (control, address) = site.control("127.0.0.1:0");
    let one = site.plane("one", address);
    one.ready();
    runs_everywhere(&control, &[&one], "1.1");
    publish(&one, 0..3);
    let all = u64::from(3 * KEYS);
    one.process.until("everything is parked", || one.figure("evhub_processor_parked") == all);
    one.process.kill();
    // One that never saw the topic of what is parked.
    let two = site.plane("two", address);
    two.ready();
    two.process.until("everything is found", || two.figure("evhub_processor_parked") == all);
    service.close(false);
    delivers_all(&service, &two.process, 3);
    two.process.until("nothing is parked any more", || two.figure("evhub_processor_parked") == 0);
}

#[test]
fn dataplanes_go_on_without_control_and_start_without_it() {
    let service = Service::start();
    let site = Site::new("alone", service.address);
    let (control, address) = site.control("127.0.0.1:0");
    let one = site.plane("one", address);
    one.ready();
    runs_everywhere(&control, &[&one], "1.1");
    one.process.says("a copy of what runs is kept in the log");
    let uid = one.snapshot()["processors"]["shop/billing"]["uid"].clone();
    control.kill();
    publish(&one, 0..5);
    delivers_all(&service, &one.process, 5);
    one.process.kill();

    // It has its own copy; a new one has the copy in Kafka.
    for (name, source, from) in [("one", "disk", 5), ("new", "log", 10)] {
        let plane = site.plane(name, address);
        plane.ready();
        let snapshot = plane.snapshot();
        let control = &snapshot["control"];
        assert_eq!((&control["source"], &control["connected"]), (&source.into(), &false.into()));
        assert_eq!(snapshot["processors"]["shop/billing"]["uid"], uid);
        publish(&plane, from..from + 5);
        delivers_all(&service, &plane.process, from + 5);
        plane.process.kill();
    }

    // A start of control counts: its snapshots are later than all before.
    let (control, address) = site.control(&address.to_string());
    let plane = site.plane("third", address);
    runs_everywhere(&control, &[&plane], "2.1");
    assert_eq!(plane.snapshot()["processors"]["shop/billing"]["uid"], uid, "it is the same Processor");
}

#[test]
fn one_takes_events_and_another_delivers_them() {
    let service = Service::start();
    let site = Site::new("roles", service.address);
    let (control, address) = site.control("127.0.0.1:0");
    let ingest = site.plane_that("ingest", address, &["--roles", "ingest"]);
    let dispatch = site.plane_that("dispatch", address, &["--roles", "dispatch"]);
    assert_eq!(dispatch.http, NOWHERE);
    runs_everywhere(&control, &[&ingest, &dispatch], "1.1");
    publish(&ingest, 0..3);
    delivers_all(&service, &dispatch.process, 3);
    assert_eq!((ingest.delivered(), dispatch.delivered()), (0, u64::from(3 * KEYS)));
}
