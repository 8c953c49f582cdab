//! `evhub dev` while its folder changes: the real binary, a service, and a publisher.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test is no library, and may fail")]

mod asked;
mod hub;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use evhub_crds::{ConditionType, Reason, condition::Status};
use serde_json::Value;

use self::hub::{Hub, PATIENCE, Service, get, header, post, processor, producer};

#[test]
fn what_the_folder_says_runs_and_what_it_no_longer_says_does_not() {
    let hub = Hub::start(&[("orders.yaml", producer("orders", 2))], &[]);
    assert_eq!(hub.publish("late", "0"), 404);
    hub.write("late.yaml", &producer("late", 3));
    hub.until("the new Producer takes events", || hub.publish("late", "1") == 202);

    let service = Service::start();
    hub.write("billing.yaml", &processor("billing", service.port, ""));
    hub.until("the new Processor listens", || {
        hub.snapshot()["processors"]["shop/billing"].is_object()
            && get(hub.admin, "/readyz").unwrap().0 == 200
    });
    assert_eq!(hub.publish("orders", "2"), 202);
    assert_eq!(service.next(), ("2".to_owned(), "1".to_owned()));

    hub.write("billing.yaml", &processor("billing", service.port, "delivery: { maxInFlight: 3 }"));
    hub.until("the edit runs", || hub.snapshot()["processors"]["shop/billing"]["generation"] == 2);
    assert_eq!(hub.publish("orders", "3"), 202);
    let (id, generation) = service.next();
    assert_eq!(id, "3", "nothing is delivered again because of an edit");
    // The old generation may take what comes while it drains.
    assert!(["1", "2"].contains(&generation.as_str()));

    hub.remove("billing.yaml");
    hub.until("the Processor is gone", || hub.snapshot()["processors"].as_object().unwrap().is_empty());
    hub.remove("late.yaml");
    hub.until("the Producer is gone", || hub.publish("late", "4") == 404);
    assert_eq!(hub.publish("orders", "5"), 202);
    // What another Processor receives of the same and of a later event shows that the removed one had every chance.
    hub.write("audit.yaml", &processor("audit", service.port, "startFrom: Earliest"));
    let mut seen = Vec::new();
    assert_eq!(hub.publish("orders", "6"), 202);
    while !["5", "6"].iter().all(|id| seen.iter().any(|(seen, by)| seen == id && by == "shop/audit")) {
        let head = service.head();
        seen.push((header(&head, "ce-id"), header(&head, "evhub-processor")));
    }
    assert!(seen.iter().all(|(_, by)| by == "shop/audit"), "{seen:?}");
}

#[test]
fn a_later_one_of_the_same_name_begins_anew() {
    let service = Service::start();
    let billing = processor("billing", service.port, "");
    let hub = Hub::start(&[("orders.yaml", producer("orders", 2)), ("billing.yaml", billing.clone())], &[]);
    let status = || -> Value {
        let (_, body) = get(hub.api, "/namespaces/shop/processors/billing").unwrap();
        serde_json::from_str(&body).unwrap()
    };
    assert_eq!(hub.publish("orders", "1"), 202);
    hub.until("it is delivered", || status()["lastDelivery"].is_string());
    let before = status()["lastDelivery"].clone();
    hub.remove("billing.yaml");
    hub.until("it is gone", || get(hub.api, "/namespaces/shop/processors/billing").unwrap().0 == 404);
    hub.write("billing.yaml", &billing);
    hub.until("the next one listens", || status()["ready"] == true);
    // It may have delivered the event by now: what came shortly before it was made is its own as well.
    assert_ne!(status().get("lastDelivery"), Some(&before), "{}", status());

    hub.write("billing.yaml", &processor("billing", service.port, "suspend: true"));
    let suspended = || status()["suspended"] == true && status()["ready"] == true;
    hub.until("it is suspended", suspended);
    let conditions: Vec<(ConditionType, Status, Reason)> = status()["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let word = |name: &str| one[name].clone();
            // Whatever is said must be of the table that the resources' users are given.
            let type_ = serde_json::from_value(word("type")).unwrap();
            let reason = serde_json::from_value(word("reason")).unwrap();
            (type_, serde_json::from_value(word("status")).unwrap(), reason)
        })
        .collect();
    assert_eq!(conditions[0], (ConditionType::Ready, Status::True, Reason::Suspended));
    assert!(conditions.contains(&(ConditionType::Suspended, Status::True, Reason::Suspended)));
}

