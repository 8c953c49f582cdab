//! `evhub dead`: what could not be delivered, why, and another chance for it.

mod redrive;

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Subcommand;
use evhub_routing::Name;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    client::{self, Client, path},
    exit::Exit,
    name::Reference,
    output::{self, Table, or_dash, printable},
    style::{Style, Tone},
};

/// Look at dead letters and redrive them
///
/// An event becomes a dead letter of a Processor when its last permitted attempt failed, or when the target's answer
/// says that repeating is pointless. It keeps its bytes and the whole story.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  evhub dead list -n shop billing\n  evhub dead redrive shop/billing --all"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List a Processor's dead letters
    ///
    /// On a terminal a long cause is cut to what fits; `dead show` and -o json have it whole.
    #[command(after_help = "Example:\n  evhub dead list -n shop billing -o json")]
    List {
        /// The Processor: NAME or NAMESPACE/NAME
        processor: Reference,
        #[command(flatten)]
        output: output::Options,
    },
    /// Show dead letters whole: causes, headers, data
    #[command(after_help = "Example:\n  evhub dead show -n shop billing evhub.shop.orders:0:17")]
    Show {
        /// The Processor: NAME or NAMESPACE/NAME
        processor: Reference,
        /// Which ones, as `dead list` names them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        output: output::Options,
    },
    /// Deliver dead letters again
    Redrive(redrive::Args),
}

/// A dead letter as the hub tells it; fields that this version does not know are passed on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Letter {
    /// Its name.
    pub(crate) id: String,
    /// The `id` attribute of its event; unknown when its record could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    topic: String,
    partition: u32,
    offset: u64,
    /// How many attempts were made.
    pub(crate) attempts: u32,
    /// Why there will be no more.
    pub(crate) reason: String,
    /// What the last attempt came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_attempt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_attempt: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Runs the verb.
pub(crate) async fn run(client: &Client, namespace: &str, args: Args) -> anyhow::Result<Exit> {
    match args.verb {
        Verb::List { processor, output } => {
            let processor = processor.within(namespace);
            let letters = list(client, &processor)
                .await
                .with_context(|| format!("could not list the dead letters of {processor}"))?;
            output::value(output.output, &letters, || listed(&processor, &letters, Style::stdout()))?;
        }
        Verb::Show { processor, ids, output } => {
            let letters = show(client, &processor.within(namespace), &ids).await?;
            output::value(output.output, &letters, || {
                letters.iter().map(|l| story(l, Style::stdout())).collect()
            })?;
        }
        Verb::Redrive(args) => return redrive::run(client, namespace, args).await,
    }
    Ok(Exit::Success)
}

/// All dead letters of a Processor.
pub(crate) async fn list(client: &Client, processor: &Name) -> Result<Vec<Letter>, client::Error> {
    client.list(&path(&processor.namespace, &["processors", &processor.name, "dead"])).await
}

async fn show(client: &Client, processor: &Name, ids: &[String]) -> anyhow::Result<Vec<Letter>> {
    let mut letters = Vec::with_capacity(ids.len());
    for id in ids {
        let path = path(&processor.namespace, &["processors", &processor.name, "dead", id]);
        let letter =
            client.get(&path).await.with_context(|| format!("could not show {id} of {processor}"))?;
        letters.push(letter);
    }
    Ok(letters)
}

fn listed(processor: &Name, letters: &[Letter], style: Style) -> String {
    if letters.is_empty() {
        return format!("{processor} has no dead letters\n");
    }
    let mut table = Table::new(["ID", "EVENT", "KEY", "REASON", "ATTEMPTS", "LAST ATTEMPT", "CAUSE"]);
    for letter in letters {
        let cells = [
            letter.id.clone(),
            or_dash(letter.event_id.as_ref()),
            or_dash(letter.key.as_ref()),
            letter.reason.clone(),
            letter.attempts.to_string(),
            or_dash(letter.last_attempt.as_ref()),
            or_dash(letter.cause.as_ref()),
        ];
        table.row(Tone::Plain, cells);
    }
    table.render(style)
}

/// One letter for a person: the line of each fact, then what is longer.
fn story(letter: &Letter, style: Style) -> String {
    let mut text = style.paint(Tone::Strong, &printable(&letter.id)) + "\n";
    let position = format!("{} partition {} offset {}", letter.topic, letter.partition, letter.offset);
    let facts = [
        ("event", letter.event_id.clone()),
        ("type", letter.kind.clone()),
        ("source", letter.source.clone()),
        ("key", letter.key.clone()),
        ("position", Some(position)),
        ("reason", Some(letter.reason.clone())),
        ("attempts", Some(letter.attempts.to_string())),
        ("first attempt", letter.first_attempt.clone()),
        ("last attempt", letter.last_attempt.clone()),
        ("cause", letter.cause.clone()),
    ];
    for (name, value) in facts.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        let _ = writeln!(text, "  {name:<14} {}", printable(&value));
    }
    for (name, value) in &letter.rest {
        let (name, value) = match (name.as_str(), value.as_str()) {
            ("dataBase64", Some(data)) => ("data".to_owned(), self::data(data)),
            _ => (printable(name), plain(value)),
        };
        let width = if value.starts_with('\n') { 0 } else { 14 };
        let _ = write!(text, "  {name:<width$}{value}");
    }
    text
}

