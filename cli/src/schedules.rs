//! `evhub schedules`: what a Producer publishes by itself. Asks a hub.

mod said;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::said::Said;

use crate::{
    client::{Client, Page, path},
    exit::Exit,
    name::Reference,
    output::{self, Table, or_dash},
    style::{Style, Tone},
};

/// List, show, put or delete what a Producer publishes by itself, or have it publish now
///
/// Schedules are declared in the Producer (see `evhub check --now` for what they come to before anything runs), or put here while
/// it runs. The hub keeps what was put until it is deleted or its Producer is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  evhub schedules -n shop list orders\n  \
    evhub schedules -n shop put orders reminder --cron '0 9 * * MON' --time-zone Europe/Berlin --type shop.reminder\n  \
    evhub schedules -n shop put orders reminder -f reminder.yaml\n  \
    evhub schedules -n shop fire orders reminder")]
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
    /// Show one, declared or put, as it can be put
    Show {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        output: output::Options,
    },
    /// Put one beside those that the Producer declares, or in the place of the one of its name
    Put {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        said: Said,
        #[command(flatten)]
        output: output::Options,
    },
    /// Delete one that was put: nothing of it fires any more
    Delete {
        #[command(flatten)]
        which: Which,
    },
    /// Fire one now, besides its runs
    Fire {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        output: output::Options,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The Producer: NAME or NAMESPACE/NAME
    producer: Reference,
    /// The schedule's name
    schedule: String,
}

/// A schedule, and what it has in store.
#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    name: String,
    declared: bool,
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
            // They come as one page.
            let page: Page<Listed> = client
                .get(&of)
                .await
                .with_context(|| format!("could not list the schedules of {producer}"))?;
            let schedules = page.items;
            output::value(output.output, &schedules, || table(&schedules))?;
        }
        What::Show { which, output } => {
            let found: Value =
                client.get(&which.path(namespace)).await.with_context(|| which.failed("show", namespace))?;
            let text = output::yaml(&found)?;
            output::value(output.output, &found, || text)?;
        }
        What::Put { which, said, output } => {
            let put = client.replace(&which.path(namespace), &said.document()?).await;
            let put: Value = put.with_context(|| which.failed("put", namespace))?;
            output::value(output.output, &put, || outlook(&put))?;
        }
        What::Delete { which } => {
            let deleted = client.forget(&which.path(namespace)).await;
            deleted.with_context(|| which.failed("delete", namespace))?;
            output::text(&format!("deleted {}\n", output::printable(&which.schedule)))?;
        }
        What::Fire { which, output } => {
            let of = which.path(namespace) + "/fire";
            let fired: Fired = client
                .post(&of, http::HeaderMap::new(), bytes::Bytes::new())
                .await
                .with_context(|| which.failed("fire", namespace))?;
            output::value(output.output, &fired, || format!("fired {}\n", output::printable(&fired.id)))?;
        }
    }
    Ok(Exit::Success)
}

/// When one fires next that was put.
fn outlook(put: &Value) -> String {
    let name = output::printable(put["name"].as_str().unwrap_or_default());
    match put["status"]["next"][0].as_str() {
        Some(next) => format!("put {name}, which fires next at {}\n", output::printable(next)),
        None => format!("put {name}, which does not fire for now\n"),
    }
}

impl Which {
    fn path(&self, namespace: &str) -> String {
        let producer = self.producer.within(namespace);
        path(&producer.namespace, &["producers", &producer.name, "schedules", &self.schedule])
    }

    fn failed(&self, verb: &str, namespace: &str) -> String {
        format!("could not {verb} schedule {} of {}", self.schedule, self.producer.within(namespace))
    }
}

fn table(schedules: &[Listed]) -> String {
    if schedules.is_empty() {
        return "no schedule is kept\n".to_owned();
    }
    let mut table = Table::new(["SCHEDULE", "FROM", "NEXT", "FIRED", "SKIPPED"]);
    for Listed { name, declared, next, fired, skipped, suspended } in schedules {
        let next = if *suspended { Some("suspended".to_owned()) } else { next.first().cloned() };
        let from = if *declared { "Producer" } else { "put" }.to_owned();
        table.row(Tone::Plain, [name.clone(), from, or_dash(next), fired.to_string(), skipped.to_string()]);
    }
    table.render(Style::stdout())
}
