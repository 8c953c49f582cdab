//! `evhub schedules`: what a Producer publishes by itself. Asks a hub.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::{
    client::{Client, Page, path},
    exit::Exit,
    name::Reference,
    output::{self, Table, or_dash},
    style::{Style, Tone},
};

/// List what a Producer publishes by itself, or have it publish now
///
/// Schedules are written in the Producer; see `evhub check --now` for what they come to before anything runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  evhub schedules -n shop list orders\n  \
    evhub schedules -n shop fire orders nightly")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List the schedules of a Producer, and when each fires next
    List {
        /// The Producer: NAME or NAMESPACE/NAME
        producer: Reference,
        #[command(flatten)]
        output: output::Options,
    },
    /// Fire one now, besides its runs
    Fire {
        /// The Producer: NAME or NAMESPACE/NAME
        producer: Reference,
        /// The schedule's name
        schedule: String,
        #[command(flatten)]
        output: output::Options,
    },
}

/// A schedule, and what it has in store.
#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    name: String,
    next: Vec<String>,
    fired: u64,
    skipped: u64,
    suspended: bool,
}

/// What fired.
#[derive(Debug, Serialize, Deserialize)]
struct Fired {
    id: String,
    producer: String,
}

/// Does what is asked for.
pub(crate) async fn run(client: &Client, namespace: &str, args: Args) -> anyhow::Result<Exit> {
    match args.what {
        What::List { producer, output } => {
            let producer = producer.within(namespace);
            let of = path(&producer.namespace, &["producers", &producer.name, "schedules"]);
            // A Producer has few: they come as one page.
            let page: Page<Listed> = client
                .get(&of)
                .await
                .with_context(|| format!("could not list the schedules of {producer}"))?;
            let schedules = page.items;
            output::value(output.output, &schedules, || table(&schedules))?;
        }
        What::Fire { producer, schedule, output } => {
            let producer = producer.within(namespace);
            let of =
                path(&producer.namespace, &["producers", &producer.name, "schedules", &schedule, "fire"]);
            let fired: Fired = client
                .post(&of, http::HeaderMap::new(), bytes::Bytes::new())
                .await
                .with_context(|| format!("could not fire schedule {schedule} of {producer}"))?;
            output::value(output.output, &fired, || format!("fired {}\n", output::printable(&fired.id)))?;
        }
    }
    Ok(Exit::Success)
}

fn table(schedules: &[Listed]) -> String {
    if schedules.is_empty() {
        return "no schedule is kept\n".to_owned();
    }
    let mut table = Table::new(["SCHEDULE", "NEXT", "FIRED", "SKIPPED"]);
    for Listed { name, next, fired, skipped, suspended } in schedules {
        let next = if *suspended { Some("suspended".to_owned()) } else { next.first().cloned() };
        table.row(Tone::Plain, [name.clone(), or_dash(next), fired.to_string(), skipped.to_string()]);
    }
    table.render(Style::stdout())
}
