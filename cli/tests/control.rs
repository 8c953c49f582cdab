//! `evhub control`: what cannot be served says why. What dataplanes make of what is served is tested with them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test is no library, and may fail")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

struct Control(Child);

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn site() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("manifests")).unwrap();
    let text =
        "apiVersion: evhub.dev/v1alpha1\nkind: Producer\nmetadata: { name: orders, namespace: shop }\n";
    fs::write(folder.path().join("manifests/orders.yaml"), text).unwrap();
    folder
}

fn control(folder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evhub"));
    command.current_dir(folder).args(["control", "manifests"]).args(more).stdin(Stdio::null());
    command
}

/// Starts one, and waits until its log has such a line.
fn started(folder: &Path, line: &str) -> (Control, String) {
    let mut child = control(folder, &["--listen", "127.0.0.1:0"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let found = lines.find(|found| found.contains(line));
    let control = Control(child);
    // Somebody must read on, or its log would stop it.
    std::thread::spawn(move || lines.for_each(drop));
    (control, found.unwrap_or_else(|| panic!("it never said {line}")))
}

#[track_caller]
fn refused(folder: &Path, more: &[&str], told: &str) {
    let ended = control(folder, more).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(78), "{said}");
    assert!(said.contains(told), "{said}");
}

#[test]
fn what_cannot_be_served_exits_78_and_says_why() {
    let folder = site();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(folder.path(), &["--listen", &address], "--listen: could not listen on");
    refused(folder.path(), &["--data", "/dev/null/x"], "--data: /dev/null/x");
    fs::remove_dir_all(folder.path().join("manifests")).unwrap();
    refused(folder.path(), &[], "manifests: no such folder");
}

#[test]
fn a_data_folder_is_one_process_s_and_counts_its_starts() {
    let folder = site();
    let (first, _) = started(folder.path(), "serving the control stream");
    refused(folder.path(), &["--listen", "127.0.0.1:0"], "another process uses it");
    drop(first);
    let epoch = || {
        let text = fs::read_to_string(folder.path().join(".evhub-control/objects.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["epoch"].clone()
    };
    assert_eq!(epoch(), 1);
    let (_second, _) = started(folder.path(), "serving the control stream");
    assert_eq!(epoch(), 2);
}