#[test]
fn a_broken_edit_keeps_what_runs_and_says_so() {
    let service = Service::start();
    let files =
        [("orders.yaml", producer("orders", 2)), ("billing.yaml", processor("billing", service.port, ""))];
    let hub = Hub::start(&files, &[]);
    let before = hub.snapshot();
    let edits = [
        ("billing.yaml", processor("billing", service.port, "delivery: { maxInFlight: 0 }"), "maxInFlight"),
        (
            "billing.yaml",
            processor("billing", service.port, "startFrom: Earliest"),
            "Accepted/FieldImmutable",
        ),
        ("billing.yaml", "kind: [".to_owned(), "Accepted/Undecodable"),
        ("orders.yaml", producer("orders", 1), "partitions may grow, never shrink"),
    ];
    for (index, (file, text, told)) in edits.iter().enumerate() {
        hub.write(file, text);
        hub.until(told, || hub.log().contains(told));
        assert_eq!(hub.publish("orders", &index.to_string()), 202);
        assert_eq!(service.next(), (index.to_string(), "1".to_owned()));
        assert_eq!(hub.snapshot(), before, "not even the generation rises");
    }
    assert!(hub.log().contains("it runs on as it was accepted last"));
}

#[test]
fn the_generation_rises_only_with_what_runs() {
    let hub = Hub::start(&[("orders.yaml", producer("orders", 2))], &[]);
    assert_eq!(hub.revision(), 1);
    hub.write("orders.yaml", &format!("# a comment\n{}", producer("orders", 2)));
    hub.until("the comment is read", || hub.log().contains("what runs stays the same"));
    assert_eq!(hub.revision(), 1);
    hub.write("late.yaml", &producer("late", 2));
    hub.until("a Producer more runs", || hub.snapshot()["producers"]["shop/late"].is_object());
    assert_eq!(hub.revision(), 2);
}

#[test]
fn a_folder_that_vanishes_changes_nothing() {
    let hub = Hub::start(&[("orders.yaml", producer("orders", 2))], &[]);
    let (folder, aside) = (hub.folder.path().join("resources"), hub.folder.path().join("aside"));
    fs::rename(&folder, &aside).unwrap();
    hub.until("it is told", || hub.log().contains("there is no such file or directory"));
    assert_eq!((hub.publish("orders", "1"), hub.revision()), (202, 1));
    fs::rename(&aside, &folder).unwrap();
    hub.write("late.yaml", &producer("late", 2));
    hub.until("the folder is followed again", || hub.publish("late", "1") == 202);
}

#[test]
fn a_file_that_cannot_be_read_is_not_one_that_was_removed() {
    let hub = Hub::start(&[("orders.yaml", producer("orders", 2))], &[]);
    let (linked, target) = (hub.folder.path().join("resources/linked.yaml"), hub.folder.path().join("ext"));
    fs::write(&target, producer("linked", 2)).unwrap();
    std::os::unix::fs::symlink(&target, &linked).unwrap();
    let uid = |hub: &Hub| hub.snapshot()["producers"]["shop/linked"]["uid"].clone();
    hub.until("it runs", || uid(&hub).is_string());
    let before = uid(&hub);
    fs::remove_file(&target).unwrap();
    hub.until("it is told", || hub.log().contains("this link leads nowhere"));
    assert_eq!(hub.publish("linked", "1"), 202);
    fs::write(&target, "").unwrap();
    hub.until("that too is told", || hub.log().contains("the file is empty"));
    assert_eq!(hub.publish("linked", "2"), 202);
    fs::write(&target, producer("linked", 3)).unwrap();
    hub.until("the edit runs", || hub.snapshot()["producers"]["shop/linked"]["partitions"] == 3);
    assert_eq!(uid(&hub), before, "it is the same one all along");
}

