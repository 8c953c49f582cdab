//! `evhub listen`: a Producer's events as they come, forwarded to a URL. Reads from the hub and sends to the URL.

use std::{str::FromStr, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use evhub_event::json;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, uri::Scheme};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Serialize;

use crate::{
    client::Client,
    exit::Exit,
    name::Reference,
    output::{self, Format, or_dash, printable},
    style::{Style, Tone},
    tail::{
        self,
        stream::{Entry, Item, Tail},
    },
};

/// How long the service may take for one event.
const ANSWER: Duration = Duration::from_secs(10);
/// How much of an answer is read, so that its connection can be used again.
const READ: usize = 64 << 10;

/// Forward a Producer's events to a URL as they come
///
/// For trying a service out: each event that is published from now on is sent once, in order, as a Processor would send
/// it, and the answer is shown. Nothing is kept and nothing is tried again; a Processor does both.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  evhub listen -n shop orders --forward-to http://127.0.0.1:3000/events\n  \
    evhub listen shop/orders --forward-to http://127.0.0.1:3000/ --count 1 -o json"
)]
pub(crate) struct Args {
    /// The Producer: NAME or NAMESPACE/NAME
    producer: Reference,
    /// Where to send the events: an http URL
    #[arg(long, value_name = "URL")]
    forward_to: Target,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    output: output::Options,
}

/// What became of one event, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Forwarded<'a> {
    partition: u32,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// A URL that events can be sent to.
#[derive(Clone, Debug)]
struct Target(Uri);

/// Forwards them.
pub(crate) async fn run(client: &Client, namespace: &str, args: Args) -> anyhow::Result<Exit> {
    let producer = args.producer.within(namespace);
    let mut tail =
        Tail::open(client, &producer).await.with_context(|| format!("could not watch {producer}"))?;
    tail::note(
        args.output.output,
        &format!("forwarding {producer} to {}; Ctrl-C ends it\n", args.forward_to.0),
    );
    let (http, style) = (legacy::Client::builder(TokioExecutor::new()).build_http(), Style::stdout());
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        match tail.next().await.with_context(|| format!("could not go on watching {producer}"))? {
            Item::Event(entry) => {
                let outcome = forward(&http, &args.forward_to.0, &entry).await;
                output::text(&print(&entry, &outcome, args.output.output, style)?)?;
                left -= 1;
            }
            Item::Skipped { partition, events } => {
                eprintln!("warning: too slow: {events} events of partition {partition} are not forwarded");
            }
        }
    }
    Ok(Exit::Success)
}

/// The status that the service answered with, or why there is none.
async fn forward(
    http: &legacy::Client<HttpConnector, Full<Bytes>>,
    url: &Uri,
    entry: &Entry,
) -> Result<StatusCode, String> {
    let Some(event) = &entry.event else { return Err("not an event".to_owned()) };
    let event = json::decode(&Bytes::from(event.raw().to_owned())).map_err(|invalid| invalid.to_string())?;
    let (mut headers, body) = evhub_event::http::encode(&event);
    identify(&mut headers);
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = url.clone();
    *request.headers_mut() = headers;
    let answer = async {
        let answer = http.request(request).await.map_err(|error| innermost(&error))?;
        let (status, body) = (answer.status(), answer.into_body());
        // The status is the outcome, whatever becomes of the rest.
        let _ = Limited::new(body, READ).collect().await;
        Ok(status)
    };
    let late = |_| Err(format!("no answer within {ANSWER:?}"));
    tokio::time::timeout(ANSWER, answer).await.unwrap_or_else(late)
}

fn identify(headers: &mut HeaderMap) {
    headers.insert(HeaderName::from_static("evhub-attempt"), HeaderValue::from_static("1"));
    let agent = HeaderValue::from_static(concat!("evhub-listen/", env!("CARGO_PKG_VERSION")));
    headers.insert(http::header::USER_AGENT, agent);
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

fn print(
    entry: &Entry,
    outcome: &Result<StatusCode, String>,
    format: Format,
    style: Style,
) -> anyhow::Result<String> {
    let attribute = |name| entry.event.as_ref().and_then(|event| event.get(name)?.as_str());
    let forwarded = Forwarded {
        partition: entry.partition,
        offset: entry.offset,
        event_id: attribute("id"),
        kind: attribute("type"),
        status: outcome.as_ref().ok().map(StatusCode::as_u16),
        error: outcome.as_ref().err().map(String::as_str),
    };
    match format {
        Format::Table => Ok(line(entry, outcome, style)),
        format => output::each(format, &forwarded),
    }
}

fn line(entry: &Entry, outcome: &Result<StatusCode, String>, style: Style) -> String {
    let attribute =
        |name: &str| printable(&or_dash(entry.event.as_ref().and_then(|event| event.get(name)?.as_str())));
    let (tone, outcome) = match outcome {
        Ok(status) if status.is_success() => (Tone::Good, status.as_str().to_owned()),
        Ok(status) => (Tone::Bad, status.as_str().to_owned()),
        Err(problem) => (Tone::Bad, printable(problem)),
    };
    let place = format!("{}:{}", entry.partition, entry.offset);
    format!("{place}  {}  {}  {}\n", attribute("type"), attribute("id"), style.paint(tone, &outcome))
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri = text.parse::<Uri>().ok();
        let sound = |uri: &Uri| {
            uri.scheme() == Some(&Scheme::HTTP) && uri.host().is_some_and(|host| !host.is_empty())
        };
        uri.filter(sound).map(Self).ok_or("an http URL, as in http://127.0.0.1:3000/events")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_http_url() {
        assert!("http://127.0.0.1:3000/events".parse::<Target>().is_ok());
        for text in ["", "127.0.0.1:3000", "https://x", "http://", "/events"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
