//! The stream of server-sent events behind `tail` and `listen`. Reads from the hub.

use std::collections::BTreeMap;

use bytes::BytesMut;
use evhub_routing::Name;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::{self, Client, path};

/// The longest event of the stream that is waited for: the largest event of any Producer, as JSON in base64.
const LONGEST: usize = 32 << 20;

/// One record of a Producer's topic.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    /// The partition it lies in.
    pub(crate) partition: u32,
    /// Where in the partition.
    pub(crate) offset: u64,
    /// When the log took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<String>,
    /// Its key, where that is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// The event in its JSON form; absent when the record holds none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) event: Option<Value>,
    /// Why the record holds no event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) poison: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// What comes of a stream.
#[derive(Debug)]
pub(crate) enum Item {
    /// A record.
    Event(Box<Entry>),
    /// This reader was too slow for so many.
    Skipped {
        /// Of this partition.
        partition: u32,
        /// How many.
        events: u64,
    },
}

/// The stream ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The hub says why.
    #[error("the hub ended it: {0}")]
    Told(String),
    /// The connection broke, or the hub stopped.
    #[error("the hub is gone")]
    Gone,
    /// Something else answers there.
    #[error("what comes is nothing that a hub sends")]
    Nonsense,
}

#[derive(Deserialize)]
struct Skipped {
    partition: u32,
    events: u64,
}

#[derive(Deserialize)]
struct Told {
    reason: String,
}

/// An open stream.
#[derive(Debug)]
pub(crate) struct Tail {
    body: Incoming,
    buffer: BytesMut,
}

impl Tail {
    /// Watches a Producer; whatever is published after this returns is in the stream.
    pub(crate) async fn open(client: &Client, producer: &Name) -> Result<Self, client::Error> {
        let path = path(&producer.namespace, &["producers", &producer.name, "tail"]);
        Ok(Self { body: client.stream(&path).await?, buffer: BytesMut::new() })
    }

    /// The next thing that comes.
    pub(crate) async fn next(&mut self) -> Result<Item, Ended> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let block = self.buffer.split_to(end + 2);
                let block = std::str::from_utf8(&block).map_err(|_| Ended::Nonsense)?;
                if let Some(item) = read(block)? {
                    return Ok(item);
                }
            }
            let frame = self.body.frame().await.and_then(Result::ok).ok_or(Ended::Gone)?;
            self.buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            if self.buffer.len() > LONGEST {
                return Err(Ended::Nonsense);
            }
        }
    }
}

/// What one block of the stream says; comments say nothing.
fn read(block: &str) -> Result<Option<Item>, Ended> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let Some(data) = field("data") else { return Ok(None) };
    let nonsense = |_| Ended::Nonsense;
    match field("event") {
        None => Ok(Some(Item::Event(serde_json::from_str(data).map_err(nonsense)?))),
        Some("skipped") => {
            let Skipped { partition, events } = serde_json::from_str(data).map_err(nonsense)?;
            Ok(Some(Item::Skipped { partition, events }))
        }
        Some("ended") => Err(Ended::Told(serde_json::from_str::<Told>(data).map_err(nonsense)?.reason)),
        // A later version may tell more.
        Some(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_say_what_comes() {
        assert!(matches!(read(": alive\n\n"), Ok(None)));
        assert!(matches!(read("event: later\ndata: {}\n\n"), Ok(None)));
        let event = read("id: 1:2\ndata: {\"partition\":1,\"offset\":2}\n\n").unwrap();
        assert!(matches!(event, Some(Item::Event(entry)) if (entry.partition, entry.offset) == (1, 2)));
        let skipped = read("event: skipped\ndata: {\"partition\":1,\"events\":9}\n\n").unwrap();
        assert!(matches!(skipped, Some(Item::Skipped { partition: 1, events: 9 })));
        let ended = read("event: ended\ndata: {\"reason\":\"UNKNOWN_PRODUCER\"}\n\n");
        assert!(matches!(ended, Err(Ended::Told(reason)) if reason == "UNKNOWN_PRODUCER"));
        assert!(matches!(read("data: {\n\n"), Err(Ended::Nonsense)));
    }
}
