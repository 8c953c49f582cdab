//! The tool as scripts use it: exit codes, help, version, and what it says when there is no hub.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test is no library, and may fail")]

use std::{
    net::TcpListener,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

fn evhub(line: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evhub"));
    command.args(line).env_remove("EVHUB_SERVER").env_remove("EVHUB_LOG");
    command.output().expect("the binary under test runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the tool speaks UTF-8")
}

/// An address of this machine where nobody listens: one that was just given back.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[track_caller]
fn exits(code: i32, line: &[&str]) -> Output {
    let output = evhub(line);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{line:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

#[test]
fn a_line_that_makes_no_sense_exits_64() {
    for line in [
        &[][..],
        &["frobnicate"],
        &["publish"],
        &["publish", "../x"],
        &["publish", "orders", "--count", "0"],
        &["publish", "orders", "--extension", "novalue"],
        &["publish", "orders", "--content-type", "text/plain"],
        &["publish", "orders", "--key", "a", "--key", "b"],
        &["publish", "orders", "--data", "{not json}"],
        &["publish", "orders", "--key", "a", "--extension", "partitionkey=b"],
        &["dead"],
        &["dead", "redrive", "billing"],
        &["resume"],
        &["dead", "redrive", "billing", "--all", "an-id"],
        &["status", "--server", "ftp://hub"],
        &["status", "-n", "No_Namespace"],
        &["status", "-o", "xml"],
        &["tail"],
        &["tail", "orders", "--count", "0"],
        &["listen", "orders"],
        &["listen", "orders", "--forward-to", "127.0.0.1:3000"],
        &["completions"],
        &["completions", "cmd"],
        &["dev", "x", "--memory", "--data", "y"],
        &["sink", "--fail", "2"],
        &["schedules", "put", "orders", "daily"],
        &["schedules", "put", "orders", "daily", "--cron", "@daily", "--every", "24h", "--type", "a"],
        &["schedules", "put", "orders", "daily", "--cron", "@daily"],
        &["schedules", "put", "orders", "daily", "--every", "24h", "--time-zone", "UTC", "--type", "a"],
        &["schedules", "put", "orders", "daily", "--every", "24h", "--type", "a", "--data", "{"],
        &["schedules", "put", "orders", "daily", "-f", "daily.yaml", "--type", "a"],
    ] {
        let output = exits(64, line);
        assert!(output.stdout.is_empty(), "{line:?} wrote to standard output");
        assert!(!output.stderr.is_empty(), "{line:?} said nothing");
    }
}

#[test]
fn help_and_version_exit_0_and_every_verb_has_an_example() {
    for line in [
        &["--help"][..],
        &["publish", "--help"],
        &["sink", "--help"],
        &["dead", "--help"],
        &["dead", "list", "--help"],
        &["dead", "show", "--help"],
        &["dead", "redrive", "--help"],
        &["resume", "--help"],
        &["schedules", "--help"],
        &["status", "--help"],
        &["tail", "--help"],
        &["listen", "--help"],
        &["check", "--help"],
        &["completions", "--help"],
        &["version", "--help"],
        &["check", "--help"],
        &["dev", "--help"],
    ] {
        let output = exits(0, line);
        assert!(text(&output.stdout).contains("  evhub "), "{line:?} has no example");
    }
    assert_eq!(text(&exits(0, &["--version"]).stdout), format!("evhub {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_know_every_verb() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = text(&exits(0, &["completions", shell]).stdout);
        for verb in ["dev", "check", "publish", "tail", "listen", "sink", "dead", "resume", "status"] {
            assert!(script.contains(verb), "{shell} does not know {verb}");
        }
    }
}

#[test]
fn the_version_is_readable_by_programs() {
    let json = text(&exits(0, &["version", "-o", "json"]).stdout);
    let version: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(text(&exits(0, &["version", "-o", "yaml"]).stdout).starts_with("version: "));
}

#[test]
fn without_a_hub_every_verb_exits_69_and_says_what_to_do() {
    let server = nowhere();
    for verb in [
        &["publish", "orders"][..],
        &["publish", "orders", "--count", "100", "-o", "json"],
        &["dead", "list", "billing"],
        &["dead", "show", "billing", "an-id"],
        &["dead", "redrive", "billing", "--all"],
        &["resume", "billing"],
        &["status"],
        &["tail", "orders"],
        &["listen", "orders", "--forward-to", "http://127.0.0.1:1/"],
    ] {
        let output = exits(69, &[&["--server", &server], verb].concat());
        let told = text(&output.stderr);
        assert!(told.starts_with("error: could not "), "{told}");
        assert!(told.contains(&format!("because: no hub answers at {server}\n")), "{told}");
        assert!(told.contains("help: is the hub running?"), "{told}");
    }
}

#[test]
fn the_environment_names_the_hub_too() {
    let server = nowhere();
    let mut command = Command::new(env!("CARGO_BIN_EXE_evhub"));
    let output = command.arg("status").env("EVHUB_SERVER", &server).output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stderr).contains(&server));
}

/// Verbs that ask no hub care for none, and a variable set to nothing is not set.
#[test]
fn only_who_asks_a_hub_reads_where_it_is() {
    let quickstart = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart");
    for (server, line, code) in [
        ("", &["version"][..], 0),
        ("https://hub", &["version"], 0),
        ("https://hub", &["check", quickstart], 0),
        ("https://hub", &["status"], 64),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evhub"));
        let output = command.args(line).env("EVHUB_SERVER", server).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{server:?} {line:?}: {}", text(&output.stderr));
    }
}

/// Whoever reads an example takes it for right.
#[test]
fn every_example_is_accepted() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let mut examples = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            examples += 1;
            exits(0, &["check", path.to_str().unwrap()]);
        }
    }
    assert!(examples >= 8, "{examples}");
}

