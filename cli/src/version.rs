//! `evhub version`: which evhub this is.

use serde::Serialize;

use crate::{exit::Exit, output};

/// Say which evhub this is
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  evhub version -o json")]
pub(crate) struct Args {
    #[command(flatten)]
    output: output::Options,
}

#[derive(Debug, Serialize)]
struct This {
    version: &'static str,
    os: &'static str,
    arch: &'static str,
}

/// Prints it.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let this =
        This { version: env!("CARGO_PKG_VERSION"), os: std::env::consts::OS, arch: std::env::consts::ARCH };
    output::value(args.output.output, &this, || {
        format!("evhub {} ({} {})\n", this.version, this.os, this.arch)
    })?;
    Ok(Exit::Success)
}
