//! The `evhub` tool: a hub on a laptop, and the verbs to use one.
//!
//! Each verb is a module with its arguments and a `run`; this file joins them. Everything they share is in `client`
//! (talking to a hub), `output` (what goes to standard output) and `exit` (how a command ends).

mod check;
mod client;
mod completions;
mod control;
mod dead;
mod demo;
mod dev;
mod exit;
mod identity;
mod listen;
mod live;
mod manifests;
mod name;
mod output;
mod publish;
mod resume;
mod schedules;
mod sink;
mod status;
mod style;
mod tail;
mod timers;
mod tx;
mod version;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::exit::Exit;

/// The system's took a fifth of the time of a delivery, and kept more of a million parked ones (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// evhub keeps events in a log and delivers each to every service that wants it: in order per key, retried durably,
/// dead-lettered with the reason, never lost.
#[derive(Debug, Parser)]
#[command(name = "evhub", version, after_help = "Start with:\n  evhub dev examples/quickstart --demo")]
struct Cli {
    #[command(flatten)]
    hub: client::Options,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Dev(dev::Args),
    Control(control::Args),
    Check(check::Args),
    Publish(publish::Args),
    Tail(tail::Args),
    Listen(listen::Args),
    Sink(sink::Args),
    Dead(dead::Args),
    Resume(resume::Args),
    Status(status::Args),
    Timers(timers::Args),
    Schedules(schedules::Args),
    Tx(tx::Args),
    Completions(completions::Args),
    Version(version::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    // The demo tells its own story; logs beside it would be in its way.
    evhub_telemetry::logging::init(matches!(&cli.verb, Verb::Dev(args) if args.demo));
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return exit::conclude(Err(anyhow::Error::new(error).context("could not start"))),
    };
    exit::conclude(runtime.block_on(run(cli)))
}

async fn run(Cli { hub, verb }: Cli) -> anyhow::Result<Exit> {
    match verb {
        Verb::Dev(args) => dev::run(args).await,
        Verb::Control(args) => control::run(args).await,
        Verb::Check(args) => check::run(args),
        Verb::Publish(args) => publish::run(&hub.client().await?, &hub.namespace, args).await,
        Verb::Tail(args) => tail::run(&hub.client().await?, &hub.namespace, args).await,
        Verb::Listen(args) => listen::run(&hub.client().await?, &hub.namespace, args).await,
        Verb::Sink(args) => sink::run(args).await,
        Verb::Dead(args) => dead::run(&hub.client().await?, &hub.namespace, args).await,
        Verb::Resume(args) => resume::run(&hub.client().await?, &hub.namespace, args).await,
        Verb::Status(args) => status::run(&hub.client().await?, &hub.namespace, args).await,
        Verb::Timers(args) => timers::run(&hub.client().await?, &hub.namespace, args).await,
        Verb::Schedules(args) => schedules::run(&hub.client().await?, &hub.namespace, args).await,
        Verb::Tx(args) => tx::run(&hub.client().await?, &hub.namespace, args).await,
        Verb::Completions(args) => completions::run(&args, Cli::command()),
        Verb::Version(args) => version::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
