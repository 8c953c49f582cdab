//! `evhub status`: what a hub runs in a namespace, and how it is doing.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    client::{Client, path},
    exit::Exit,
    output::{self, Format, Table, or_dash},
    style::{Style, Tone},
};

/// Show the Producers and Processors of a namespace, or of all, and how they are doing
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  evhub status -n shop\n  evhub status -A\n  evhub status -n shop -o json"
)]
pub(crate) struct Args {
    /// All namespaces that there are
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    #[command(flatten)]
    output: output::Options,
}

/// Everything there is to say; fields that this version does not know are passed on.
#[derive(Debug, Serialize)]
struct Status {
    producers: Vec<Producer>,
    processors: Vec<Processor>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Producer {
    namespace: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ready: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<u32>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Processor {
    namespace: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ready: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parked: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_lettered: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspended: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_delivery: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Prints it.
pub(crate) async fn run(client: &Client, namespace: &str, args: Args) -> anyhow::Result<Exit> {
    let namespaces = if args.all_namespaces {
        client.list("/namespaces").await.context("could not read which namespaces there are")?
    } else {
        vec![namespace.to_owned()]
    };
    let mut status = Status { producers: Vec::new(), processors: Vec::new() };
    for namespace in &namespaces {
        let intent = || format!("could not read the status of namespace {namespace}");
        let of = |kind| path(namespace, &[kind]);
        status.producers.extend(client.list::<Producer>(&of("producers")).await.with_context(intent)?);
        status.processors.extend(client.list::<Processor>(&of("processors")).await.with_context(intent)?);
    }
    let is_empty = status.producers.is_empty() && status.processors.is_empty();
    // Only a hint, so that a hub that does not know is no failure.
    let others: Vec<String> = if is_empty && args.output.output == Format::Table {
        client.list("/namespaces").await.unwrap_or_default()
    } else {
        Vec::new()
    };
    output::value(args.output.output, &status, || {
        if is_empty { nothing(&namespaces, &others) } else { tables(&status, Style::stdout()) }
    })?;
    Ok(Exit::Success)
}

/// Where to look instead.
fn nothing(namespaces: &[String], others: &[String]) -> String {
    match (namespaces, others) {
        ([namespace], []) => format!("nothing runs in namespace {namespace}; another one is named with -n\n"),
        (_, []) => "nothing runs here: the hub's folder has no resource that is accepted\n".to_owned(),
        ([namespace], [only]) => {
            format!("nothing runs in namespace {namespace}; what runs is in {only}: -n {only}\n")
        }
        (_, _) => format!(
            "nothing runs there; what runs is in {}: -n NAMESPACE, or -A for all\n",
            others.join(", ")
        ),
    }
}

fn tables(status: &Status, style: Style) -> String {
    let producers = producers(&status.producers, style);
    let processors = processors(&status.processors, style);
    let tables = [producers, processors].into_iter().flatten().collect::<Vec<_>>().join("\n");
    let all = status.producers.iter().map(|one| ("Producer", &one.namespace, &one.name, &one.rest));
    let all =
        all.chain(status.processors.iter().map(|one| ("Processor", &one.namespace, &one.name, &one.rest)));
    let tables = all.fold(tables, |text, (kind, namespace, name, rest)| match denied(rest) {
        None => text,
        Some(why) => {
            let line = format!("{kind} {namespace}/{name} does not run: {why}; the hub's log says more");
            format!("{text}\n{}\n", style.paint(Tone::Bad, &line))
        }
    });
    let troubled = status.processors.iter().filter_map(|one| Some((one, one.rest.get("trouble")?.as_str()?)));
    let tables = troubled.fold(tables, |text, (Processor { namespace, name, .. }, why)| {
        let line = format!("{namespace}/{name} does not listen to everything: {why}");
        format!("{text}\n{}\n", style.paint(Tone::Bad, &line))
    });
    let exhausted = status.processors.iter().filter(|one| one.is_exhausted());
    exhausted.fold(tables, |text, Processor { namespace, name, .. }| {
        let line = format!(
            "{namespace}/{name} suspended itself: an event is exhausted, the hub's log says which and why. \
             `evhub resume {namespace}/{name}` tries it once more"
        );
        format!("{text}\n{}\n", style.paint(Tone::Warning, &line))
    })
}

impl Processor {
    /// Whether an event stopped it, and not its author.
    fn is_exhausted(&self) -> bool {
        conditions(&self.rest).any(|one| one["type"] == "Suspended" && one["reason"] == "Exhausted")
    }

    /// The Producers that it reads.
    fn producers(&self) -> Option<String> {
        let routes = self.rest.get("routes")?.as_array()?;
        Some(routes.iter().filter_map(|route| route["producer"].as_str()).collect::<Vec<_>>().join(","))
    }
}

fn conditions(rest: &BTreeMap<String, Value>) -> impl Iterator<Item = &Value> {
    rest.get("conditions").and_then(Value::as_array).into_iter().flatten()
}

/// Why a resource that was written does not run.
fn denied(rest: &BTreeMap<String, Value>) -> Option<String> {
    let denied = |one: &&Value| {
        one["status"] == "False" && (one["type"] == "Accepted" || one["type"] == "ResolvedRefs")
    };
    let one = conditions(rest).find(denied)?;
    Some(format!("{}/{}", one["type"].as_str()?, one["reason"].as_str()?))
}

fn producers(all: &[Producer], style: Style) -> Option<String> {
    let mut table = Table::new(["PRODUCER", "READY", "PARTITIONS", "TOPIC"]);
    for one in all {
        let cells = [
            format!("{}/{}", one.namespace, one.name),
            yes_or_no(one.ready),
            or_dash(one.partitions),
            or_dash(one.topic.as_ref()),
        ];
        table.row(readiness(one.ready), cells);
    }
    (!all.is_empty()).then(|| table.render(style))
}

fn processors(all: &[Processor], style: Style) -> Option<String> {
    let headings =
        ["PROCESSOR", "PRODUCERS", "READY", "LAG", "OLDEST", "PARKED", "IN FLIGHT", "DEAD", "LAST DELIVERY"];
    let mut table = Table::new(headings);
    for one in all {
        let suspended = one.suspended == Some(true);
        let cells = [
            format!("{}/{}", one.namespace, one.name),
            or_dash(one.producers()),
            if suspended { "suspended".to_owned() } else { yes_or_no(one.ready) },
            or_dash(one.lag),
            or_dash(one.oldest_time.as_ref()),
            or_dash(one.parked),
            or_dash(one.in_flight),
            or_dash(one.dead_lettered),
            or_dash(one.last_delivery.as_ref()),
        ];
        table.row(health(one), cells);
    }
    (!all.is_empty()).then(|| table.render(style))
}

fn readiness(ready: Option<bool>) -> Tone {
    match ready {
        Some(true) => Tone::Good,
        Some(false) => Tone::Bad,
        None => Tone::Plain,
    }
}

fn health(one: &Processor) -> Tone {
    let troubled = one.parked.is_some_and(|n| n > 0) || one.dead_lettered.is_some_and(|n| n > 0);
    match readiness(one.ready) {
        Tone::Bad => Tone::Bad,
        _ if troubled || one.suspended == Some(true) => Tone::Warning,
        tone => tone,
    }
}

fn yes_or_no(value: Option<bool>) -> String {
    or_dash(value.map(|yes| if yes { "yes" } else { "no" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCER: &str =
        r#"{"namespace":"shop","name":"orders","ready":true,"topic":"evhub.shop.orders","partitions":4}"#;
    const PROCESSOR: &str = r#"{"namespace":"shop","name":"billing","ready":true,"lag":12,"oldestTime":"2026-01-01T00:00:00.000Z","parked":2,"inFlight":1,"deadLettered":3,"suspended":false,"lastDelivery":"2026-01-01T00:00:01.000Z","conditions":[],"routes":[{"producer":"shop/orders","topic":"evhub.shop.orders"}]}"#;

    fn status() -> Status {
        Status {
            producers: vec![serde_json::from_str(PRODUCER).unwrap()],
            processors: vec![serde_json::from_str(PROCESSOR).unwrap()],
        }
    }

    #[test]
    fn json_is_what_the_hub_says() {
        let expected = format!(r#"{{"producers":[{PRODUCER}],"processors":[{PROCESSOR}]}}"#);
        assert_eq!(serde_json::to_string(&status()).unwrap(), expected);
    }

    #[test]
    fn two_tables_for_people() {
        let expected = "\
PRODUCER     READY  PARTITIONS  TOPIC
shop/orders  yes    4           evhub.shop.orders

PROCESSOR     PRODUCERS    READY  LAG  OLDEST                    PARKED  IN FLIGHT  DEAD  LAST DELIVERY
shop/billing  shop/orders  yes    12   2026-01-01T00:00:00.000Z  2       1          3     2026-01-01T00:00:01.000Z
";
        assert_eq!(tables(&status(), Style::none()), expected);
    }

    #[test]
    fn an_empty_namespace_says_where_to_look() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        for (asked, others, expected) in [
            (
                &["default"][..],
                &["shop"][..],
                "nothing runs in namespace default; what runs is in shop: -n shop\n",
            ),
            (
                &["default"],
                &["a", "b"],
                "nothing runs there; what runs is in a, b: -n NAMESPACE, or -A for all\n",
            ),
            (&["default"], &[], "nothing runs in namespace default; another one is named with -n\n"),
            (&[], &[], "nothing runs here: the hub's folder has no resource that is accepted\n"),
        ] {
            assert_eq!(nothing(&names(asked), &names(others)), expected);
        }
    }

    #[test]
    fn who_suspended_itself_is_told_of() {
        let mut status = status();
        assert!(!tables(&status, Style::none()).contains("resume"));
        let condition = serde_json::json!([{"type": "Suspended", "status": "True", "reason": "Exhausted"}]);
        status.processors[0].rest.insert("conditions".to_owned(), condition);
        assert!(tables(&status, Style::none()).contains("`evhub resume shop/billing` tries it once more\n"));
    }

    #[test]
    fn why_one_does_not_listen_is_told() {
        let mut status = status();
        status.processors[0].rest.insert("trouble".to_owned(), "nobody leads it".into());
        let text = tables(&status, Style::none());
        assert!(text.ends_with("shop/billing does not listen to everything: nobody leads it\n"), "{text}");
    }

    #[test]
    fn what_does_not_run_is_told_of() {
        let mut status = status();
        let refused = r#"{"namespace":"shop","name":"typo","ready":false,"conditions":[
            {"type":"Ready","status":"False","reason":"UnknownField"},{"type":"Accepted","status":"False","reason":"UnknownField"}]}"#;
        status.producers.push(serde_json::from_str(refused).unwrap());
        let text = tables(&status, Style::none());
        assert!(text.contains("shop/typo    no     -           -\n"), "{text}");
        assert!(
            text.ends_with(
                "Producer shop/typo does not run: Accepted/UnknownField; the hub's log says more\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn trouble_shows() {
        let mut one = status().processors.remove(0);
        assert_eq!(health(&one), Tone::Warning);
        (one.parked, one.dead_lettered) = (Some(0), Some(0));
        assert_eq!(health(&one), Tone::Good);
        one.ready = Some(false);
        assert_eq!(health(&one), Tone::Bad);
    }
}
