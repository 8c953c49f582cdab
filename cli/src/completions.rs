//! `evhub completions`: what a shell needs to complete our command lines. Writes to standard output.

use clap_complete::Shell;

use crate::{exit::Exit, output};

/// Print what a shell needs to complete evhub's command lines
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  evhub completions bash > /etc/bash_completion.d/evhub\n  evhub completions fish > \
    ~/.config/fish/completions/evhub.fish"
)]
pub(crate) struct Args {
    /// For which shell
    shell: Shell,
}

/// Prints it.
pub(crate) fn run(args: &Args, mut command: clap::Command) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "evhub", &mut script);
    output::text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
