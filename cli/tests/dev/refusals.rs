//! What cannot run exits 78 and says which flag or path, what is wrong with it, and what to do.

use std::{fs, net::TcpListener};

use crate::{
    process::{err, evhub, exits},
    site::{PRODUCER, Site, dev},
};

#[test]
fn a_dir_that_is_none() {
    let site = Site::new(PRODUCER);
    for (dir, got) in [("nowhere", "nothing there"), ("all.yaml", "a file")] {
        let dir = site.dir().join(dir);
        let output = exits(78, &mut dev(&dir, &site.data()));
        let line =
            format!("    {}: no such folder (got {got}, allowed a folder with manifests", dir.display());
        assert!(err(&output).contains(&line), "{}", err(&output));
    }
    assert!(!site.data().exists(), "nothing was made for a hub that never was");
}

#[test]
fn a_folder_that_another_hub_has() {
    let site = Site::new(PRODUCER);
    let first = site.start();
    let output = exits(78, &mut site.command());
    let line = format!(
        "--data: {}/log is in use by process {}: stop that one",
        site.data().display(),
        first.process.id()
    );
    assert!(err(&output).contains(&line), "{}", err(&output));
    first.stop();
    site.start().stop();
}

#[test]
fn ports_that_are_taken_are_all_named() {
    let site = Site::new(PRODUCER);
    let taken = ["--http", "--grpc", "--api"].map(|flag| (flag, TcpListener::bind("127.0.0.1:0").unwrap()));
    let mut command = evhub();
    command.arg("dev").arg(site.dir()).arg("--data").arg(site.data()).args(["--admin", "127.0.0.1:0"]);
    for (flag, listener) in &taken {
        command.args([flag, &*listener.local_addr().unwrap().to_string()]);
    }
    let output = exits(78, &mut command);
    for (flag, listener) in &taken {
        let line = format!("    {flag}: could not listen on {}: ", listener.local_addr().unwrap());
        assert!(err(&output).contains(&line), "{}", err(&output));
        assert!(err(&output).contains(&format!("with {flag} HOST:PORT)")), "{}", err(&output));
    }
    assert!(!err(&output).contains("--admin:"), "{}", err(&output));
}

#[test]
fn an_address_that_is_none_is_a_usage_error() {
    let site = Site::new(PRODUCER);
    for text in ["8080", "localhost", ":8080", "127.0.0.1:65536"] {
        let mut command = evhub();
        let output = exits(64, command.arg("dev").arg(site.dir()).args(["--http", text]));
        assert!(err(&output).contains("an address is HOST:PORT, as in 127.0.0.1:8080"), "{}", err(&output));
    }
}

#[test]
fn data_that_cannot_be_kept_or_read() {
    let site = Site::new(PRODUCER);
    let file = site.dir().join("all.yaml");
    let output = exits(78, &mut dev(&site.dir(), &file));
    assert!(err(&output).contains("(name a folder that may be written to, with --data)"), "{}", err(&output));

    site.start().stop();
    fs::write(site.data().join("objects.json"), "{").unwrap();
    let output = exits(78, &mut site.command());
    let line =
        format!("--data: {}/objects.json: not what evhub wrote there; restore it", site.data().display());
    assert!(err(&output).contains(&line), "{}", err(&output));
}
