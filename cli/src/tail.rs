//! `evhub tail`: a Producer's events as they come. Reads from the hub and writes to standard output.

pub(crate) mod stream;

use std::fmt::Write as _;

use anyhow::Context as _;

use self::stream::{Entry, Item, Tail};
use crate::{
    client::Client,
    exit::Exit,
    name::Reference,
    output::{self, Format, or_dash, printable},
    style::{Style, Tone},
};

/// Show a Producer's events as they come
///
/// Begins with what is published from now on, and keeps nothing: what the log has already is at `GET …/events`. Ends with
/// Ctrl-C, or after --count events.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  evhub tail -n shop orders\n  evhub tail shop/orders --count 1 -o json")]
pub(crate) struct Args {
    /// The Producer: NAME or NAMESPACE/NAME
    producer: Reference,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    output: output::Options,
}

/// Shows them.
pub(crate) async fn run(client: &Client, namespace: &str, args: Args) -> anyhow::Result<Exit> {
    let producer = args.producer.within(namespace);
    let mut tail =
        Tail::open(client, &producer).await.with_context(|| format!("could not watch {producer}"))?;
    note(args.output.output, &format!("watching {producer}; Ctrl-C ends it\n"));
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        match tail.next().await.with_context(|| format!("could not go on watching {producer}"))? {
            Item::Event(entry) => {
                output::text(&print(&entry, args.output.output, Style::stdout())?)?;
                left -= 1;
            }
            Item::Skipped { partition, events } => {
                eprintln!("warning: too slow: {events} events of partition {partition} are not shown");
            }
        }
    }
    Ok(Exit::Success)
}

/// Says something to people, who need not be told what programs know.
pub(crate) fn note(format: Format, text: &str) {
    if format == Format::Table {
        eprint!("{text}");
    }
}

fn print(entry: &Entry, format: Format, style: Style) -> anyhow::Result<String> {
    match format {
        Format::Table => Ok(line(entry, style)),
        Format::Json => output::each(format, entry),
        // YAML has no place for JSON as it was written.
        Format::Yaml => output::each(format, &entry.plain()?),
    }
}

/// How much of an event's data fits a line.
const SHOWN: usize = 120;

/// One event in one line: when, where, key, what and which, and the beginning of its data.
fn line(entry: &Entry, style: Style) -> String {
    let attribute = |name: &str| entry.event.as_ref().and_then(|event| event.get(name)?.as_str());
    let mut text = format!(
        "{}  {}:{}  key {}  {}  {}",
        style.paint(Tone::Faint, &or_dash(entry.time.as_ref())),
        entry.partition,
        entry.offset,
        printable(&or_dash(entry.key.as_ref())),
        style.paint(Tone::Strong, &printable(&or_dash(attribute("type")))),
        printable(&or_dash(attribute("id"))),
    );
    // Writing to a string cannot fail.
    let _ = match (&entry.poison, entry.event.as_ref().and_then(|event| event.get("data"))) {
        (Some(poison), _) => write!(text, "  {}", style.paint(Tone::Bad, poison)),
        (None, Some(data)) => write!(text, "  {}", shortened(&printable(&data.to_string()))),
        (None, None) => Ok(()),
    };
    text + "\n"
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Entry {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_line_for_people_and_a_line_for_programs() {
        let text = r#"{"partition":3,"offset":17,"time":"2026-01-01T00:00:00.000Z","key":"ada","event":{"specversion":"1.0","id":"a\n","source":"/s","type":"t","data":{"n":1}}}"#;
        assert_eq!(
            print(&entry(text), Format::Table, Style::none()).unwrap(),
            "2026-01-01T00:00:00.000Z  3:17  key ada  t  a\\n  {\"n\":1}\n"
        );
        let json = print(&entry(text), Format::Json, Style::none()).unwrap();
        assert_eq!(json.lines().count(), 1);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["event"]["data"]["n"], 1);
        let poison = entry(r#"{"partition":0,"offset":1,"poison":"POISON_DECODE"}"#);
        assert_eq!(line(&poison, Style::none()), "-  0:1  key -  -  -  POISON_DECODE\n");
    }

    #[test]
    fn long_data_is_cut() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened(&"é".repeat(200)), format!("{}…", "é".repeat(SHOWN)));
    }
}
