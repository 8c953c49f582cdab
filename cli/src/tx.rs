//! `evhub tx`: half messages, which are published once somebody commits them. Asks a hub.

use anyhow::Context as _;
use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    client::{Client, path},
    exit::Exit,
    name::Reference,
    output::{self, Table, or_dash},
    style::{Style, Tone},
};

/// List, show, commit or roll back half messages
///
/// A half message is an event that was prepared: it is published when its publisher commits it, and forgotten when it rolls it
/// back. A publisher that does not come back is asked, as the Producer's transaction.checkBack says.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  evhub tx -n shop list orders\n  evhub tx -n shop list orders --state held\n  \
    evhub tx -n shop commit orders 01f63f03-aac0-57f8-bdfa-aaf2fedb0e52\n  \
    evhub tx -n shop rollback orders 01f63f03-aac0-57f8-bdfa-aaf2fedb0e52"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List those that nobody has decided on, the oldest first
    List {
        /// The Producer: NAME or NAMESPACE/NAME
        producer: Reference,
        /// Which of them
        #[arg(long, value_enum, default_value_t = State::Prepared)]
        state: State,
        #[command(flatten)]
        output: output::Options,
    },
    /// Show one; for a day after its decision, too
    Show {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        output: output::Options,
    },
    /// Publish one, in its publisher's place
    Commit {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        when: When,
        #[command(flatten)]
        output: output::Options,
    },
    /// Forget one, in its publisher's place
    Rollback {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        output: output::Options,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum State {
    /// All that nobody has decided on
    Prepared,
    /// Those whose publishers were asked already
    InDoubt,
    /// Those whose publishers are not asked any more
    Held,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The Producer: NAME or NAMESPACE/NAME
    producer: Reference,
    /// The half message, as its receipt or the list names it
    id: String,
}

/// When it is published, if not at once.
#[derive(Clone, Debug, clap::Args)]
#[group(multiple = false)]
struct When {
    /// So long from now on, as 90s or 1h30m
    #[arg(long, value_name = "DURATION")]
    delay: Option<String>,
    /// At an instant, as 2026-01-01T09:00:00Z; one that has passed is now
    #[arg(long, value_name = "INSTANT")]
    at: Option<String>,
}

/// A half message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Half {
    id: String,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prepared: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_check: Option<String>,
}

/// Does what is asked for.
pub(crate) async fn run(client: &Client, namespace: &str, args: Args) -> anyhow::Result<Exit> {
    match args.what {
        What::List { producer, state, output } => {
            let producer = producer.within(namespace);
            let of = path(&producer.namespace, &["producers", &producer.name, "transactions"]);
            let listed = client.list(&format!("{of}?state={}", state.word())).await;
            let halves: Vec<Half> =
                listed.with_context(|| format!("could not list the half messages of {producer}"))?;
            output::value(output.output, &halves, || table(&halves))?;
        }
        What::Show { which, output } => {
            let half: Half =
                client.get(&which.path(namespace, &[])).await.with_context(|| which.failed("show"))?;
            output::value(output.output, &half, || table(std::slice::from_ref(&half)))?;
        }
        What::Commit { which, when, output } => {
            let order = match (&when.delay, &when.at) {
                (Some(delay), _) => json!({ "delay": delay }),
                (None, Some(at)) => json!({ "due": at }),
                (None, None) => json!({}),
            };
            let committed = client.order(&which.path(namespace, &["commit"]), &order).await;
            let half: Half = committed.with_context(|| which.failed("commit"))?;
            output::value(output.output, &half, || table(std::slice::from_ref(&half)))?;
        }
        What::Rollback { which, output } => {
            let path = which.path(namespace, &["rollback"]);
            let rolled_back = client.post(&path, HeaderMap::new(), Bytes::new()).await;
            let half: Half = rolled_back.with_context(|| which.failed("roll back"))?;
            output::value(output.output, &half, || table(std::slice::from_ref(&half)))?;
        }
    }
    Ok(Exit::Success)
}

fn table(halves: &[Half]) -> String {
    if halves.is_empty() {
        return "no half message is undecided\n".to_owned();
    }
    let mut table = Table::new(["SINCE", "STATE", "CHECKS", "NEXT CHECK", "ID", "KEY", "EVENT"]);
    for half in halves {
        let since = half.prepared.clone().or_else(|| half.decided.clone());
        let key = half.key.clone().or_else(|| half.key_base64.clone());
        let checks = half.checks.map(|checks| checks.to_string());
        let cells = [
            or_dash(since),
            half.state.clone(),
            or_dash(checks),
            or_dash(half.next_check.clone()),
            half.id.clone(),
            or_dash(key),
            or_dash(half.event_id.clone()),
        ];
        table.row(Tone::Plain, cells);
    }
    table.render(Style::stdout())
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Prepared => "Prepared",
            Self::InDoubt => "InDoubt",
            Self::Held => "Held",
        }
    }
}

impl Which {
    fn path(&self, namespace: &str, more: &[&str]) -> String {
        let producer = self.producer.within(namespace);
        let of = ["producers", &producer.name, "transactions", &self.id];
        path(&producer.namespace, &[&of[..], more].concat())
    }

    fn failed(&self, verb: &str) -> String {
        format!("could not {verb} half message {}", self.id)
    }
}
