//! The stream of server-sent events behind `tail` and `listen`. Reads from the hub.

use std::collections::BTreeMap;

use bytes::BytesMut;
use evhub_routing::Name;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, value::RawValue};

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
    /// Its key, where that is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    /// The event in its JSON form; absent when the record holds none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) event: Option<Event>,
    /// Why the record holds no event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) poison: Option<String>,
}

/// An event in its JSON form, to the byte as it came: data may be signed, and may hold numbers that no type here can.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    raw: Box<RawValue>,
    /// To look at.
    members: BTreeMap<String, Value>,
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
    blocks: Blocks,
}

/// What came, cut where an empty line ends a block.
#[derive(Debug, Default)]
struct Blocks {
    buffer: BytesMut,
    /// How far it holds no end, so that a long block is looked through once, however many pieces it comes in.
    looked: usize,
}

impl Tail {
    /// Watches a Producer; whatever is published after this returns is in the stream.
    pub(crate) async fn open(client: &Client, producer: &Name) -> Result<Self, client::Error> {
        let path = path(&producer.namespace, &["producers", &producer.name, "tail"]);
        Ok(Self { body: client.stream(&path).await?, blocks: Blocks::default() })
    }

    /// The next thing that comes.
    pub(crate) async fn next(&mut self) -> Result<Item, Ended> {
        loop {
            while let Some(block) = self.blocks.next() {
                let block = std::str::from_utf8(&block).map_err(|_| Ended::Nonsense)?;
                if let Some(item) = read(block)? {
                    return Ok(item);
                }
            }
            let frame = self.body.frame().await.and_then(Result::ok).ok_or(Ended::Gone)?;
            self.blocks.buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            if self.blocks.buffer.len() > LONGEST {
                return Err(Ended::Nonsense);
            }
        }
    }
}

impl Entry {
    /// The same for a format that cannot hold JSON as it was written: a member that no type here holds is then its text.
    pub(crate) fn plain(&self) -> serde_json::Result<Value> {
        let mut plain = serde_json::to_value(Self { event: None, ..self.clone() })?;
        if let (Some(event), Some(members)) = (&self.event, plain.as_object_mut()) {
            members.insert("event".to_owned(), serde_json::to_value(&event.members)?);
        }
        Ok(plain)
    }
}

impl Blocks {
    fn next(&mut self) -> Option<BytesMut> {
        let rest = self.buffer.get(self.looked..)?;
        let Some(end) = rest.windows(2).position(|two| two == b"\n\n") else {
            // The last byte may be the first of two.
            self.looked = self.buffer.len().saturating_sub(1);
            return None;
        };
        let block = self.buffer.split_to(self.looked + end + 2);
        self.looked = 0;
        Some(block)
    }
}

impl Event {
    /// The event's JSON.
    pub(crate) fn raw(&self) -> &str {
        self.raw.get()
    }

    /// One of its members, as far as a look tells.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let members: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(raw.get()).map_err(serde::de::Error::custom)?;
        // A number may be too large for any type here.
        let value =
            |raw: Box<RawValue>| serde_json::from_str(raw.get()).unwrap_or_else(|_| Value::from(raw.get()));
        let members = members.into_iter().map(|(name, raw)| (name, value(raw))).collect();
        Ok(Self { raw, members })
    }
}

impl Serialize for Event {
    /// In one line: a line break of JSON stands between its tokens, where any space will do.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let line = RawValue::from_string(self.raw().replace(['\n', '\r'], " "));
        line.map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

/// What one block of the stream says; comments say nothing.
fn read(block: &str) -> Result<Option<Item>, Ended> {
    let fields = |name: &'static str| {
        block.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let data = fields("data").collect::<Vec<_>>().join("\n");
    if data.is_empty() {
        return Ok(None);
    }
    let data = data.as_str();
    let nonsense = |_| Ended::Nonsense;
    match fields("event").next() {
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

    #[test]
    fn an_event_stays_as_it_was_written() {
        let event = r#"{"data": {"b":1.10,
 "a":123456789012345678901234567890, "b":1e400}}"#;
        let lines = event.replace('\n', "\ndata: ");
        let block = format!("data: {{\"partition\":1,\"offset\":2,\"event\":{lines}}}\n\n");
        let Some(Item::Event(entry)) = read(&block).unwrap() else { panic!("{block}") };
        assert_eq!(entry.event.as_ref().unwrap().raw(), event);
        let printed = serde_json::to_string(&entry).unwrap();
        let line = event.replace('\n', " ");
        assert_eq!(printed, format!("{{\"partition\":1,\"offset\":2,\"event\":{line}}}"));
        let data = entry.event.as_ref().unwrap().get("data").unwrap().as_str().unwrap();
        assert_eq!(entry.plain().unwrap()["event"]["data"], data, "no type holds it");
    }

    #[test]
    fn blocks_are_cut_wherever_the_pieces_end() {
        let stream = b"a\n\nbb\nb\n\n\n\ncc";
        for size in 1..=stream.len() {
            let mut blocks = Blocks::default();
            let mut found = Vec::new();
            for piece in stream.chunks(size) {
                blocks.buffer.extend_from_slice(piece);
                found.extend(std::iter::from_fn(|| blocks.next()));
                assert!(blocks.looked + 1 >= blocks.buffer.len(), "nothing is looked at twice");
            }
            assert_eq!(found, [&b"a\n\n"[..], b"bb\nb\n\n", b"\n\n"], "{size}");
        }
    }
}