/// Told apart from a file that holds up edits because it is written on and on: what is no manifest does not.
#[test]
fn what_is_no_manifest_does_not_matter() {
    let hub = Hub::start(&[("orders.yaml", producer("orders", 2))], &[]);
    let noise = hub.folder.path().join("resources/hub.log");
    let (stop, stopped) = mpsc::channel::<()>();
    let writer = thread::spawn(move || {
        let mut length = 0;
        while stopped
            .recv_timeout(Duration::from_millis(5))
            .is_err_and(|e| e == mpsc::RecvTimeoutError::Timeout)
        {
            length += 1;
            fs::write(&noise, "x".repeat(length)).unwrap();
        }
    });
    hub.write("late.yaml", &producer("late", 2));
    hub.until("the edit runs all the same", || hub.publish("late", "1") == 202);
    drop(stop);
    writer.join().unwrap();
    assert_eq!(hub.log().matches("the folder changed").count(), 1, "{}", hub.log());
}

/// Its topic is still there, and has more partitions than are wanted now.
#[test]
fn one_that_cannot_be_made_again_holds_up_nobody() {
    let mut hub =
        Hub::start(&[("orders.yaml", producer("orders", 2)), ("big.yaml", producer("big", 4))], &[]);
    hub.remove("big.yaml");
    hub.until("it is gone", || hub.publish("big", "1") == 404);
    hub.write("big.yaml", &producer("big", 2));
    hub.until("it is told", || hub.log().contains("never shrink"));
    hub.write("late.yaml", &producer("late", 2));
    hub.until("another edit runs", || hub.publish("late", "1") == 202);
    assert_eq!((hub.publish("big", "2"), hub.publish("orders", "2")), (404, 202));
    hub.restart();
    assert_eq!((hub.publish("big", "3"), hub.publish("late", "3")), (404, 202));
    hub.write("big.yaml", &producer("big", 4));
    hub.until("it is mended", || hub.publish("big", "4") == 202);
}

/// The attempt that somebody asked for is under way when the power fails.
#[test]
fn a_resume_survives_a_kill() {
    let service = Service::that(|asked| match asked {
        0 => Some("400 Bad Request\r\ncontent-length: 0"),
        1 => None,
        _ => Some("204 No Content"),
    });
    let suspending = processor("billing", service.port, "delivery: { onExhausted: Suspend }");
    let mut hub = Hub::start(&[("orders.yaml", producer("orders", 2)), ("billing.yaml", suspending)], &[]);
    let path = "/namespaces/shop/processors/billing";
    let is_held = |hub: &Hub| {
        let status: Value = serde_json::from_str(&get(hub.api, path).unwrap().1).unwrap();
        // Behind its commit nothing is left to read: what is parked is durable.
        status["suspended"] == true && status["parked"] == 1 && status["lag"] == 0
    };
    assert_eq!(hub.publish("orders", "1"), 202);
    assert_eq!(service.next().0, "1");
    hub.until("it is held", || is_held(&hub));
    hub.restart();
    hub.until("it is held still", || is_held(&hub));
    assert_eq!(post(hub.api, &format!("{path}/resume")).unwrap().0, 204);
    assert_eq!(header(&service.head(), "evhub-attempt"), "2");
    hub.restart();
    assert_eq!(header(&service.head(), "evhub-attempt"), "2", "the attempt that nobody saw the end of");
    hub.until("it is done", || get(hub.api, path).unwrap().1.contains("lastDelivery"));
    assert!(!is_held(&hub));
}

#[test]
fn memory_keeps_nothing() {
    let mut hub = Hub::start(&[("orders.yaml", producer("orders", 2))], &["--memory"]);
    assert_eq!(hub.publish("orders", "1"), 202);
    assert!(!hub.folder.path().join("data").exists());
    let ours = |pid: u32| {
        let found = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        found
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .find(|path| path.to_string_lossy().starts_with("/dev/shm/evhub-"))
    };
    let file = ours(hub.child.id()).expect("its log lies in memory");
    let folder = file.ancestors().find(|path| path.parent().is_some_and(|p| p.ends_with("shm"))).unwrap();
    assert!(folder.is_dir());
    let stop = Command::new("kill").arg(hub.child.id().to_string()).status().unwrap();
    assert!(stop.success());
    assert!(hub.child.wait().unwrap().success(), "{}", hub.log());
    assert!(!folder.exists(), "nothing is left");
}

