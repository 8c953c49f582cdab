//! The project's own tooling: `cargo xtask help` says what there is.
//!
//! - [`tidy`]: rules about the tree that the compiler does not know
//! - [`test`]: every check there is, in one command
//! - [`crds`]: writes the generated CRD YAML anew
//! - [`cargo`]: running cargo, the one way

mod cargo;
mod crds;
mod test;
mod tidy;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

const HELP: &str = "\
usage: cargo xtask <command>

  tidy   check what the compiler does not: imports, sizes, module docs, words, the tests that docs/delivery.md names
  test   check everything: format, tidy, build, clippy, tests, licences; installs the tools that are missing
  crds   write the CRD YAML anew from the Rust types
  help   this
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidy"] => tidy::run(&root()),
        ["test"] => test::run(&root()),
        ["crds"] => crds::run(&root()),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(64);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's folder: the one that holds ours.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}