/// What the event carries: as it is where that is text, else what it takes to look at it elsewhere.
fn data(base64: &str) -> String {
    let bytes = STANDARD.decode(base64).unwrap_or_default();
    let readable = |text: &&str| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
    match std::str::from_utf8(&bytes).ok().filter(readable) {
        Some(text) if !text.contains('\n') => format!(" {}\n", printable(text)),
        Some(text) => text.lines().fold("\n".to_owned(), |all, line| all + "    " + &printable(line) + "\n"),
        None => format!(" {} bytes, no text; in base64: {base64}\n", bytes.len()),
    }
}

/// Texts without their quotes, the items of a list a line each, everything else as compact JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => format!(" {}\n", printable(text)),
        Value::Array(items) => {
            items.iter().fold("\n".to_owned(), |text, item| text + "    " + &flat(item) + "\n")
        }
        other => format!(" {other}\n"),
    }
}

/// An item in one line: for an object its members, names first.
fn flat(item: &Value) -> String {
    let member = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{}={}", printable(name), printable(text)),
        other => format!("{}={other}", printable(name)),
    };
    match item {
        Value::Object(members) if members.len() == 2 && members.contains_key("name") => {
            let text = |name| members.get(name).and_then(Value::as_str).unwrap_or_default();
            format!("{}: {}", printable(text("name")), printable(text("value")))
        }
        Value::Object(members) if members.contains_key("attempt") && members.contains_key("text") => {
            let word = |name: &str| {
                members.get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), printable))
            };
            let attempt = word("attempt").map(|attempt| format!("attempt {attempt}"));
            [word("time"), attempt, word("status"), word("text")]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("  ")
        }
        Value::Object(members) => members.iter().map(member).collect::<Vec<_>>().join("  "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LETTER: &str = r#"{
  "id": "evhub.shop.orders:3:17",
  "eventId": "order-4",
  "source": "/shop",
  "type": "shop.order.paid",
  "key": "ada",
  "topic": "evhub.shop.orders",
  "partition": 3,
  "offset": 17,
  "attempts": 3,
  "reason": "MAX_ATTEMPTS",
  "cause": "503 Service Unavailable",
  "firstAttempt": "2026-01-01T00:00:00.000Z",
  "lastAttempt": "2026-01-01T00:00:01.000Z",
  "causes": [
    {
      "attempt": 3,
      "status": 503,
      "text": "no"
    }
  ],
  "processorUid": "u-1"
}
"#;

    fn letter() -> Letter {
        serde_json::from_str(LETTER).unwrap()
    }

    #[test]
    fn a_letter_is_printed_as_it_came() {
        assert_eq!(output::json(&letter()).unwrap(), LETTER);
    }

    #[test]
    fn unknown_fields_stay_absent() {
        let short =
            r#"{"id":"t:0:1","topic":"t","partition":0,"offset":1,"attempts":0,"reason":"POISON_DECODE"}"#;
        let letter: Letter = serde_json::from_str(short).unwrap();
        assert_eq!(serde_json::to_string(&letter).unwrap(), short);
        assert!(
            listed(&Name::new("a", "b"), &[letter], Style::none())
                .ends_with("t:0:1  -      -    POISON_DECODE  0         -             -\n")
        );
    }

    #[test]
    fn a_list_is_a_table() {
        let expected = "\
ID                      EVENT    KEY  REASON        ATTEMPTS  LAST ATTEMPT              CAUSE
evhub.shop.orders:3:17  order-4  ada  MAX_ATTEMPTS  3         2026-01-01T00:00:01.000Z  503 Service Unavailable
";
        let processor = Name::new("shop", "billing");
        assert_eq!(listed(&processor, &[letter()], Style::none()), expected);
        assert_eq!(listed(&processor, &[], Style::none()), "shop/billing has no dead letters\n");
    }

    #[test]
    fn a_story_tells_everything() {
        let story = story(&letter(), Style::none());
        assert!(story.starts_with("evhub.shop.orders:3:17\n  event          order-4\n"), "{story}");
        assert!(story.ends_with("  causes\n    attempt 3  503  no\n  processorUid   u-1\n"), "{story}");
    }

    #[test]
    fn data_is_shown_as_text_where_it_is_text() {
        let shown = |bytes: &[u8]| data(&STANDARD.encode(bytes));
        assert_eq!(shown(br#"{"order": 1}"#), " {\"order\": 1}\n");
        assert_eq!(shown("a\n\tb é\n".as_bytes()), "\n    a\n    \\tb é\n");
        assert_eq!(shown(b""), " \n");
        assert_eq!(shown(b"\xff"), " 1 bytes, no text; in base64: /w==\n");
        assert_eq!(shown(b"\x1b[2J"), " 4 bytes, no text; in base64: G1sySg==\n");
    }
}
