//! `bench NAME [--rounds N] [--seconds S] [--disk DIR] [--foreign PERCENT]`: measures, and writes a table for
//! `docs/performance.md`. `bench ledger` takes `[--log kafka|embedded] [--pending N,N]` as well. `bench all` measures everything, one after the other.
//!
//! - [`ingest`]: publishing beside a server that does nothing
//! - [`dispatch`]: delivering beside a client that does nothing else
//! - [`keys`]: how concurrency grows with the number of keys
//! - [`durable`]: durable publishing beside NATS `JetStream`
//! - [`ledger`]: timers and keys, beside transactions and nothing else, on a Kafka broker or on the embedded log
//! - [`log`]: durable appends without anything around them
//! - [`start`]: what a hub needs before its first event, and while it idles
//! - [`operator`]: the operator on a real API server; [`follower`] is a dataplane that only acknowledges
//! - [`kafka`]: publishing and delivering on a real broker
//! - [`role`]: what runs beside the hub, each in a process of its own

mod dispatch;
mod durable;
mod follower;
mod ingest;
mod kafka;
mod keys;
mod ledger;
mod log;
mod operator;
mod role;
mod settings;
mod start;

use std::{env, process::ExitCode};

use anyhow::{Context as _, Result, anyhow};

use self::settings::{Settings, Usual};

/// Something that can be measured.
struct Measurement {
    name: &'static str,
    usual: Usual,
    /// What it measures, for the list of them.
    about: &'static str,
    run: fn(&Settings) -> Result<()>,
}

/// All of them; on two cores that nobody else uses they take about ten minutes.
const MEASUREMENTS: [Measurement; 10] = [
    Measurement {
        name: "start",
        usual: Usual { rounds: 9, seconds: 3 },
        about: "from exec to the first accepted event, and the memory of an idle hub",
        run: start::run,
    },
    Measurement {
        name: "ingest",
        usual: Usual { rounds: 7, seconds: 2 },
        about: "publishing over HTTP and gRPC in memory, beside a bare hyper server",
        run: ingest::run,
    },
    Measurement {
        name: "latency",
        usual: Usual { rounds: 2, seconds: 3 },
        about: "how long an event waits for its receipt when a given number come each second",
        run: ingest::latency,
    },
    Measurement {
        name: "log",
        usual: Usual { rounds: 7, seconds: 1 },
        about: "the embedded log's durable appends, beside the disk",
        run: log::run,
    },
    Measurement {
        name: "durable",
        usual: Usual { rounds: 5, seconds: 2 },
        about: "publishing to disk, beside NATS JetStream that syncs always",
        run: durable::run,
    },
    Measurement {
        name: "dispatch",
        usual: Usual { rounds: 5, seconds: 2 },
        about: "delivering a backlog, beside a bare hyper client",
        run: dispatch::run,
    },
    Measurement {
        name: "kafka",
        usual: Usual { rounds: 3, seconds: 4 },
        about: "publishing and delivering on one broker, beside librdkafka and bare HTTP",
        run: kafka::run,
    },
    Measurement {
        name: "keys",
        usual: Usual { rounds: 2, seconds: 3 },
        about: "delivering to a slow target, by the number of keys",
        run: keys::run,
    },
    Measurement {
        name: "ledger",
        usual: Usual { rounds: 3, seconds: 5 },
        about: "timers: submitted, fired, pending, taken over; and keys; beside bare transactions, on a Kafka broker",
        run: ledger::run,
    },
    Measurement {
        name: "operator",
        usual: Usual { rounds: 200, seconds: 1 },
        about: "the operator with up to 5,000 Processors, beside a stock reflector; a round is an edit",
        run: operator::run,
    },
];

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.split_first() {
        Some((&"role", words)) => role::play(words),
        Some((&"all", options)) => MEASUREMENTS.iter().try_for_each(|one| measure(one, options)),
        Some((name, options)) => {
            let found = MEASUREMENTS.iter().find(|one| one.name == *name);
            let found = found.ok_or_else(|| anyhow!("there is no measurement {name}\n{}", help()));
            found.and_then(|one| measure(one, options))
        }
        None => Err(anyhow!(help())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(measurement: &Measurement, options: &[&str]) -> Result<()> {
    let settings = Settings::read(measurement.name, measurement.usual, options)?;
    (measurement.run)(&settings).with_context(|| format!("measure {}", measurement.name))
}

fn help() -> String {
    let usage = "usage: bench NAME [--rounds N] [--seconds S] [--disk DIR] [--foreign PERCENT]\n\n";
    let names = MEASUREMENTS.iter().map(|one| format!("  {:<10}{}\n", one.name, one.about));
    names.fold(usage.to_owned(), |text, line| text + &line) + "  all       all of these\n"
}
