//! A Producer's events as they lie in the log. Reads the log.
//!
//! The list goes partition by partition, each in offset order. A cursor is `PARTITION:OFFSET`, where to read on; `from`
//! takes one, or the bare offset beside `partition`. `next` is missing once the end is reached.

use axum::extract::State;
use evhub_event::{Event, json::Structured, kafka};
use evhub_journal::{Journal, Stored, TopicPartition};
use http::Uri;
use serde::{Serialize, Serializer};

use super::{Api, PAGE, PAGE_BYTES, Page, instant, readers::Read, text_or_base64};
use crate::{
    problem::{Problem, reason},
    request::{Named, Query},
};

/// A record: the event where it is one, else why it is none.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    partition: u32,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<Whole>,
    #[serde(skip_serializing_if = "Option::is_none")]
    poison: Option<&'static str>,
}

/// An event in the CloudEvents JSON format.
#[derive(Debug)]
struct Whole(Event);

/// The place to read on, and the partition to stop before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    partition: u32,
    offset: u64,
    last: u32,
}

pub(super) async fn events<J: Journal>(
    State(api): State<Api<J>>,
    Named(name): Named,
    uri: Uri,
) -> Result<Read<Page<Entry>>, Problem> {
    let query = Query::read(&uri, &["partition", "from", "limit"])?;
    let limit = query.limit(PAGE.0, PAGE.1)?;
    let missing = || Problem::new(reason::UNKNOWN_PRODUCER, "no Producer of this name runs here");
    let snapshot = api.hub.running();
    let producer = snapshot.producers.get(&name).ok_or_else(missing)?;
    let mut cursor = Cursor::read(&query, producer.partitions)?;
    let seat = api.readers.seat().await;
    let mut page = Page { items: Vec::new(), next: None };
    let mut bytes = PAGE_BYTES;
    while cursor.partition < cursor.last && page.items.len() < limit && bytes > 0 {
        let at = TopicPartition { topic: producer.topic.clone(), partition: cursor.partition };
        let from = api.hub.journal.start(&at).await?.max(cursor.offset);
        cursor = cursor.at(from);
        let slice = api.hub.journal.read(&at, cursor.offset, limit - page.items.len(), bytes).await?;
        bytes = bytes.saturating_sub(slice.records.iter().map(|stored| stored.record.size()).sum());
        let stuck = slice.records.is_empty() && slice.next <= cursor.offset;
        page.items.extend(slice.records.into_iter().map(|stored| Entry::new(cursor.partition, &stored)));
        cursor =
            if stuck || slice.next >= slice.end { cursor.next_partition() } else { cursor.at(slice.next) };
    }
    page.next = (cursor.partition < cursor.last).then(|| format!("{}:{}", cursor.partition, cursor.offset));
    Ok(Read(page, seat))
}

// === impl Cursor ===

impl Cursor {
    fn read(query: &Query, partitions: u32) -> Result<Self, Problem> {
        let only = query.number::<u32>("partition")?;
        if only.is_some_and(|only| only >= partitions) {
            let detail = format!("partitions are from 0 to {}", partitions.saturating_sub(1));
            return Err(Problem::new(reason::INVALID_QUERY, detail).at("partition"));
        }
        let last = only.map_or(partitions, |only| only + 1);
        let begin = Self { partition: only.unwrap_or(0), offset: 0, last };
        let Some(from) = query.text("from") else { return Ok(begin) };
        let wrong = || {
            let detail = "from is PARTITION:OFFSET as `next` gave it, or an offset beside partition";
            Problem::new(reason::INVALID_QUERY, detail).at("from")
        };
        let (partition, offset) = match (from.split_once(':'), only) {
            (Some((partition, offset)), _) => (partition.parse().map_err(|_| wrong())?, offset),
            (None, Some(only)) => (only, from),
            (None, None) => return Err(wrong()),
        };
        if partition >= partitions || only.is_some_and(|only| only != partition) {
            return Err(wrong());
        }
        Ok(Self { partition, offset: offset.parse().map_err(|_| wrong())?, last })
    }

    fn next_partition(self) -> Self {
        Self { partition: self.partition + 1, offset: 0, ..self }
    }

    fn at(self, offset: u64) -> Self {
        Self { offset, ..self }
    }
}

// === impl Entry ===

impl Entry {
    pub(super) fn new(partition: u32, stored: &Stored) -> Self {
        let (key, key_base64) = text_or_base64(stored.record.key.as_ref());
        let (event, poison) = match kafka::decode(&stored.record) {
            Ok(event) => (Some(Whole(event)), None),
            Err(poison) => (None, Some(poison.word())),
        };
        Self {
            partition,
            offset: stored.offset,
            time: instant(stored.timestamp),
            key,
            key_base64,
            event,
            poison,
        }
    }
}

impl Serialize for Whole {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Structured(&self.0).serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<(u32, u64, u32), Problem> {
        let uri: Uri = format!("/x?{query}").parse().unwrap();
        let query = Query::read(&uri, &["partition", "from"])?;
        Cursor::read(&query, 4).map(|cursor| (cursor.partition, cursor.offset, cursor.last))
    }

    #[test]
    fn cursors_are_read() {
        assert_eq!(read(""), Ok((0, 0, 4)));
        assert_eq!(read("partition=2"), Ok((2, 0, 3)));
        assert_eq!(read("partition=2&from=7"), Ok((2, 7, 3)));
        assert_eq!(read("partition=2&from=2:7"), Ok((2, 7, 3)));
        assert_eq!(read("from=3:7"), Ok((3, 7, 4)));
        for bad in
            ["partition=4", "from=7", "from=4:0", "partition=1&from=2:7", "from=1:x", "from=:", "from=-1:0"]
        {
            assert_eq!(read(bad).unwrap_err().reason, reason::INVALID_QUERY, "{bad}");
        }
    }
}
