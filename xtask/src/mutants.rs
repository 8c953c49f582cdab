//! Planted mistakes: all are put into a copy of the tree, and each is given to the scenario that must find it. Does I/O.
//!
//! A mutant is a file in `e2e/mutants`. It says what is wrong, what must find it and in which test, and then, file by file,
//! which lines to replace. The copy is built once and makes the mistake that the environment names. None of it is ever in
//! the product, and the copy's binary has a name of its own, so that one target folder serves both.
//!
//! - [`plan`]: what a mutant's file says

mod plan;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use self::plan::Mutant;
use crate::cargo;

/// Where the mutants are.
const FOLDER: &str = "e2e/mutants";
/// What the copy's binary is called.
const BINARY: &str = "evhub-mutant";
/// How often a scenario is run with other seeds before a mutant has got away.
const RUNS: u32 = 3;

/// Runs those mutants whose names begin so, or all; tells of each what found it, with which seed, and how long it took.
pub(crate) fn run(root: &Path, names: &[&str]) -> Result<()> {
    let mut mutants = load(root)?;
    mutants.retain(|mutant| names.is_empty() || names.iter().any(|name| mutant.name.starts_with(name)));
    ensure!(!mutants.is_empty(), "no mutant in {FOLDER} is called so");
    let scenarios = Scenarios::build(root)?;
    let binary = Copy::make(root, &scenarios.target, &load(root)?)?.build()?;
    let mut rows = Vec::new();
    let mut away = Vec::new();
    for mutant in &mutants {
        let found = hunt(&scenarios, &binary, mutant).with_context(|| format!("mutant {}", mutant.name))?;
        let (name, what, check, scenario) = (&mutant.name, &mutant.what, &mutant.check, &mutant.scenario);
        let end = if let Some(Found { seed, run, took }) = found {
            format!("{seed} | {run} | {:.0} s", took.as_secs_f64())
        } else {
            away.push(name.as_str());
            "not found | | ".to_owned()
        };
        let row = format!("| {name} | {what} | {check} | `{scenario}` | {end} |");
        println!("{row}");
        rows.push(row);
    }
    println!(
        "\n| mutant | what is wrong | found by | scenario | seed | run | took |\n|---|---|---|---|---|---|---|"
    );
    println!("{}", rows.join("\n"));
    ensure!(away.is_empty(), "not found: {}", away.join(", "));
    Ok(())
}

/// Every mutant, in the order of their names.
fn load(root: &Path) -> Result<Vec<Mutant>> {
    let folder = root.join(FOLDER);
    let mut mutants = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry.context("list the mutants")?.path();
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        mutants.push(Mutant::parse(&name, &text).with_context(|| format!("read {}", path.display()))?);
    }
    mutants.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(mutants)
}

/// What found a mutant.
struct Found {
    seed: String,
    run: u32,
    took: Duration,
}

fn hunt(scenarios: &Scenarios, binary: &Path, mutant: &Mutant) -> Result<Option<Found>> {
    let mut others = String::new();
    for run in 1..=RUNS {
        let started = Instant::now();
        let (passed, said) = scenarios.run(mutant, binary)?;
        if !passed && said.contains(&mutant.check) {
            let seed = said.split("with seed ").nth(1).and_then(|rest| rest.split_whitespace().next());
            return Ok(Some(Found { seed: seed.unwrap_or("-").to_owned(), run, took: started.elapsed() }));
        }
        others = said;
    }
    println!("{}: not found; the last run said:\n{}", mutant.name, tail(&others));
    Ok(None)
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// The tests of the real binary, as the tree has them.
struct Scenarios {
    program: PathBuf,
    target: PathBuf,
}

impl Scenarios {
    fn build(root: &Path) -> Result<Self> {
        // As the test command selects them: another selection unifies features differently and builds everything anew.
        let arguments =
            ["test", "--release", "--workspace", "--test", "binary", "--no-run", "--message-format", "json"];
        let said = cargo::output(root, &arguments)?;
        let mut program = said.lines().filter_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            (message.get("target")?.get("name")? == "binary").then_some(())?;
            Some(PathBuf::from(message.get("executable")?.as_str()?))
        });
        let program = program.next_back().context("cargo built no tests of the binary")?;
        let release = program.parent().and_then(Path::parent).context("find the target folder")?;
        let target = release.parent().context("find the target folder")?.to_owned();
        Ok(Self { program, target })
    }

    /// Runs one; whether it passed, and all that it said.
    fn run(&self, mutant: &Mutant, binary: &Path) -> Result<(bool, String)> {
        let scenario = &mutant.scenario;
        let mut command = Command::new(&self.program);
        command
            .args(["--exact", scenario, "--nocapture"])
            .env("EVHUB_BIN", binary)
            .env("RUST_BACKTRACE", "0");
        command.env(plan::VARIABLE, &mutant.name);
        let output = command.stdin(Stdio::null()).output().context("run the scenario")?;
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        ensure!(!said.contains("running 0 tests"), "there is no test {scenario}");
        Ok((output.status.success(), said.into_owned()))
    }
}

/// A copy of the tree with every mistake in it.
struct Copy {
    at: PathBuf,
    target: PathBuf,
}

impl Copy {
    /// Copies what git would commit. A file that is the same already is left alone, so that nothing is built without need.
    fn make(root: &Path, target: &Path, mutants: &[Mutant]) -> Result<Self> {
        let at = target.join("mutants/tree");
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .context("list the tree")?;
        ensure!(listed.status.success(), "git cannot list the tree");
        let planted = plan::all(mutants, |file| Ok(fs::read_to_string(root.join(file))?))?;
        for name in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|name| !name.is_empty()) {
            // One that was removed and is not yet committed so.
            let Ok(mut bytes) = fs::read(root.join(name)) else { continue };
            if name == "cli/Cargo.toml" {
                bytes.extend(format!("\n[[bin]]\nname = \"{BINARY}\"\npath = \"src/main.rs\"\n").bytes());
            }
            write(&at.join(name), planted.get(name).map_or(&bytes[..], |text| text.as_bytes()))?;
        }
        Ok(Self { at, target: target.to_owned() })
    }

    /// Builds the copy's binary, quickly rather than well: our own crates are not optimised.
    fn build(&self) -> Result<PathBuf> {
        let mut command = cargo::command(
            &self.at,
            &["build", "--release", "--quiet", "--package", "evhub", "--bin", BINARY],
        );
        command.env("CARGO_TARGET_DIR", &self.target).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
        ensure!(command.status().context("build the mutant")?.success(), "the mutant does not build");
        Ok(self.target.join("release").join(BINARY))
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let intent = || format!("write {}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(path)).with_context(intent)?;
    fs::write(path, bytes).with_context(intent)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    /// A mutant whose lines have changed is a mutant no more: whoever changes them adapts it.
    #[test]
    fn every_mutant_fits_the_tree() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's folder");
        let mutants = super::load(root).expect("they read");
        assert!(mutants.len() >= 16, "only {} mutants", mutants.len());
        let read = |file: &str| Ok(fs::read_to_string(root.join(file))?);
        super::plan::all(&mutants, read).unwrap_or_else(|error| panic!("{error:#}"));
        let scenarios: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.scenario.as_str()).collect();
        for scenario in scenarios {
            let (module, name) = scenario.split_once("::").expect("module::test");
            let file = root.join(format!("e2e/tests/binary/{module}.rs"));
            let text =
                fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert!(text.contains(&format!("fn {name}()")), "there is no test {scenario}");
        }
    }
}
