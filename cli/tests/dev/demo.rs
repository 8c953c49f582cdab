//! The first thing that anybody sees. One test for all of it, because the demo has one port.

use std::{
    net::TcpListener,
    process::{Command, Stdio},
};

use crate::{
    process::{Process, err, exits},
    site::{PRODUCER, Site, dev, quickstart},
};

const SERVICE: &str = "127.0.0.1:8089";

#[test]
fn the_demo_tells_its_whole_story_again_and_again() {
    let data = tempfile::tempdir().unwrap();
    refuses_to_share_its_port(data.path());
    for run in 1..=2 {
        let mut demo = Process::spawn(dev(&quickstart(), data.path()).arg("--demo"));
        demo.line(|line| line.starts_with("The hub stays up until ctrl-c."));
        told(demo.said());
        let steps = steps(&mut demo);
        let doomed = dead_event(demo.said());
        for step in steps {
            let output = Command::new("sh").args(["-c", &step]).stdin(Stdio::null()).output().unwrap();
            assert!(output.status.success(), "run {run}: {step}\n{}", err(&output));
        }
        demo.line(|line| line.starts_with(&format!("   200 {doomed} with key eve, attempt 1: delivered")));
        demo.signal("INT");
        let (code, said) = demo.ended();
        assert_eq!(code, Some(0), "{}", said.join("\n"));
        assert!(said.last().unwrap().starts_with("The hub has stopped. "), "{}", said.join("\n"));
    }
}

#[test]
fn the_demo_of_other_resources_is_refused() {
    let site = Site::new(PRODUCER);
    let told = err(&exits(78, site.command().arg("--demo"))).to_owned();
    assert!(
        told.contains("--demo: there is another story to tell (got no accepted Processor shop/billing, "),
        "{told}"
    );
}

/// Nobody but the demo may have the port now, and the demo does not share it.
#[track_caller]
fn refuses_to_share_its_port(data: &std::path::Path) {
    let taken = TcpListener::bind(SERVICE).unwrap_or_else(|error| {
        panic!("this test needs {SERVICE} for itself; stop what listens there ({error})")
    });
    let output = exits(78, dev(&quickstart(), data).arg("--demo"));
    drop(taken);
    let line = format!("--demo: could not play the service of shop/billing on {SERVICE}: ");
    assert!(
        err(&output).contains(&line) && err(&output).contains("stop it and start again"),
        "{}",
        err(&output)
    );
}

#[track_caller]
fn told(said: &[String]) {
    let mut lines = said.iter();
    for part in [
        "1  A delivery",
        ", attempt 1: delivered",
        "2  A retry that succeeds",
        ", attempt 1: fails",
        ", attempt 2: fails, ",
        ", attempt 3: delivered, ",
        "3  Order per key",
        "ada's events came in order; ",
        "4  A dead letter",
        "   503 doomed-",
        "dead letter evhub.shop.orders:",
    ] {
        assert!(lines.any(|line| line.contains(part)), "{part}\n{}", said.join("\n"));
    }
}

/// The commands that are printed to be pasted into a shell.
fn steps(demo: &mut Process) -> Vec<String> {
    let from = demo.said().len();
    demo.line(|line| line.starts_with("  curl "));
    let steps = demo.said()[from..].iter().map(|line| line.trim().to_owned());
    let steps: Vec<_> = steps.filter(|line| !line.starts_with("curl ")).collect();
    assert_eq!(steps.len(), 5, "{steps:?}");
    steps
}

fn dead_event(said: &[String]) -> String {
    let line = said.iter().find(|line| line.contains("published doomed-")).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}
