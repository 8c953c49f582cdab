//! A Producer's events as they come, for people who watch: server-sent events. Reads the log.
//!
//! Nothing is kept for a reader: it is sent what the log has since its last turn, a piece at a time, however many partitions
//! it is of, and only as fast as it takes it. One that falls far behind is told how many events it does not get, and goes on at the end. So a watcher
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
/// What is sent at a time, in events and about bytes, of all partitions together.
const PIECE: (usize, usize) = (256, 256 << 10);

struct Tail<J: Journal> {
    hub: Hub<J>,
    producer: Arc<Producer>,
    /// Where to read on, by partition.
    offsets: Vec<u64>,
    /// Whose turn it is to be read first.
    turn: usize,
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
    let (hub, spoke) = (api.hub, Instant::now());
    let tail = Tail { hub, producer, offsets, turn: 0, spoke, ended: false, _slot: slot };
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

    /// A piece of what came since the last look. The partitions take turns: the first to be read is the one after that which
    /// filled the last piece.
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
        let mut left = PIECE;
        for _ in 0..self.offsets.len() {
            left = self.read(self.turn, left, &mut text).await?;
            self.turn = (self.turn + 1) % self.offsets.len();
            if left.0 == 0 || left.1 == 0 {
                break;
            }
        }
        Ok(text)
    }

    /// Reads no more of a partition than is left of the piece; says how much is left then.
    async fn read(
        &mut self,
        partition: usize,
        left: (usize, usize),
        text: &mut String,
    ) -> Result<(usize, usize), Error> {
        let offset = &mut self.offsets[partition];
        let partition = partition as u32;
        let (journal, at) = (&self.hub.journal, at(&self.producer, partition));
        let end = journal.end(&at).await?;
        *offset = journal.start(&at).await?.max(*offset);
        let behind = end.saturating_sub(*offset);
        if behind > BEHIND {
            event(text, Some("skipped"), None, &json!({"partition": partition, "events": behind}));
            *offset = end;
        }
        if *offset >= end {
            return Ok(left);
        }
        let slice = journal.read(&at, *offset, left.0, left.1).await?;
        for stored in &slice.records {
            let id = format!("{partition}:{}", stored.offset);
            event(text, None, Some(&id), &Entry::new(partition, stored));
        }
        *offset = slice.next.max(*offset);
        let bytes = slice.records.iter().map(|stored| stored.record.size()).sum();
        Ok((left.0.saturating_sub(slice.records.len()), left.1.saturating_sub(bytes)))
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
    use std::collections::BTreeMap;

    use evhub_event::Record;
    use evhub_journal::{Embedded, Place, TopicSettings, embedded::Options};
    use evhub_routing::{Brokers, EvhubName, Generation, Name, Snapshot};
    use tokio::sync::{Semaphore, watch};

    use super::*;

    const PARTITIONS: u32 = 8;
    const EACH: usize = 20;

    /// A watcher of a Producer whose partitions have 20 events of 20 KiB each.
    async fn watcher(log: Embedded) -> Tail<Embedded> {
        let producer = Arc::new(Producer {
            name: Name::new("shop", "orders"),
            uid: "uid".to_owned(),
            evhub: EvhubName { app_id: "shop".to_owned(), topic_id: "orders".to_owned() },
            topic: "t".to_owned(),
            partitions: PARTITIONS,
            event_bytes: 1 << 20,
            batch_events: 1,
            batch_bytes: 1 << 20,
            events_per_second: None,
            max_delay: Duration::from_hours(9600),
            due_topic: "evhub.shop.orders.due".to_owned(),
            pending_timers: 1_000_000,
            ledger: evhub_routing::Ledger::default(),
            brokers: Brokers::default(),
            retention: None,
            retention_bytes: None,
        });
        let settings =
            TopicSettings { partitions: PARTITIONS, max_record_bytes: 1 << 20, ..TopicSettings::default() };
        log.ensure("t", settings).await.unwrap();
        let record = || Record { key: Some(vec![b'k'; 20 << 10].into()), ..Record::default() };
        let append = |n: u32| log.append("t", Place::Partition(n % PARTITIONS), record());
        for written in (0..PARTITIONS * EACH as u32).map(append).collect::<Vec<_>>() {
            written.await.unwrap();
        }
        let snapshot = Snapshot {
            generation: Generation { epoch: 1, revision: 1 },
            producers: BTreeMap::from([(producer.name.clone(), Arc::clone(&producer))]),
            ..Snapshot::default()
        };
        Tail {
            hub: Hub::new(log, watch::channel(Arc::new(snapshot)).1),
            offsets: vec![0; producer.partitions as usize],
            producer,
            turn: 0,
            spoke: Instant::now(),
            ended: false,
            _slot: Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(),
        }
    }

    #[tokio::test]
    async fn a_piece_is_no_larger_for_all_partitions_and_none_waits_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let mut tail = watcher(Embedded::open(Options::new(dir.path())).unwrap()).await;
        let (mut shown, mut looks) = (0, 0);
        while shown < EACH * PARTITIONS as usize {
            let piece = tail.look().await.unwrap();
            let events = piece.matches("\ndata: ").count();
            // The last one may begin within the bound and end beyond it.
            assert!(
                (1..=14).contains(&events) && piece.len() < PIECE.1 + (64 << 10),
                "{events} {}",
                piece.len()
            );
            shown += events;
            looks += 1;
            if looks == PARTITIONS {
                assert!(tail.offsets.iter().all(|offset| *offset > 0), "{:?}", tail.offsets);
            }
        }
        assert_eq!(tail.look().await.unwrap(), "");
    }

    #[tokio::test]
    async fn one_that_falls_far_behind_is_told_what_it_does_not_get_and_goes_on_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let log = Embedded::open(Options::new(dir.path())).unwrap();
        let mut tail = watcher(log.clone()).await;
        tail.offsets.fill(EACH as u64);
        let append = |_: u64| log.append("t", Place::Partition(3), Record::default());
        for _ in 0..BEHIND / 1_000 {
            for written in (0..1_000).map(append).collect::<Vec<_>>() {
                written.await.unwrap();
            }
        }
        let offsets = tail.offsets.clone();
        assert_eq!(tail.look().await.unwrap().matches("\ndata: ").count(), PIECE.0, "it is not far yet");
        tail.offsets = offsets;
        append(0).await.unwrap();
        let told = "event: skipped\ndata: {\"events\":10001,\"partition\":3}\n\n";
        assert_eq!(tail.look().await.unwrap(), told);
        append(0).await.unwrap();
        let next = tail.look().await.unwrap();
        assert!(next.starts_with("id: 3:10021\n") && next.matches("\ndata: ").count() == 1, "{next}");
    }

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
