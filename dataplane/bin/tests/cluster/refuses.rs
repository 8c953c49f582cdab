//! What cannot be started says why, and exits as scripts rely on.

use std::time::{Duration, Instant};

use super::site::{PATIENCE, dataplane};

#[track_caller]
fn refuses(line: &[&str], code: i32, told: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let since = Instant::now();
    let ended = dataplane().current_dir(folder.path()).args(line).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(code), "{said}");
    assert!(told.iter().all(|text| said.contains(text)), "{said}");
    assert!(since.elapsed() < PATIENCE);
}

#[test]
fn settings_that_make_no_sense_exit_78_with_every_problem() {
    let line =
        ["--kafka", "nonsense", "--roles", "judge", "--control", "https://c:1", "--kafka-config", "/none"];
    let told = ["--kafka: ", "--roles: no such role", "--control-tls: an https URL", "--kafka-config: /none"];
    refuses(&line, 78, &told);
    // As a file where the folder of --data should be.
    refuses(&["--kafka", "127.0.0.1:9", "--data", "/dev/null/x"], 78, &["--data: /dev/null/x"]);
}

#[test]
fn a_command_line_that_makes_no_sense_exits_64() {
    refuses(&[], 64, &["--kafka"]);
    refuses(&["--kafka", "127.0.0.1:9", "--nonsense"], 64, &["--nonsense"]);
}

#[test]
fn without_a_broker_it_ends_within_seconds_and_says_so() {
    let since = Instant::now();
    refuses(&["--kafka", "127.0.0.1:9"], 69, &["no broker of 127.0.0.1:9 can be used"]);
    assert!(since.elapsed() < Duration::from_secs(30));
}
