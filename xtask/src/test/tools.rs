//! What the checks need and a machine may lack: it is installed where that is possible, and named where it is not.
//! Does I/O.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use super::succeed;
use crate::cargo;

/// The version that `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";

/// The list of Python packages, as pip reads it.
const PACKAGES: &str = "dataplane/tests/peers/requirements.txt";

/// Makes sure of a program of the system's: strace, by which the tests see that no acknowledgement leaves before its data is
/// on the disk, valgrind, by which they count what each event costs, a C++ compiler, for libFuzzer, and PostgreSQL, in which
/// the barrier of half messages is tried.
pub(crate) fn package(package: &str, program: &str, argument: &str) -> Result<()> {
    if answers(program, argument) {
        return Ok(());
    }
    let may_install = answers("apt-get", "--version") && runs_as_root();
    ensure!(
        may_install,
        "{program} is missing: install {package} with the system's package manager, then run this again"
    );
    println!("{program} is missing: installing {package}");
    let install = || {
        let mut command = Command::new("apt-get");
        command
            .args(["install", "--yes", "--no-install-recommends", package])
            .env("DEBIAN_FRONTEND", "noninteractive");
        succeed(command)
    };
    // Package lists that are missing or old are the usual reason for a first failure.
    install().or_else(|_| {
        let mut update = Command::new("apt-get");
        update.arg("update");
        succeed(update)?;
        install()
    })?;
    ensure!(answers(program, argument), "{program} was installed and does not run");
    Ok(())
}

/// Makes sure of rustfmt and clippy.
pub(crate) fn toolchain(root: &Path) -> Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if quietly(&mut cargo::command(root, &[subcommand, "--version"])) {
            continue;
        }
        println!("{component} is missing: installing it");
        let mut command = Command::new("rustup");
        command.args(["component", "add", component]);
        succeed(command).with_context(|| format!("{component} is missing: install it beside cargo"))?;
    }
    Ok(())
}

/// Makes sure of cargo-deny, in a cache of ours so that neither another version nor another checkout matters.
pub(crate) fn cargo_deny(root: &Path) -> Result<PathBuf> {
    let folder = cache()?.join(format!("cargo-deny-{CARGO_DENY}"));
    let program = folder.join("bin").join("cargo-deny");
    if quietly(Command::new(&program).arg("--version")) {
        return Ok(program);
    }
    println!(
        "cargo-deny {CARGO_DENY} is missing: building it once, which takes minutes, into {}",
        folder.display()
    );
    let build = folder.join("build");
    let mut command =
        cargo::command(root, &["install", "--locked", "--force", "cargo-deny", "--version", CARGO_DENY]);
    command.arg("--root").arg(&folder).arg("--target-dir").arg(&build);
    succeed(command)?;
    fs::remove_dir_all(&build).with_context(|| format!("remove {}", build.display()))?;
    ensure!(quietly(Command::new(&program).arg("--version")), "cargo-deny was installed and does not run");
    Ok(program)
}

/// Makes sure of a Python of our own with the packages that peers in the tests speak through, each pinned in
/// [`PACKAGES`]. A copy of the list lies beside them, written last: another list makes it anew.
pub(crate) fn python(root: &Path) -> Result<()> {
    let folder = cache()?.join("python");
    let wanted = fs::read_to_string(root.join(PACKAGES)).with_context(|| format!("read {PACKAGES}"))?;
    let note = folder.join("packages.txt");
    if fs::read_to_string(&note).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    println!(
        "the Python packages of the tests are missing or others: installing them into {}",
        folder.display()
    );
    ensure!(answers("python3", "--version"), "python3 is missing: install it, then run this again");
    let mut command = Command::new("python3");
    command.args(["-m", "venv", "--clear"]).arg(&folder);
    succeed(command).context("make a place for Python packages: python3 needs its venv module")?;
    let mut command = Command::new(folder.join("bin").join("python"));
    command.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--requirement",
    ]);
    command.arg(root.join(PACKAGES));
    succeed(command)?;
    fs::write(&note, wanted).with_context(|| format!("write {}", note.display()))
}

fn cache() -> Result<PathBuf> {
    let given = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let Some(caches) = given.or_else(|| Some(env::home_dir()?.join(".cache"))) else {
        bail!("there is no home folder to keep tools in: set XDG_CACHE_HOME")
    };
    Ok(caches.join("evhub").join("tools"))
}

fn answers(program: &str, argument: &str) -> bool {
    quietly(Command::new(program).arg(argument))
}

/// Whether a command runs and ends well; what it says is not shown.
fn quietly(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Whether file systems may be mounted and packages installed.
pub(crate) fn runs_as_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}
