//! `bench NAME [--rounds N] [--seconds S] [--disk DIR]`: measures, and writes a table for `docs/performance.md`.
//!
//! - [`ingest`]: publishing beside a server that does nothing
//! - [`dispatch`]: delivering beside a client that does nothing else
//! - [`keys`]: how concurrency grows with the number of keys
//! - [`durable`]: durable publishing beside NATS `JetStream`
//! - [`start`]: what a hub needs before its first event, and while it idles
//! - [`role`]: what runs beside the hub, each in a process of its own

mod dispatch;
mod durable;
mod ingest;
mod keys;
mod role;
mod settings;
mod start;

use std::{env, process::ExitCode};

use self::settings::Settings;

const HELP: &str = "\
usage: bench NAME [--rounds N] [--seconds S] [--disk DIR] [--foreign PERCENT]

  ingest    publishing over HTTP and gRPC in memory, beside a bare hyper server
  latency   how long an event waits for its receipt when a given number come each second
  dispatch  delivering a backlog, beside a bare hyper client
  keys      delivering to a slow target, by the number of keys
  durable   publishing to disk, beside NATS JetStream that syncs always
  start     from exec to the first accepted event, and the memory of an idle hub
";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.split_first() {
        Some((&"role", words)) => role::play(words),
        Some((name, options)) => Settings::read(options).and_then(|settings| match *name {
            "ingest" => ingest::run(&settings),
            "latency" => ingest::latency(&settings),
            "dispatch" => dispatch::run(&settings),
            "keys" => keys::run(&settings),
            "durable" => durable::run(&settings),
            "start" => start::run(&settings),
            other => Err(anyhow::anyhow!("there is no measurement {other}\n{HELP}")),
        }),
        None => Err(anyhow::anyhow!(HELP)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
