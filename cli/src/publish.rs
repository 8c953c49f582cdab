//! `evhub publish`: sends events to a Producer and says what became of each.

mod data;
mod draft;
mod tally;

use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt, stream};
use uuid::Uuid;

pub(crate) use self::draft::{Draft, Receipt};
use self::{data::Source, tally::Tally};
use crate::{
    client::{self, Client},
    exit::{Exit, Usage},
    name::Reference,
    output,
};

/// How many events may be on their way at once: enough to fill the hub's group commits.
const IN_FLIGHT: usize = 64;

/// Publish events to a Producer
///
/// Prints the receipt: the partition and offset at which the event is durable. Exits 1 when any event was not accepted:
/// `rejected` ones are not in the log and never will be, `unknown` ones may be.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  evhub publish -n shop orders --key ada --data '{\"total\": 42}'\n  \
    evhub publish shop/orders --type shop.order.paid --data @order.json -o json\n  \
    evhub publish shop/orders --delay 1h --data '{\"remind\": \"ada\"}'\n  \
    evhub publish shop/orders --count 1000 --rate 100")]
pub(crate) struct Args {
    /// The Producer: NAME or NAMESPACE/NAME
    producer: Reference,
    /// What kind of thing happened
    #[arg(long = "type", value_name = "TYPE", default_value = "evhub.event")]
    kind: String,
    /// Where it happened: a URI reference [default: the Producer's path]
    #[arg(long)]
    source: Option<String>,
    /// Names the event within its source; with --count, `-1`, `-2`, … follow it [default: a new UUID each]
    #[arg(long)]
    id: Option<String>,
    /// What it is about
    #[arg(long)]
    subject: Option<String>,
    /// Events of one key are kept in order (as long as one is sent after the other)
    #[arg(long)]
    key: Option<String>,
    /// Publish once under this key: the same again gets the first receipt, until the Producer's window has passed
    #[arg(long, value_name = "KEY", conflicts_with = "count")]
    idempotency_key: Option<String>,
    /// The payload: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    data: Option<Source>,
    /// What the payload is, when it is not JSON
    #[arg(long, value_name = "MEDIA TYPE", requires = "data")]
    content_type: Option<String>,
    /// An extension attribute; may be repeated
    #[arg(long = "extension", value_name = "NAME=VALUE", value_parser = draft::extension)]
    extensions: Vec<(String, String)>,
    /// Publish so long from now on, as 90s or 1h30m
    #[arg(long, value_name = "DURATION", conflicts_with = "at")]
    delay: Option<String>,
    /// Publish at an instant, as 2026-01-01T09:00:00Z; one that has passed is now
    #[arg(long, value_name = "INSTANT")]
    at: Option<String>,
    /// How many events to publish, 64 at a time, without order among them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), default_value_t = 1)]
    count: u64,
    /// How many of them to publish a second [default: as many as go]
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// Go on when the hub cannot be reached, instead of giving up the rest
    #[arg(long)]
    keep_going: bool,
    #[command(flatten)]
    output: output::Options,
}

/// Publishes, and prints what came of it.
pub(crate) async fn run(client: &Client, namespace: &str, args: Args) -> anyhow::Result<Exit> {
    let producer = args.producer.within(namespace);
    let (count, rate, keep_going, format) = (args.count, args.rate, args.keep_going, args.output.output);
    let ids = Ids { stem: args.id.clone(), count };
    let draft = draft(args, &producer)?;
    let mut tally = Tally::new(producer.clone(), count, format);
    tally.begin()?;
    let mut results = std::pin::pin!(results(client, &draft, &ids, &producer, rate));
    while let Some((id, result)) = results.next().await {
        // When nothing is there any more, the rest would only fail in the same way, unless somebody comes back.
        let gone = !keep_going && result.as_ref().is_err_and(client::Error::is_unreachable);
        tally.add(id, result)?;
        if gone {
            break;
        }
    }
    tally.finish()
}

fn draft(args: Args, producer: &evhub_routing::Name) -> anyhow::Result<Draft> {
    let mut draft = Draft::new(producer, args.kind);
    if let Some(source) = args.source {
        draft.source = source;
    }
    draft.subject = args.subject;
    draft.extensions = args.extensions;
    draft.extensions.extend(args.key.map(|key| ("partitionkey".to_owned(), key)));
    let once = args.idempotency_key.map(|key| ("evhubidempotencykey".to_owned(), key));
    draft.extensions.extend(once);
    draft.extensions.extend(args.delay.map(|delay| ("evhubdelay".to_owned(), delay)));
    draft.extensions.extend(args.at.map(|at| ("evhubdeliverat".to_owned(), at)));
    if let Some(source) = args.data {
        draft.data = Some(data::read(&source, args.content_type)?);
    }
    draft.check().map_err(|problem| Usage(problem.to_string()))?;
    Ok(draft)
}

/// One result an event, in the order of their numbers.
fn results<'a>(
    client: &'a Client,
    draft: &'a Draft,
    ids: &'a Ids,
    producer: &'a evhub_routing::Name,
    rate: Option<f64>,
) -> impl Stream<Item = (String, Result<Receipt, client::Error>)> + use<'a> {
    let start = Instant::now();
    let one = move |n| async move {
        if let Some(rate) = rate {
            let due = start + Duration::from_secs_f64(n as f64 / rate);
            tokio::time::sleep_until(due.into()).await;
        }
        let id = ids.of(n);
        let result = draft.send(client, producer, &id).await;
        (id, result)
    };
    stream::iter(0..ids.count).map(one).buffered(IN_FLIGHT)
}

/// The ids of a run of events.
struct Ids {
    stem: Option<String>,
    count: u64,
}

impl Ids {
    fn of(&self, n: u64) -> String {
        match &self.stem {
            None => Uuid::now_v7().to_string(),
            Some(id) if self.count == 1 => id.clone(),
            Some(id) => format!("{id}-{}", n + 1),
        }
    }
}

fn rate(text: &str) -> Result<f64, &'static str> {
    // One event a day is slow enough, and keeps the sum of all waits within what a clock can hold.
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate >= 1.0 / 86_400.0);
    rate.ok_or("a rate is a number of events a second, as in 100 or 0.5")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_given_made_or_numbered() {
        assert_eq!(Ids { stem: Some("a".to_owned()), count: 1 }.of(0), "a");
        assert_eq!(Ids { stem: Some("a".to_owned()), count: 2 }.of(1), "a-2");
        let made = Ids { stem: None, count: 2 };
        assert_ne!(made.of(0), made.of(1));
    }

    #[test]
    fn a_rate_is_positive() {
        assert_eq!(rate("0.5"), Ok(0.5));
        for text in ["0", "-1", "NaN", "inf", "fast", "1e-30"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
