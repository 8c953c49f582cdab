//! Fuzzing: builds `evhub-fuzz` so that libFuzzer sees which branches of our crates an input reaches, and drives its
//! targets, two at a time. Does I/O.
//!
//! No nightly compiler and no other tool: what libFuzzer needs of the compiler are stable flags, and they are given to our
//! crates alone, by a wrapper around the compiler that is this very program. So everything else is built once and shared
//! with all other builds. What is found lies in `target/fuzz`; what is worth keeping goes to `fuzz/corpus` by hand.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::Mutex,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::cargo;

/// What has the compiler note which branches are taken and what is compared.
const COVERAGE: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// The target whose mistake is planted.
const CANARY: &str = "canary";

/// How long each target gets in the test command.
const SHORT: Duration = Duration::from_secs(10);

/// Where everything is, once built.
struct Fuzz {
    program: PathBuf,
    corpus: PathBuf,
    folder: PathBuf,
}

/// How one target fared.
enum Verdict {
    Sound { executions: String, branches: String },
    Broken { input: Option<PathBuf>, told: String },
}

/// Stands in for the compiler: the crates of the workspace are handed to it.
pub(crate) fn compiler(arguments: &[String]) -> ExitCode {
    let [compiler, rest @ ..] = arguments else { return ExitCode::FAILURE };
    let name = rest.iter().position(|word| word == "--crate-name").and_then(|at| rest.get(at + 1));
    // What runs while building is linked without libFuzzer.
    let builds = name.is_none_or(|name| name.starts_with("build_script"))
        || rest.iter().any(|word| word == "proc-macro");
    let mut command = Command::new(compiler);
    command.args(rest);
    if !builds {
        command.args(COVERAGE);
    }
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("could not run {compiler}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every target for a short time, from the kept inputs on; the planted mistake must be found.
pub(crate) fn shortly(root: &Path) -> Result<()> {
    let fuzz = Fuzz::build(root)?;
    ensure!(fuzz.finds_the_planted_mistake()?, "the planted mistake was not found: the harness is blind");
    let targets = fuzz.targets()?;
    fuzz.drive(&targets, SHORT, false)
}

/// `cargo xtask fuzz [--minutes N] [TARGET…]`
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<()> {
    if arguments == ["--short"] {
        return shortly(root);
    }
    let (minutes, wanted) = match arguments {
        ["--minutes", minutes, rest @ ..] => (
            minutes.parse().with_context(|| format!("--minutes takes a whole number (got {minutes})"))?,
            rest,
        ),
        rest => (1, rest),
    };
    let fuzz = Fuzz::build(root)?;
    let all = fuzz.targets()?;
    if wanted == ["--list"] {
        println!("{}", all.join("\n"));
        return Ok(());
    }
    if let Some(unknown) = wanted.iter().find(|name| !all.iter().any(|known| known == *name)) {
        bail!("there is no target {unknown} (there are {})", all.join(", "));
    }
    let wanted = if wanted.is_empty() { all } else { wanted.iter().map(ToString::to_string).collect() };
    fuzz.drive(&wanted, Duration::from_secs(60 * minutes), true)
}

// === impl Fuzz ===

/// Where this program is. The build that the test command began with may have put another in its place; that one does as well.
fn replaced(program: &Path) -> PathBuf {
    let text = program.to_string_lossy();
    text.strip_suffix(" (deleted)").map_or_else(|| program.to_owned(), PathBuf::from)
}

impl Fuzz {
    /// Builds the program. It has the same name as the one without coverage, so it is taken away at once. It is built as a part of
    /// the whole workspace: alone it would want other features of the libraries, and all of them a second time.
    fn build(root: &Path) -> Result<Self> {
        let ours = replaced(&env::current_exe().context("find this program")?);
        let mut command = cargo::command(
            root,
            &[
                "build",
                "--release",
                "--workspace",
                "--bin=evhub-fuzz",
                "--message-format=json-render-diagnostics",
            ],
        );
        command.env("RUSTC_WORKSPACE_WRAPPER", ours).stderr(Stdio::inherit());
        let output = command.output().context("build evhub-fuzz")?;
        ensure!(
            output.status.success(),
            "evhub-fuzz could not be built; it needs a C++ compiler besides Rust"
        );
        let messages = String::from_utf8_lossy(&output.stdout);
        println!("built anew of others' crates: {}", foreign(&messages));
        let built = messages
            .lines()
            .filter_map(|line| line.split_once(r#""executable":""#)?.1.split('"').next())
            .next_back()
            .context("cargo says where it put evhub-fuzz")?;
        let folder =
            Path::new(built).parent().and_then(Path::parent).context("find the target folder")?.join("fuzz");
        let program = folder.join("evhub-fuzz");
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        fs::copy(built, &program).with_context(|| format!("copy {built}"))?;
        Ok(Self { program, corpus: root.join("fuzz").join("corpus"), folder })
    }

    /// All targets but the planted mistake, by their kept inputs.
    fn targets(&self) -> Result<Vec<String>> {
        let entries =
            fs::read_dir(&self.corpus).with_context(|| format!("list {}", self.corpus.display()))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name != CANARY).collect();
        names.sort();
        Ok(names)
    }

    fn finds_the_planted_mistake(&self) -> Result<bool> {
        Ok(matches!(self.one(CANARY, 3 * SHORT, false)?, Verdict::Broken { input: Some(_), .. }))
    }

    /// Drives these, two at a time, and says how each fared.
    fn drive(&self, targets: &[String], time: Duration, keep: bool) -> Result<()> {
        let waiting = Mutex::new(targets.iter());
        let broken = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while let Some(target) = waiting.lock().expect("nobody panics with it").next() {
                        let told = match self.one(target, time, keep) {
                            Ok(Verdict::Sound { executions, branches }) => {
                                println!("{target}: sound after {executions} inputs, {branches} branches");
                                continue;
                            }
                            Ok(Verdict::Broken { input, told }) => {
                                let input = input.map(|path| path.display().to_string()).unwrap_or_default();
                                format!("{target}: broken by {input}\n{told}")
                            }
                            Err(error) => format!("{target}: {error:#}"),
                        };
                        println!("{told}");
                        broken.lock().expect("nobody panics with it").push(target.clone());
                    }
                });
            }
        });
        let broken = broken.into_inner().expect("nobody panics with it");
        ensure!(
            broken.is_empty(),
            "broken: {}; run one again with `cargo xtask fuzz TARGET`",
            broken.join(", ")
        );
        Ok(())
    }

    /// Drives one target. What it finds is kept for the next time, or thrown away.
    fn one(&self, target: &str, time: Duration, keep: bool) -> Result<Verdict> {
        let folder = self.folder.join(target);
        let found = folder.join(if keep { "corpus" } else { "passing" });
        let log = folder.join("log.txt");
        if !keep && found.exists() {
            fs::remove_dir_all(&found).with_context(|| format!("remove {}", found.display()))?;
        }
        fs::create_dir_all(&found).with_context(|| format!("make {}", found.display()))?;
        let file = File::create(&log).with_context(|| format!("make {}", log.display()))?;
        let mut command = Command::new(&self.program);
        command.arg(&found);
        // The planted mistake is to be found from nothing.
        if target == CANARY {
            command.arg("-max_len=16");
        } else {
            command.arg(self.corpus.join(target)).arg("-max_len=20000");
        }
        command
            .args([
                format!("-max_total_time={}", time.as_secs()),
                format!("-artifact_prefix={}/", folder.display()),
            ])
            .args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"])
            .env("EVHUB_FUZZ", target)
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("write to one file twice")?)
            .stderr(file);
        let status = command.status().with_context(|| format!("run {}", self.program.display()))?;
        let told = fs::read(&log).with_context(|| format!("read {}", log.display()))?;
        Ok(verdict(status.success(), &String::from_utf8_lossy(&told)))
    }
}