#[test]
fn tail_shows_and_listen_forwards_what_comes() {
    let hub = Hub::start(&[("orders.yaml", producer("orders", 2))], &[]);
    let service = Service::start();
    assert_eq!(hub.publish("orders", "before"), 202);
    let run = |line: &[&str]| {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_evhub"));
        tool.args(line).args(["--server", &format!("http://127.0.0.1:{}", hub.api), "--count", "2"]);
        let mut tool = tool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It says so once it watches.
        let (mut told, mut said) = (BufReader::new(tool.stderr.take().unwrap()), String::new());
        told.read_line(&mut said).unwrap();
        assert!(said.contains("shop/orders"), "{said}");
        (tool, told)
    };
    let url = format!("http://127.0.0.1:{}/", service.port);
    let (tail, _told) = run(&["tail", "shop/orders"]);
    let (listen, _too) = run(&["listen", "-n", "shop", "orders", "--forward-to", &url]);
    for id in ["one", "two"] {
        assert_eq!(hub.publish("orders", id), 202);
    }
    let mut received = [service.head(), service.head()].map(|head| header(&head, "ce-id"));
    received.sort();
    assert_eq!(received, ["one", "two"]);
    for tool in [tail, listen] {
        let output = tool.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("one") && text.contains("two") && !text.contains("before"), "{text}");
    }
}

#[test]
fn a_stop_does_not_wait_for_those_who_watch() {
    let mut hub = Hub::start(&[("orders.yaml", producer("orders", 2))], &[]);
    let mut tail = Command::new(env!("CARGO_BIN_EXE_evhub"));
    tail.args(["tail", "shop/orders", "--server", &format!("http://127.0.0.1:{}", hub.api)]);
    let mut tail = tail.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut told, mut said) = (BufReader::new(tail.stderr.take().unwrap()), String::new());
    told.read_line(&mut said).unwrap();
    hub.write("late.yaml", &producer("late", 2));
    hub.until("an edit runs", || hub.revision() == 2);
    let since = Instant::now();
    assert!(Command::new("kill").arg(hub.child.id().to_string()).status().unwrap().success());
    assert!(hub.child.wait().unwrap().success(), "{}", hub.log());
    assert!(since.elapsed() < Duration::from_secs(20), "a drain that waits for watchers takes 30 s");
    told.read_to_string(&mut said).unwrap();
    assert_eq!(tail.wait().unwrap().code(), Some(1));
    assert!(said.contains("because: the hub is gone"), "{said}");
}

#[test]
fn a_hung_target_holds_up_neither_an_edit_nor_a_removal() {
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = hung.local_addr().unwrap().port();
    let slow = |more: &str| processor("billing", port, &format!("delivery: {{ maxInFlight: 2{more} }}"));
    let slow = |more: &str| slow(more).replace("/' }", "/', timeout: 10m }");
    let hub = Hub::start(&[("orders.yaml", producer("orders", 1)), ("billing.yaml", slow(""))], &[]);
    assert_eq!(hub.publish("orders", "1"), 202);
    let (mut stream, _) = hung.accept().unwrap();
    let mut head = [0; 64];
    assert!(stream.read(&mut head).unwrap() > 0, "an attempt is under way");

    let service = Service::start();
    hub.write(
        "billing.yaml",
        &slow(", maxParked: 99999").replace(&port.to_string(), &service.port.to_string()),
    );
    let edited = Instant::now();
    hub.until("the edit runs", || hub.snapshot()["processors"]["shop/billing"]["generation"] == 2);
    assert_eq!(hub.publish("orders", "2"), 202);
    assert_eq!(service.next(), ("2".to_owned(), "2".to_owned()));
    assert!(edited.elapsed() < PATIENCE / 3, "{:?}", edited.elapsed());

    hub.remove("billing.yaml");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rest = Vec::new();
    // The end, or a reset: either says that nobody waits for an answer any more.
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    hub.until("it is gone", || hub.snapshot()["processors"]["shop/billing"].is_null());
}
