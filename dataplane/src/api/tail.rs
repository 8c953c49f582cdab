//! A Producer's events as they come, for people who watch: server-sent events. Reads the log.
//!
//! Nothing is kept for a reader: it is sent what the log has since its last turn, a piece at a time, and only as fast as
//! it takes it. One that falls far behind is told how many events it does not get, and goes on at the end. So a watcher
//! costs little and delays nobody.
//!
//! | event | data |
//! |---|---|
//! | (none) | `{partition, offset, time, key, event}`, with `partition:offset` as its id |
//! | `skipped` | `{partition, events}`: the reader was too slow for these |
//! | `ended` | `{reason}`: the Producer was removed, or the log could not be read |

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    response::{IntoResponse, Response},
};
use evhub_journal::{Error, Journal, TopicPartition};
use evhub_routing::Producer;
use futures_util::stream;
use http::{Uri, header};
use serde::Serialize;
use serde_json::json;
use tokio::{sync::OwnedSemaphorePermit, time::sleep};

use super::{Api, log::Entry};
use crate::{
    Hub,
    problem::{Problem, reason},
    request::{Named, Query},
};

/// How many may watch at once: more are a mistake, and each costs a look at every partition ten times a second.
pub(super) const WATCHERS: usize = 32;
/// How often is looked for events.
const LOOK: Duration = Duration::from_millis(100);
/// How long nothing is said before a comment shows that the connection lives.
const ALIVE: Duration = Duration::from_secs(10);
/// How far a reader may fall behind in one partition.
const BEHIND: u64 = 10_000;
/// What one partition gives at a time, in events and about bytes.
const PIECE: (usize, usize) = (256, 256 << 10);

struct Tail<J: Journal> {
    hub: Hub<J>,
    producer: Arc<Producer>,
    /// Where to read on, by partition.
    offsets: Vec<u64>,
    spoke: Instant,
    ended: bool,
    _slot: OwnedSemaphorePermit,
}

/// Sends what is published from now on.
pub(super) async fn tail<J: Journal>(
    State(api): State<Api<J>>,
    Named(name): Named,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let missing = || Problem::new(reason::UNKNOWN_PRODUCER, "no Producer of this name runs here");
    let producer = api.hub.running().producers.get(&name).cloned().ok_or_else(missing)?;
    let busy = |_| {
        let detail = format!("{WATCHERS} watch already, which is all that may");
        Problem::new(reason::BUSY, detail).retry_after(1)
    };
    let slot = Arc::clone(&api.watchers).try_acquire_owned().map_err(busy)?;
    let mut offsets = Vec::new();
    for partition in 0..producer.partitions {
        offsets.push(api.hub.journal.end(&at(&producer, partition)).await?);
    }
    let tail = Tail { hub: api.hub, producer, offsets, spoke: Instant::now(), ended: false, _slot: slot };
    let greeting = Bytes::from(format!(": what is published to {name} from now on\n\n"));
    let pieces = stream::unfold((Some(greeting), tail), async |(greeting, mut tail)| {
        let piece = match greeting {
            Some(greeting) => greeting,
            None => tail.next().await?,
        };
        Some((Ok::<_, Infallible>(piece), (None, tail)))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

fn at(producer: &Producer, partition: u32) -> TopicPartition {
    TopicPartition { topic: producer.topic.clone(), partition }
}

// === impl Tail ===

impl<J: Journal> Tail<J> {
    /// The next piece to send; `None` when there will be no more.
    async fn next(&mut self) -> Option<Bytes> {
        // Nobody says any more what runs when the hub is stopping.
        while !self.ended && self.hub.snapshot.has_changed().is_ok() {
            let piece = match self.look().await {
                Ok(piece) if piece.is_empty() && self.spoke.elapsed() >= ALIVE => ": alive\n\n".to_owned(),
                Ok(piece) => piece,
                Err(problem) => self.end(problem.reason.word),
            };
            if !piece.is_empty() {
                self.spoke = Instant::now();
                return Some(piece.into());
            }
            sleep(LOOK).await;
        }
        None
    }

    /// What came since the last look, of every partition a piece.
    async fn look(&mut self) -> Result<String, Problem> {
        // Seen, so that the watch says when it is closed.
        let snapshot = Arc::clone(&self.hub.snapshot.borrow_and_update());
        match snapshot.producers.get(&self.producer.name) {
            Some(now) if now.uid == self.producer.uid => self.producer = Arc::clone(now),
            _ => return Ok(self.end(reason::UNKNOWN_PRODUCER.word)),
        }
        // Partitions that are new have new events only.
        self.offsets.resize(self.offsets.len().max(self.producer.partitions as usize), 0);
        let mut text = String::new();
        for partition in 0..self.offsets.len() as u32 {
            self.read(partition, &mut text).await?;
        }
        Ok(text)
    }

    async fn read(&mut self, partition: u32, text: &mut String) -> Result<(), Error> {
        let (journal, at) = (&self.hub.journal, at(&self.producer, partition));
        let offset = &mut self.offsets[partition as usize];
        let end = journal.end(&at).await?;
        *offset = journal.start(&at).await?.max(*offset);
        let behind = end.saturating_sub(*offset);
        if behind > BEHIND {
            event(text, Some("skipped"), None, &json!({"partition": partition, "events": behind}));
            *offset = end;
        }
        if *offset >= end {
            return Ok(());
        }
        let slice = journal.read(&at, *offset, PIECE.0, PIECE.1).await?;
        for stored in &slice.records {
            let id = format!("{partition}:{}", stored.offset);
            event(text, None, Some(&id), &Entry::new(partition, stored));
        }
        *offset = slice.next.max(*offset);
        Ok(())
    }

    fn end(&mut self, reason: &str) -> String {
        self.ended = true;
        let mut text = String::new();
        event(&mut text, Some("ended"), None, &json!({"reason": reason}));
        text
    }
}

/// Writes one event of the stream: JSON as it was written, a line of data for each of its own.
fn event(text: &mut String, kind: Option<&str>, id: Option<&str>, data: &impl Serialize) {
    for (name, value) in [("event", kind), ("id", id)] {
        if let Some(value) = value {
            text.extend([name, ": ", value, "\n"]);
        }
    }
    let data = serde_json::to_string(data).expect("what is sent is made of what JSON can say");
    for line in data.split('\n') {
        // The format takes a carriage return for a line's end, and has no word for one that is not.
        text.extend(["data: ", &line.replace('\r', " "), "\n"]);
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_keeps_its_lines() {
        let mut text = String::new();
        let raw = serde_json::value::RawValue::from_string("{\n\"a\":\r\n1}".to_owned()).unwrap();
        event(&mut text, None, Some("0:7"), &raw);
        event(&mut text, Some("ended"), None, &json!({"reason": "x"}));
        assert_eq!(
            text,
            "id: 0:7\ndata: {\ndata: \"a\": \ndata: 1}\n\nevent: ended\ndata: {\"reason\":\"x\"}\n\n"
        );
    }
}