/// A kubectl that knows one dataplane, whose port is forwarded to where nobody listens, and writes down what it is asked.
const KUBECTL: &str = r#"#!/bin/sh
echo "$@" >> "$FOLDER/asked"
case "$1" in
  get) echo "evhub-system hub-dataplane-1 hub True" ;;
  port-forward) echo $$ > "$FOLDER/pid"; echo "Forwarding from $ADDRESS -> 8083"; exec sleep 60 ;;
esac
"#;

#[test]
fn as_a_verb_of_kubectl_it_forwards_a_port_and_takes_it_down() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("kubectl"), KUBECTL).unwrap();
    std::fs::set_permissions(at("kubectl"), std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink(env!("CARGO_BIN_EXE_evhub"), at("kubectl-evhub")).unwrap();
    let server = nowhere();
    let address = server.trim_start_matches("http://");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let ask = |line: &[&str]| {
        let mut command = Command::new(at("kubectl-evhub"));
        command.args(line).env("PATH", &path).env("FOLDER", folder.path()).env("ADDRESS", address);
        command.env_remove("EVHUB_SERVER").output().unwrap()
    };
    let output = ask(&["status", "--installation", "evhub-system"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stderr).contains(address), "{}", text(&output.stderr));
    let asked = std::fs::read_to_string(at("asked")).unwrap();
    assert!(asked.contains("--namespace evhub-system\n"), "{asked}");
    assert!(
        asked.contains(
            "port-forward --address=127.0.0.1 --namespace evhub-system pod/hub-dataplane-1 :8083\n"
        ),
        "{asked}"
    );
    let pid = std::fs::read_to_string(at("pid")).unwrap();
    // It was sent its end; a busy machine takes a moment to bring it.
    let ended = || {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    };
    let since = Instant::now();
    while !ended() {
        assert!(since.elapsed() < Duration::from_secs(20), "the port is still forwarded");
        std::thread::sleep(Duration::from_millis(10));
    }

    // Who is told where the hub is asks no kubectl, nor does a verb that needs no hub.
    std::fs::remove_file(at("asked")).unwrap();
    assert_eq!(ask(&["status", "--server", &nowhere()]).status.code(), Some(69));
    assert_eq!(ask(&["version"]).status.code(), Some(0));
    assert!(!at("asked").exists());
}

#[test]
fn a_log_filter_that_makes_no_sense_is_a_warning() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evhub"));
    let output = command.arg("version").env("EVHUB_LOG", "loud").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let line: serde_json::Value = serde_json::from_slice(&output.stderr).expect("one line of JSON");
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["message"], "EVHUB_LOG makes no sense, logging at info");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_evhub"));
    let output = command.arg("version").stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
}