/// How many crates that are none of ours cargo had to build, by its messages. Pure.
fn foreign(messages: &str) -> usize {
    let anew = |line: &&str| {
        line.contains(r#""reason":"compiler-artifact""#)
            && line.contains(r#""fresh":false"#)
            && line.contains(r#""package_id":"registry+"#)
    };
    messages.lines().filter(anew).count()
}

/// What libFuzzer's own words come to. Pure.
fn verdict(sound: bool, told: &str) -> Verdict {
    if sound {
        let last = |label: &str| {
            let found = told.lines().filter_map(|line| line.split_once(label)).next_back();
            found.and_then(|(_, rest)| rest.split_whitespace().next()).unwrap_or("?").to_owned()
        };
        return Verdict::Sound { executions: last("number_of_executed_units:"), branches: last(" cov: ") };
    }
    let input = told.lines().filter_map(|line| line.split_once("Test unit written to ")).next_back();
    let lines: Vec<&str> =
        told.lines().filter(|line| line.contains("panicked at") || line.contains("ERROR")).collect();
    let after = told.split_once("panicked at").map_or("", |(_, rest)| rest);
    let why = after.lines().skip(1).take(6).collect::<Vec<_>>().join("\n");
    Verdict::Broken {
        input: input.map(|(_, path)| PathBuf::from(path.trim())),
        told: format!("{}\n{why}", lines.join("\n")),
    }
}

#[cfg(test)]
mod tests {
    //! Words as libFuzzer writes them.

    use super::*;

    #[test]
    fn what_was_built_anew_is_counted() {
        let line = |package: &str, fresh: bool| {
            format!(r#"{{"reason":"compiler-artifact","package_id":"{package}","fresh":{fresh}}}"#)
        };
        let ours = "path+file:///hub/fuzz#evhub-fuzz@0.1.0";
        let theirs = "registry+https://example.org#tokio@1.0.0";
        let messages = [line(ours, false), line(theirs, false), line(theirs, true)].join("\n");
        assert_eq!(foreign(&messages), 1);
    }

    #[test]
    fn a_verdict_is_read_from_what_was_said() {
        let told = "#512\tpulse  cov: 10 ft: 12 corp: 3/9b\n#9 DONE   cov: 25 ft: 30 corp: 1/1b\nstat::number_of_executed_units: 1234\n";
        let Verdict::Sound { executions, branches } = verdict(true, told) else { panic!("it is sound") };
        assert_eq!((executions.as_str(), branches.as_str()), ("1234", "25"));

        let told = "thread '<unnamed>' panicked at fuzz/src/x.rs:1:2:\nthis is why\n==1== ERROR: libFuzzer: deadly signal\n\
                    artifact_prefix='/t/'; Test unit written to /t/crash-1\n";
        let Verdict::Broken { input, told } = verdict(false, told) else { panic!("it is broken") };
        assert_eq!(input, Some(PathBuf::from("/t/crash-1")));
        assert!(told.contains("this is why") && told.contains("deadly signal"), "{told}");
    }
}
