//! The project's own tooling: `cargo xtask help` says what there is.
//!
//! - [`tidy`]: rules about the tree that the compiler does not know
//! - [`test`]: every check there is, in one command
//! - [`fuzz`]: drives the parsers that face strangers with inputs that nobody would write
//! - [`bench`]: the measurements of docs/performance.md
//! - [`crds`]: writes the generated CRD YAML anew
//! - [`mutants`]: planted mistakes, each of which a scenario must find
//! - [`chaos`]: blows against several dataplanes on real brokers, for as long as is wanted
//! - [`e2e`]: the whole in a real cluster
//! - [`image`]: the programs as images
//! - [`kafka`]: Kafka brokers for a person to try things out with
//! - [`cluster`]: a Kubernetes control plane, likewise
//! - [`cargo`]: running cargo, the one way

mod bench;
mod cargo;
mod chaos;
mod cluster;
mod crds;
mod e2e;
mod fuzz;
mod image;
mod kafka;
mod mutants;
mod test;
mod tidy;

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};

const HELP: &str = "\
usage: cargo xtask <command>

  tidy   check what the compiler does not: imports, sizes, module docs, words, the tests that docs/delivery.md names
  test   check everything: format, tidy, build, clippy, tests, licences; installs the tools that are missing
  fuzz   [--minutes N] [TARGET…] drive parsers with inputs that nobody would write; --list names the targets
  tools  install the tools and peers that the tests need
  bench  [NAME [OPTION VALUE]…] measure, for docs/performance.md; without a name it lists what can be measured
  crds   write the CRD YAML anew from the Rust types
  mutants [NAME…]
         plant mistakes into a copy of the tree, and see each found by what must find it; takes a quarter of an hour
  chaos  [--minutes N] [--seed S]
         kill, hang, roll, pause and scale dataplanes and three Kafka brokers under load, and judge what came of it
  kafka  up [--brokers N] [--tls] [--quick] | down | status
         bring Kafka brokers up on this machine, end them, or say where they are; needs java, mvn and openssl
  e2e    [--cluster local|kind|current] [--kafka HOST:PORT] [--no-images]
         install evhub into a cluster by Helm, use it, disturb it, and take it away again; one of two nodes on this machine
         (as root), one that kind makes, or the current one of the kubeconfig
  image  [evhub-operator] [evhub-dataplane] [evhub] [--out DIR] [--files] [--quick]
         build images, without a daemon, into target/images; with --files only what is in them, for the Dockerfile; with
         --quick of the programs as tests have them, which are larger
  cluster up [--nodes N] | load ARCHIVE… | down | status | build
         bring a Kubernetes control plane with our CRDs up on this machine, end it, or say where it is; builds it from its
         sources the first time, which takes minutes; needs go and openssl. With nodes, up to three, it runs pods, and needs
         root; they run what is loaded into them
  help   this
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // As cargo calls whoever stands in for the compiler.
    if arguments.first().is_some_and(|first| Path::new(first).file_name() == Some(OsStr::new("rustc"))) {
        return fuzz::compiler(&arguments);
    }
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidy"] => root().and_then(|root| tidy::run(&root)),
        ["test"] => root().and_then(|root| test::run(&root)),
        ["tools"] => root().and_then(|root| test::install(&root)),
        ["fuzz", ref rest @ ..] => root().and_then(|root| fuzz::run(&root, rest)),
        ["bench", ref words @ ..] => root().and_then(|root| bench::run(&root, words)),
        ["crds"] => root().and_then(|root| crds::run(&root)),
        ["mutants", ref names @ ..] => root().and_then(|root| mutants::run(&root, names)),
        ["chaos", ref words @ ..] => root().and_then(|root| chaos::run(&root, words)),
        ["e2e", ref words @ ..] => root().and_then(|root| e2e::run(&root, words)),
        ["image", ref words @ ..] => root().and_then(|root| image::run(&root, words)),
        ["kafka", ref words @ ..] => root().and_then(|root| kafka::run(&root, words)),
        ["cluster", ref words @ ..] => root().and_then(|root| cluster::run(&root, words)),
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

/// The workspace's folder: the one that holds ours. Asked of cargo at run time, because two checkouts that share a target
/// folder share this program too.
fn root() -> Result<PathBuf> {
    let ours = env::var_os("CARGO_MANIFEST_DIR").context("find the workspace: run this as `cargo xtask`")?;
    Ok(Path::new(&ours).parent().context("find the workspace: xtask lies in no folder")?.to_owned())
}
