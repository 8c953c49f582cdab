//! What each event costs, step by step, held against committed numbers: instructions as callgrind counts them, within a
//! few percent, and allocations, exactly. Neither depends on who else uses the machine.
//!
//! `UPDATE=1 cargo test --release --workspace --test gates` writes the numbers anew, after a change that was meant.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use evhub_bench::steps;
use serde::{Deserialize, Serialize};

/// How many more instructions than the committed number there may be, and how many fewer, in percent. A copy too many costs more;
/// what the compiler inlines into a small step, as its neighbours are edited, moves it by a few.
const MARGIN: (f64, f64) = (5.0, 10.0);
/// How often a step is done: start-up is the same for both and falls out of their difference.
const TIMES: (u32, u32) = (100, 300);

/// What one step costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Cost {
    instructions: f64,
    allocations: f64,
}

#[test]
fn each_step_costs_what_it_did() {
    let found: BTreeMap<String, Cost> =
        steps::NAMES.iter().map(|step| ((*step).to_owned(), measure(step))).collect();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(committed_at(), serde_json::to_string_pretty(&found).unwrap() + "\n").unwrap();
    }
    let wrong: Vec<String> = found
        .iter()
        .filter_map(|(step, cost)| off(*cost, committed()[step]).map(|why| format!("{step}: {why}")))
        .collect();
    assert!(
        wrong.is_empty(),
        "{}\nIf that is meant: UPDATE=1 cargo test --release --workspace --test gates",
        wrong.join("\n")
    );
}

#[test]
fn one_copy_too_many_is_noticed() {
    let (planted, wanted) = (measure("planted-decode-http"), committed()["decode-http"]);
    assert!(off(planted, wanted).is_some(), "{planted:?} passes for {wanted:?}");
    let slower = Cost { instructions: planted.instructions, ..wanted };
    assert!(off(slower, wanted).is_some(), "its instructions alone pass: {planted:?}");
}

/// What is wrong with a cost. Much cheaper is wrong too: the number is no gate any more until it is written anew.
fn off(found: Cost, wanted: Cost) -> Option<String> {
    let percent = 100.0 * (found.instructions / wanted.instructions - 1.0);
    let instructions = percent > MARGIN.0 || percent < -MARGIN.1;
    let allocations = (found.allocations - wanted.allocations).abs() > 0.05;
    (instructions || allocations).then(|| {
        let Cost { instructions, allocations } = wanted;
        format!(
            "{:.0} instructions, {percent:+.1} % beside {instructions:.0}; {:.2} allocations beside {allocations:.2}",
            found.instructions, found.allocations
        )
    })
}

fn committed_at() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/gates.json"))
}

fn committed() -> BTreeMap<String, Cost> {
    serde_json::from_str(&fs::read_to_string(committed_at()).unwrap()).unwrap()
}

fn measure(step: &str) -> Cost {
    let (few, many) = (counted(step, TIMES.0), counted(step, TIMES.1));
    let instructions = (many - few) / f64::from(TIMES.1 - TIMES.0);
    let told = Command::new(env!("CARGO_BIN_EXE_hot")).args([step, "1000"]).output().unwrap();
    let allocations = String::from_utf8(told.stdout).unwrap().trim().parse().unwrap();
    Cost { instructions: instructions.round(), allocations }
}

/// All instructions of a whole run.
fn counted(step: &str, times: u32) -> f64 {
    let told = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", env!("CARGO_BIN_EXE_hot"), step])
        .arg(times.to_string())
        .output()
        .expect("valgrind is there: `cargo xtask tools` installs it");
    let text = String::from_utf8(told.stderr).unwrap();
    assert!(told.status.success(), "{step} ended with {}: {text}", told.status);
    let line = text.lines().find_map(|line| line.split_once("Collected : "));
    line.and_then(|(_, count)| count.trim().parse().ok())
        .unwrap_or_else(|| panic!("callgrind did not count: {text}"))
}
