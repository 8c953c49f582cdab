//! `evhub dead redrive`: another chance for dead letters, all at once or so many a second. I/O.

use std::{collections::BTreeSet, io::Write as _, num::NonZeroU32, time::Duration};

use anyhow::{Context as _, bail, ensure};
use evhub_routing::Name;
use serde::{Deserialize, Serialize};
use tokio::{signal, time::sleep};

use crate::{
    client::{Client, path},
    exit::Exit,
    name::Reference,
    output,
};

/// How often a replay is asked how far it is.
const ASKED: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("which").required(true).args(["ids", "all"]),
    after_help = "Examples:\n  evhub dead redrive -n shop billing evhub.shop.orders:0:17\n  \
        evhub dead redrive -n shop billing --all --dry-run\n  \
        evhub dead redrive -n shop billing --all --rate 20"
)]
pub(super) struct Args {
    /// The Processor: NAME or NAMESPACE/NAME
    processor: Reference,
    /// Which ones, as `dead list` names them
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Every one there is now
    #[arg(long)]
    all: bool,
    /// Only say how many there are
    #[arg(long)]
    dry_run: bool,
    /// At most so many events a second; waits until it is done, and ^C stops it
    #[arg(long, value_name = "EVENTS", conflicts_with = "dry_run")]
    rate: Option<NonZeroU32>,
    #[command(flatten)]
    output: output::Options,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    from: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ids: Vec<String>,
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<NonZeroU32>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Started {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    matched: u64,
}

/// How far a replay is.
#[derive(Debug, Deserialize)]
struct Progress {
    state: String,
    matched: u64,
    replayed: u64,
    detail: Option<String>,
}

/// Runs the verb.
pub(super) async fn run(client: &Client, namespace: &str, args: Args) -> anyhow::Result<Exit> {
    let Args { processor, ids, all: _, dry_run, rate, output } = args;
    let processor = processor.within(namespace);
    let named = ids.iter().collect::<BTreeSet<_>>().len() as u64;
    let replays = path(&processor.namespace, &["processors", &processor.name, "replays"]);
    let order = Order { from: "Dead", ids, dry_run, rate };
    let failed = || format!("could not redrive dead letters of {processor}");
    let started: Started = client.order(&replays, &order).await.with_context(failed)?;
    if let (Some(_), Some(id)) = (rate, &started.id) {
        let replay = path(&processor.namespace, &["processors", &processor.name, "replays", id]);
        follow(client, &processor, &replay).await.with_context(failed)?;
    }
    output::value(output.output, &started, || told(&processor, &started, (dry_run, rate.is_some())))?;
    let missing = named.saturating_sub(started.matched);
    ensure!(
        missing == 0,
        "{missing} of the {named} ids name no dead letter; `evhub dead list {processor}` shows which there are"
    );
    Ok(Exit::Success)
}

/// Waits until a replay has ended, and says on stderr how far it is. An interrupt stops it: what was replayed by then is
/// delivered.
async fn follow(client: &Client, processor: &Name, replay: &str) -> anyhow::Result<()> {
    let mut interrupt = std::pin::pin!(signal::ctrl_c());
    let mut before = None;
    loop {
        let now: Progress = client.get(replay).await?;
        let Progress { state, matched, replayed, detail } = now;
        if before != Some(replayed) {
            // Nobody may read it.
            let _ = writeln!(std::io::stderr(), "{replayed} of {matched} dead letters of {processor}");
            before = Some(replayed);
        }
        match state.as_str() {
            "Running" => {}
            "Done" => return Ok(()),
            "Stopped" => bail!("it was stopped after {replayed} of {matched}"),
            _ => bail!("it broke off after {replayed} of {matched}: {}", detail.unwrap_or(state)),
        }
        tokio::select! {
            _ = &mut interrupt => client.forget(replay).await?,
            () = sleep(ASKED) => {}
        }
    }
}

fn told(processor: &Name, started: &Started, (dry_run, done): (bool, bool)) -> String {
    let verb = match (dry_run, done) {
        (true, _) => "would be delivered",
        (false, true) => "are being delivered",
        (false, false) => "will be delivered",
    };
    let count = match started.matched {
        1 => "1 dead letter".to_owned(),
        n => format!("{n} dead letters"),
    };
    format!("{count} of {processor} {verb} again\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_means_no_ids() {
        let order = Order { from: "Dead", ids: Vec::new(), dry_run: true, rate: None };
        assert_eq!(serde_json::to_string(&order).unwrap(), r#"{"from":"Dead","dryRun":true}"#);
    }

    #[test]
    fn a_redrive_says_how_many() {
        let processor = Name::new("shop", "billing");
        let said = |matched, how| told(&processor, &Started { id: None, matched }, how);
        assert_eq!(said(1, (false, false)), "1 dead letter of shop/billing will be delivered again\n");
        assert_eq!(said(0, (true, false)), "0 dead letters of shop/billing would be delivered again\n");
        assert_eq!(said(2, (false, true)), "2 dead letters of shop/billing are being delivered again\n");
    }
}
