//! Signals to a real process: this test runs itself as a child that drains for ever.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
};

use evhub_lifecycle::{channel, signals};
use rustix::process::{Pid, Signal, kill_process};

const CHILD: &str = "EVHUB_LIFECYCLE_TEST_CHILD";

#[test]
fn the_first_signal_drains_and_the_second_aborts() {
    if env::var_os(CHILD).is_some() {
        drain_for_ever();
    }
    let cases = [
        (Signal::TERM, Signal::TERM, 143, "SIGTERM"),
        (Signal::INT, Signal::INT, 130, "SIGINT"),
        (Signal::TERM, Signal::INT, 130, "SIGINT"),
        (Signal::INT, Signal::TERM, 143, "SIGTERM"),
    ];
    for (first, second, code, name) in cases {
        let mut child = start();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = || lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("child: "));
        assert_eq!(said().as_deref(), Some("child: up"));
        send(&child, first);
        send(&child, first); // As `timeout` does it: to the process, and again to its group.
        assert_eq!(said().as_deref(), Some("child: draining"), "{first:?} begins the drain");
        assert_eq!(send_until_it_ends(&mut child, second), Some(code), "{second:?} ends the process");
        let mut complaint = String::new();
        child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
        assert_eq!(complaint, format!("{name} while draining: aborted\n"));
    }
}

fn start() -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "the_first_signal_drains_and_the_second_aborts", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// A second signal that comes so soon that it is taken for the first one's echo is sent again.
fn send_until_it_ends(child: &mut Child, signal: Signal) -> Option<i32> {
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        send(child, signal);
        std::thread::yield_now();
    }
}

fn drain_for_ever() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let (trigger, drain) = channel();
        let watcher = tokio::spawn(signals(trigger));
        say("up");
        drain.begun().await;
        say("draining");
        watcher.await.unwrap();
    });
}

/// The harness ends its own line only after the test, so each of ours begins a new one.
fn say(what: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "\nchild: {what}").and_then(|()| out.flush()).unwrap();
}
