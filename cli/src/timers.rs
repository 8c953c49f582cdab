//! `evhub timers`: events that are to come later. Asks a hub.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    client::{Client, path},
    exit::{Exit, Usage},
    name::Reference,
    output::{self, Table, or_dash},
    style::{Style, Tone},
};

/// List, show, cancel or reschedule events that are to come later
///
/// An event that was published with a delay waits in the hub until its instant, and is then delivered like any other.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  evhub timers -n shop list orders\n  \
    evhub timers -n shop cancel orders 01f63f03-aac0-57f8-bdfa-aaf2fedb0e52\n  \
    evhub timers -n shop reschedule orders 01f63f03-aac0-57f8-bdfa-aaf2fedb0e52 --delay 2h")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List what is pending, soonest first
    List {
        /// The Producer: NAME or NAMESPACE/NAME
        producer: Reference,
        #[command(flatten)]
        output: output::Options,
    },
    /// Show one that is pending
    Show {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        output: output::Options,
    },
    /// Cancel one: it will not fire
    Cancel {
        #[command(flatten)]
        which: Which,
    },
    /// Let one fire at another time
    Reschedule {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        when: When,
        #[command(flatten)]
        output: output::Options,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The Producer: NAME or NAMESPACE/NAME
    producer: Reference,
    /// The timer, as its receipt or the list names it
    timer: String,
}

/// When something is to happen.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct When {
    /// So long from now on, as 90s or 1h30m
    #[arg(long, value_name = "DURATION")]
    delay: Option<String>,
    /// At an instant, as 2026-01-01T09:00:00Z; one that has passed is now
    #[arg(long, value_name = "INSTANT")]
    at: Option<String>,
}

/// A pending timer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pending {
    timer: String,
    event_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
}

/// Does what is asked for.
pub(crate) async fn run(client: &Client, namespace: &str, args: Args) -> anyhow::Result<Exit> {
    match args.what {
        What::List { producer, output } => {
            let producer = producer.within(namespace);
            let of = path(&producer.namespace, &["producers", &producer.name, "timers"]);
            let timers: Vec<Pending> =
                client.list(&of).await.with_context(|| format!("could not list the timers of {producer}"))?;
            output::value(output.output, &timers, || table(&timers))?;
        }
        What::Show { which, output } => {
            let timer: Pending =
                client.get(&which.path(namespace)).await.with_context(|| which.failed("show"))?;
            output::value(output.output, &timer, || table(std::slice::from_ref(&timer)))?;
        }
        What::Cancel { which } => {
            client.forget(&which.path(namespace)).await.with_context(|| which.failed("cancel"))?;
            output::text(&format!("cancelled {}\n", output::printable(&which.timer)))?;
        }
        What::Reschedule { which, when, output } => {
            let order = match (&when.delay, &when.at) {
                (Some(delay), _) => json!({ "delay": delay }),
                (None, Some(at)) => json!({ "due": at }),
                (None, None) => return Err(Usage("say when: --delay or --at".to_owned()).into()),
            };
            let moved = client.amend(&which.path(namespace), &order).await;
            let timer: Pending = moved.with_context(|| which.failed("reschedule"))?;
            output::value(output.output, &timer, || table(std::slice::from_ref(&timer)))?;
        }
    }
    Ok(Exit::Success)
}

fn table(timers: &[Pending]) -> String {
    if timers.is_empty() {
        return "no timer is pending\n".to_owned();
    }
    let mut table = Table::new(["DUE", "TIMER", "KEY", "EVENT"]);
    for Pending { timer, event_id, due, key, key_base64 } in timers {
        let key = key.clone().or_else(|| key_base64.clone());
        table.row(Tone::Plain, [or_dash(due.clone()), timer.clone(), or_dash(key), event_id.clone()]);
    }
    table.render(Style::stdout())
}

impl Which {
    fn path(&self, namespace: &str) -> String {
        let producer = self.producer.within(namespace);
        path(&producer.namespace, &["producers", &producer.name, "timers", &self.timer])
    }

    fn failed(&self, verb: &str) -> String {
        format!("could not {verb} timer {}", self.timer)
    }
}
