//! Every check there is, in one command: what the README names and what `.ci/run` calls. Does I/O.
//!
//! One profile, one feature set, one target folder: everything is built once and every step uses it. The cheap steps come
//! first; the first step that fails is the last.
//!
//! - [`tools`]: what is installed when it is missing
//! - [`tally`]: how many tests passed, from the runner's own lines

mod tally;
pub(crate) mod tools;

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use self::tally::Tally;
use crate::{cargo, fuzz, tidy};

/// Runs every step.
pub(crate) fn run(root: &Path) -> Result<()> {
    let started = Instant::now();
    let mut deny = PathBuf::new();
    let mut tally = Tally::default();

    if !tools::runs_as_root() {
        println!(
            "not root: the test that fills a disk mounts a file system and will fail, and strace is not installed when it is missing"
        );
    }
    step("tools", || {
        install(root)?;
        deny = tools::cargo_deny(root)?;
        Ok(())
    })?;
    step("format", || succeed(cargo::command(root, &["fmt", "--all", "--check"])))?;
    step("tidy", || tidy::run(root))?;
    step("build", || succeed(cargo::command(root, &["build", "--release", "--workspace", "--all-targets"])))?;
    step("clippy", || succeed(clippy(root)))?;
    let tests = step("tests", || run_tests(root, &mut tally));
    let outcome = tests
        .and_then(|()| step("fuzz", || fuzz::shortly(root)))
        .and_then(|()| step("licences, bans and sources", || succeed(check_licences(root, &deny))));

    println!("\nall in all {}\n{tally}", seconds(started));
    outcome
}

/// Installs what the tests themselves need.
pub(crate) fn install(root: &Path) -> Result<()> {
    tools::package("strace", "strace", "-V")?;
    tools::package("g++", "c++", "--version")?;
    tools::package("valgrind", "valgrind", "--version")?;
    tools::package("postgresql", "psql", "--version")?;
    tools::toolchain(root)?;
    tools::python(root)
}

/// Says what is done, does it, and says how long it took or that it failed.
fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("\n=== {name} ===");
    let started = Instant::now();
    work().with_context(|| format!("cargo xtask test failed at: {name}"))?;
    println!("--- {name}: ok, {}", seconds(started));
    Ok(())
}

fn clippy(root: &Path) -> Command {
    cargo::command(root, &["clippy", "--release", "--workspace", "--all-targets", "--", "--deny", "warnings"])
}

fn check_licences(root: &Path, deny: &Path) -> Command {
    let mut command = Command::new(deny);
    command.args(["check", "bans", "licenses", "sources"]).current_dir(root);
    command
}

/// Runs all tests, however many fail, shows what the runner says and counts its verdicts.
fn run_tests(root: &Path, tally: &mut Tally) -> Result<()> {
    let mut command = cargo::command(root, &["test", "--release", "--workspace", "--no-fail-fast"]);
    let mut child = command.stdout(Stdio::piped()).spawn().context("run cargo test")?;
    let output = child.stdout.take().expect("the standard output was asked for");
    let mut ours = std::io::stdout().lock();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("read what the tests say")?;
        tally.hear(&String::from_utf8_lossy(&line));
        ours.write_all(&line).and_then(|()| ours.write_all(b"\n")).context("show what the tests say")?;
    }
    let status = child.wait().context("wait for cargo test")?;
    ensure!(status.success(), "tests failed ({status})");
    ensure!(tally.passed > 0, "no test ran");
    Ok(())
}

/// Runs a command that must end well.
pub(crate) fn succeed(mut command: Command) -> Result<()> {
    let name = format!("{} {}", command.get_program().display(), words(&command));
    let status = command.status().with_context(|| format!("run {name}"))?;
    ensure!(status.success(), "{name} failed ({status})");
    Ok(())
}

fn words(command: &Command) -> String {
    command.get_args().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn seconds(since: Instant) -> String {
    format!("{:.1} s", since.elapsed().as_secs_f64())
}
